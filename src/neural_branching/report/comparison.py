"""Figures that compare the runs of a folder."""

import csv
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from neural_branching.report import figures
from neural_branching.report.collect import Row, Summary
from neural_branching.report.results import CURVE


def draw(summary: Summary) -> dict[str, Any]:
    """Risk–coverage curves together; accuracy and AURC by branch point, beside the parent restricted.

    Returns:
        Name → figure; empty if no run has completed.
    """
    rows = _distinct(summary)
    if not rows:
        return {}
    order = list(dict.fromkeys(row["branch_point"] for row in rows))
    result = {"risk_coverage": figures.risk_coverage(_lines(summary, rows), "Branches on the test images")}
    for metric, label in (("accuracy", "test accuracy"), ("aurc", "test AURC (smaller is better)")):
        values, baselines = (
            _by_branch_point(summary, rows, f"{prefix}_{metric}") for prefix in ("test", "restricted")
        )
        result[metric] = figures.comparison(values, baselines, order, label)
    return result


def _distinct(summary: Summary) -> list[Row]:
    """One run for each trained branch: a threshold trains nothing, so it makes no other curve."""
    names = ("data", "parent", "subset", "branch_point", "branch", "parent_seed", "branch_seed")
    trained = {tuple(row[name] for name in (*names, *summary.swept)): row for row in summary.completed}
    return list(trained.values())


def _by_branch_point(summary: Summary, rows: list[Row], metric: str) -> dict[str, dict[str, list[float]]]:
    """Setting → branch point → one value per seed."""
    differing = _differing(rows, ("data", "parent", "branch", *summary.swept))
    values: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        group = " · ".join([row["subset"], *(str(row[name]) for name in differing)])
        values.setdefault(group, {}).setdefault(row["branch_point"], []).append(row[metric])
    return values


def _lines(summary: Summary, rows: list[Row]) -> dict[str, figures.Line]:
    differing = _differing(rows, ("data", "parent", "branch", *summary.swept, "parent_seed", "branch_seed"))
    if "parent_seed" in differing and all(row["parent_seed"] == row["branch_seed"] for row in rows):
        differing.remove("branch_seed")
    lines = {}
    for row in rows:
        name = " · ".join([row["subset"], row["branch_point"], *(str(row[name]) for name in differing)])
        with suppress(OSError, KeyError, ValueError):  # the numbers are there, only the drawing is lost
            lines[name] = _line(summary.folder / row["run"], row)
    return lines


def _differing(rows: list[Row], names: tuple[str, ...]) -> list[str]:
    return [name for name in names if len({row[name] for row in rows}) > 1]


def _line(run: Path, row: Row) -> figures.Line:
    with (run / CURVE).open() as stream:
        points = list(csv.DictReader(stream))
    coverage = np.array([float(point["coverage"]) for point in points])
    risk = np.array([float(point["selective_risk"]) for point in points])
    accuracy = row["test_selective_accuracy"]
    return figures.Line(coverage, 1 - risk, None if accuracy is None else (row["test_coverage"], accuracy))
