"""A branch: a small network on the activations of one stage, for a subset of the classes."""

from torch import Tensor

from neural_branching.networks.network import Network
from neural_branching.networks.standardize import Standardize
from neural_branching.selection.array_types import Float32
from neural_branching.training.classifier import Classifier
from neural_branching.training.recipe import Recipe

RECIPE = 2


class Branch(Classifier):
    """A classifier of activation vectors.

    Args:
        network: the stages, made for vectors of length ``width``.
        recipe: the training recipe.
        width: length of the branch point's vectors.
    """

    def __init__(self, network: Network, recipe: Recipe, width: int) -> None:
        super().__init__(Standardize((width,)), network, recipe)

    def learn_standardization(self, activations: Float32[Tensor, "n width"]) -> None:
        """Take the statistics from the training activations."""
        self.standardize.learn(activations)
