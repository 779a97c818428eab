"""The LightningModule that trains parents and branches."""

import torch
from torch import Tensor
from torch.nn import functional as F

from neural_branching.data.batches import Batches
from neural_branching.networks.standardized_network import StandardizedNetwork
from neural_branching.networks.wrapped import WrappedModule
from neural_branching.selection.array_types import Float, Int64, Shaped
from neural_branching.training.epoch_module import EpochModule
from neural_branching.training.history import METRICS
from neural_branching.training.recipe import Recipe
from neural_branching.training.treatment import Treatment


class Classifier(EpochModule):
    """Cross-entropy of a standardised network's logits.

    Args:
        model: what is trained, in place: a parent or a branch.
        recipe: the training recipe.
        treatment: what its training does besides following the recipe; None for nothing.
    """

    metrics = METRICS

    def __init__(
        self, model: StandardizedNetwork, recipe: Recipe, treatment: Treatment | None = None
    ) -> None:
        super().__init__(model.standardize, recipe)
        self.network = model.network
        self.treatment = treatment

    @property
    def capturable(self) -> bool:
        """Not with a treatment, and no module from elsewhere: either may do something else in every step."""
        return self.treatment is None and not isinstance(self.network, WrappedModule)

    def forward(self, x: Shaped[Tensor, "n ..."]) -> Float[Tensor, "n classes"]:
        """Logits for raw inputs, in the precision of the training."""
        logits: Tensor = self.network(self.standardize(x))
        return logits

    def batch_loss(self, x: Shaped[Tensor, "n ..."], y: Int64[Tensor, " n"]) -> Float[Tensor, ""]:
        """Mean loss of one batch: the place to change what is optimised."""
        smoothing = self.recipe.label_smoothing
        if self.treatment is None:
            return F.cross_entropy(self(x), y, label_smoothing=smoothing)
        last = self.network.stage_names[-1]
        outputs = dict(self.network.walk(self.standardize(x), (*self.treatment.stages, last)))
        penalty = self.treatment.penalty(outputs, self.network)
        return F.cross_entropy(outputs[last], y, label_smoothing=smoothing) + penalty

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
