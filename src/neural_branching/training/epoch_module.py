"""What everything that is trained here shares: a recipe, and a whole epoch per step of Lightning."""

from abc import abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from neural_branching.data.batches import Batches
from neural_branching.data.tensor_data import TensorDataModule
from neural_branching.networks.dropout import Dropout
from neural_branching.networks.standardize import Standardize
from neural_branching.selection.array_types import Float, Int64, Shaped
from neural_branching.training.captured_step import Capturer, Step, prepared
from neural_branching.training.masks import Masks, drawn_ahead
from neural_branching.training.recipe import Recipe


class EpochModule(pl.LightningModule):
    """Standardised inputs and a loss of batches, trained by a recipe.

    One Lightning step is one epoch: ``training_step`` receives all batches of the epoch and steps
    the optimiser for each. That is what automatic optimisation does with the same batches, bit for
    bit, at a fraction of the cost for small networks; Lightning's hooks around single steps, such as
    ``on_before_optimizer_step``, are not called.

    Args:
        standardize: input standardisation; its statistics are part of the weights.
        recipe: the training recipe.

    Attributes:
        metrics: what is logged of every epoch; a line of progress shows the last of them.
        losses: of every step of the last epoch, (steps,).
        epochs: of a recipe that keeps every epoch, the weights before the first and after each.
        capturer: makes what captures steps and replays them; None to run each as it is.
    """

    metrics: ClassVar[tuple[str, ...]]

    def __init__(self, standardize: Standardize, recipe: Recipe) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.standardize = standardize
        self.recipe = recipe
        self.losses = torch.zeros(0)
        self.epochs: list[dict[str, Tensor]] = []
        self.capturer: Callable[[], Capturer] | None = None
        self._step: Step | None = None
        self._masks: Masks | None = None

    @abstractmethod
    def batch_loss(self, x: Shaped[Tensor, "n ..."], y: Int64[Tensor, " n"]) -> Float[Tensor, ""]:
        """Mean loss of one batch: the place to change what is optimised."""

    @property
    def capturable(self) -> bool:
        """Whether a step does the same every time, on the device alone."""
        return True

    def release(self) -> None:
        """Let go of what a training has put on the device, once it is over or has failed.

        A graph that waited for Python's garbage collector could be destroyed while another is captured, which
        CUDA does not allow.
        """
        self._step = self._masks = None
        for layer in self._dropout():
            layer.drawn = None

    def training_step(self, epoch: Batches, index: int) -> None:
        """Train on every batch of an epoch; logs ``train/loss``, the mean over examples."""
        optimizer: torch.optim.Optimizer = self.optimizers(use_pl_optimizer=False)  # type: ignore[assignment]
        scheduler = self.lr_schedulers()
        if self._step is None:
            self._masks = self._masks_over(epoch)
            self._step = self._step_over(epoch, optimizer, whole=scheduler is None)
        losses, sizes = [], []
        for number, drawn in enumerate(epoch.draw()):
            if self._masks is not None:
                self._masks.begin(number)
            # Kept on the device: the host waits for them once an epoch, not once a step.
            losses.append(self._step(*drawn))
            sizes.append(len(drawn[0]))
            if scheduler is not None:
                optimizer.step()
                scheduler.step()  # type: ignore[union-attr]
        count_steps(self, len(losses))
        self.losses = torch.stack(losses)
        mean = (self.losses * self.losses.new_tensor(sizes)).sum() / len(epoch.y)
        self.log("train/loss", mean, on_step=True, on_epoch=False, batch_size=1)

    def _dropout(self) -> list[Dropout]:
        """The layers whose masks may be drawn ahead: those that drop anything, of one rate."""
        layers = [one for one in self.modules() if isinstance(one, Dropout) and one.p]
        return [one for one in layers if one.p == layers[0].p]

    def _masks_over(self, epoch: Batches) -> Masks | None:
        """The masks of the dropout layers, if they are drawn ahead."""
        layers = self._dropout()
        if not layers or not drawn_ahead(self.device):
            return None
        widths = [layer.width for layer in layers]
        masks = Masks(widths, layers[0].p, [None], len(epoch.y), epoch.batch_size, self.device)
        for place, layer in enumerate(layers):
            layer.drawn = partial(_kept, masks, place)
        return masks

    def _step_over(self, epoch: Batches, optimizer: torch.optim.Optimizer, whole: bool) -> Step:
        """What one batch does: loss and gradients, and if the optimiser's rate stays the same, its step.

        A schedule's rate and momentum are numbers of the host's, as torch's fused Adam takes the latter: its
        step is launched after the graph, while the device is busy with the gradients.
        """

        def step(*drawn: Tensor) -> Tensor:
            optimizer.zero_grad()
            loss = self.batch_loss(*epoch.take(*drawn))
            torch.autograd.backward(loss)
            if whole:
                optimizer.step()
            return loss.detach()

        return prepared(step, self, self.parameters(), optimizer) if self.capturable else step

    def configure_optimizers(self) -> Any:
        """The recipe's optimiser and schedule."""
        recipe = self.recipe
        groups = (
            [{"params": list(self.parameters()), "weight_decay": recipe.weight_decay}]
            if recipe.optimizer == "adam"
            else _decayed(self, recipe.weight_decay)
        )
        return optimizer_of(self, recipe, groups)


def _kept(masks: Masks, layer: int, x: Tensor) -> Tensor:
    return masks.keep(x[None], layer)[0]


def count_steps(module: pl.LightningModule, steps: int) -> None:
    """Tell Lightning of steps without its wrapper, which takes a fifth of a small one's time."""
    progress = module.trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress
    for counted in (progress.total, progress.current):
        counted.ready += steps
        counted.completed += steps


def optimizer_of(module: pl.LightningModule, recipe: Recipe, groups: list[dict[str, Any]]) -> Any:
    """A recipe's optimiser and schedule, as Lightning takes them.

    Args:
        module: what is to be trained; a schedule asks its trainer's data for the number of steps.
        recipe: the recipe.
        groups: parameter groups with their weight decay, and a learning rate if it is not the recipe's.
    """
    kind = torch.optim.Adam if recipe.optimizer == "adam" else torch.optim.AdamW
    optimizer = kind(groups, recipe.lr, fused=True)
    if recipe.schedule == "constant":
        return optimizer
    data: TensorDataModule = module.trainer.datamodule  # type: ignore[attr-defined]
    steps = recipe.epochs * data.steps_per_epoch
    # torch divides by zero where the rise would end with the very first step.
    rise = 0.0 if recipe.pct_start * steps == 1 else recipe.pct_start
    peaks = [group["lr"] for group in optimizer.param_groups]
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, peaks, total_steps=steps, pct_start=rise)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def _decayed(module: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Parameter groups: matrices and kernels decay, norms and biases do not."""
    parameters = list(module.parameters())
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
