"""Accuracy of a tree by router."""

from collections.abc import Mapping, Sequence
from textwrap import fill

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
    labels = [fill(setting, 90) for setting in values]
    lines = sum(1 + label.count("\n") for label in labels)
    height = max(0.34, 0.1 * len(values)) * len(names)
    figure = blank(7.6, 0.9 + height + 0.18 * lines)
    axes = figure.add_subplot()
    # Side by side, so that the bars of different settings do not hide one another, within their row.
    step = min(0.12, 0.8 / max(1, len(values)))
    for index, (label, one) in enumerate(zip(labels, values.values(), strict=True)):
        shift = step * (index - (len(values) - 1) / 2)
        axes.errorbar(
            [float(np.mean(seeds)) for seeds in one.values()],
            [names.index(name) + shift for name in one],
            xerr=[deviation(seeds) for seeds in one.values()] if bars else None,
            color=PALETTE[index % len(PALETTE)],
            marker=MARKERS[(index + index // len(PALETTE)) % len(MARKERS)],
            linestyle="",
            capsize=3,
            label=label,
        )
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlabel(f"test accuracy{bars}")
    axes.grid(alpha=0.3, axis="x")
    if values:
        figure.legend(loc="outside lower center", frameon=False, fontsize=7)
    return figure
