"""Studies of a folder side by side, one line of numbers each."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neural_branching.errors import InputError
from neural_branching.files.csv_text import write_table
from neural_branching.files.reading import read_json
from neural_branching.report.cells import Cell, Entry
from neural_branching.report.finished_runs import finished_runs
from neural_branching.report.results import SCHEMA_VERSION
from neural_branching.report.screen_table import Column, ScreenTable, console, print_table
from neural_branching.store.run_folders import RESULTS, STUDIES

Results = Mapping[str, Any]


@dataclass(frozen=True)
class StudyLine:
    """A finished study.

    Attributes:
        overrides: what the user typed.
        seeds: number of seeds.
        cells: column → number.
        results: what the study has written.
    """

    overrides: tuple[str, ...]
    seeds: int
    cells: Mapping[str, Cell]
    results: Results


def tabulate(
    folder: Path, command: str, columns: Mapping[str, str], cells: Callable[[Results], Mapping[str, Cell]]
) -> tuple[list[StudyLine], bool]:
    """Write studies.csv and print a line per study.

    Args:
        folder: a sweep, a run, or any folder of them.
        command: whose studies they are.
        columns: of the table → on the screen.
        cells: what a study has in each column, from its results; any error says that they are damaged.

    Returns:
        The finished studies, and whether every study has finished.

    Raises:
        InputError: if no study below the folder has results.
        OSError: if the table cannot be written.
    """
    lines, broken = finished_runs(folder, command, lambda run: _read(run, cells))
    write_table(
        folder / STUDIES,
        ["run", "overrides", "seeds", *columns],
        [
            [name, " ".join(one.overrides), one.seeds, *(one.cells[column].mean for column in columns)]
            for name, one in lines.items()
        ],
    )
    shared = shared_overrides(lines.values())
    rows: list[list[Entry]] = [
        [
            " ".join(item for item in one.overrides if item not in shared) or name,
            Cell(one.seeds),
            *(one.cells[column] for column in columns),
        ]
        for name, one in lines.items()
    ]
    title = f"{len(lines)} {'studies' if len(lines) > 1 else 'study'}, means over seeds"
    screen = console()
    shown = [Column("setting", "name"), Column("seeds"), *map(Column, columns.values())]
    print_table(screen, ScreenTable(title, shown, rows, STUDIES))
    for name, why in broken.items():
        screen.print(f"{name}: {why}", highlight=False, soft_wrap=True)
    screen.print(f"Table: {folder / STUDIES}", highlight=False, soft_wrap=True)
    return list(lines.values()), not broken


def shared_overrides(lines: Iterable[StudyLine]) -> set[str]:
    """What was typed for every one of some studies."""
    return set.intersection(*(set(one.overrides) for one in lines))


def over_seeds(seeds: Sequence[Mapping[str, Any]], *path: str) -> Cell:
    """Mean and deviation of a number of every seed; empty if a seed lacks it."""
    values = [at(one, *path) for one in seeds]
    if None in values:
        return Cell(None)
    return Cell.over([value for value in values if value is not None])


def at(one: Mapping[str, Any], *path: str) -> float | None:
    """A number by the names that lead to it; None if there is none, or it is nan."""
    value: Any = one
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return None if value is None or value != value else float(value)


def _read(run: Path, cells: Callable[[Results], Mapping[str, Cell]]) -> StudyLine:
    """A study as one line.

    Raises:
        InputError: if it failed, or its results cannot be read.
    """
    results = read_study(run)
    try:
        overrides = tuple(str(one) for one in results["overrides"])
        return StudyLine(overrides, len(results["seeds"]), cells(results), results)
    except _DAMAGED as error:
        raise _no_study(run, error) from error


def read_study(run: Path) -> dict[str, Any]:
    """Read the results of a finished study.

    Raises:
        InputError: if it failed, or its results cannot be read or are of another version.
    """
    try:
        results: dict[str, Any] = read_json(run / RESULTS)
        if results["status"] != "completed":
            raise InputError(str(results["error"]["message"]))
        if (version := results["schema_version"]) != SCHEMA_VERSION:
            raise InputError(
                f"{run / RESULTS} is of another version (schema_version {version}, and this program reads "
                f"{SCHEMA_VERSION}): repeat the run that made it."
            )
        return results
    except InputError:
        raise
    except _DAMAGED as error:
        raise _no_study(run, error) from error


_DAMAGED = (AttributeError, IndexError, KeyError, StopIteration, TypeError, ValueError)


def _no_study(run: Path, error: Exception) -> InputError:
    if isinstance(error, InputError):
        return error
    return InputError(
        f"{run / RESULTS} is not a study's ({type(error).__name__}): repeat the run that made it."
    )
