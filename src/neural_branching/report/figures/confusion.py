"""Who was taken for whom."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from neural_branching.errors import printable
from neural_branching.report.figures.style import blank


def confusion(table: Mapping[str, Any], title: str) -> Figure:
    """Counts by true class and answer, the last column being the abstentions."""
    counts = np.asarray(table["counts"])
    rows, columns = (list(map(printable, table[side])) for side in ("rows", "columns"))
    figure = blank(2.6 + 0.55 * len(columns), 1.8 + 0.45 * len(rows))
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
