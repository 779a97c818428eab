"""Accuracy of a tree by router."""

from collections.abc import Mapping
from textwrap import fill

from matplotlib.figure import Figure

from neural_branching.report.cells import Cell
from neural_branching.report.figures.style import (
    MARKERS,
    PALETTE,
    REST,
    blank,
    error_bars,
    explained_bars,
    others_label,
    told_apart,
)


def routers(values: Mapping[str, Mapping[str, Cell]], title: str) -> Figure:
    """Test accuracy of every router, one colour per setting.

    Args:
        values: setting → router → accuracy. Of more settings than colours those with the best router have
            one, the others are grey.
        title: what all settings share.
    """
    names = list(dict.fromkeys(name for one in values.values() for name in one))
    cells = [cell for one in values.values() for cell in one.values()]
    loss = {label: -max(cell.mean or 0.0 for cell in one.values()) for label, one in values.items()}
    told = told_apart(list(values), loss)
    others = [label for label in values if label not in told]
    figure = blank(7.6, 1.4 + max(0.34, 0.1 * len(told)) * len(names) + 0.18 * len(told))
    axes = figure.add_subplot()
    # Side by side, so that the bars of different settings do not hide one another, within their row.
    step = min(0.12, 0.8 / max(1, len(told)))
    for label, one in ((label, values[label]) for label in (*told, *others)):
        index = told.index(label) if label in told else 0
        shift = step * (index - (len(told) - 1) / 2) if label in told else 0.0
        axes.errorbar(
            [cell.mean or 0.0 for cell in one.values()],
            [names.index(name) + shift for name in one],
            xerr=error_bars(list(one.values()), of_seeds=True) if label in told else None,
            color=PALETTE[index] if label in told else REST,
            marker=MARKERS[index] if label in told else "|",
            linestyle="",
            capsize=3,
            label=label if label in told else others_label(others, "") if label == others[0] else None,
            zorder=3 if label in told else 2,
        )
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    bars = explained_bars(cells)
    axes.set_xlabel("test accuracy" + (f" ({bars})" if bars else ""))
    axes.set_title(fill(title, 80), fontsize=10)
    axes.grid(alpha=0.3, axis="x")
    if len(values) > 1:
        figure.legend(loc="outside lower center", frameon=False, fontsize=7)
    return figure
