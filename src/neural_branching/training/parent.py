"""The parent: a network trained once on all classes of a data set, then frozen."""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from neural_branching.networks.standardize import Standardize
from neural_branching.networks.weights import fill
from neural_branching.networks.wrapped import as_network
from neural_branching.selection.array_types import Shaped
from neural_branching.training.classifier import Classifier
from neural_branching.training.recipe import Recipe

RECIPE = 2


class Parent(Classifier):
    """A classifier of examples as the table holds them.

    Args:
        network: made for examples of one shape; a module that names no stages is wrapped.
        recipe: the training recipe; None if it is not trained.
        shape: shape of the statistics that examples are standardised by.
        constants: as for ``Standardize``.
    """

    def __init__(
        self,
        network: nn.Module,
        recipe: Recipe | None,
        shape: Sequence[int],
        constants: tuple[Sequence[float], Sequence[float]] | None = None,
    ) -> None:
        super().__init__(Standardize(shape, constants), as_network(network), recipe)

    def learn_normalization(self, examples: Shaped[Tensor, "n ..."]) -> None:
        """Take the statistics from the training examples, unless they are constants."""
        self.standardize.learn(examples)

    def adopt(self, state: Mapping[str, Tensor], what: str) -> bool:
        """Take weights that were trained elsewhere.

        Args:
            state: weights of a parent of this package, or of the bare network.
            what: where they come from, for messages.

        Returns:
            Whether the statistics of examples came with them.

        Raises:
            InputError: if they are another network's.
        """
        if "standardize.mean" in state:
            fill(self, state, what)
            return True
        fill(self.network.bare, state, what)
        return False
