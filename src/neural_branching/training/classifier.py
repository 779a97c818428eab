"""The LightningModule that parents and branches share."""

from collections.abc import Iterator, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from neural_branching.data.batches import Batches, TensorDataModule
from neural_branching.networks.network import Network
from neural_branching.networks.standardize import Standardize
from neural_branching.selection.array_types import Float, Int64, Shaped
from neural_branching.training.recipe import Recipe
from neural_branching.training.treatment import Treatment


class Classifier(pl.LightningModule):
    """Standardised inputs, a network of named stages, cross-entropy.

    One Lightning step is one epoch: ``training_step`` receives all batches of the epoch and steps
    the (Lightning-wrapped) optimiser for each. That is what automatic optimisation does with the
    same batches, bit for bit, at a fraction of the cost for small networks.

    Args:
        standardize: input standardisation; its statistics are part of the weights.
        network: the stages.
        recipe: the training recipe; None if it is not trained.

    Attributes:
        losses: of every step of the last epoch, (steps,).
        treatment: what its training does besides following the recipe; None for nothing.
        epochs: of a recipe that keeps every epoch, the weights before the first and after each.
    """

    def __init__(self, standardize: Standardize, network: Network, recipe: Recipe | None) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.standardize = standardize
        self.network = network
        self._recipe = recipe
        self.losses = torch.zeros(0)
        self.treatment: Treatment | None = None
        self.epochs: list[dict[str, Tensor]] = []

    @property
    def recipe(self) -> Recipe:
        """How it is trained."""
        assert self._recipe is not None, "this classifier is not trained"
        return self._recipe

    @property
    def device(self) -> torch.device:
        """Where the weights lie; Lightning's own answer misses ``with torch.device(…)`` on torch 2.6."""
        return self.standardize.mean.device

    def forward(self, x: Shaped[Tensor, "n ..."], until: str | None = None) -> Shaped[Tensor, "n ..."]:
        """Logits (n, classes) float32, or the output of stage ``until``, for raw inputs."""
        output: Tensor = self.network(self.standardize(x), until=until)
        return output

    def walk(
        self, x: Shaped[Tensor, "n ..."], stages: Sequence[str]
    ) -> Iterator[tuple[str, Shaped[Tensor, "n ..."]]]:
        """Name and output of some stages, in order, from one pass over raw inputs."""
        return self.network.walk(self.standardize(x), stages)

    def batch_loss(self, x: Shaped[Tensor, "n ..."], y: Int64[Tensor, " n"]) -> Float[Tensor, ""]:
        """Mean loss of one batch: the place to change what is optimised."""
        smoothing = self.recipe.label_smoothing
        if self.treatment is None:
            return F.cross_entropy(self(x), y, label_smoothing=smoothing)
        last = self.network.stage_names[-1]
        outputs = dict(self.walk(x, (*self.treatment.stages, last)))
        penalty = self.treatment.penalty(outputs, self.network)
        return F.cross_entropy(outputs[last], y, label_smoothing=smoothing) + penalty

    def training_step(self, epoch: Batches, index: int) -> None:
        """Train on every batch of an epoch; logs ``train/loss``, the mean over examples."""
        optimizer = self.optimizers()
        scheduler = self.lr_schedulers()
        losses, sizes = [], []
        for x, y in epoch:
            optimizer.zero_grad()  # type: ignore[union-attr]
            loss = self.batch_loss(x, y)
            self.manual_backward(loss)
            optimizer.step()  # type: ignore[union-attr]
            if scheduler is not None:
                scheduler.step()  # type: ignore[union-attr]
            # Kept on the device: the host waits for them once an epoch, not once a step.
            losses.append(loss.detach())
            sizes.append(len(y))
        self.losses = torch.stack(losses)
        mean = (self.losses * self.losses.new_tensor(sizes)).sum() / len(epoch.y)
        self.log("train/loss", mean, on_step=True, on_epoch=False, batch_size=1)

    def validation_step(self, epoch: Batches, index: int) -> None:
        """Log ``val/loss`` (without label smoothing) and ``val/accuracy`` over an epoch."""
        loss = torch.zeros((), device=self.device)
        correct = torch.zeros((), device=self.device)
        for x, y in epoch:
            logits = self(x)
            loss += F.cross_entropy(logits, y, reduction="sum")
            correct += (logits.argmax(1) == y).sum()
        n = len(epoch.y)
        self.log_dict({"val/loss": loss / n, "val/accuracy": correct / n}, batch_size=1)

    def configure_optimizers(self) -> Any:
        """The recipe's optimiser and schedule."""
        recipe = self.recipe
        groups = (
            [{"params": list(self.parameters()), "weight_decay": recipe.weight_decay}]
            if recipe.optimizer == "adam"
            else _decayed(self, recipe.weight_decay)
        )
        return optimizer_of(self, recipe, groups)


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
