"""The theory of deep linear branches as a table and a figure: by depth, and by learning rate."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from neural_branching.files.csv_text import write_table
from neural_branching.labs.decomposition.linear_branches import (
    Descent,
    descend,
    final_strengths,
    stability_limit,
)
from neural_branching.report.cells import Cell, Entry
from neural_branching.report.figures.style import PALETTE, blank, save
from neural_branching.report.screen_table import Column, ScreenTable, console, print_table

INITIAL = np.array([0.011, 0.010])
DEPTHS = (1, 2, 3, 4, 6)
RATES = (0.01, 0.1, 0.5, 0.9, 1.1, 1.2, 1.3, 1.5)  # parts of the stability limit
NAME = "linear_branches"

Swept = dict[tuple[int, float], Descent]


def report_linear(folder: Path) -> None:
    """Integrate two branches by depth and learning rate; print, and write a table and a figure.

    Args:
        folder: where to; made if it is missing.
    """
    swept = {
        (depth, part): descend(INITIAL, depth, part * stability_limit(INITIAL, depth))
        for depth in DEPTHS
        for part in RATES
    }
    folder.mkdir(parents=True, exist_ok=True)
    header = ["depth", "rate", "rate / limit", "share", "share by theory", "drift", "steps", "settled"]
    lines = [
        [depth, one.rate, part, _share(one), _theory(depth), one.drift, one.steps, one.settled]
        for (depth, part), one in swept.items()
    ]
    write_table(folder / f"{NAME}.csv", header, lines)
    save({NAME: figure(swept)}, folder, ("png", "svg"))
    columns = [Column("depth", "name"), Column("theory"), *(Column(f"{part:g}") for part in RATES)]
    rows: list[list[Entry]] = [
        [str(depth), Cell(_theory(depth)), *(Cell(_share(swept[depth, part])) for part in RATES)]
        for depth in DEPTHS
    ]
    screen = console()
    title = "Share of the branch that starts at .011 beside one at .010, by learning rate / stability limit"
    print_table(screen, ScreenTable(title, columns, rows, f"{NAME}.csv"))
    screen.print(f"Table and figure: {folder / NAME}.csv, .png", highlight=False, soft_wrap=True)


def figure(swept: Swept) -> Figure:
    """Strengths over the steps of the smallest rate; and shares by learning rate."""
    drawn = blank(8.4, 3.3)
    left, right = drawn.subplots(1, 2)
    for place, depth in enumerate(DEPTHS):
        colour, one = PALETTE[place], swept[depth, RATES[0]]
        steps = np.linspace(0, 1, len(one.path))
        left.plot(steps, one.path[:, 0], color=colour, label=f"depth {depth}")
        left.plot(steps, one.path[:, 1], color=colour, linestyle="--")
        shares = [_share(swept[depth, part]) for part in RATES]
        right.plot(RATES, [np.nan if one is None else one for one in shares], "o-", color=colour)
        right.axhline(_theory(depth), color=colour, linewidth=0.6, linestyle=":")
    left.set_xlabel("steps / all steps")
    left.set_ylabel("strength (dashed: the branch behind)")
    left.legend(fontsize=7, frameon=False)
    right.axvline(1, color="#999999", linewidth=0.8)
    right.set_xscale("log")
    right.xaxis.set_major_formatter("{x:g}")  # matplotlib's own writes formulas
    right.set_xlabel("learning rate / stability limit")
    right.set_ylabel("share of the branch ahead (dotted: theory)")
    return drawn


def _theory(depth: int) -> float:
    return float(final_strengths(INITIAL, depth)[0])


def _share(one: Descent) -> float | None:
    """Share of the first branch; None where descent has diverged or a branch has died."""
    total = one.strengths.sum()
    alive = bool(np.isfinite(one.strengths).all() and (one.strengths > 0).all())
    return float(one.strengths[0] / total) if alive and 1e-3 < total < 10 else None
