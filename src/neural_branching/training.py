"""One fit: the Lightning trainer of this package, its history, best weights and progress line."""

import copy
import logging
import math
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, EarlyStopping
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from neural_branching.classifier import Classifier
from neural_branching.compute import Compute
from neural_branching.data.batches import TensorDataModule
from neural_branching.errors import InputError
from neural_branching.fit import Fit

# Lightning announces devices and tips at level INFO for every fit; a sweep has many.
logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)

History = list[dict[str, float]]
METRICS = ("train/loss", "val/loss", "val/accuracy")  # of every epoch


def fit(module: Classifier, data: TensorDataModule, compute: Compute, title: str) -> History:
    """Fit a classifier by its recipe and leave the weights in it that the recipe keeps.

    Args:
        module: the classifier; trained in place, moved back to the CPU.
        data: training and validation tensors.
        compute: where to run.
        title: what is being trained, for messages.

    Returns:
        One entry per epoch with ``train/loss``, ``val/loss`` and ``val/accuracy``.

    Raises:
        InputError: if the loss stops being finite.
    """
    recorder = _Recorder(module.fit, title)
    callbacks: list[Callback] = [recorder]
    if module.fit.patience is not None:
        mode = "min" if module.fit.monitor == "val/loss" else "max"
        callbacks.append(EarlyStopping(module.fit.monitor, patience=module.fit.patience, mode=mode))
    if compute.progress:
        callbacks.append(ProgressLine(title, module.fit.epochs))
    with new_trainer(module.fit, compute, callbacks) as trainer:
        trainer.fit(module, datamodule=data)
    recorder.restore(module)
    module.cpu()
    return recorder.history


@contextmanager
def new_trainer(recipe: Fit, compute: Compute, callbacks: list[Callback]) -> Iterator[pl.Trainer]:
    """The Lightning trainer for one fit by a recipe; its matrix precision holds inside alone.

    Args:
        recipe: the training recipe.
        compute: where to run.
        callbacks: what happens around epochs.
    """
    device = compute.device()
    if device.type == "cpu":
        # Lightning asks torch to look for GPUs through NVML, which the fused optimisers then do at
        # every step; on a machine without a GPU that look-up costs as much as the step.
        os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "0"
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*LeafSpec.*")  # Lightning 2.6 on torch ≥ 2.9
        trainer = pl.Trainer(
            accelerator=device.type,
            devices=[device.index] if device.type == "cuda" else 1,
            precision=recipe.precision,  # type: ignore[arg-type]
            max_epochs=recipe.epochs,
            callbacks=callbacks,
            num_sanity_val_steps=0,
            log_every_n_steps=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
        )
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision(recipe.matmul_precision)
        try:
            yield trainer
        finally:
            torch.set_float32_matmul_precision(before)


def best_epoch(history: History, recipe: Fit) -> int:
    """Number of the epoch, from 1, whose weights the recipe keeps: the first of equals."""
    if recipe.keep == "last":
        return len(history)
    sign = 1 if recipe.monitor == "val/loss" else -1
    return 1 + min(range(len(history)), key=lambda epoch: sign * history[epoch][recipe.monitor])


class _Recorder(Callback):
    """Keeps every epoch's metrics and, in memory, a true copy of the best weights."""

    def __init__(self, recipe: Fit, title: str) -> None:
        self.recipe = recipe
        self.title = title
        self.history: History = []
        self._best: dict[str, Any] | None = None

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        values = torch.stack([trainer.callback_metrics[name].float() for name in METRICS]).tolist()
        self.history.append(dict(zip(METRICS, values, strict=True)))
        if not all(map(math.isfinite, values)):
            found = ", ".join(f"{name} is {value}" for name, value in self.history[-1].items())
            raise InputError(
                f"Training the {self.title} diverged: {found} in epoch {len(self.history)}; "
                f"lower its learning rate, fit.lr (now {self.recipe.lr:g})."
            )
        if self.recipe.keep == "best" and best_epoch(self.history, self.recipe) == len(self.history):
            self._best = copy.deepcopy(module.state_dict())

    def restore(self, module: Classifier) -> None:
        """Put the best weights back; does nothing if the recipe keeps the last."""
        if self._best is not None:
            module.load_state_dict(self._best)


class ProgressLine(Callback):
    """One line on a terminal: epoch, time left and validation accuracy; silent elsewhere.

    Args:
        title: what is being trained.
        epochs: the most that there will be.
    """

    def __init__(self, title: str, epochs: int) -> None:
        console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("epoch {task.completed}/{task.total}"),
            TextColumn("val/accuracy {task.fields[accuracy]:.3f}"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task(title, total=epochs, accuracy=float("nan"))

    def on_fit_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Show the line."""
        self._progress.start()

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Advance it."""
        if not self._progress.disable:
            accuracy = float(trainer.callback_metrics["val/accuracy"])
            self._progress.update(self._task, advance=1, accuracy=accuracy)

    def teardown(self, trainer: pl.Trainer, module: pl.LightningModule, stage: str) -> None:
        """Remove it."""
        self._progress.stop()
