"""Labels of units, and what branches they are of, in a file of the user's own.

    {
      "stage": "mixed3a",
      "units": 256,
      "branches": {"1x1": ["0-63"], "3x3": ["64-191"], "5x5": ["192-223"], "pool": ["224-255"]},
      "labels": {"black and white or colour": [224, "230-237"], "curves": [81, 104]}
    }

Units are counted from 0; "230-237" are eight units. A unit has one branch and one label at most, and may have
neither. Further keys (a source, a remark) are left alone.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from neural_branching.errors import InputError
from neural_branching.files.reading import read_json
from neural_branching.labs.specialization.partition import Partition
from neural_branching.selection.array_types import Int64

KEYS = ("stage", "units", "branches", "labels")
MOST_UNITS = 1 << 20  # a range of more is a slip of the pen


@dataclass(frozen=True)
class UnitLabels:
    """What a file of unit labels says.

    Attributes:
        partition: the branches.
        width: number of units of the stage.
        labels: name → indices of its units, ascending, int64; no unit has two labels.
    """

    partition: Partition
    width: int
    labels: Mapping[str, Int64[np.ndarray, " units"]]


def read_unit_labels(file: Path) -> UnitLabels:
    """Read and check labels of the units of a stage.

    Args:
        file: JSON, as this module describes it.

    Raises:
        InputError: naming the file, the label or branch and the unit: for a file that cannot be read, a
            missing key, a label without units, units that are no whole numbers, that the stage does not have
            or that two labels (or two branches) have, and for branches that are no ``Partition``.
    """
    content = read_json(file)
    if not isinstance(content, dict) or (missing := [key for key in KEYS if key not in content]):
        lacks = f"it lacks {missing[0]!r}" if isinstance(content, dict) else "it is no mapping"
        raise InputError(f"{file} is no file of unit labels: {lacks}, and must have {', '.join(KEYS)}.")
    stage, width = content["stage"], content["units"]
    if not isinstance(stage, str) or not stage:
        raise InputError(f"The stage in {file} is {str(stage)[:40]!r}: it must be the name of a layer.")
    if not _is_whole(width) or not 1 <= width <= MOST_UNITS:
        raise InputError(
            f"The number of units in {file} is {str(width)[:40]!r}: it must be a whole number from 1 to "
            f"{MOST_UNITS:,}."
        )
    branches = _units_by_name(file, "branch", content["branches"], width)
    labels = _units_by_name(file, "label", content["labels"], width)
    try:
        partition = Partition.of(stage, branches, width)
    except InputError as error:
        raise InputError(f"{file}: {error}") from error
    return UnitLabels(partition, width, {name: np.sort(mine) for name, mine in labels.items()})


def _units_by_name(file: Path, kind: str, value: Any, width: int) -> dict[str, list[int]]:
    """Units of every label, or of every branch."""
    if not isinstance(value, dict) or not value:
        raise InputError(
            f"{file} has no {kind} with units: it must map names to lists of units, such as "
            '{"a": [0, 5], "b": ["8-11"]}.'
        )
    owner: dict[int, str] = {}
    found: dict[str, list[int]] = {}
    for name, entries in value.items():
        place = f"The {kind} {name!r} in {file}"
        if not isinstance(entries, list) or not entries:
            raise InputError(f"{place} has no units: it must have a list of one at least.")
        found[name] = []
        for unit in _units(place, entries, width):
            if unit in owner:
                twice = "twice" if owner[unit] == name else f"of the {kind} {owner[unit]!r}"
                raise InputError(f"{place} has the unit {unit} {twice}: a unit has one {kind} at most.")
            owner[unit] = name
            found[name].append(unit)
    return found


def _units(place: str, entries: list[Any], width: int) -> Iterator[int]:
    for entry in entries:
        ends = re.fullmatch(r"([0-9]{1,9})-([0-9]{1,9})", entry) if isinstance(entry, str) else None
        if ends is None and not _is_whole(entry):
            raise InputError(
                f"{place} has the unit {str(entry)[:40]!r}: units are whole numbers, or ranges such as "
                "'0-63'."
            )
        first, last = (int(ends[1]), int(ends[2])) if ends else (entry, entry)
        if first > last:
            raise InputError(f"{place} has the range {entry!r}: it must begin with the lower unit.")
        if first < 0 or last >= width:
            outside = last if 0 <= first < width else first
            raise InputError(
                f"{place} has the unit {str(outside)[:40]}: the layer has the units 0 to {width - 1}."
            )
        yield from range(first, last + 1)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
