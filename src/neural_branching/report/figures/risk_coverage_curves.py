"""Selective accuracy against coverage."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from neural_branching.report.figures.style import MARKERS, PALETTE, REST, STYLES, blank, others_label


@dataclass(frozen=True)
class Line:
    """One risk–coverage curve and, if any, the point at its threshold.

    Attributes:
        coverage: within [0, 1], falling.
        selective_accuracy: 1 − selective risk.
        points: threshold rule → (coverage, selective accuracy) at its threshold; none where it accepts
            nothing.
        band: lower and upper selective accuracy at the same coverages; None for no band.
        told: whether it has a colour and a name; of too many lines some are grey.
    """

    coverage: ArrayLike
    selective_accuracy: ArrayLike
    points: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    band: tuple[ArrayLike, ArrayLike] | None = None
    told: bool = True


def risk_coverage(
    lines: Mapping[str, Line], title: str, band: str = "", examples: str = "test examples"
) -> Figure:
    """Selective accuracy against coverage, one line per name; marks stand at the thresholds.

    Args:
        lines: name → curve.
        title: of the figure.
        band: what the shaded bands are.
        examples: whose share coverage is.
    """
    figure = risk_coverages({"": lines}, band, examples)
    figure.axes[0].set_title(title)
    return figure


def risk_coverages(
    panels: Mapping[str, Mapping[str, Line]],
    band: str = "",
    examples: str = "test examples",
) -> Figure:
    """The same in a panel per subset, two in a row.

    Args:
        panels: title → name → curve.
        band: what the shaded bands are.
        examples: whose share coverage is.
    """
    every = [line for lines in panels.values() for line in lines.values()]
    rules = list(dict.fromkeys(rule for line in every for rule in line.points))
    # More rules than markers, as in a sweep of thresholds, are not told apart.
    markers = {
        rule: MARKERS[index] if len(rules) <= len(MARKERS) else "." for index, rule in enumerate(rules)
    }
    entries = max(sum(line.told for line in lines.values()) for lines in panels.values())
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    height = max(
        4.2 if rows == 1 else 3.2, 0.18 * (entries + len(rules) * (len(rules) <= len(MARKERS))) + 0.6
    )
    figure = blank(7.6 * columns, height * rows)  # at least the legend's height
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, (title, lines) in zip(grid, panels.items(), strict=False):
        _draw(axes, lines, markers)
        axes.set_title(title, fontsize=10)
        marked = " (mark: at the threshold)" if rules else ""
        axes.set_xlabel(f"coverage: share of {examples} answered{marked}")
        axes.set_ylabel("selective accuracy")
        if lines:
            axes.legend(
                loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=8, title=band,
                title_fontsize=8,
            )  # fmt: skip
    for axes in grid[len(panels) :]:
        axes.axis("off")
    return figure


def _draw(axes: Axes, lines: Mapping[str, Line], markers: Mapping[str, str]) -> None:
    """Curves with bands and marks; those that are not told apart are grey, below the others."""
    told = [name for name, line in lines.items() if line.told]
    others = [name for name in lines if name not in told]
    lowest = 1.0
    for name, line in ((name, lines[name]) for name in (*told, *others)):
        index = told.index(name) if line.told else 0
        colour = PALETTE[index % len(PALETTE)] if line.told else REST
        style = STYLES[index // len(PALETTE) % len(STYLES)]
        label = name if line.told else others_label(others) if name == others[0] else None
        coverage, accuracy = np.asarray(line.coverage), np.asarray(line.selective_accuracy)
        width, above = (1.6, 2) if line.told else (0.7, 1)
        axes.plot(coverage, accuracy, style, color=colour, label=label, linewidth=width, zorder=above)
        bottom = accuracy
        if line.told and line.band is not None:
            bottom = np.asarray(line.band[0])
            axes.fill_between(
                coverage, bottom, np.asarray(line.band[1]), color=colour, alpha=0.15, linewidth=0
            )
        for rule, point in line.points.items() if line.told else ():
            # White edges set single marks off; those of many would hide the curve.
            single = markers[rule] != "."
            edge, size = ("white", 7) if single else (colour, 5)
            axes.plot(*point, markers[rule], color=colour, markersize=size, markeredgecolor=edge, zorder=3)
        lowest = min(lowest, float(np.nanmin(bottom[coverage >= 0.1], initial=1.0)))
    axes.set_xlim(0, 1.01)
    axes.set_ylim(max(0.0, lowest - 0.05), 1.01)
    axes.grid(alpha=0.3)
    shown = {rule for name in told for rule in lines[name].points}
    if 1 < len(markers) <= len(MARKERS):
        for rule in (rule for rule in markers if rule in shown):
            axes.plot([], [], markers[rule], color="#555555", label=rule)
