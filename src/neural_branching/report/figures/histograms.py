"""How scores are distributed over right, wrong and foreign examples."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from neural_branching.report.figures.style import FOREIGN, RIGHT, WRONG, blank

BINS = 30


def histograms(
    right: NDArray[np.float64],
    wrong: NDArray[np.float64],
    foreign: NDArray[np.float64],
    threshold: float,
    label: str,
    title: str,
) -> Figure:
    """Share of each group's examples by score, one panel per group, and the threshold across them.

    Args:
        right: scores of right predictions.
        wrong: scores of wrong predictions.
        foreign: scores of examples of foreign classes; may be empty.
        threshold: accepted is what lies to its right; inf draws no line.
        label: name of the score.
        title: of the figure.
    """
    groups: Sequence[tuple[str, NDArray[np.float64], str]] = [
        ("right", right, RIGHT),
        ("wrong", wrong, WRONG),
        ("foreign classes", foreign, FOREIGN),
    ]
    groups = [group for group in groups if len(group[1])]
    everything = np.concatenate([scores for _, scores, _ in groups])
    # A few far-off scores would squeeze all others into one bin: the ends gather what lies beyond.
    low, high = np.quantile(everything, [0.005, 0.995])
    edges = np.linspace(low, high if high > low else low + 1, BINS + 1)
    figure = blank(6.8, 1.2 + 1.35 * len(groups))
    panels = figure.subplots(len(groups), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    for axes, (name, scores, color) in zip(panels, groups, strict=True):
        clipped = np.clip(scores, edges[0], edges[-1])
        axes.hist(clipped, edges, weights=np.full(len(scores), 1 / len(scores)), color=color, alpha=0.85)
        accepted = int((scores >= threshold).sum())
        axes.annotate(
            f"{name}: {accepted} of {len(scores)} examples accepted", (0.01, 0.97), xycoords="axes fraction",
            va="top", fontsize=9, bbox={"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 1.5},
        )  # fmt: skip
        if np.isfinite(threshold):
            axes.axvline(threshold, color="black", linestyle="--", linewidth=1.2)
        axes.grid(alpha=0.3)
    panels[len(panels) // 2].set_ylabel("share of the group")
    # Headroom for the text.
    panels[0].set_ylim(0, 1.3 * panels[0].get_ylim()[1])
    line = "dashed: threshold" if np.isfinite(threshold) else "everything is refused"
    panels[-1].set_xlabel(f"score: {label} ({line})")
    figure.suptitle(title, fontsize=11)
    return figure
