"""Tables as CSV, UTF-8, whole or not at all, in which no cell is a formula."""

import csv
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from neural_branching.errors import printable
from neural_branching.files.writing import write_atomically

# What a spreadsheet runs, however often it was quoted already: so that quoting can be undone.
_FORMULA = re.compile(r"'*[=+\-@\t\r]")


def text_cell(value: Any) -> Any:
    """A cell that a spreadsheet shows and does not run: text that would be a formula gets a quote in front.

    Numbers stay numbers, also those that are written as text. One leading quote less gives the text back.
    """
    if not isinstance(value, str):
        return value
    if _FORMULA.match(value):
        with suppress(ValueError):
            float(value)
            return value
        value = f"'{value}"
    return printable(value)


def csv_lines(rows: Iterable[Iterable[Any]], end: str = "\r\n") -> list[str]:
    """Rows as lines of CSV, cells as they are: for numbers, and text that ``text_cell`` has seen."""
    lines: list[str] = []
    csv.writer(SimpleNamespace(write=lines.append), lineterminator=end).writerows(rows)
    return lines


def write_table(file: Path, header: Iterable[Any], rows: Iterable[Iterable[Any]]) -> None:
    """Write a table with a line of column names.

    Raises:
        OSError: if the file cannot be written.
    """
    write_atomically(file, "".join(csv_lines(map(text_cell, row) for row in (header, *rows))))
