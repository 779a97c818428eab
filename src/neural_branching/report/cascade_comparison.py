"""Two settings of cascades on the same test examples, paired by seeds."""

import csv
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from neural_branching.errors import InputError
from neural_branching.report.cascade_summary import SEEDS, collect
from neural_branching.report.exits_file import read_exits
from neural_branching.report.paired import (
    Comparison,
    Tested,
    compare_rows,
    rows_of,
    selective_value,
    share_value,
)
from neural_branching.report.results import TRACE, Row, read_results
from neural_branching.store.run_folders import RESULTS

SETTING = ("subset", "promise")


def compare_cascades(folder: Path, first: str, second: str) -> list[Comparison]:
    """Compare two settings of the cascades below a folder on the same test examples.

    Args:
        folder: a sweep, or any folder of cascades.
        first: A, as ``column=value`` or several of them joined by commas: ``run``, "subset", "promise",
            or an override in which they differ.
        second: B, likewise.

    Returns:
        One comparison for each combination of the remaining settings that both sides have.

    Raises:
        InputError: if a column or value is unknown, no runs of both sides belong together, or their test
            examples differ.
    """
    rows, columns = _with_overrides(collect(folder)[0])
    return compare_rows(
        folder,
        (first, second),
        partial(rows_of, rows=rows, columns=columns),
        columns,
        SEEDS,
        lambda row: _tested(folder / row["run"]),
    )


def _with_overrides(rows: Sequence[Row]) -> tuple[list[Row], list[str]]:
    """Rows with a column for each override in which they differ, and the columns that describe a setting.

    What is promised, and which subset, stands in columns of its own.
    """
    typed = [dict(one.partition("=")[::2] for one in row["overrides"].split()) for row in rows]
    names = dict.fromkeys(name for one in typed for name in one)
    varying = [
        name
        for name in names
        if name != "subset"
        and name.partition(".")[0] != "promise"
        and len({one.get(name) for one in typed}) > 1
    ]
    found = [
        {**row, **{name: one.get(name, "default") for name in varying}}
        for row, one in zip(rows, typed, strict=True)
    ]
    return found, [*SETTING, *varying]


def _tested(run: Path) -> Tested:
    """A cascade's test answers in the order of the rows.

    Raises:
        InputError: if they cannot be read.
    """
    results, file = read_results(run), run / TRACE
    try:
        with file.open(newline="", encoding="utf-8") as stream:
            lines = list(csv.DictReader(stream))
        row = np.array([int(line["row"]) for line in lines], np.int64)
        said = ("label", "prediction", "last_prediction")
        label, answer, last = (np.array([line[name] for line in lines]) for name in said)
        data = str(results["artifacts"]["data"]["key"])
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise InputError(
            f"{file} or its {RESULTS} cannot be read ({type(error).__name__}): repeat the run that made it."
        ) from error
    order, group = np.argsort(row), read_exits(run, ["test"])["test"].groups
    label, answer, last = label[order], answer[order], last[order]
    answered, right = answer != "", answer == label
    values = {
        "accuracy": share_value(right),
        "last_accuracy": share_value(last == label),
        "differs": share_value(answered & (answer != last)),
        "coverage": share_value(answered),
        "selective_accuracy": selective_value(right, answered),
    }
    return Tested(row[order], data, None if group is None else group[order], values)
