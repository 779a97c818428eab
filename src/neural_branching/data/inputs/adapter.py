"""What every kind of input offers, so that nothing downstream knows what an example is."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from neural_branching.data.duplicates import Duplicates
from neural_branching.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

# Examples that were read, with their names, and the others: name → why it could not be read.
Batch = tuple[list[str], NDArray[Any], dict[str, str]]
# Shape of the statistics that examples are standardised by; mean and deviation if no data decides them.
Statistics = tuple[tuple[int, ...], tuple[Sequence[float], Sequence[float]] | None]


class InputAdapter(ABC):
    """How the examples of a source become the arrays that a network takes.

    A table stores examples as one array (n, *shape) of ``dtype``; rows are ordered, and told apart, by
    the bytes of their content.

    Attributes:
        name: what examples are called in messages and in exported programs.
        dtype: numpy's name of their type.
    """

    name: ClassVar[str]
    dtype: ClassVar[str]

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Shape of one example."""

    @property
    def stages(self) -> Mapping[str, int]:
        """Name → length of the activations that an example consists of, in their order; else empty."""
        return {}

    @property
    @abstractmethod
    def identity(self) -> Mapping[str, Any]:
        """Plain values that decide, beside the source's files, what is stored."""

    @abstractmethod
    def statistics(self, normalize: str) -> Statistics:
        """What examples are standardised by before a network sees them.

        Args:
            normalize: name of a standardisation that fits this input.

        Raises:
            ArgumentError: for any other name.
        """

    @property
    @abstractmethod
    def likeness(self) -> Mapping[str, Any]:
        """What counts as a duplicate: "correlation" (None: equal content alone) and "mirror"."""

    @abstractmethod
    def find_duplicates(self, content: NDArray[Any], progress: Callable[[float], None]) -> Duplicates:
        """Find the duplicates among examples.

        Args:
            content: shape (n, *shape), in memory or mapped from a file.
            progress: told the share of the work that is done, now and then.
        """

    @abstractmethod
    def read_files(self, places: Sequence[Path], batch: int, max_pixels: int) -> tuple[int, Iterator[Batch]]:
        """Read examples without labels, for a finished run to answer.

        Args:
            places: files, or folders of them.
            batch: most examples at a time.
            max_pixels: most pixels that an image may have; other inputs have none.

        Returns:
            The number of batches, and the batches.

        Raises:
            InputError: if there is nothing to read.
        """

    def picture(self, example: NDArray[Any]) -> NDArray[np.uint8] | None:
        """An example as a person can look at it, uint8 (height, width, 3); None if it is nothing to see.

        Args:
            example: as the table holds it.
        """
        return None

    def blank(self, count: int = 1) -> "Tensor":
        """Some examples without content, by which shapes and costs are found."""
        import torch

        return torch.zeros(count, *self.shape, dtype=getattr(torch, self.dtype))

    def checked(self, batch: "NDArray[Any] | Tensor | Sequence[Any]") -> "Tensor":
        """A batch of examples as a tensor.

        Raises:
            InputError: for another shape or type than the table's.
        """
        import torch

        try:
            tensor = torch.as_tensor(batch)
        except (RuntimeError, TypeError, ValueError) as error:
            raise InputError(
                f"{batch!r:.80} cannot be read as {self.name}: give {self.dtype} of shape "
                f"({', '.join(map(str, ('n', *self.shape)))})."
            ) from error
        if tensor.dtype != getattr(torch, self.dtype) or tuple(tensor.shape[1:]) != self.shape:
            needed = ", ".join(map(str, ("n", *self.shape)))
            raise InputError(
                f"{self.name} have shape {tuple(tensor.shape)} and type {tensor.dtype}: give {self.dtype} of "
                f"shape ({needed})."
            )
        return tensor

    def stored(self, file: Path) -> NDArray[Any]:
        """The content of a table, memory-mapped."""
        content: NDArray[Any] = np.load(file, mmap_mode="r", allow_pickle=False)
        return content
