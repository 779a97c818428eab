"""One fit: the Lightning trainer of this package, its history, best weights and progress line."""

import copy
import logging
import math
import os
import signal
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from pytorch_lightning.callbacks import Callback, EarlyStopping
from pytorch_lightning.callbacks import Checkpoint as CheckpointCallback
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from neural_branching.data.tensor_data import TensorDataModule
from neural_branching.errors import InputError
from neural_branching.store.checkpoint import Checkpoint
from neural_branching.training.captured_step import capturer_of
from neural_branching.training.classifier import Classifier
from neural_branching.training.compute import Compute
from neural_branching.training.epoch_module import EpochModule
from neural_branching.training.history import METRICS, History, best_epoch
from neural_branching.training.live_curves import LiveCurves, live_curves
from neural_branching.training.recipe import Recipe
from neural_branching.training.treatment import Treatment

log = logging.getLogger(__name__)

# Lightning announces devices and tips at level INFO for every fit; a sweep has many.
logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)


def fit(
    module: EpochModule,
    data: TensorDataModule,
    compute: Compute,
    title: str,
    checkpoint: Checkpoint | None = None,
) -> History:
    """Fit a network by its recipe and leave the weights in it that the recipe keeps.

    Args:
        module: the network; trained in place, moved back to the CPU.
        data: training and validation tensors.
        compute: where to run, and where its curves are shown while it lasts.
        title: what is being trained, for messages.
        checkpoint: where an interrupted fit left its last state, and this one leaves its own: it comes to
            the weights that it would have come to undisturbed.

    Returns:
        One entry per epoch with the module's ``metrics``.

    Raises:
        InputError: if the loss stops being finite.
    """
    if module.recipe.precision == "bf16-mixed" and compute.device().type == "cpu" and not has_bfloat16():
        log.info(
            "This processor has no bfloat16 and imitates it: training the %s with fit.precision=32-true may "
            "be many times faster, and gives other weights.",
            title,
        )
    module.capturer = capturer_of(compute)
    recorder = _Recorder(module.recipe, title)
    callbacks: list[Callback] = [recorder]
    if isinstance(module, Classifier) and module.treatment is not None:
        module.treatment.begin(module.network)
        callbacks.append(_Treated(module.treatment))
    if module.recipe.patience is not None:
        mode = "min" if module.recipe.monitor == "val/loss" else "max"
        callbacks.append(EarlyStopping(module.recipe.monitor, patience=module.recipe.patience, mode=mode))
    if compute.progress:
        callbacks.append(ProgressLine(title, module.recipe.epochs, module.metrics[-1]))
    start = None
    if checkpoint is not None:
        callbacks.append(_Saver(checkpoint, data, title, compute.checkpoint_seconds))
        start = checkpoint.latest(compute.device().type)
    with (
        live_curves(compute.logger, title, checkpoint) as recorder.curves,
        new_trainer(module.recipe, compute, callbacks) as trainer,
    ):
        try:
            trainer.fit(module, datamodule=data, ckpt_path=start, weights_only=True)
        except InputError:
            if checkpoint is not None:
                checkpoint.clear()  # nothing good comes of continuing
            raise
        finally:
            module.release()
    recorder.restore(module)
    module.cpu()
    return recorder.history


def has_bfloat16() -> bool:
    """Whether the processor multiplies in bfloat16, as far as torch says."""
    return bool(torch._C._has_mkldnn and torch.ops.mkldnn._is_mkldnn_bf16_supported())


@contextmanager
def new_trainer(recipe: Recipe, compute: Compute, callbacks: list[Callback]) -> Iterator[pl.Trainer]:
    """The Lightning trainer for one fit by a recipe; its matrix precision holds inside alone.

    Args:
        recipe: the training recipe.
        compute: where to run.
        callbacks: what happens around epochs.

    Raises:
        KeyboardInterrupt: if somebody presses Ctrl-C.
    """
    device = compute.device()
    if device.type == "cpu":
        # Lightning asks torch to look for GPUs through NVML, which the fused optimisers then do at
        # every step; on a machine without a GPU that look-up costs as much as the step.
        os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "0"
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*LeafSpec.*")  # Lightning 2.6 on torch ≥ 2.9
        warnings.filterwarnings("ignore", ".*srun.*")  # on a cluster a job is one process too
        warnings.filterwarnings("ignore", ".*available but not used.*")  # the device has been chosen
        trainer = pl.Trainer(
            accelerator=device.type,
            devices=[device.index] if device.type == "cuda" else 1,
            precision=recipe.precision,  # type: ignore[arg-type]
            max_epochs=recipe.epochs,
            callbacks=callbacks,
            num_sanity_val_steps=0,
            log_every_n_steps=1,
            logger=False,
            enable_checkpointing=any(isinstance(one, CheckpointCallback) for one in callbacks),
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            plugins=[LightningEnvironment()],  # one process, also within a job of Slurm
        )
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision(recipe.matmul_precision)
        try:
            yield trainer
        except SystemExit:
            if not trainer.interrupted:
                raise
            # Lightning has taken Ctrl-C for itself; whoever asked for the training is to hear of it.
            signal.signal(signal.SIGINT, signal.default_int_handler)
            raise KeyboardInterrupt from None
        finally:
            torch.set_float32_matmul_precision(before)


class _Recorder(Callback):
    """Keeps every epoch's metrics and, in memory, a true copy of the best weights, or of every epoch's."""

    def __init__(self, recipe: Recipe, title: str) -> None:
        self.recipe = recipe
        self.title = title
        self.curves: LiveCurves | None = None  # of an epoch's metrics, while it lasts
        self.history: History = []
        self._best: dict[str, Any] | None = None
        self._epochs: list[dict[str, Tensor]] = []

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if self.recipe.keep == "every" and not self._epochs:  # there are some where a training continues
            self._epochs.append(_copied(module))

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        assert isinstance(module, EpochModule)
        names = module.metrics
        values = torch.stack([trainer.callback_metrics[name].float() for name in names]).tolist()
        self.history.append(dict(zip(names, values, strict=True)))
        if not all(map(math.isfinite, values)):
            found = ", ".join(f"{name} is {value}" for name, value in self.history[-1].items())
            raise InputError(
                f"Training the {self.title} diverged in epoch {len(self.history)} {_step(module.losses)}: "
                f"{found}; lower its learning rate, fit.lr (now {self.recipe.lr:g})."
            )
        if self.recipe.keep == "best" and best_epoch(self.history, self.recipe) == len(self.history):
            self._best = copy.deepcopy(module.state_dict())
        if self.recipe.keep == "every":
            self._epochs.append(_copied(module))
        if self.curves:
            self.curves.show(self.history)

    def state_dict(self) -> dict[str, Any]:
        return {"history": self.history, "best": self._best, "epochs": self._epochs}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.history, self._best = state_dict["history"], state_dict["best"]
        self._epochs = state_dict.get("epochs", [])  # which earlier versions did not write

    def restore(self, module: EpochModule) -> None:
        """Put the best weights back, unless the recipe keeps the last; hand over those of every epoch."""
        if self._best is not None:
            module.load_state_dict(self._best)
        module.epochs = self._epochs


def _copied(module: pl.LightningModule) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().clone() for name, tensor in module.state_dict().items()}


def _step(losses: Tensor) -> str:
    """Where in an epoch a training went astray."""
    astray = (~losses.isfinite()).nonzero()
    if not len(astray):
        return f"after its last step of {len(losses)}"
    return f"at step {int(astray[0]) + 1} of {len(losses)}, whose loss is {float(losses[astray[0]])}"


class _Treated(Callback):
    """Lets a treatment change weights before epochs and after steps."""

    def __init__(self, treatment: Treatment) -> None:
        self.treatment = treatment

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        assert isinstance(module, Classifier)
        network = module.network
        trainer.optimizers[0].register_step_post_hook(lambda *_: self.treatment.after_step(network))

    def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        assert isinstance(module, Classifier)
        self.treatment.before_epoch(trainer.current_epoch + 1, module.network, trainer.optimizers[0])


class _Saver(CheckpointCallback):  # of those that Lightning calls last, after early stopping
    """Leaves the state of a training behind from time to time, the generators' with it.

    Args:
        checkpoint: where to.
        data: what the training learns from, whose generator draws the order of the examples.
        title: what is being trained, for messages.
        seconds: least time between two states.
    """

    def __init__(self, checkpoint: Checkpoint, data: TensorDataModule, title: str, seconds: float) -> None:
        self.checkpoint, self.data, self.title, self.seconds = checkpoint, data, title, seconds
        self._last = time.monotonic()
        self._draws: dict[str, Tensor] = {}

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Draw on from where the interrupted training was."""
        if self._draws:
            log.info("Training the %s continues with epoch %d.", self.title, trainer.current_epoch + 1)
            torch.set_rng_state(self._draws["torch"])
            self.data.generator.set_state(self._draws["order"])
            if module.device.type == "cuda":
                torch.cuda.set_rng_state(self._draws["cuda"], module.device)

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        over = trainer.should_stop or trainer.current_epoch + 1 == trainer.max_epochs
        if over or time.monotonic() - self._last < self.seconds:
            return
        self._draws = {"torch": torch.get_rng_state(), "order": self.data.generator.get_state()}
        if module.device.type == "cuda":
            self._draws["cuda"] = torch.cuda.get_rng_state(module.device)
        try:
            self.checkpoint.replace(trainer.save_checkpoint, module.device.type)
        except (OSError, RuntimeError) as error:  # torch has words of its own for a full disk
            log.warning("Training the %s goes on without a checkpoint: %s.", self.title, error)
        self._last = time.monotonic()

    def state_dict(self) -> dict[str, Any]:
        return self._draws

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._draws = state_dict


class ProgressLine(Callback):
    """One line on a terminal: epoch, time left and a metric; silent elsewhere.

    Args:
        title: what is being trained.
        epochs: the most that there will be.
        metric: the one that is shown.
    """

    def __init__(self, title: str, epochs: int, metric: str = METRICS[-1]) -> None:
        self._metric = metric
        console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("epoch {task.fields[epoch]}/{task.total}"),
            TextColumn(f"{metric} {{task.fields[value]:.3f}}"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task(title, total=epochs, epoch=0, value=float("nan"))

    def on_fit_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Show the line."""
        self._progress.start()

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Advance it within an epoch."""
        if not self._progress.disable:
            epoch, share = trainer.current_epoch, (batch_idx + 1) / trainer.num_training_batches
            self._progress.update(self._task, completed=epoch + share, epoch=epoch + 1)

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Say the metric."""
        if not self._progress.disable:
            self._progress.update(self._task, value=float(trainer.callback_metrics[self._metric]))

    def teardown(self, trainer: pl.Trainer, module: pl.LightningModule, stage: str) -> None:
        """Remove it."""
        self._progress.stop()
