"""What the exits of a cascade answer to every held-out example: written by a run, read back for redrawing."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from neural_branching.errors import InputError
from neural_branching.files.csv_text import write_table
from neural_branching.routing.exits import Exits

EXITS = "exits.csv"


def write_exits(folder: Path, names: Sequence[str], held_out: Mapping[str, Exits]) -> None:
    """Write one line per held-out example.

    Args:
        folder: the run's folder.
        names: of the exits, the first exit first.
        held_out: split → what they say of its examples.
    """
    grouped = any(one.groups is not None for one in held_out.values())
    of_exits = [f"{kind} {name}" for name in names for kind in ("answer", "confidence")]
    header = ["split", "label", *(["group"] if grouped else []), *of_exits]
    write_table(folder / EXITS, header, _lines(held_out))


def _lines(held_out: Mapping[str, Exits]) -> Iterator[list[Any]]:
    for split, exits in held_out.items():
        for place in range(len(exits)):
            line: list[Any] = [split, int(exits.targets[place])]
            if exits.groups is not None:
                line.append(int(exits.groups[place]))
            for answer, confidence in zip(exits.predictions, exits.confidence, strict=True):
                line += [int(answer[place]), repr(float(confidence[place]))]
            yield line


def read_exits(run: Path, splits: Sequence[str]) -> dict[str, Exits]:
    """Read a run's exits.csv.

    Args:
        run: the run's folder.
        splits: those that are wanted.

    Raises:
        InputError: if the file is missing or damaged, or has no example of a split.
    """
    file = run / EXITS
    try:
        with file.open(newline="", encoding="utf-8") as stream:
            header, *lines = csv.reader(stream)
        first = 3 if header[2] == "group" else 2
        found = {}
        for split in splits:
            mine = [line[1:] for line in lines if line[0] == split]
            numbers = np.array(mine, dtype=np.float64).reshape(-1, len(header) - 1)
            answers, confidence = numbers[:, first - 1 :: 2].T, numbers[:, first::2].T
            if not len(mine) or len(answers) != len(confidence) or not np.isfinite(numbers).all():
                raise ValueError(split)
            groups = numbers[:, 1].astype(np.int64) if first == 3 else None
            found[split] = Exits(
                confidence.copy(), answers.astype(np.int64), numbers[:, 0].astype(np.int64), groups
            )
    except (OSError, ValueError, IndexError, csv.Error) as error:
        raise InputError(
            f"{file} cannot be read ({type(error).__name__}): repeat the run that made it."
        ) from error
    return found
