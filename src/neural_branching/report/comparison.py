"""Figures that compare the runs of a folder."""

import csv
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from neural_branching.config.objectives import DIRECTIONS
from neural_branching.report.cells import Cell, setting, short_name
from neural_branching.report.collect import SEEDS, Summary, cell
from neural_branching.report.figures.heat_maps import HeatMap, heat_maps
from neural_branching.report.figures.learning_curve import learning_curve
from neural_branching.report.figures.pareto import pareto
from neural_branching.report.figures.risk_coverage_curves import Line, risk_coverage, risk_coverages
from neural_branching.report.figures.style import PALETTE, Group, told_apart
from neural_branching.report.figures.trends import Panel, trends
from neural_branching.report.results import CURVE, Row
from neural_branching.report.search import Search
from neural_branching.selection.arrays import Floats

# Whole percents, at which the curves of several seeds can be averaged.
LEVELS = np.arange(100, 0, -1) / 100
PER_CLASS = "branch.examples_per_class"
MOST_VALUES = 12  # of a setting that a heat map shows
RESTRICTED = "parent restricted"
# A threshold with its value or target, and what else its rule says.
VALUED = re.compile(r"(?P<kind>\w+) (?P<value>[-+.\de]*\d)(?P<rest>.*)")


def draw(summary: Summary) -> dict[str, Any]:
    """Risk–coverage curves together; accuracy and AURC by branch point, beside the parent restricted.

    Where several branch points were run their depth is drawn with its costs, where two settings were swept
    heat maps of them, where values of a threshold what they do, where several numbers of training examples a
    learning curve.

    Returns:
        Name → figure; empty if no run has completed.
    """
    rows = _distinct(summary)
    if not rows:
        return {}
    order = _by_depth(rows)
    result = {"risk_coverage": _curves(summary, rows)}
    accuracy, aurc = (
        _by_branch_point(summary, rows, metric, label)
        for metric, label in (("accuracy", "test accuracy"), ("aurc", "test AURC (smaller is better)"))
    )
    loss = _losses(_grouped(summary, rows))
    for name, panels in {"accuracy": [accuracy], "aurc": [aurc]}.items():
        result[name] = trends(panels, loss, order, RESTRICTED)
    if len(order) > 1 and all(row["path_macs"] and row["parent_macs"] for row in rows):
        shares = [
            {**row, "test_share": row["path_macs"] / row["parent_macs"], "test_share_interval": None}
            for row in rows
        ]
        cost = _by_branch_point(summary, shares, "share", "MACs, of the parent's")
        result["depth"] = trends([accuracy, aurc, cost], loss, order, RESTRICTED)
    if maps := _heat_maps(summary, rows):
        result["heat_maps"] = heat_maps(maps, "test AURC (dark is good), averaged over all else")
    if panels := _by_threshold(summary):
        result["by_threshold"] = trends(panels, _losses(_grouped(summary, rows, points=True)))
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


def _by_depth(rows: Sequence[Row]) -> list[str]:
    """Branch points from the example to the logits, as far as their costs tell."""
    costs = {row["branch_point"]: row["prefix_macs"] or 0 for row in rows}
    return sorted(costs, key=costs.__getitem__)  # stable: equal costs stay as they came


def _learning_curve(summary: Summary, rows: Sequence[Row]) -> Figure:
    """Accuracy and training time of the branch and its baselines by training examples per class."""
    names = ("branch_point", *_settings(summary))
    differing = [name for name in _differing(rows, names) if name != PER_CLASS]
    panels: dict[str, dict[str, dict[str, dict[int, list[float]]]]] = {}
    for row in rows:
        if not str(row[PER_CLASS]).isdecimal():  # null: all there are
            continue
        group = " · ".join(filter(None, _name(row, differing)))
        models = row["baselines"] or {"branch": {"accuracy": row["test_accuracy"]}}
        for model, one in models.items():
            for label, metric in _OVER_EXAMPLES.items():
                if one and one.get(metric):
                    curves = panels.setdefault(label, {}).setdefault(group, {})
                    curve = curves.setdefault(model.replace("_", " "), {})
                    curve.setdefault(int(row[PER_CLASS]), []).append(one[metric])
    return learning_curve(
        {
            label: {
                group: {model: {n: cell(found) for n, found in curve.items()} for model, curve in of.items()}
                for group, of in curves.items()
            }
            for label, curves in panels.items()
        }
    )


_OVER_EXAMPLES = {"test accuracy": "accuracy", "seconds of training": "training_seconds"}


def _grouped(summary: Summary, rows: Sequence[Row], *, points: bool = False) -> dict[Group, list[Row]]:
    """The rows of each setting, one per seed.

    Args:
        summary: whose rows they are.
        rows: some of its rows.
        points: whether a branch point is part of a setting.

    Returns:
        Subset and name of the setting → rows. With no more settings than colours the subset is part of the
        name, and the first of both is empty.
    """
    every = _distinct(summary)
    names = _differing(every, _settings(summary))
    if points:
        names.insert(0, "branch_point")
    keys = {_name(row, names) for row in every}
    groups: dict[Group, list[Row]] = {}
    for row in rows:
        subset, name = _name(row, names)
        group = (
            ("", " · ".join(filter(None, (subset, name)))) if len(keys) <= len(PALETTE) else (subset, name)
        )
        groups.setdefault(group, []).append(row)
    return groups


def _name(row: Row, names: Sequence[str]) -> Group:
    """Subset, and what else tells a setting from others: values of named options with their name."""
    words = [
        f"{short_name(name, names)} {setting(row[name])}" if "." in name else str(row[name]) for name in names
    ]
    return row["subset"], " · ".join(words)


def _settings(summary: Summary) -> tuple[str, ...]:
    """What may tell branches apart, subset and branch point aside: a threshold changes none."""
    swept = (name for name in summary.swept if not name.startswith("threshold."))
    return ("data", "parent", "branch", "score", *swept)


def _differing(rows: Sequence[Row], names: Sequence[str]) -> list[str]:
    return [name for name in names if len({row[name] for row in rows}) > 1]


def _losses(groups: Mapping[Group, Sequence[Row]]) -> dict[Group, float]:
    """The mean AURC of every group; those that have none come last."""
    found = {group: cell([row["test_aurc"] for row in rows]).mean for group, rows in groups.items()}
    return {group: float("inf") if mean is None else mean for group, mean in found.items()}


def _cells(rows: Sequence[Row], column: str, metric: str) -> dict[Any, Cell]:
    """Value of a column → the metric over the seeds, where it is defined."""
    places: dict[Any, list[Row]] = {}
    for row in rows:
        if row[metric] is not None:
            places.setdefault(row[column], []).append(row)
    return {
        place: cell([row[metric] for row in mine], [row[f"{metric}_interval"] for row in mine])
        for place, mine in places.items()
    }


def _by_branch_point(summary: Summary, rows: Sequence[Row], metric: str, label: str) -> Panel:
    groups = _grouped(summary, rows)
    lines = {group: _cells(mine, "branch_point", f"test_{metric}") for group, mine in groups.items()}
    restricted = {
        group: cell([row.get(f"restricted_{metric}") for row in mine]).mean for group, mine in groups.items()
    }
    beside = {group: mean for group, mean in restricted.items() if mean is not None}
    return Panel(label, "branch point", lines, beside)


def _by_threshold(summary: Summary) -> list[Panel]:
    """Coverage and selective accuracy over the values of each kind of threshold that has several."""
    kinds: dict[str, list[Row]] = {}
    for row in summary.counted():
        if found := VALUED.fullmatch(row["threshold"]):
            kind = found["kind"] + found["rest"]
            kinds.setdefault(kind, []).append({**row, "number": float(found["value"])})
    return [
        Panel(
            label,
            f"threshold: {kind}",
            {
                group: _cells(mine, "number", metric)
                for group, mine in _grouped(summary, rows, points=True).items()
            },
        )
        for kind, rows in kinds.items()
        if len({row["number"] for row in rows}) > 1
        for label, metric in _OVER_THRESHOLDS.items()
    ]


_OVER_THRESHOLDS = {"coverage": "test_coverage", "selective accuracy": "test_selective_accuracy"}


def _heat_maps(summary: Summary, rows: Sequence[Row]) -> list[HeatMap]:
    """The mean AURC of each subset over every two settings that have a few values each."""
    names = [
        name
        for name in _differing(rows, ("branch_point", *_settings(summary)))
        if len({row[name] for row in rows}) <= MOST_VALUES
    ]
    values = {name: sorted({row[name] for row in rows}, key=_number_or_text) for name in names}
    if "branch_point" in values:
        values["branch_point"] = _by_depth(rows)
    maps = []
    for subset in dict.fromkeys(row["subset"] for row in rows):
        mine = [row for row in rows if row["subset"] == subset]
        for up, across in combinations(names, 2):
            areas = [
                [
                    cell([row["test_aurc"] for row in mine if (row[up], row[across]) == (y, x)]).mean
                    for x in values[across]
                ]
                for y in values[up]
            ]
            x_axis, y_axis = (
                (short_name(name, names), list(map(setting, values[name]))) for name in (across, up)
            )
            maps.append(HeatMap(subset, x_axis, y_axis, np.array(areas, np.float64)))
    return maps


def _number_or_text(value: str) -> tuple[int, float, str]:
    try:
        return 0, float(value), ""
    except ValueError:
        return 1, 0.0, value


def _distinct(summary: Summary) -> list[Row]:
    """One run for each branch and score: a threshold changes no curve."""
    return list({_curve(summary, row): row for row in summary.counted()}.values())


def _curve(summary: Summary, row: Row) -> tuple[Any, ...]:
    """What decides a curve."""
    return tuple(row[name] for name in ("subset", "branch_point", *_settings(summary), *SEEDS))


def _curves(summary: Summary, rows: Sequence[Row]) -> Figure:
    """One line per setting, the mean over its seeds."""
    groups = _grouped(summary, rows, points=True)
    loss = _losses(groups)
    band = "bands: standard deviation\nover seeds" if any(len(mine) > 1 for mine in groups.values()) else ""
    panels: dict[str, dict[str, Line]] = {}
    for (subset, name), mine in groups.items():
        lines = panels.setdefault(subset, {})
        # The numbers are there, only the drawing is lost.
        with suppress(OSError, LookupError, ValueError, TypeError, csv.Error):
            lines[name] = _line(summary, mine)
    for subset, lines in panels.items():
        told = told_apart([(subset, name) for name in lines], loss)
        lines |= {name: replace(line, told=(subset, name) in told) for name, line in lines.items()}
    if len(panels) == 1:
        [lines] = panels.values()
        return risk_coverage(lines, "Branches on the test examples", band)
    return risk_coverages(panels, band)


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
