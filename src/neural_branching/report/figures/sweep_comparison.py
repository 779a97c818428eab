"""A metric by branch point."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from neural_branching.report.figures.style import MARKERS, PALETTE, blank, deviation, legend_of_bars


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
    figure = blank(6.4, 4.0)
    axes = figure.add_subplot()
    for index, group in enumerate(values):
        for style, kind, points in (
            ("-", "", values[group]),
            ("--", ", parent restricted", baselines[group]),
        ):
            there = [point for point in order if point in points]
            # Side by side, so that the error bars of different groups do not hide one another.
            place = 2 * index + (1 if kind else 0) - (len(values) - 0.5)
            x = [order.index(point) + 0.03 * place for point in there]
            deviations = np.array([deviation(points[point]) for point in there])
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
    everything = (*values.values(), *baselines.values())
    axes.set_xlabel("branch point" + legend_of_bars(seeds for one in everything for seeds in one.values()))
    axes.set_ylabel(label)
    axes.grid(alpha=0.3, axis="y")
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=8)
    return figure
