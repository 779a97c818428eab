"""Studies of a folder side by side: a sweep over branches, widths, norms, data."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from neural_branching.labs.study_table import StudyLine, over_seeds, shared_overrides, tabulate
from neural_branching.report.cells import Cell
from neural_branching.report.figures.style import PALETTE, blank
from neural_branching.store.run_folders import BY_BRANCHES

COMMAND = "decompose"
# Column → role and place of a number of every seed.
_COLUMNS = {
    "error": ("branched", "error"),
    "separate_error": ("separate", "error"),
    "unbranched_error": ("split", "error"),
    "correlation": ("branched", "correlation"),
    "separate_correlation": ("separate", "correlation"),
    "chroma_range": ("branched", "ranges", "chroma"),
    "separate_chroma_range": ("separate", "ranges", "chroma"),
    "frequency_range": ("branched", "ranges", "frequency"),
    "share_range": ("branched", "ranges", "share"),
}
_FIGURE = {
    "mean squared error": ("error", "separate_error", "unbranched_error"),
    "r between branches": ("correlation", "separate_correlation"),
    "range of chroma": ("chroma_range", "separate_chroma_range"),
}
# How the columns of a panel are drawn.
_NETWORKS: Mapping[str, Any] = {
    "trained together": "-",
    "trained alone, averaged": "--",
    "one branch of as many parameters": ":",
}


def summarize(folder: Path) -> tuple[dict[str, Figure], bool]:
    """Write studies.csv, print a line per study, and draw what more branches do where their number differs.

    Args:
        folder: a sweep, a run, or any folder of them.

    Returns:
        Name → figure, and whether every study has finished.

    Raises:
        InputError: if no study below the folder has results.
        OSError: if the table cannot be written.
    """
    columns = {name: name.replace("_", " ") for name in ("branches", "parameters", *_COLUMNS)}
    lines, finished = tabulate(folder, COMMAND, columns, _cells)
    several = len({_branches(one) for one in lines}) > 1
    return {BY_BRANCHES: by_branches(lines)} if several else {}, finished


def by_branches(studies: Sequence[StudyLine]) -> Figure:
    """Error, likeness and range of chroma by number of branches; bars: standard deviation over seeds.

    Studies that differ in something else are lines of other colours.
    """
    shared, groups = shared_overrides(studies), dict[str, list[StudyLine]]()
    for one in sorted(studies, key=_branches):
        rest = [item for item in one.overrides if item not in shared and ".branches=" not in item]
        groups.setdefault(" ".join(rest), []).append(one)
    figure = blank(9.6, 3.5)
    for axes, (title, columns) in zip(figure.subplots(1, 3), _FIGURE.items(), strict=True):
        for colour, mine in zip(_colours(len(groups)), groups.values(), strict=True):
            for column, line in zip(columns, _NETWORKS.values(), strict=False):
                cells = [one.cells[column] for one in mine]
                axes.errorbar(
                    *([_branches(one) for one in mine], [cell.mean for cell in cells]),
                    [cell.deviation or 0 for cell in cells],
                    marker="o",
                    markersize=4,
                    linestyle=line,
                    color=colour,
                    capsize=2,
                )
        axes.set_title(title, fontsize=9)
        axes.set_xlabel("branches")
        axes.set_xticks(sorted({_branches(one) for one in studies}))
        axes.set_ylim(bottom=0)
    keys = [Line2D([], [], color="#000000", linestyle=line, label=name) for name, line in _NETWORKS.items()]
    if len(groups) > 1:
        keys += [
            Line2D([], [], color=colour, label=name or "as it is")
            for colour, name in zip(_colours(len(groups)), groups, strict=True)
        ]
    figure.legend(handles=keys, loc="outside lower center", ncols=3, fontsize=7, frameon=False)
    return figure


def _colours(count: int) -> list[str]:
    return [PALETTE[1 + place % (len(PALETTE) - 1)] for place in range(count)]


def _branches(study: StudyLine) -> int:
    return int(study.results["branches"])


def _cells(results: Mapping[str, Any]) -> dict[str, Cell]:
    """A study as one line of numbers."""
    seeds = list(results["seeds"].values())
    return {
        "branches": Cell(int(results["branches"])),
        "parameters": Cell(int(results["networks"]["branched"]["parameters"])),
        **{column: over_seeds(seeds, *path) for column, path in _COLUMNS.items()},
    }
