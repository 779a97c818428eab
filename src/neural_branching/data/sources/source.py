"""What every source of images offers, so that nothing downstream knows where images came from."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from neural_branching.data.hashes import FileHashes
from neural_branching.errors import ArgumentError


@dataclass(frozen=True)
class Images:
    """Decoded images in the order in which the source met them.

    Attributes:
        pixels: uint8, shape (n, 3, size, size), RGB.
        labels: int64, shape (n,), indices into the class names that were asked for.
        is_test: bool, shape (n,); all false when the source has no test images of its own.
        skipped: files that could not be decoded and were left out, if the source allows that.
    """

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    is_test: NDArray[np.bool_]
    skipped: list[str] = field(default_factory=list)


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
    """A place that images come from."""

    @property
    def mirror_keeps_class(self) -> bool:
        """Whether mirroring an image left to right keeps its class, as it does not with writing.

        Mirror images then count as duplicates.
        """

    def class_names(self, hashes: FileHashes) -> tuple[str, ...]:
        """Every class on offer, in a stable order, without decoding an image.

        Raises:
            InputError: if the source is missing or empty.
        """

    def counts(self, classes: Sequence[str], hashes: FileHashes) -> dict[str, tuple[int, int]]:
        """Class → number of training images, number of test images, without decoding one."""

    def signature(self, classes: Sequence[str], hashes: FileHashes) -> Any:
        """What the pixels of ``classes`` rest on (plain JSON values): equal signature, equal images.

        Raises:
            InputError: if the source is missing or a class has no images.
        """

    def read(self, classes: Sequence[str], size: int) -> Images:
        """Decode all images of ``classes`` as RGB of ``size`` × ``size`` pixels.

        Raises:
            InputError: if the source is missing or an image is broken.
        """
