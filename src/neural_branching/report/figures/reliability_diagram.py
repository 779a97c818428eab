"""Accuracy against confidence, before and after temperature scaling."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from neural_branching.report.figures.style import PALETTE, blank

if TYPE_CHECKING:
    from neural_branching.evaluation.reliability import Bins


def reliability(
    diagrams: Mapping[str, "Bins"], errors: Mapping[str, tuple[float, float]], title: str
) -> Figure:
    """One reliability diagram per name, side by side, with the examples per bin below.

    Across each bar lies the band of a perfectly calibrated classifier: the central 95 % of the accuracies
    that it would show there on as many examples.

    Args:
        diagrams: name ("before scaling", …) → bins.
        errors: the same names → expected calibration error, and that of a calibrated classifier.
        title: of the figure.
    """
    figure = blank(4.0 * len(diagrams), 4.8)
    rows = figure.subplots(2, len(diagrams), sharex=True, sharey="row", squeeze=False, height_ratios=(3, 1))
    for column, (name, bins) in enumerate(diagrams.items()):
        above, below = rows[0, column], rows[1, column]
        width = np.diff(bins.edges)
        there = bins.count > 0
        left = bins.edges[:-1][there]
        above.bar(
            left, bins.accuracy[there], width[there], align="edge", color=PALETTE[0], alpha=0.75,
            edgecolor="white", label="accuracy",
        )  # fmt: skip
        above.plot(bins.confidence[there], bins.confidence[there], "o", color="black", markersize=4,
                   label="mean confidence")  # fmt: skip
        above.bar(
            left, (bins.high - bins.low)[there], width[there], bins.low[there], align="edge", fill=False,
            edgecolor="black", linewidth=0.8, label="95 % of calibrated classifiers",
        )  # fmt: skip
        above.plot([0, 1], [0, 1], "--", color="black", linewidth=1)
        error, floor = errors[name]
        above.set_title(f"{name}: ECE {error:.3f}\n({floor:.3f} if calibrated)", fontsize=10)
        above.set_xlim(0, 1)
        above.set_ylim(0, 1.02)
        above.grid(alpha=0.3)
        below.bar(bins.edges[:-1], bins.count, width, align="edge", color="#999999", edgecolor="white")
        below.set_xlabel("confidence in the answer")
    rows[0, 0].set_ylabel("accuracy")
    rows[1, 0].set_ylabel("examples")
    handles, labels = rows[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    figure.suptitle(title, fontsize=11)
    return figure
