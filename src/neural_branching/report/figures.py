"""Figures as matplotlib objects: no global state, no files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

# Okabe & Ito's palette, which stays distinct for colour-blind readers.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")
STYLES = ("-", "--", ":", "-.")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")


@dataclass(frozen=True)
class Line:
    """One risk–coverage curve and, if any, the point at its threshold.

    Attributes:
        coverage: within [0, 1], falling.
        selective_accuracy: 1 − selective risk.
        point: (coverage, selective accuracy) at the threshold; None if nothing is accepted.
    """

    coverage: ArrayLike
    selective_accuracy: ArrayLike
    point: tuple[float, float] | None = None


def risk_coverage(lines: Mapping[str, Line], title: str) -> Figure:
    """Selective accuracy against coverage, one line per name; dots mark the thresholds."""
    figure = _figure(7.0, 4.2)
    axes = figure.add_subplot()
    lowest = 1.0
    for index, (name, line) in enumerate(lines.items()):
        color = PALETTE[index % len(PALETTE)]
        style = STYLES[index // len(PALETTE) % len(STYLES)]
        coverage, accuracy = np.asarray(line.coverage), np.asarray(line.selective_accuracy)
        axes.plot(coverage, accuracy, style, color=color, label=name, linewidth=1.6)
        if line.point is not None:
            axes.plot(*line.point, "o", color=color, markersize=7, markeredgecolor="white")
        lowest = min(lowest, float(accuracy[coverage >= 0.1].min(initial=1.0)))
    axes.set_xlim(0, 1.01)
    axes.set_ylim(max(0.0, lowest - 0.05), 1.01)
    axes.set_xlabel("coverage: share of test images answered (dot: at the threshold)")
    axes.set_ylabel("selective accuracy")
    axes.set_title(title)
    axes.grid(alpha=0.3)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=8)
    return figure


def confusion(table: Mapping[str, Any], title: str) -> Figure:
    """Counts by true class and answer, the last column being the abstentions."""
    counts = np.asarray(table["counts"])
    rows, columns = table["rows"], table["columns"]
    figure = _figure(2.6 + 0.55 * len(columns), 1.8 + 0.45 * len(rows))
    axes = figure.add_subplot()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (row, column), count in np.ndenumerate(counts):
        dark = shares[row, column] > 0.55
        axes.text(
            column, row, str(count), ha="center", va="center", fontsize=9, color="white" if dark else "black"
        )
    axes.axvline(len(columns) - 1.5, color="black", linewidth=1)
    axes.set_xticks(range(len(columns)), columns, rotation=40, ha="right")
    axes.set_yticks(range(len(rows)), rows)
    axes.set_xlabel("answer")
    axes.set_ylabel("true class")
    axes.set_title(title, fontsize=10)
    return figure


def comparison(
    values: Mapping[str, Mapping[str, Sequence[float]]],
    baselines: Mapping[str, Mapping[str, Sequence[float]]],
    order: Sequence[str],
    label: str,
) -> Figure:
    """A metric by branch point: a solid line per group, dashed in the same colour its baseline.

    Args:
        values: group → branch point → values, one per seed; several show as mean ± std.
        baselines: the same for what each group is compared with.
        order: branch points from left to right.
        label: name of the metric.
    """
    figure = _figure(6.4, 4.0)
    axes = figure.add_subplot()
    for index, group in enumerate(values):
        for style, kind, points in (
            ("-", "", values[group]),
            ("--", ", parent restricted", baselines[group]),
        ):
            there = [point for point in order if point in points]
            # Side by side, so that the error bars of different groups do not hide one another.
            x = [order.index(point) + 0.05 * (index - (len(values) - 1) / 2) for point in there]
            deviations = np.array([_deviation(points[point]) for point in there])
            axes.errorbar(
                x,
                [np.mean(points[point]) for point in there],
                deviations if deviations.any() else None,
                color=PALETTE[index % len(PALETTE)],
                marker=MARKERS[index % len(MARKERS)],
                markerfacecolor="white" if kind else None,
                linestyle=style,
                capsize=3,
                label=f"{group}{kind}",
            )
    axes.set_xticks(range(len(order)), order)
    axes.set_xlim(-0.5, len(order) - 0.5)
    axes.set_xlabel("branch point")
    axes.set_ylabel(label)
    axes.grid(alpha=0.3, axis="y")
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=8)
    return figure


def _deviation(values: Sequence[float]) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


def _figure(width: float, height: float) -> Figure:
    return Figure(figsize=(width, height), dpi=130, layout="constrained")
