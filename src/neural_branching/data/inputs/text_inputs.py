"""Texts: kept as their characters, and turned into token ids by the parent's own tokenizer."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from neural_branching.data.duplicates import Duplicates, equal_examples
from neural_branching.data.inputs.adapter import Batch, InputAdapter, Statistics
from neural_branching.data.text_file import SUFFIXES, TEXT, TextFile
from neural_branching.errors import InputError, one_of

if TYPE_CHECKING:
    from torch import Tensor

BLANK = 32  # tokens of a text by which shapes and costs are found


class TextInputs(InputAdapter):
    """Texts as the bytes of UTF-8, filled up with zeros, so that parents of any tokenizer share a table.

    Args:
        length: bytes of the longest text.
    """

    name: ClassVar[str] = "texts"
    dtype: ClassVar[str] = "uint8"

    def __init__(self, length: int) -> None:
        self.length = length

    @property
    def shape(self) -> tuple[int]:
        """(bytes of the longest text,)."""
        return (self.length,)

    @property
    def identity(self) -> Mapping[str, Any]:
        """Nothing: texts are what they are."""
        return {}

    def statistics(self, normalize: str) -> Statistics:
        """Token ids are not standardised; "none" alone is allowed."""
        one_of(normalize, ("none",), "normalize")
        return (), ([0.0], [1.0])

    @property
    def likeness(self) -> Mapping[str, Any]:
        """Equal texts."""
        return {"correlation": None, "mirror": False}

    def find_duplicates(self, content: NDArray[Any], progress: Callable[[float], None]) -> Duplicates:
        """Equal texts alone."""
        return equal_examples(content)

    def decoded(self, content: "NDArray[Any] | Tensor") -> list[str]:
        """The texts of some rows of a table, (n, bytes)."""
        return [bytes(row).rstrip(b"\0").decode() for row in np.asarray(content)]

    def read_files(self, places: Sequence[Path], batch: int, max_pixels: int) -> tuple[int, Iterator[Batch]]:
        """The texts of files, each called FILE[row]; of other columns nothing is read.

        Raises:
            InputError: for a file that cannot be read or holds no texts, and a folder without any.
        """
        found = [file for place in places for file in _files(place)]
        files = [(file, TextFile(file, (TEXT,)).texts) for file in found]
        passes = sum(-(-len(texts) // batch) for _, texts in files)
        return passes, _batches(files, batch)

    def blank(self, count: int = 1) -> "Tensor":
        """Token ids of a text of 32 tokens: what a network takes, int64 (count, 32)."""
        import torch

        return torch.zeros(count, BLANK, dtype=torch.int64)

    def checked(self, batch: "NDArray[Any] | Tensor | Sequence[Any]") -> "Tensor":
        """Texts as strings, or as the table holds them.

        Raises:
            InputError: for anything else, and for an empty text.
        """
        import torch

        if isinstance(batch, Sequence) and not isinstance(batch, str):
            for text in batch:
                if not isinstance(text, str) or not text.strip():
                    raise InputError(f"{text!r:.80} is no text: give strings with at least one letter.")
            return torch.tensor(packed([text.strip() for text in batch]))
        tensor = torch.as_tensor(np.array(batch) if isinstance(batch, np.ndarray) else batch)
        if tensor.dtype != torch.uint8 or tensor.ndim != 2:
            raise InputError(
                f"texts have shape {tuple(tensor.shape)} and type {tensor.dtype}: give strings, or uint8 of "
                "shape (n, bytes)."
            )
        return tensor


def packed(texts: Sequence[str], length: int | None = None) -> NDArray[np.uint8]:
    """Texts as a table holds them: their bytes, filled up with zeros, uint8 (n, length).

    Args:
        texts: the texts.
        length: bytes of a row; None for those of the longest text.
    """
    encoded = [text.encode() for text in texts]
    length = length or max(map(len, encoded), default=0)
    return np.frombuffer(b"".join(one.ljust(length, b"\0") for one in encoded), np.uint8).reshape(-1, length)


def _files(place: Path) -> list[Path]:
    if not place.is_dir():
        return [place]
    files = sorted(file for file in place.iterdir() if file.suffix in SUFFIXES and file.name[0] != ".")
    if not files:
        raise InputError(f"{place} holds no files of texts: they end in {', '.join(SUFFIXES)}.")
    return files


def _batches(files: Sequence[tuple[Path, Sequence[str]]], batch: int) -> Iterator[Batch]:
    for file, texts in files:
        for start in range(0, len(texts), batch):
            some = texts[start : start + batch]
            yield [f"{file}[{start + row}]" for row in range(len(some))], packed(some), {}
