"""Texts with labels, in a file."""

from collections.abc import Sequence
from functools import cached_property
from importlib.metadata import version
from typing import Any

import numpy as np

from neural_branching.data.hashes import FileHashes, stamps_of
from neural_branching.data.inputs.text_inputs import TextInputs, packed
from neural_branching.data.sources.source import Counts, Examples, Source, root_folder
from neural_branching.data.split import SPLITS
from neural_branching.data.text_file import TextFile
from neural_branching.errors import InputError

RECIPE = 1
# What texts of very different length may take more than their bytes do: shorter ones are filled up.
MOST = 1 << 32


class Texts(Source):
    """One text per row, and its label.

    | place          | a row                    |
    |----------------|--------------------------|
    | ``FILE.jsonl`` | one JSON object per line |
    | ``FILE.csv``   | below a header           |
    | ``FILE.parquet`` | as pandas writes it    |

    Columns are ``text`` (UTF-8, not empty), ``label`` (text, or whole numbers n, of which the classes are
    called class_n), and, if they are there, ``group`` (rows of a group stay in one split, and certificates
    count groups) and ``split`` (train, validation, calibration or test: splits that the file has are taken
    as they are, and the others are drawn from its rows of "train"). Other columns are not read.

    Args:
        root: the file.
    """

    def __init__(self, root: str) -> None:
        self.root = root_folder(root)

    @cached_property
    def _file(self) -> TextFile:
        self._stamps = self._now() if self.root.is_file() else None
        return TextFile(self.root)

    def _now(self) -> Any:
        return stamps_of(self.root.parent, [self.root.name])

    @property
    def input(self) -> TextInputs:
        """Texts as long as the file's longest; see ``Source.input``."""
        return TextInputs(max(len(text.encode()) for text in self._file.texts))

    def class_names(self, hashes: FileHashes) -> tuple[str, ...]:
        """Names as the file gives them; see ``Source.class_names``."""
        return self._file.classes

    def counts(self, classes: Sequence[str], hashes: FileHashes) -> Counts:
        """Rows by class and by the file's own splits; see ``Source.counts``.

        Raises:
            InputError: if the rows, all as long as the longest, would take more than 4 GB.
        """
        file = self._file
        if (needed := len(file.texts) * self.input.length) > MOST:
            raise InputError(
                f"The {len(file.texts):,} texts of {self.root} take {needed / 1e9:.1f} GB, each as long as "
                f"the longest of {self.input.length:,} bytes: cut it, or leave it out."
            )
        number = np.zeros((len(file.classes), len(SPLITS)), dtype=np.int64)
        np.add.at(number, (file.labels, file.splits), 1)
        label = {name: index for index, name in enumerate(file.classes)}
        return {name: dict(zip(SPLITS, number[label[name]].tolist(), strict=True)) for name in classes}

    def signature(self, classes: Sequence[str], hashes: FileHashes) -> Any:
        """Checksum of the file; see ``Source.signature``."""
        sums = [*hashes.of(self.root.parent, [self.root.name]).values()]
        reader = {"pyarrow": version("pyarrow")} if self.root.suffix == ".parquet" else {}
        return {"recipe": RECIPE, "files": [self.root.suffix, *sums], **reader}

    def read(self, classes: Sequence[str]) -> Examples:
        """Read the rows of ``classes``; see ``Source.read``."""
        file = self._file
        label = np.full(len(file.classes), -1, dtype=np.int64)
        label[[file.classes.index(name) for name in classes]] = np.arange(len(classes))
        labels = label[file.labels]
        rows = np.flatnonzero(labels >= 0)
        if self._now() != self._stamps:
            raise InputError(f"{self.root} changed while it was being read: run the same command again.")
        return Examples(
            content=packed(file.texts)[rows],
            labels=labels[rows],
            split=file.splits[rows],
            groups=None if file.groups is None else file.groups[rows],
            names=[f"[{row}]" for row in rows.tolist()],
        )
