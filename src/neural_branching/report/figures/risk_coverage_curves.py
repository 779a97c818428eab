"""Selective accuracy against coverage."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from neural_branching.report.figures.style import MARKERS, PALETTE, STYLES, blank


@dataclass(frozen=True)
class Line:
    """One risk–coverage curve and, if any, the point at its threshold.

    Attributes:
        coverage: within [0, 1], falling.
        selective_accuracy: 1 − selective risk.
        points: threshold rule → (coverage, selective accuracy) at its threshold; none where it accepts
            nothing.
        band: lower and upper selective accuracy at the same coverages; None for no band.
    """

    coverage: ArrayLike
    selective_accuracy: ArrayLike
    points: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    band: tuple[ArrayLike, ArrayLike] | None = None


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
    rules = list(dict.fromkeys(rule for line in lines.values() for rule in line.points))
    # More rules than markers, as in a sweep of thresholds, are not told apart.
    markers = {
        rule: MARKERS[index % len(MARKERS)] if len(rules) <= len(MARKERS) else "."
        for index, rule in enumerate(rules)
    }
    explained = markers if 1 < len(rules) <= len(MARKERS) else {}
    figure = blank(7.6, max(4.2, 0.18 * (len(lines) + len(explained)) + 0.6))  # the legend's height
    axes = figure.add_subplot()
    lowest = 1.0
    for index, (name, line) in enumerate(lines.items()):
        color = PALETTE[index % len(PALETTE)]
        style = STYLES[index // len(PALETTE) % len(STYLES)]
        coverage, accuracy = np.asarray(line.coverage), np.asarray(line.selective_accuracy)
        axes.plot(coverage, accuracy, style, color=color, label=name, linewidth=1.6)
        bottom = accuracy
        if line.band is not None:
            bottom = np.asarray(line.band[0])
            axes.fill_between(
                coverage, bottom, np.asarray(line.band[1]), color=color, alpha=0.15, linewidth=0
            )
        for rule, point in line.points.items():
            # White edges set single marks off; those of many would hide the curve.
            single = markers[rule] != "."
            edge, size = ("white", 7) if single else (color, 5)
            axes.plot(*point, markers[rule], color=color, markersize=size, markeredgecolor=edge)
        lowest = min(lowest, float(np.nanmin(bottom[coverage >= 0.1], initial=1.0)))
    axes.set_xlim(0, 1.01)
    axes.set_ylim(max(0.0, lowest - 0.05), 1.01)
    marked = " (mark: at the threshold)" if rules else ""
    axes.set_xlabel(f"coverage: share of {examples} answered{marked}")
    for rule, marker in explained.items():
        axes.plot([], [], marker, color="#555555", label=rule)
    axes.set_ylabel("selective accuracy")
    axes.set_title(title)
    axes.grid(alpha=0.3)
    if lines:
        axes.legend(
            loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=8, title=band,
            title_fontsize=8,
        )  # fmt: skip
    return figure
