"""Files of vectors in three formats: a matrix per stage, and what is known of each row."""

import json
import os
import re
from collections.abc import Collection, Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neural_branching.data.split import SPLITS
from neural_branching.data.vector_formats import Columns, open_columns, readable
from neural_branching.errors import InputError, folder_name

LABELS, GROUPS, SPLITS_OF_ROWS, CLASSES = "labels", "groups", "splits", "classes"
MOST_STAGES, MOST_CLASSES = 1000, 100_000


class VectorFile:
    """A file of vectors, checked; ``sources.vectors`` says what its formats are.

    Args:
        path: the file, or a folder of ``.npy`` files.
        needed: stages that alone are looked at, if all of them are there; None for the whole file.

    Attributes:
        stages: name → length of its vectors, in natural order, "logits" last.
        count: number of rows.

    Raises:
        InputError: for a file that cannot be read, and matrices that do not fit one another.
    """

    def __init__(self, path: Path, needed: Collection[str] | None = None) -> None:
        self.path = path
        self._columns: Columns = open_columns(path)
        there = self._columns.shapes.keys()
        chosen = there if needed is None or not there >= set(needed) else set(needed)
        shapes = {name: shape for name, shape in self._columns.shapes.items() if name in chosen}
        self.stages = self._stages(shapes.keys() - {LABELS, GROUPS, SPLITS_OF_ROWS})
        self.count = shapes[next(iter(self.stages))][0]
        self._refuse_large()
        for name, shape in shapes.items():
            if shape[0] != self.count:
                raise InputError(
                    f"{self.path} has {self.count} rows of {next(iter(self.stages))!r} and {shape[0]} of "
                    f"{name!r}: each needs as many."
                )

    @property
    def files(self) -> list[Path]:
        """Every file that is read."""
        return self._columns.files

    def _stages(self, names: Iterable[str]) -> dict[str, int]:
        stages = {}
        for name in sorted(names, key=_natural):
            shape, kind = self._columns.shapes[name], self._columns.kinds[name]
            folder_name(name, f"{self.path}: the name of a matrix")
            if kind != "f" or len(shape) != 2 or 0 in shape:
                raise InputError(
                    f"{self.path} has {name!r} of shape {shape} and type {self._columns.types[name]}: a "
                    "matrix of activations has shape (rows, length) and floating-point numbers."
                )
            stages[name] = shape[1]
        if not 0 < len(stages) <= MOST_STAGES:
            raise InputError(
                f"{self.path} holds {len(stages)} matrices of activations: it must hold 1 to {MOST_STAGES}."
            )
        return stages

    def _refuse_large(self) -> None:
        """Refuse what does not fit into half of the memory, before any of it is read."""
        needed = 4 * self.count * sum(self.stages.values())
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        if needed > memory / 2:
            raise InputError(
                f"The vectors of {self.path} take {needed / 1e9:.1f} GB, and half of this machine's memory "
                f"is {memory / 2e9:.1f} GB: leave out rows or matrices."
            )

    def content(self, stages: Mapping[str, int]) -> NDArray[np.float32]:
        """All rows at some stages, one after another, float32 (count, sum of these stages' lengths)."""
        content, start = np.empty((self.count, sum(stages.values())), np.float32), 0
        for name, length in stages.items():
            with readable(self.path), np.errstate(over="ignore"):  # what is infinite then is refused
                content[:, start : start + length] = self._columns.matrix(name)
            start += length
        return content

    def refuse_infinite(self, content: NDArray[np.float32]) -> None:
        """Refuse nan and infinity in the content.

        Raises:
            InputError: naming the first matrix and row.
        """
        start = 0
        for name, length in self.stages.items():
            finite = np.isfinite(content[:, start : start + length]).all(axis=1)
            if not finite.all():
                row = int(np.flatnonzero(~finite)[0])
                raise InputError(
                    f"{self.path} has nan or infinity, as float32, in row {row} of {name!r}: every number "
                    "must be finite."
                )
            start += length

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Names of all classes in the order of their labels."""
        return self._labelled[0]

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        """Index of each row's class among ``classes``, int64 (count,)."""
        return self._labelled[1]

    @cached_property
    def _labelled(self) -> tuple[tuple[str, ...], NDArray[np.int64]]:
        values, names = self._values(LABELS), self._names()
        if values is None:
            raise InputError(
                f"{self.path} has no {LABELS!r}, only {', '.join(self.stages)}: each row needs a label."
            )
        if values.dtype.kind == "U":
            known = names or tuple(sorted(set(values.tolist())))
            index = {name: label for label, name in enumerate(known)}
            if unknown := set(values.tolist()) - index.keys():
                raise InputError(f"{self.path} has the label {min(unknown)!r}, which is not in {CLASSES!r}.")
            return known, np.array([index[name] for name in values.tolist()], dtype=np.int64)
        present = np.unique(values).tolist()
        most = len(names) if names else MOST_CLASSES
        if present[0] < 0 or present[-1] >= most:
            wrong = present[0] if present[0] < 0 else present[-1]
            raise InputError(f"{self.path} has the label {wrong}: labels must be from 0 to {most - 1}.")
        if names:
            return names, values.astype(np.int64)
        return tuple(f"class_{label}" for label in present), np.searchsorted(present, values).astype(np.int64)

    def _names(self) -> tuple[str, ...]:
        """Class names that the file lists; none if it does not."""
        text = self._columns.metadata.get(CLASSES)
        if text is None:
            return ()
        try:
            names = json.loads(text)
        except (ValueError, RecursionError):
            names = None
        good = isinstance(names, list) and all(isinstance(name, str) and name for name in names)
        if not good or len(set(names)) != len(names) or not 0 < len(names) <= MOST_CLASSES:
            raise InputError(
                f'{self.path} has {CLASSES!r} that are no JSON list of different names, as in ["cat","dog"].'
            )
        return tuple(names)

    @cached_property
    def splits(self) -> NDArray[np.int8]:
        """Index of each row's own split among ``SPLITS``, int8 (count,); "train" if the file has none."""
        values = self._values(SPLITS_OF_ROWS)
        if values is None:
            return np.full(self.count, SPLITS.index("train"), dtype=np.int8)
        allowed: Mapping[Any, int] = {name: code for code, name in enumerate(SPLITS)}
        if values.dtype.kind != "U":
            allowed = {code: code for code in range(len(SPLITS))}
        if unknown := set(values.tolist()) - allowed.keys():
            raise InputError(
                f"{self.path} has the split {min(unknown)!r}: allowed are {', '.join(SPLITS)}, or their "
                "numbers from 0."
            )
        return np.array([allowed[value] for value in values.tolist()], dtype=np.int8)

    @cached_property
    def groups(self) -> NDArray[np.int64] | None:
        """Number of each row's group, int64 (count,); None if the file has none.

        Raises:
            InputError: if the file's own splits tear a group apart.
        """
        values = self._values(GROUPS)
        if values is None:
            return None
        names, numbers = np.unique(values, return_inverse=True)
        pairs = np.unique(np.stack([numbers, self.splits]), axis=1)
        if len(torn := np.flatnonzero(np.bincount(pairs[0]) > 1)):
            raise InputError(
                f"{self.path} has rows of the group {names[torn[0]]} in several splits: a group has to "
                "stay in one."
            )
        return numbers.astype(np.int64)

    def _values(self, name: str) -> NDArray[Any] | None:
        """One value per row, whole numbers or text; None if there is nothing of the name."""
        if name not in self._columns.shapes:
            return None
        shape, kind = self._columns.shapes[name], self._columns.kinds[name]
        if len(shape) != 1 or kind not in "iuU":
            raise InputError(
                f"{self.path} has {name!r} of shape {shape} and type {self._columns.types[name]}: it must be "
                "one whole number or text per row."
            )
        with readable(self.path):
            return self._columns.column(name)


def _natural(name: str) -> tuple[bool, list[tuple[int, str]]]:
    """Sorts layer2 before layer10, and logits last."""
    parts = re.split(r"(\d+)", name)
    return name == "logits", [(int(part), "") if part.isdigit() else (-1, part) for part in parts]
