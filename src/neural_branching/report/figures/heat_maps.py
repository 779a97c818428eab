"""A metric over every two swept settings."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from neural_branching.errors import printable
from neural_branching.report.figures.style import blank
from neural_branching.selection.arrays import Floats


@dataclass(frozen=True)
class HeatMap:
    """A metric over two settings.

    Attributes:
        row: the subset.
        across: name of the setting on the x axis, and its values.
        up: the same for the y axis.
        values: (values up, values across), nan where nothing was run.
    """

    row: str
    across: tuple[str, Sequence[str]]
    up: tuple[str, Sequence[str]]
    values: Floats


def heat_maps(maps: Sequence[HeatMap], title: str) -> Figure:
    """A row per subset and a column per pair of settings; every field says its number.

    Args:
        maps: as many for every subset, in one order.
        title: what the numbers are; small ones are dark.
    """
    rows = list(dict.fromkeys(one.row for one in maps))
    columns = len(maps) // len(rows)
    first = maps[:columns]
    widths = [0.62 * len(one.across[1]) + 1.0 for one in first]
    height = 0.36 * max(len(one.up[1]) for one in first) + 1.0
    figure = blank(max(4.0, sum(widths)), height * len(rows) + 0.4)
    grid = figure.subplots(len(rows), columns, squeeze=False, width_ratios=widths)
    for axes, row in zip(grid, rows, strict=True):
        mine = [one for one in maps if one.row == row]
        found = np.concatenate([one.values.ravel() for one in mine])
        low, high = np.nanmin(found), np.nanmax(found)
        for one, place in zip(mine, axes, strict=True):
            place.imshow(one.values, cmap="Blues_r", vmin=low, vmax=high + 1e-9, aspect="auto")
            for (y, x), value in np.ndenumerate(one.values):
                if value == value:
                    dark = value < low + 0.55 * (high - low)
                    place.text(
                        x, y, f"{value:.3f}", ha="center", va="center", fontsize=7,
                        color="white" if dark else "black",
                    )  # fmt: skip
            across, up = ([*map(printable, values)] for _, values in (one.across, one.up))
            place.set_xticks(range(len(across)), across, fontsize=8, rotation=30)
            place.set_yticks(range(len(up)), up, fontsize=8)
            place.set_xlabel(one.across[0], fontsize=9)
            place.set_ylabel(one.up[0], fontsize=9)
        axes[0].set_title(row, fontsize=10, loc="left")
    figure.suptitle(title, fontsize=11)
    return figure
