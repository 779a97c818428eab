"""Figures that compare the runs of a folder."""

import csv
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from neural_branching.report.collect import Summary
from neural_branching.report.figures.comparison import comparison
from neural_branching.report.figures.risk_coverage import Line, risk_coverage
from neural_branching.report.results import CURVE, Row
from neural_branching.selection.arrays import Floats

# Whole percents, at which the curves of several seeds can be averaged.
LEVELS = np.arange(100, 0, -1) / 100


def draw(summary: Summary) -> dict[str, Any]:
    """Risk–coverage curves together; accuracy and AURC by branch point, beside the parent restricted.

    Returns:
        Name → figure; empty if no run has completed.
    """
    rows = _distinct(summary)
    if not rows:
        return {}
    order = list(dict.fromkeys(row["branch_point"] for row in rows))
    lines, several = _lines(summary, rows)
    band = "bands: standard deviation\nover seeds" if several else ""
    result = {"risk_coverage": risk_coverage(lines, "Branches on the test images", band)}
    for metric, label in (("accuracy", "test accuracy"), ("aurc", "test AURC (smaller is better)")):
        values, baselines = (
            _by_branch_point(summary, rows, f"{prefix}_{metric}") for prefix in ("test", "restricted")
        )
        result[metric] = comparison(values, baselines, order, label)
    return result


def _distinct(summary: Summary) -> list[Row]:
    """One run for each branch and score: a threshold changes no curve."""
    names = ("data", "parent", "subset", "branch_point", "branch", "score", "parent_seed", "branch_seed")
    curves = {tuple(row[name] for name in (*names, *summary.swept)): row for row in summary.completed}
    return list(curves.values())


def _by_branch_point(summary: Summary, rows: list[Row], metric: str) -> dict[str, dict[str, list[float]]]:
    """Setting → branch point → one value per seed."""
    differing = _differing(rows, ("data", "parent", "branch", "score", *summary.swept))
    values: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        group = " · ".join([row["subset"], *(str(row[name]) for name in differing)])
        values.setdefault(group, {}).setdefault(row["branch_point"], []).append(row[metric])
    return values


def _lines(summary: Summary, rows: list[Row]) -> tuple[dict[str, Line], bool]:
    """One line per setting, the mean over its seeds; and whether any has several."""
    differing = _differing(rows, ("data", "parent", "branch", "score", *summary.swept))
    groups: dict[str, list[Row]] = {}
    for row in rows:
        name = " · ".join([row["subset"], row["branch_point"], *(str(row[name]) for name in differing)])
        groups.setdefault(name, []).append(row)
    lines = {}
    for name, mine in groups.items():
        # The numbers are there, only the drawing is lost.
        with suppress(OSError, LookupError, ValueError, TypeError, csv.Error):
            lines[name] = _line(summary.folder, mine)
    return lines, any(len(mine) > 1 for mine in groups.values())


def _differing(rows: list[Row], names: tuple[str, ...]) -> list[str]:
    return [name for name in names if len({row[name] for row in rows}) > 1]


def _line(folder: Path, rows: list[Row]) -> Line:
    accuracies = np.array([_accuracy(folder / row["run"]) for row in rows])
    mean = accuracies.mean(axis=0)
    points = [(row["test_coverage"], row["test_selective_accuracy"]) for row in rows]
    answered = [point for point in points if point[1] is not None]
    point = tuple(np.mean(answered, axis=0)) if answered else None
    if len(rows) == 1:
        return Line(LEVELS, mean, point)
    deviation = accuracies.std(axis=0, ddof=1)
    return Line(LEVELS, mean, point, (mean - deviation, mean + deviation))


def _accuracy(run: Path) -> Floats:
    """Selective accuracy at whole percents: at the largest coverage that does not exceed each."""
    with (run / CURVE).open() as stream:
        points = list(csv.DictReader(stream))
    coverage = np.array([float(point["coverage"]) for point in points])
    risk = np.array([float(point["selective_risk"]) for point in points])
    index = np.searchsorted(-coverage, -LEVELS - 1e-12)
    # Below the smallest coverage that the curve reaches it is continued, as for its area.
    accuracy: Floats = 1 - risk[np.minimum(index, len(risk) - 1)]
    return accuracy
