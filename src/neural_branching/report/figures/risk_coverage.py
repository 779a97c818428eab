"""Selective accuracy against coverage."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from neural_branching.report.figures.style import PALETTE, STYLES, blank


@dataclass(frozen=True)
class Line:
    """One risk–coverage curve and, if any, the point at its threshold.

    Attributes:
        coverage: within [0, 1], falling.
        selective_accuracy: 1 − selective risk.
        point: (coverage, selective accuracy) at the threshold; None if nothing is accepted.
        band: lower and upper selective accuracy at the same coverages; None for no band.
    """

    coverage: ArrayLike
    selective_accuracy: ArrayLike
    point: tuple[float, float] | None = None
    band: tuple[ArrayLike, ArrayLike] | None = None


def risk_coverage(lines: Mapping[str, Line], title: str, band: str = "") -> Figure:
    """Selective accuracy against coverage, one line per name; dots mark the thresholds.

    Args:
        lines: name → curve.
        title: of the figure.
        band: what the shaded bands are.
    """
    figure = blank(7.6, 4.2)
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
        if line.point is not None:
            axes.plot(*line.point, "o", color=color, markersize=7, markeredgecolor="white")
        lowest = min(lowest, float(np.nanmin(bottom[coverage >= 0.1], initial=1.0)))
    axes.set_xlim(0, 1.01)
    axes.set_ylim(max(0.0, lowest - 0.05), 1.01)
    axes.set_xlabel("coverage: share of test images answered (dot: at the threshold)")
    axes.set_ylabel("selective accuracy")
    axes.set_title(title)
    axes.grid(alpha=0.3)
    if lines:
        axes.legend(
            loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=8, title=band,
            title_fontsize=8,
        )  # fmt: skip
    return figure
