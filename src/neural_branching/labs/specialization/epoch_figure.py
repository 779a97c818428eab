"""How far branches differ in colour, epoch by epoch, with a treatment and without."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from neural_branching.report.figures.style import PALETTE, blank


def over_epochs(seeds: Sequence[Mapping[str, Any]]) -> Figure:
    """η² by epoch at each layer that was followed: a line per seed, their mean, and 95 % of permutations."""
    roles = [role for role in ("branched", "treated") if role in seeds[0]]
    stages = seeds[0]["branched"]["over_epochs"]
    figure = blank(3.2 * len(stages) + 0.6, 3.0)
    grid = figure.subplots(1, len(stages), sharey=True, squeeze=False)[0]
    for axes, (stage, followed) in zip(grid, stages.items(), strict=True):
        edges = np.mean([one["branched"]["over_epochs"][stage]["null_edge"] for one in seeds], axis=0)
        epochs = range(len(edges))
        axes.fill_between(epochs, 0, edges, color="#dddddd", label="95 % of permutations")
        for role, colour in zip(roles, PALETTE[1:], strict=False):
            values = np.array([one[role]["over_epochs"][stage]["value"] for one in seeds])
            axes.plot(epochs, values.T, color=colour, linewidth=0.6, alpha=0.5)
            axes.plot(epochs, values.mean(0), color=colour, linewidth=2, label=role)
        axes.set_title(f"{followed['feature'].replace('_', ' ')} at {stage}", fontsize=9)
        axes.set_xlabel("epoch")
    grid[0].set_ylabel("η² (lines: seeds, mean)")
    figure.legend(
        *grid[0].get_legend_handles_labels(), fontsize=7, frameon=False, loc="outside upper right", ncols=3
    )
    return figure
