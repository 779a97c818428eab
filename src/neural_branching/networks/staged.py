"""A network written as an ordered sequence of named stages."""

from collections.abc import Iterator, Mapping, Sequence

from torch import Tensor, nn

from neural_branching.networks.network import Network, Stays
from neural_branching.selection.array_types import Shaped


class StagedNetwork(Network):
    """Stages run in order; the forward pass may stop after any of them.

    A stage's name stands for its output *after* the non-linearity.

    Args:
        stages: name → module, in order; the last gives the logits and is named so.
    """

    def __init__(self, stages: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.stages = nn.ModuleDict(stages)

    @property
    def stage_names(self) -> tuple[str, ...]:
        """Names of the stages in order."""
        return tuple(self.stages)

    def walk_while(self, x: Shaped[Tensor, "n ..."], stages: Sequence[str], stays: Stays) -> None:
        """As in ``Network``; what has left is computed no further."""
        left = set(stages)
        for name, stage in self.stages.items():
            x = stage(x)
            if name in left:
                left.remove(name)
                going = stays(name, x)
                if not left or not going.any():
                    return
                x = x[going]

    def walk(
        self, x: Shaped[Tensor, "n ..."], stages: Sequence[str]
    ) -> Iterator[tuple[str, Shaped[Tensor, "n ..."]]]:
        """Name and output of some stages, each as soon as it is computed."""
        left = set(stages)
        for name, stage in self.stages.items():
            if not left:
                return
            x = stage(x)
            if name in left:
                left.remove(name)
                yield name, x
