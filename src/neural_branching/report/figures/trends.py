"""Metrics of several settings over what was swept: branch points, or values of a threshold."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from neural_branching.errors import printable
from neural_branching.report.cells import Cell
from neural_branching.report.figures.style import (
    MARKERS,
    PALETTE,
    REST,
    Group,
    blank,
    error_bars,
    explained_bars,
    legend_beside,
    others_label,
    told_apart,
)


@dataclass(frozen=True)
class Panel:
    """A metric.

    Attributes:
        label: its name.
        over: name of what is swept.
        lines: group → where it stands on the x axis → the metric.
        beside: group → what it is compared with, a dashed line across.
    """

    label: str
    over: str
    lines: Mapping[Group, Mapping[str | float, Cell]]
    beside: Mapping[Group, float] = field(default_factory=dict)


def trends(
    panels: Sequence[Panel], loss: Mapping[Group, float], order: Sequence[str] = (), beside: str = ""
) -> Figure:
    """A column per metric and a row per subset, with a line per setting.

    Args:
        panels: the metrics.
        loss: of every group: of more than there are colours the smallest have one, the rest is grey.
        order: names on the x axis from left to right; empty where it has numbers.
        beside: what the dashed lines are.
    """
    rows = list(dict.fromkeys(row for panel in panels for row, _ in panel.lines))
    cells = [cell for panel in panels for line in panel.lines.values() for cell in line.values()]
    height = max(2.8, 0.17 * (min(len(loss), len(PALETTE)) + 2))
    wide = max(3.0, 0.7 * len(order) + 0.9)
    names = 0.8 + 0.065 * max((len(name) for _, name in loss), default=0)
    figure = blank(wide * len(panels) + names, height * max(1, len(rows)) + 0.5)
    grid = figure.subplots(max(1, len(rows)), len(panels), sharex="col", squeeze=False)
    for axes, row in zip(grid, rows, strict=False):
        told = told_apart([group for group in loss if group[0] == row], loss)
        for one, panel in zip(axes, panels, strict=True):
            _draw(one, panel, row, told, order, of_seeds=any(cell.deviation is not None for cell in cells))
            one.set_ylabel(panel.label)
            one.grid(alpha=0.3, axis="y")
        axes[0].set_title(row, fontsize=10, loc="left")
        legend_beside(axes)
    for one, panel in zip(grid[-1], panels, strict=True):
        one.set_xlabel(panel.over)
        if order:
            one.set_xticks(range(len(order)), [*map(printable, order)], rotation=30 if len(order) > 4 else 0)
            one.set_xlim(-0.4, len(order) - 0.6)
    notes = [explained_bars(cells), f"dashed: {beside}" if any(panel.beside for panel in panels) else ""]
    figure.supxlabel("; ".join(filter(None, notes)), fontsize=8)
    return figure


def _draw(
    axes: Axes, panel: Panel, row: str, told: Sequence[Group], order: Sequence[str], *, of_seeds: bool
) -> None:
    """The lines of one row, the grey ones below."""
    mine = {group: line for group, line in panel.lines.items() if group[0] == row}
    others = [group for group in mine if group not in told]
    beside = {panel.beside[group] for group in told if group in panel.beside}
    # Side by side, so that the bars of different groups do not hide one another.
    step = min(0.08, 0.6 / max(1, len(told))) if order else 0.0
    for group, line in ((group, mine[group]) for group in (*told, *others) if group in mine):
        index = told.index(group) if group in told else 0
        shift = step * (index - (len(told) - 1) / 2) if group in told else 0.0
        colour = PALETTE[index] if group in told else REST
        there = [x for x in order if x in line] if order else sorted(line)
        places = [order.index(x) + shift if order else x for x in there]
        axes.errorbar(
            places,
            [line[x].mean or 0.0 for x in there],
            error_bars([line[x] for x in there], of_seeds=of_seeds) if group in told else None,
            color=colour,
            marker=MARKERS[index] if group in told else None,
            markersize=5,
            linewidth=1.4 if group in told else 0.8,
            elinewidth=1,
            capsize=2,
            label=group[1] if group in told else others_label(others) if group == others[0] else None,
            zorder=2 if group in told else 1,
        )
        if group in told and group in panel.beside:
            shared = colour if len(beside) > 1 else "#555555"
            axes.axhline(panel.beside[group], color=shared, linestyle="--", linewidth=1, zorder=1)
