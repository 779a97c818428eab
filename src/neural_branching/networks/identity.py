"""A parent whose stages are given: activations that were computed elsewhere."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate, pairwise

from torch import Tensor

from neural_branching.errors import InputError
from neural_branching.networks.network import Network
from neural_branching.selection.array_types import Shaped


class Identity(Network):
    """Every stage is a part of the input, as it is. Without a stage "logits" it gives none.

    Args:
        in_shape: (sum of all lengths,).
        stages: name → length of the stage's vectors, in the order in which they stand in the input.

    Raises:
        InputError: if the input has no stages.
    """

    def __init__(self, in_shape: Sequence[int], stages: Mapping[str, int]) -> None:
        super().__init__()
        if not stages:
            raise InputError(
                "parent=identity hands given activations through, and these data have none: choose "
                "data=vectors, or another parent."
            )
        ends = pairwise(accumulate(stages.values(), initial=0))
        self._parts = dict(zip(stages, ends, strict=True))

    @property
    def stage_names(self) -> tuple[str, ...]:
        """Names of the given stages in order."""
        return tuple(self._parts)

    def walk(
        self, x: Shaped[Tensor, "n width"], stages: Sequence[str]
    ) -> Iterator[tuple[str, Shaped[Tensor, "n _"]]]:
        """Name and part of some stages."""
        for name, (start, stop) in self._parts.items():
            if name in stages:
                yield name, x[:, start:stop]
