"""Files of texts in three formats: a text per row, and what is known of it."""

import csv
import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neural_branching.data.split import SPLITS
from neural_branching.data.vector_formats import readable
from neural_branching.errors import InputError, printable

TEXT, LABEL, GROUP, SPLIT = "text", "label", "group", "split"
SUFFIXES = (".jsonl", ".csv", ".parquet", ".txt")
LONGEST = 1 << 20  # characters of a cell; a text that is longer belongs into several rows


class TextFile:
    """The rows of a file of texts, checked; ``sources.texts`` says what its formats are.

    Args:
        path: the file.
        needed: columns that have to be there; others among text, label, group and split may be.

    Attributes:
        texts: the texts, without blanks at their ends.

    Raises:
        InputError: for a file that cannot be read, a column that is missing, and texts that are empty.
    """

    def __init__(self, path: Path, needed: Collection[str] = (TEXT, LABEL)) -> None:
        self.path = path
        if path.suffix not in SUFFIXES or not path.is_file():
            state = "is no file of texts" if path.exists() else "does not exist"
            raise InputError(f"{printable(path)} {state}: give a .jsonl, .csv or .parquet file.")
        with readable(path):
            self._columns = _read(path)
        for name in needed:
            if name not in self._columns:
                found = f", only {', '.join(map(repr, self._columns))}" if self._columns else ""
                raise InputError(f"{printable(path)} has no column {name!r}{found}: each row needs one.")
        if not self._columns[TEXT]:
            raise InputError(f"{printable(path)} has no rows: give at least one text.")
        self.texts = [self._text(row, value) for row, value in enumerate(self._columns[TEXT])]

    def _text(self, row: int, value: object) -> str:
        if not isinstance(value, str):
            raise InputError(f"{self._row(row)} has the text {value!r:.60}: it must be text.")
        if "\0" in value:
            raise InputError(f"{self._row(row)} has a text with a null character: leave it out.")
        text = value.strip()
        if not text:
            empty = sum(isinstance(one, str) and not one.strip() for one in self._columns[TEXT])
            more = f", as have {empty - 1} others" if empty > 1 else ""
            raise InputError(f"{self._row(row)} has an empty text{more}: leave such rows out.")
        return text

    def _row(self, row: int) -> str:
        return f"Row {row + 1} of {printable(self.path)}"

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Names of all classes, sorted; where all labels are whole numbers, n is called class_n.

        Raises:
            InputError: for a label that is neither text nor a whole number, and for a single class.
        """
        values = [str(value) for value in self._plain(LABEL)]
        if len(set(values)) < 2:
            raise InputError(
                f"{printable(self.path)} has the label {values[0]!r} alone: a branch tells at least two "
                "classes apart."
            )
        numbered = all(value.isdecimal() for value in values)
        self._names = [f"class_{int(value)}" if numbered else value for value in values]
        return tuple(sorted(set(self._names), key=(lambda name: int(name[6:])) if numbered else None))

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        """Index of each row's class among ``classes``, int64 (n,)."""
        index = {name: place for place, name in enumerate(self.classes)}
        return np.array([index[name] for name in self._names], dtype=np.int64)

    @cached_property
    def splits(self) -> NDArray[np.int8]:
        """Index of each row's own split among ``SPLITS``, int8 (n,); "train" if the file has none.

        Raises:
            InputError: for another name.
        """
        if SPLIT not in self._columns:
            return np.full(len(self.texts), SPLITS.index("train"), dtype=np.int8)
        for row, value in enumerate(self._columns[SPLIT]):
            if value not in SPLITS:
                raise InputError(
                    f"{self._row(row)} has the split {value!r}: allowed are {', '.join(SPLITS)}."
                )
        return np.array([SPLITS.index(value) for value in self._columns[SPLIT]], dtype=np.int8)

    @cached_property
    def groups(self) -> NDArray[np.int64] | None:
        """Number of each row's group, int64 (n,); None if the file has none.

        Raises:
            InputError: if the file's own splits tear a group apart.
        """
        if GROUP not in self._columns:
            return None
        names, numbers = np.unique([str(value) for value in self._plain(GROUP)], return_inverse=True)
        pairs = np.unique(np.stack([numbers, self.splits]), axis=1)
        if len(torn := np.flatnonzero(np.bincount(pairs[0]) > 1)):
            raise InputError(
                f"{printable(self.path)} has rows of the group {str(names[torn[0]])!r} in several splits: a "
                "group has to stay in one."
            )
        return numbers.astype(np.int64)

    def _plain(self, name: str) -> list[str | int]:
        """A column of texts and whole numbers, none of them missing."""
        for row, value in enumerate(self._columns[name]):
            if not isinstance(value, str | int) or isinstance(value, bool) or value == "":
                raise InputError(
                    f"{self._row(row)} has the {name} {value!r:.60}: it must be text or a whole number."
                )
        return self._columns[name]


def _read(path: Path) -> dict[str, list[Any]]:
    """The columns of a file that are read, as far as it has them."""
    if path.suffix == ".parquet":
        return _parquet(path)
    if path.suffix == ".txt":  # without labels, for a finished run to answer
        return {TEXT: [line for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]}
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = _json_lines(file) if path.suffix == ".jsonl" else _csv_rows(file)
        return _columns(rows)


def _columns(rows: Iterator[Mapping[str, Any]]) -> dict[str, list[Any]]:
    first = next(rows, {})
    columns: dict[str, list[Any]] = {name: [] for name in (TEXT, LABEL, GROUP, SPLIT) if name in first}
    for number, row in enumerate(_chained(first, rows) if first else (), start=1):
        for name, values in columns.items():
            if name not in row:
                raise ValueError(f"its row {number} has no {name!r}, as the first has")
            values.append(row[name])
    return columns


def _chained(first: Mapping[str, Any], rest: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    yield first
    yield from rest


def _json_lines(lines: Iterable[str]) -> Iterator[Mapping[str, Any]]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"its line {number} is no JSON") from error
        if not isinstance(row, dict):
            raise ValueError(f"its line {number} is no JSON object")
        yield row


def _csv_rows(lines: Iterable[str]) -> Iterator[Mapping[str, Any]]:
    csv.field_size_limit(LONGEST)
    for number, row in enumerate(csv.DictReader(lines, strict=True), start=1):
        if None in row or None in row.values():
            raise ValueError(f"its row {number} has not as many cells as the header")
        yield row


def _parquet(path: Path) -> dict[str, list[Any]]:
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise InputError(
            f"{printable(path)} needs the package pyarrow: pip install 'neural-branching[parquet]'."
        ) from error
    file = parquet.ParquetFile(path)
    names = [name for name in (TEXT, LABEL, GROUP, SPLIT) if name in file.schema_arrow.names]
    columns: dict[str, list[Any]] = file.read(columns=names).to_pydict()
    return columns
