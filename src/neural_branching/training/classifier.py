"""The LightningModule that parents and branches share."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from neural_branching.data.batches import Batches
from neural_branching.networks.network import Network
from neural_branching.networks.standardize import Standardize
from neural_branching.selection.array_types import Float, Int64, Shaped
from neural_branching.training.epoch_module import EpochModule
from neural_branching.training.recipe import Recipe
from neural_branching.training.treatment import Treatment


class Classifier(EpochModule):
    """Standardised inputs, a network of named stages, cross-entropy.

    Args:
        standardize: input standardisation; its statistics are part of the weights.
        network: the stages.
        recipe: the training recipe; None if it is not trained.

    Attributes:
        treatment: what its training does besides following the recipe; None for nothing.
    """

    metrics = ("train/loss", "val/loss", "val/accuracy")

    def __init__(self, standardize: Standardize, network: Network, recipe: Recipe | None) -> None:
        super().__init__(standardize, recipe)
        self.network = network
        self.treatment: Treatment | None = None

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
