"""What every source of examples offers, so that nothing downstream knows where they came from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from neural_branching.data.hashes import FileHashes
from neural_branching.data.inputs.adapter import InputAdapter
from neural_branching.errors import ArgumentError

# Class → name of a split → number of its examples; "train" are those that are shared out.
Counts = dict[str, Mapping[str, int]]


@dataclass(frozen=True)
class Examples:
    """Examples in the order in which the source met them.

    Attributes:
        content: shape (n, *shape), shape and type being those of the source's input adapter.
        labels: int64, shape (n,), indices into the class names that were asked for.
        split: int8, shape (n,), indices into ``SPLITS``: the split that the source itself has. What is
            of "train" is shared out to the splits that it does not have.
        groups: int64, shape (n,), equal for examples that have to stay in one split; None for no groups.
        skipped: what could not be read and was left out, if the source allows that.
        names: of every example, by which a user finds it again; None if they have none.
    """

    content: NDArray[Any]
    labels: NDArray[np.int64]
    split: NDArray[np.int8]
    groups: NDArray[np.int64] | None = None
    skipped: list[str] = field(default_factory=list)
    names: Sequence[str] | None = None


def root_folder(root: object) -> Path:
    """The folder that a source was given.

    Raises:
        ArgumentError: for what is no path, such as the root of a data set that needs none.
    """
    if not isinstance(root, (str, Path)):
        raise ArgumentError("root", f"is {root!r}: it must be a folder; give it with data.root=FOLDER.")
    return Path(root).expanduser()


@runtime_checkable
class Source(Protocol):
    """A place that examples come from."""

    @property
    def input(self) -> InputAdapter:
        """What an example is."""

    def class_names(self, hashes: FileHashes) -> tuple[str, ...]:
        """Every class on offer, in a stable order, without reading an example.

        Raises:
            InputError: if the source is missing or empty.
        """

    def counts(self, classes: Sequence[str], hashes: FileHashes) -> Counts:
        """How many examples of each class the source has in its own splits, without reading one."""

    def signature(self, classes: Sequence[str], hashes: FileHashes) -> Any:
        """What the examples of ``classes`` rest on (plain JSON values): equal signature, equal examples.

        Raises:
            InputError: if the source is missing or a class has no examples.
        """

    def read(self, classes: Sequence[str]) -> Examples:
        """Read all examples of ``classes``.

        Raises:
            InputError: if the source is missing or an example is broken.
        """


@runtime_checkable
class Questions(Source, Protocol):
    """A source of questions that knows more right answers than the name of a class."""

    def accepted(self, name: str) -> tuple[str, ...]:
        """Every answer that is right to the question that the source calls by a name."""
