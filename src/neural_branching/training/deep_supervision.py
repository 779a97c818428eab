"""A parent that learns with heads of its own at several stages, which training leaves behind."""

from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn import functional as F

from neural_branching.networks.readout import Readout
from neural_branching.networks.standardized_network import StandardizedNetwork
from neural_branching.selection.array_types import Float, Int64, Shaped
from neural_branching.training.classifier import Classifier
from neural_branching.training.recipe import Recipe


class DeeplySupervised(Classifier):
    """A parent and linear heads at stages before its last (Lee et al., 2015; Kaya et al., 2019).

    The loss is the weighted mean of the cross-entropies of all heads, the parent's own having weight 1: a
    mean, so that what shared layers learn from grows no larger with every head. The parent is the same
    module with the same initial weights as without heads; only it is kept.

    Args:
        parent: what is trained.
        recipe: the training recipe.
        weights: stage → weight of its head's loss, above 0.
        widths: stage → length of the vectors that its head sees.
        labels: number of logits.
    """

    def __init__(
        self,
        parent: StandardizedNetwork,
        recipe: Recipe,
        weights: Mapping[str, float],
        widths: Mapping[str, int],
        labels: int,
    ) -> None:
        super().__init__(parent, recipe)
        self.weights, self.readout = dict(weights), Readout("auto")
        # By number: a module must not be called "layers.1", as a stage may.
        self.heads = nn.ModuleList([nn.Linear(widths[stage], labels) for stage in weights])

    def batch_loss(self, x: Shaped[Tensor, "n ..."], y: Int64[Tensor, " n"]) -> Float[Tensor, ""]:
        """Weighted mean over the heads and the parent's own logits."""
        last, smoothing = self.network.stage_names[-1], self.recipe.label_smoothing
        outputs = dict(self.network.walk(self.standardize(x), (*self.network.ordered(self.weights), last)))
        total = F.cross_entropy(outputs[last], y, label_smoothing=smoothing)
        for head, (stage, weight) in zip(self.heads, self.weights.items(), strict=True):
            logits = head(self.readout(outputs[stage], self.network.token_readout(stage)))
            total = total + weight * F.cross_entropy(logits, y, label_smoothing=smoothing)
        return total / (1 + sum(self.weights.values()))
