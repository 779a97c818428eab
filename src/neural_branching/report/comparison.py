"""Figures that compare the runs of a folder."""

import csv
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from neural_branching.config.objectives import DIRECTIONS
from neural_branching.report.collect import Summary
from neural_branching.report.figures.depth import depth
from neural_branching.report.figures.learning_curve import learning_curve
from neural_branching.report.figures.pareto import pareto
from neural_branching.report.figures.risk_coverage_curves import Line, risk_coverage
from neural_branching.report.figures.sweep_comparison import comparison
from neural_branching.report.results import CURVE, Row
from neural_branching.report.search import Search
from neural_branching.selection.arrays import Floats

# Whole percents, at which the curves of several seeds can be averaged.
LEVELS = np.arange(100, 0, -1) / 100
PER_CLASS = "branch.examples_per_class"


def draw(summary: Summary) -> dict[str, Any]:
    """Risk–coverage curves together; accuracy and AURC by branch point, beside the parent restricted.

    Where several branch points were run their depth is drawn with its costs, where several numbers of
    training examples a learning curve.

    Returns:
        Name → figure; empty if no run has completed.
    """
    rows = _distinct(summary)
    if not rows:
        return {}
    order = _by_depth(rows)
    lines, several = _lines(summary, rows)
    band = "bands: standard deviation\nover seeds" if several else ""
    result = {"risk_coverage": risk_coverage(lines, "Branches on the test examples", band)}
    for metric, label in (("accuracy", "test accuracy"), ("aurc", "test AURC (smaller is better)")):
        values, baselines = (
            _by_branch_point(summary, rows, f"{prefix}_{metric}") for prefix in ("test", "restricted")
        )
        result[metric] = comparison(values, baselines, order, label)
    if len(order) > 1 and all(row["path_macs"] and row["parent_macs"] for row in rows):
        result["depth"] = _depth(summary, rows, order)
    search = Search.of(summary)
    if search and len(search.objectives) == 2:
        result["pareto"] = _pareto(search)
    if PER_CLASS in summary.swept:
        result["learning_curve"] = _learning_curve(summary, rows)
    return result


def _pareto(search: Search) -> Figure:
    """The second objective across, the first one up."""
    points: dict[str, list[tuple[float, float]]] = {name: [] for name in _by_depth(search.rows)}
    for row in search.rows:
        up, across = search.values(row)
        points[row["branch_point"]].append((across, up))
    front = [(across, up) for up, across in map(search.values, search.front)]
    first, second = search.objectives
    return pareto(points, front, (second, first), cheap=DIRECTIONS[second] == "minimize")


def _by_depth(rows: list[Row]) -> list[str]:
    """Branch points from the example to the logits, as far as their costs tell."""
    costs = {row["branch_point"]: row["prefix_macs"] or 0 for row in rows}
    return sorted(costs, key=costs.__getitem__)  # stable: equal costs stay as they came


def _depth(summary: Summary, rows: list[Row], order: list[str]) -> Figure:
    shares = [{**row, "share": row["path_macs"] / row["parent_macs"]} for row in rows]
    panels = {
        "test accuracy": _by_branch_point(summary, rows, "test_accuracy"),
        "test AURC": _by_branch_point(summary, rows, "test_aurc"),
        "MACs, of the parent's": _by_branch_point(summary, shares, "share"),
    }
    beside = {
        label: {
            group: [value for values in points.values() for value in values]
            for group, points in _by_branch_point(summary, rows, metric).items()
        }
        for label, metric in (("test accuracy", "restricted_accuracy"), ("test AURC", "restricted_aurc"))
    }
    return depth(panels, beside, order)


def _learning_curve(summary: Summary, rows: list[Row]) -> Figure:
    """Accuracy and training time of the branch and its baselines by training examples per class."""
    names = ("branch_point", "data", "parent", "branch", "score", *summary.swept)
    differing = [name for name in _differing(rows, names) if name != PER_CLASS]
    panels: dict[str, dict[str, dict[str, dict[int, list[float]]]]] = {}
    for row in rows:
        if not str(row[PER_CLASS]).isdecimal():  # null: all there are
            continue
        group = " · ".join([row["subset"], *(str(row[name]) for name in differing)])
        models = row["baselines"] or {"branch": {"accuracy": row["test_accuracy"]}}
        for model, one in models.items():
            for label, metric in _OVER_EXAMPLES.items():
                if one and one.get(metric):
                    curves = panels.setdefault(label, {}).setdefault(group, {})
                    curve = curves.setdefault(model.replace("_", " "), {})
                    curve.setdefault(int(row[PER_CLASS]), []).append(one[metric])
    return learning_curve(panels)


_OVER_EXAMPLES = {"test accuracy": "accuracy", "seconds of training": "training_seconds"}


def _distinct(summary: Summary) -> list[Row]:
    """One run for each branch and score: a threshold changes no curve."""
    return list({_curve(summary, row): row for row in summary.counted()}.values())


def _curve(summary: Summary, row: Row) -> tuple[Any, ...]:
    """What decides a curve."""
    names = ("data", "parent", "subset", "branch_point", "branch", "score", "parent_seed", "branch_seed")
    return tuple(row[name] for name in (*names, *summary.swept))


def _by_branch_point(summary: Summary, rows: list[Row], metric: str) -> dict[str, dict[str, list[float]]]:
    """Setting → branch point → one value per seed."""
    differing = _differing(rows, ("data", "parent", "branch", "score", *summary.swept))
    values: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        group = " · ".join([row["subset"], *(str(row[name]) for name in differing)])
        found = values.setdefault(group, {})
        if row[metric] is not None:
            found.setdefault(row["branch_point"], []).append(row[metric])
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
            lines[name] = _line(summary, mine)
    return lines, any(len(mine) > 1 for mine in groups.values())


def _differing(rows: list[Row], names: tuple[str, ...]) -> list[str]:
    return [name for name in names if len({row[name] for row in rows}) > 1]


def _line(summary: Summary, rows: list[Row]) -> Line:
    accuracies = np.array([_accuracy(summary.folder / row["run"]) for row in rows])
    mean = accuracies.mean(axis=0)
    curves = {_curve(summary, row) for row in rows}
    answered: dict[str, list[tuple[float, float]]] = {}
    for row in summary.counted():
        if _curve(summary, row) in curves and row["test_selective_accuracy"] is not None:
            point = row["test_coverage"], row["test_selective_accuracy"]
            answered.setdefault(row["threshold"], []).append(point)
    points = {rule: tuple(np.mean(found, axis=0)) for rule, found in answered.items()}
    if len(rows) == 1:
        return Line(LEVELS, mean, points)
    deviation = accuracies.std(axis=0, ddof=1)
    return Line(LEVELS, mean, points, (mean - deviation, np.minimum(mean + deviation, 1)))


def _accuracy(run: Path) -> Floats:
    """Selective accuracy at whole percents: at the largest coverage that does not exceed each."""
    with (run / CURVE).open(encoding="utf-8") as stream:
        points = list(csv.DictReader(stream))
    coverage = np.array([float(point["coverage"]) for point in points])
    risk = np.array([float(point["selective_risk"]) for point in points])
    index = np.searchsorted(-coverage, -LEVELS - 1e-12)
    # Below the smallest coverage that the curve reaches it is continued, as for its area.
    accuracy: Floats = 1 - risk[np.minimum(index, len(risk) - 1)]
    return accuracy
