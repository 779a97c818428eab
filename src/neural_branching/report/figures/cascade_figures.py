"""What a cascade gives for what it costs."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from neural_branching.report.figures.style import PALETTE, RIGHT, WRONG, blank

UNITS = {"macs": "mean MACs", "milliseconds": "mean time"}


def front(cascade: Mapping[str, Any], title: str) -> Figure:
    """What a cascade gives for its cost, along its dial, and what answers without one gives.

    A column is a cost: MACs, and time where it was measured; a row is what is had for it, accuracy or AURC.

    Args:
        cascade: the block "cascade" of results.json.
        title: of the figure.
    """
    refuses = cascade["promise"]["settings"]["refuse"]
    # Who answers everything has both alike.
    accuracy = "selective_accuracy" if refuses else "accuracy"
    units = [unit for unit in UNITS if unit in cascade["test"]]
    figure = blank(4.6 * len(units) + 2.6, 5.6)
    grid = figure.subplots(2, len(units), sharex="col", sharey="row", squeeze=False)
    for row, measure in zip(grid, (accuracy, "aurc"), strict=True):
        for axes, unit in zip(row, units, strict=True):
            _front(axes, cascade, unit, measure)
        name = "AURC" if measure == "aurc" else measure.replace("_", " ")
        row[0].set_ylabel(f"{name} on test")
    for axes, unit in zip(grid[-1], units, strict=True):
        axes.set_xlabel(f"{UNITS[unit]}, as a share of the last exit's")
    grid[0, -1].legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, fontsize=8)
    figure.suptitle(f"{title}; bars: 95 % interval", fontsize=9)
    return figure


def _front(axes: Any, cascade: Mapping[str, Any], unit: str, measure: str) -> None:
    """One measure against one cost."""
    for key, label, colour, style in (
        ("path", "cascade, along its dial", PALETTE[0], "-"),
        ("entropy", "by entropy, no certificate", PALETTE[3], "--"),
    ):
        tests = [point.get("test", point) for point in cascade[key]]
        points = sorted((one[unit]["share"], one[measure]) for one in tests if one[measure] is not None)
        axes.plot(*zip(*points, strict=True), style, color=colour, label=label, linewidth=1.2, zorder=2)
    everything = "aurc" if measure == "aurc" else "accuracy"
    alone = cascade["alone"]
    _points(axes, list(alone.values()), unit, everything, "s", PALETTE[1], "one exit by itself")
    for name, one in alone.items():
        place = one[unit]["share"], one[everything]
        axes.annotate(name, place, xytext=(0, -11), textcoords="offset points", fontsize=6, ha="center")
    restricted = cascade["parent_restricted"]
    if restricted and unit in restricted and everything in restricted:
        _points(axes, [restricted], unit, everything, "^", PALETTE[2], "parent restricted")
    if cascade["test"][measure] is not None:
        label = f"certified: {cascade['promise']['rule']}, {cascade['test']['answered']:.0%} answered"
        _points(axes, [cascade["test"]], unit, measure, "*", "black", label, size=110)
    axes.margins(0.08)
    axes.grid(alpha=0.3)


def _points(
    axes: Any,
    found: Sequence[Mapping[str, Any]],
    unit: str,
    measure: str,
    marker: str,
    colour: str,
    label: str,
    size: int = 30,
) -> None:
    """Models with their intervals, where the measure has any."""
    x = [one[unit]["share"] for one in found]
    y = [one[measure] for one in found]
    if measure in found[0]["intervals"]:
        ends = [one["intervals"][measure] for one in found]
        low = [max(0.0, middle - end[0]) for middle, end in zip(y, ends, strict=True)]
        high = [max(0.0, end[1] - middle) for middle, end in zip(y, ends, strict=True)]
        axes.errorbar(x, y, [low, high], fmt="none", ecolor=colour, alpha=0.4, linewidth=1, zorder=3)
    axes.scatter(x, y, s=size, marker=marker, color=colour, label=label, zorder=4)


def dial(cascade: Mapping[str, Any], title: str) -> Figure:
    """Accuracy and the share that differs along the dial, with the certified point; empty of a single exit.

    Args:
        cascade: the block "cascade" of results.json.
        title: of the figure.
    """
    figure = blank(8.4, 3.4)
    left, right = figure.subplots(1, 2)
    path = [point for point in cascade["path"] if point["value"] not in (None, float("inf"))]
    values = [point["value"] for point in path]
    value = cascade["dial"]["value"]
    for axes, key, label in ((left, "accuracy", "accuracy"), (right, "differs", "share that differs")):
        seen = [point["test"][key] for point in path]
        ends = [point["test"]["intervals"][key] for point in path]
        axes.plot(values, seen, color=PALETTE[0], linewidth=1.2, label="test")
        axes.fill_between(
            values, [end[0] for end in ends], [end[1] for end in ends], color=PALETTE[0], alpha=0.15
        )
        axes.set_xlabel("dial: the confidence at which an exit answers")
        axes.set_ylabel(label)
        axes.grid(alpha=0.3)
        if value not in (None, float("inf")):
            axes.axvline(value, color="black", linewidth=1, linestyle=":", label="certified")
    if cascade["promise"]["kind"] == "consistent":
        bounds = [point["bound"] for point in path]
        right.plot(values, bounds, color=PALETTE[1], linewidth=1, linestyle="--", label="bound, calibration")
        target = cascade["promise"]["settings"]["target"]
        right.axhline(target, color=WRONG, linewidth=1, label=f"promised: {target:g}")
        right.set_ylim(0, 1.05 * max([3 * target, *(point["test"]["differs"] for point in path)]))
    left.axhline(cascade["test"]["last_accuracy"], color="#555555", linewidth=1, label="last exit")
    for axes in (left, right):
        axes.legend(frameon=False, fontsize=7)
    figure.suptitle(f"{title}; bands: 95 % interval", fontsize=9)
    return figure


def exits(cascade: Mapping[str, Any], title: str) -> Figure:
    """A bar for each exit: how many leave there, right and wrong.

    Args:
        cascade: the block "cascade" of results.json.
        title: of the figure.
    """
    places = {name: one for name, one in cascade["by_exit"].items() if name != "refused" or one["n"]}
    figure = blank(max(4.0, 0.8 * len(places) + 2.4), 3.2)
    axes = figure.add_subplot()
    refused = [name == "refused" for name in places]
    right = [one["share"] * (one["accuracy"] or 0.0) for one in places.values()]
    wrong = [one["share"] - mine for one, mine in zip(places.values(), right, strict=True)]
    colours = ["#999999" if grey else RIGHT for grey in refused]
    axes.bar(list(places), right, color=colours, label="right")
    axes.bar(list(places), wrong, bottom=right, color=WRONG, label="wrong")
    for index, one in enumerate(places.values()):
        accuracy = None if refused[index] else one["accuracy"]
        said = f"{one['n']}" + ("" if accuracy is None else f", {accuracy:.1%}")
        axes.text(index, one["share"], said, ha="center", va="bottom", fontsize=7)
    axes.set_ylabel("share of test examples")
    axes.set_ylim(0, max(one["share"] for one in places.values()) * 1.15)
    axes.tick_params(axis="x", labelsize=7)
    axes.set_title(title, fontsize=9)
    axes.legend(frameon=False, fontsize=8)
    return figure
