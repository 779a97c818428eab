"""Studies of a folder side by side: a sweep over branches, widths, norms, data."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from neural_branching.errors import InputError
from neural_branching.files.csv_text import write_table
from neural_branching.files.reading import read_json
from neural_branching.report.cells import Cell, Entry
from neural_branching.report.figures.style import PALETTE, blank, save
from neural_branching.report.results import SCHEMA_VERSION, command_of
from neural_branching.report.screen_table import Column, ScreenTable, console, print_table
from neural_branching.report.tensorboard import write_figures
from neural_branching.store.run_folders import BY_BRANCHES, RESULTS, STUDIES, missing_jobs, runs_below

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


def summarize(folder: Path, *, events: bool) -> bool:
    """Write studies.csv, print a line per study, and draw what more branches do where their number differs.

    Args:
        folder: a sweep, a run, or any folder of them.
        events: also show the figure in TensorBoard.

    Returns:
        Whether every study has finished.

    Raises:
        InputError: if no study below the folder has results.
        OSError: if the table cannot be written.
    """
    finished, broken = {}, {str(place): why for place, why in missing_jobs(folder, COMMAND).items()}
    for run in sorted(runs_below(folder)):
        if command_of(run) != COMMAND:
            continue
        name = str(run.relative_to(folder))
        try:
            finished[name] = _record(run)
        except InputError as error:
            broken[name] = str(error)
    if not finished:
        why = next(iter(broken.values()), "there is no study of decomposition")
        raise InputError(f"{folder} has no finished study: {why}")
    header = ["run", "overrides", "seeds", "branches", "parameters", *_COLUMNS]
    lines = [
        [
            *(name, " ".join(one["overrides"]), one["seeds"], one["branches"], one["parameters"]),
            *(one[column].mean for column in _COLUMNS),
        ]
        for name, one in finished.items()
    ]
    write_table(folder / STUDIES, header, lines)
    if len({one["branches"] for one in finished.values()}) > 1:
        drawn = {BY_BRANCHES: by_branches(list(finished.values()))}
        save(drawn, folder, ("png", "svg"))
        if events:
            write_figures(folder, drawn)
    _print(finished, broken, folder)
    return not broken


def by_branches(studies: Sequence[Mapping[str, Any]]) -> Figure:
    """Error, likeness and range of chroma by number of branches; bars: standard deviation over seeds."""
    figure = blank(9.6, 3.2)
    ordered = sorted(studies, key=lambda one: one["branches"])
    x = [one["branches"] for one in ordered]
    labels = ("trained together", "trained alone, averaged", "one branch of as many parameters")
    for axes, (title, columns) in zip(figure.subplots(1, 3), _FIGURE.items(), strict=True):
        for column, colour, label in zip(columns, (PALETTE[1], PALETTE[0], PALETTE[2]), labels, strict=False):
            cells = [one[column] for one in ordered]
            axes.errorbar(
                *(x, [cell.mean for cell in cells], [cell.deviation or 0 for cell in cells]),
                marker="o",
                color=colour,
                label=label,
            )
        axes.set_title(title, fontsize=9)
        axes.set_xlabel("branches")
        axes.set_xticks(sorted(set(x)))
    figure.axes[0].legend(fontsize=7, frameon=False)
    return figure


def _print(finished: Mapping[str, Mapping[str, Any]], broken: Mapping[str, str], folder: Path) -> None:
    screen = console()
    shared = set.intersection(*(set(one["overrides"]) for one in finished.values()))
    columns = [Column("setting", "name"), *map(Column, ("seeds", "parameters"))]
    columns += [Column(name.replace("_", " ")) for name in _COLUMNS]
    rows: list[list[Entry]] = [
        [
            " ".join(item for item in one["overrides"] if item not in shared) or name,
            Cell(one["seeds"]),
            Cell(one["parameters"]),
            *(one[column] for column in _COLUMNS),
        ]
        for name, one in finished.items()
    ]
    title = f"{len(finished)} {'studies' if len(finished) > 1 else 'study'}, means over seeds"
    print_table(screen, ScreenTable(title, columns, rows, STUDIES))
    for name, why in broken.items():
        screen.print(f"{name}: {why}", highlight=False, soft_wrap=True)
    screen.print(f"Table: {folder / STUDIES}", highlight=False, soft_wrap=True)


def _record(run: Path) -> dict[str, Any]:
    """A study as one line of numbers.

    Raises:
        InputError: if it failed, or its results cannot be read.
    """
    results = read_json(run / RESULTS)
    try:
        if results["status"] != "completed":
            raise InputError(str(results["error"]["message"]))
        if results["schema_version"] != SCHEMA_VERSION:
            raise InputError(f"{run / RESULTS} is of another version: repeat the run that made it.")
        seeds = list(results["seeds"].values())
        return {
            "overrides": [str(one) for one in results["overrides"]],
            "seeds": len(seeds),
            "branches": int(results["branches"]),
            "parameters": int(results["networks"]["branched"]["parameters"]),
            **{column: _over_seeds(seeds, path) for column, path in _COLUMNS.items()},
        }
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{run / RESULTS} is not a study's ({type(error).__name__}): repeat the run that made it."
        ) from error


def _over_seeds(seeds: Sequence[Any], path: Sequence[str]) -> Cell:
    values = []
    for one in seeds:
        value = one
        for name in path:
            value = value[name]
        values.append(float(value))
    return Cell(float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else None)
