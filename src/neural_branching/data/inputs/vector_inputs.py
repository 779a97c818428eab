"""Vectors: activations that somebody else computed, one matrix per stage."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from neural_branching.data.duplicates import Duplicates, equal_examples
from neural_branching.data.inputs.adapter import Batch, InputAdapter, Statistics
from neural_branching.data.vector_file import VectorFile
from neural_branching.errors import InputError, one_of

NORMALIZE = ("none", "element")


class VectorInputs(InputAdapter):
    """The activations of one example at every stage, one after another, float32.

    Args:
        stages: name → length of the stage's vectors, in their order.
    """

    name: ClassVar[str] = "vectors"
    dtype: ClassVar[str] = "float32"

    def __init__(self, stages: Mapping[str, int]) -> None:
        self._stages = dict(stages)

    @property
    def shape(self) -> tuple[int]:
        """(sum of all stages' lengths,)."""
        return (sum(self._stages.values()),)

    @property
    def stages(self) -> Mapping[str, int]:
        """See ``InputAdapter.stages``."""
        return self._stages

    @property
    def identity(self) -> Mapping[str, Any]:
        """The stages in their order."""
        return {"stages": [[name, width] for name, width in self._stages.items()]}

    def statistics(self, normalize: str) -> Statistics:
        """See ``InputAdapter.statistics``.

        Args:
            normalize: "none" leaves vectors as they are, "element" standardises each of their numbers.
        """
        one_of(normalize, NORMALIZE, "normalize")
        return ((), ([0.0], [1.0])) if normalize == "none" else (self.shape, None)

    @property
    def likeness(self) -> Mapping[str, Any]:
        """Equal vectors: that others correlate says nothing about where they come from."""
        return {"correlation": None, "mirror": False}

    def find_duplicates(self, content: NDArray[Any], progress: Callable[[float], None]) -> Duplicates:
        """Equal vectors alone."""
        return equal_examples(content)

    def read_files(self, places: Sequence[Path], batch: int, max_pixels: int) -> tuple[int, Iterator[Batch]]:
        """The rows of files that have these stages, each called FILE[row]; what else is in them is not read.

        Raises:
            InputError: for a file that cannot be read, or without one of the stages.
        """
        files = []
        for place in places:
            file = VectorFile(place, needed=self._stages)
            if file.stages != self._stages:
                raise InputError(
                    f"{place} holds {_listed(file.stages)}: a run on vectors of {_listed(self._stages)} "
                    "answers files that have these."
                )
            files.append(file)
        return sum(-(-file.count // batch) for file in files), _batches(files, self._stages, batch)


def _batches(files: Sequence[VectorFile], stages: Mapping[str, int], batch: int) -> Iterator[Batch]:
    for file in files:
        content = file.content(stages)
        for start in range(0, file.count, batch):
            some = content[start : start + batch]
            finite = np.isfinite(some).all(axis=1)
            names = [f"{file.path}[{start + row}]" for row in range(len(some))]
            good, broken = ([names[row] for row in np.flatnonzero(finite == fine)] for fine in (True, False))
            yield good, some[finite], dict.fromkeys(broken, "it holds nan or infinity")


def _listed(stages: Mapping[str, int]) -> str:
    return ", ".join(f"{name} ({width})" for name, width in stages.items())
