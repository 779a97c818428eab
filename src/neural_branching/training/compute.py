"""Where things run. None of it decides what is computed, so none of it enters a key."""

from __future__ import annotations

from typing import TYPE_CHECKING

from neural_branching.errors import InputError, number, one_of, switch, whole

if TYPE_CHECKING:
    import torch

    from neural_branching.training.loggers import Logger

ACCELERATORS = ("auto", "cpu", "cuda", "mps")


class Compute:
    """The machine's part of a run.

    Args:
        accelerator: "auto" takes CUDA, then Apple's MPS, then the CPU.
        devices: index of the CUDA device to use. Networks of this size gain nothing from several.
        threads: CPU threads for torch; None leaves torch's own choice.
        progress: show a progress bar while training, if the output is a terminal.
        together: train the branches of one shape that a sweep or a tree needs at once.
        extraction_batch: examples of a pass of a frozen network; None for as many as fit. (Rounding, and with
            them the last digits, may depend on it.)
        cuda_graphs: on CUDA, capture a training's step once and replay it, instead of launching every
            operation anew.
        checkpoint_seconds: least time between two checkpoints of a training, from which it continues
            when it is interrupted.
        logger: where curves appear while something trains, and what a run has found; None for nowhere.

    Raises:
        InputError: for values outside what is listed, and for an accelerator that is not there.
    """

    def __init__(
        self,
        accelerator: str = "auto",
        devices: int = 0,
        threads: int | None = None,
        progress: bool = True,
        together: bool = True,
        cuda_graphs: bool = True,
        checkpoint_seconds: float = 60.0,
        extraction_batch: int | None = None,
        logger: Logger | None = None,
    ) -> None:
        self.accelerator = one_of(accelerator, ACCELERATORS, "accelerator")
        self.devices = whole(devices, "devices", 0)
        self.threads = None if threads is None else whole(threads, "threads", 1)
        self.progress = switch(progress, "progress")
        self.together = switch(together, "together")
        self.cuda_graphs = switch(cuda_graphs, "cuda_graphs")
        self.checkpoint_seconds = number(checkpoint_seconds, "checkpoint_seconds", 0, float("inf"))
        self.extraction_batch = (
            None if extraction_batch is None else whole(extraction_batch, "extraction_batch", 1)
        )
        self.logger = logger

    def device(self) -> torch.device:
        """The device that this means on this machine.

        Raises:
            InputError: if the accelerator or the device's index is not there.
        """
        import torch

        available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
        name = self.accelerator
        if name == "auto":
            name = next(name for name, there in available.items() if there)
        if not available[name]:
            there = ", ".join(name for name, there in available.items() if there)
            raise InputError(f"trainer.accelerator is {name!r}, which this machine lacks: it has {there}.")
        if name != "cuda":
            if self.devices:
                raise InputError(
                    f"trainer.devices is {self.devices}, the index of a CUDA device, and this run is on the "
                    f"{name}."
                )
            return torch.device(name)
        if self.devices >= torch.cuda.device_count():
            raise InputError(
                f"trainer.devices is {self.devices}: this machine's {torch.cuda.device_count()} CUDA "
                "devices are counted from 0."
            )
        return torch.device("cuda", self.devices)

    def apply(self) -> None:
        """Set the number of CPU threads of this process."""
        import torch

        if self.threads is not None:
            torch.set_num_threads(self.threads)
