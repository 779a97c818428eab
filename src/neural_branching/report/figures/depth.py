"""What a branch point gives and costs, by its depth."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from neural_branching.report.figures.style import MARKERS, PALETTE, blank, deviation, legend_of_bars


def depth(
    panels: Mapping[str, Mapping[str, Mapping[str, Sequence[float]]]],
    baselines: Mapping[str, Mapping[str, Sequence[float]]],
    order: Sequence[str],
) -> Figure:
    """Panels above one another that share the branch points as their x axis.

    Args:
        panels: label of a metric → group → branch point → values, one per seed; mean ± std is drawn.
        baselines: label of a metric → group → the values of what the group is compared with, drawn
            as a dashed line across.
        order: branch points from the example to the logits.
    """
    figure = blank(0.9 * len(order) + 4.5, 2.2 * len(panels) + 0.6)
    for axes, (label, groups) in zip(
        np.ravel(figure.subplots(len(panels), 1, sharex=True)), panels.items(), strict=True
    ):
        for index, (group, values) in enumerate(groups.items()):
            colour = PALETTE[index % len(PALETTE)]
            there = [point for point in order if point in values]
            spread = [deviation(values[point]) for point in there]
            axes.errorbar(
                [order.index(point) for point in there],
                [np.mean(values[point]) for point in there],
                spread if any(spread) else None,
                color=colour,
                marker=MARKERS[index % len(MARKERS)],
                # Groups that coincide, as costs do, stay visible as rings around one another.
                markersize=5 + 3 * (len(groups) - 1 - index),
                markerfacecolor="none",
                capsize=3,
                label=group,
            )
            if beside := baselines.get(label, {}).get(group):
                axes.axhline(np.mean(beside), color=colour, linestyle="--", linewidth=1)
        axes.set_ylabel(label)
        axes.grid(alpha=0.3, axis="y")
    axes.set_xticks(range(len(order)), order, rotation=30 if len(order) > 6 else 0)
    drawn = any(any(groups.values()) for groups in baselines.values())
    seeds = (one for groups in panels.values() for values in groups.values() for one in values.values())
    axes.set_xlabel("branch point" + legend_of_bars(seeds, "dashed: parent restricted" if drawn else ""))
    figure.axes[0].legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=8)
    return figure
