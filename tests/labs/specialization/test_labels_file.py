"""Labels of units are read from a file, or refused in a sentence that says where and what."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neural_branching.errors import InputError
from neural_branching.labs.specialization.labels_file import read_unit_labels

GOOD = {
    "stage": "mixed3a",
    "units": 12,
    "branches": {"1x1": ["0-3"], "3x3": [4, 7, "5-6"], "5x5": ["8-10"]},
    "labels": {"curves": [9, 8], "lines": [0, "2-3"], "none of the branches": [11]},
}


def written(folder: Path, **changes: Any) -> Path:
    file = folder / "labels.json"
    file.write_text(json.dumps(GOOD | changes), encoding="utf-8")
    return file


def test_units_are_numbers_and_ranges(tmp_path: Path) -> None:
    read = read_unit_labels(written(tmp_path, remark="further keys are left alone"))
    assert (read.partition.stage, read.width) == ("mixed3a", 12)
    assert {name: list(units) for name, units in read.partition.branches.items()} == {
        "1x1": [0, 1, 2, 3],
        "3x3": [4, 5, 6, 7],
        "5x5": [8, 9, 10],
    }
    assert {name: list(units) for name, units in read.labels.items()} == {
        "curves": [8, 9],
        "lines": [0, 2, 3],
        "none of the branches": [11],
    }
    assert all(units.dtype == np.int64 for units in read.labels.values())


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        ({"a": [1, 2], "b": [3, 2]}, "The label 'b' in FILE has the unit 2 of the label 'a': "),
        ({"a": [1, "0-3"]}, "The label 'a' in FILE has the unit 1 twice: "),
        ({"a": [12]}, "The label 'a' in FILE has the unit 12: the layer has the units 0 to 11."),
        ({"a": [-1]}, "The label 'a' in FILE has the unit -1: "),
        ({"a": ["7-999999999"]}, "The label 'a' in FILE has the unit 999999999: "),
        ({"a": ["3-1"]}, "The label 'a' in FILE has the range '3-1': "),
        ({"a": [1.0]}, "The label 'a' in FILE has the unit '1.0': units are whole numbers"),
        ({"a": [True]}, "The label 'a' in FILE has the unit 'True': "),
        ({"a": [None]}, "The label 'a' in FILE has the unit 'None': "),
        ({"a": [[1]]}, "The label 'a' in FILE has the unit '[1]': "),
        ({"a": ["one"]}, "The label 'a' in FILE has the unit 'one': "),
        ({"a": []}, "The label 'a' in FILE has no units: "),
        ({"a": 3}, "The label 'a' in FILE has no units: "),
        ({}, "FILE has no label with units: "),
        ([[1]], "FILE has no label with units: "),
    ],
)
def test_labels_are_checked(tmp_path: Path, labels: Any, sentence: str) -> None:
    file = written(tmp_path, labels=labels)
    with pytest.raises(InputError, match=rf"^{re.escape(sentence.replace('FILE', str(file)))}[^\n]*$"):
        read_unit_labels(file)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"stage": 3}, "The stage in FILE is '3': "),
        ({"stage": ""}, "The stage in FILE is '': "),
        ({"units": 0}, "The number of units in FILE is '0': "),
        ({"units": "12"}, "The number of units in FILE is '12': "),
        ({"units": 10**12}, "The number of units in FILE is '1000000000000': "),
        ({"branches": {}}, "FILE has no branch with units: "),
        (
            {"branches": {"a": ["0-5"], "b": ["5-11"]}},
            "The branch 'b' in FILE has the unit 5 of the branch 'a': ",
        ),
        ({"branches": {"a": ["0-5"], "b": ["6-12"]}}, "The branch 'b' in FILE has the unit 12: "),
        ({"branches": {"a": ["0-5"]}}, "FILE: The stage 'mixed3a' has a single branch: "),
        (
            {"branches": {"a": ["0-5"], "b": [6, 7]}},
            "FILE: The branch 'b' of the stage 'mixed3a' has 2 units: ",
        ),
    ],
)
def test_the_layer_and_its_branches_are_checked(
    tmp_path: Path, changes: dict[str, Any], sentence: str
) -> None:
    file = written(tmp_path, **changes)
    with pytest.raises(InputError, match=rf"^{re.escape(sentence.replace('FILE', str(file)))}[^\n]+$"):
        read_unit_labels(file)


@pytest.mark.parametrize("key", GOOD)
def test_every_key_is_needed(tmp_path: Path, key: str) -> None:
    file = tmp_path / "labels.json"
    file.write_text(
        json.dumps({name: value for name, value in GOOD.items() if name != key}), encoding="utf-8"
    )
    with pytest.raises(
        InputError, match=f"^{file} is no file of unit labels: it lacks '{key}', and must have "
    ):
        read_unit_labels(file)


@pytest.mark.parametrize("content", ["[]", "3", "{", "", '{"units": NaN}'])
def test_other_files_are_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "labels.json"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=f"^{file} (is no file of unit labels|cannot be read): "):
        read_unit_labels(file)
    with pytest.raises(InputError, match="cannot be read"):
        read_unit_labels(tmp_path / "missing.json")
