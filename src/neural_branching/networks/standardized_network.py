"""What a parent and a branch are when they answer: standardised inputs and a network of named stages."""

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from neural_branching.networks.network import Network
from neural_branching.networks.standardize import Standardize
from neural_branching.networks.weights import fill
from neural_branching.networks.wrapped import as_network
from neural_branching.selection.array_types import Shaped


class StandardizedNetwork(nn.Module):
    """A network and the statistics that its inputs are standardised by, stored together as its weights.

    It knows nothing of training: what answers needs neither a recipe nor Lightning.

    Args:
        standardize: input standardisation, for the whole batch at once.
        network: the stages; a module that names none is wrapped.
    """

    def __init__(self, standardize: Standardize, network: nn.Module) -> None:
        super().__init__()
        self.standardize = standardize
        self.network: Network = as_network(network)

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
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

    def adopt(self, state: Mapping[str, Tensor], what: str) -> bool:
        """Take weights that were trained elsewhere.

        Args:
            state: weights of such a network with its statistics, or of the bare network.
            what: where they come from, for messages.

        Returns:
            Whether the statistics of inputs came with them.

        Raises:
            InputError: if they are another network's.
        """
        if "standardize.mean" in state:
            fill(self, state, what)
            return True
        fill(self.network.bare, state, what)
        return False
