"""Accuracy of a tree by router."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from neural_branching.report.figures.style import MARKERS, PALETTE, blank, deviation, legend_of_bars


def routers(values: Mapping[str, Mapping[str, Sequence[float]]]) -> Figure:
    """Test accuracy of every router, one colour per setting.

    Args:
        values: setting → router → accuracies, one per seed; several show as mean ± standard deviation.
    """
    names = list(dict.fromkeys(name for one in values.values() for name in one))
    bars = legend_of_bars(seeds for one in values.values() for seeds in one.values())
    figure = blank(7.6, 0.8 + 0.34 * len(names) + 0.2 * len(values))
    axes = figure.add_subplot()
    for index, (setting, one) in enumerate(values.items()):
        # Side by side, so that the bars of different settings do not hide one another.
        shift = 0.12 * (index - (len(values) - 1) / 2)
        axes.errorbar(
            [float(np.mean(seeds)) for seeds in one.values()],
            [names.index(name) + shift for name in one],
            xerr=[deviation(seeds) for seeds in one.values()] if bars else None,
            color=PALETTE[index % len(PALETTE)],
            marker=MARKERS[index % len(MARKERS)],
            linestyle="",
            capsize=3,
            label=setting,
        )
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlabel(f"test accuracy{bars}")
    axes.grid(alpha=0.3, axis="x")
    if values:
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.25), frameon=False, fontsize=7)
    return figure
