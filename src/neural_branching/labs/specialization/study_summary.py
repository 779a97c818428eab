"""Studies of a folder side by side: a sweep over branches, where they meet, widths, data."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from neural_branching.errors import InputError
from neural_branching.files.csv_text import write_table
from neural_branching.files.reading import read_json
from neural_branching.labs.specialization.design_figure import Design, compare_designs
from neural_branching.labs.specialization.permutation_tests import ALPHA
from neural_branching.labs.specialization.study_report import at, over_seeds
from neural_branching.report.cells import Cell, Entry
from neural_branching.report.figures.style import save
from neural_branching.report.results import SCHEMA_VERSION, command_of
from neural_branching.report.screen_table import Column, ScreenTable, console, print_table
from neural_branching.store.run_folders import RESULTS, STUDIES, missing_jobs, runs_below

COMMAND, DESIGNS = "specialize", "designs"
_COLUMNS = {  # of the table → on the screen; the last three are empty without a treatment
    "accuracy": "accuracy",
    "plain_accuracy": "plain",
    "excess": "excess",
    "excess_seeds": "seeds p≤.05",
    "cka": "CKA",
    "cka_random": "random",
    "eta2": "η²",
    "eta2_null": "permuted",
    "treated_accuracy": "treated: accuracy",
    "treated_cka": "treated: CKA",
    "treated_eta2": "treated: η²",
}


def summarize(folder: Path) -> bool:
    """Write studies.csv, print a line per study, and draw designs that a sweep compares.

    Args:
        folder: a sweep, a run, or any folder of them.

    Returns:
        Whether every study has finished.

    Raises:
        InputError: if no study below the folder has results.
        OSError: if the table cannot be written.
    """
    finished, designs = {}, []
    broken = {str(place): why for place, why in missing_jobs(folder, COMMAND).items()}
    for run in sorted(runs_below(folder)):
        if command_of(run) != COMMAND:
            continue
        name = str(run.relative_to(folder))
        try:
            finished[name], design = _record(run)
            designs += [design] if design else []
        except InputError as error:
            broken[name] = str(error)
    if not finished:
        why = next(iter(broken.values()), "there is no study of specialization")
        raise InputError(f"{folder} has no finished study: {why}")
    columns = ["run", "overrides", "seeds", *_COLUMNS]
    write_table(
        folder / STUDIES,
        columns,
        [
            [name, " ".join(one["overrides"]), *(one[column] for column in columns[2:])]
            for name, one in finished.items()
        ],
    )
    screen = console()
    columns_shown = [Column("setting", "name"), Column("seeds"), *map(Column, _COLUMNS.values())]
    shared = set.intersection(*(set(one["overrides"]) for one in finished.values()))
    rows: list[list[Entry]] = [
        [
            _setting(one["overrides"], shared) or name,
            Cell(one["seeds"]),
            *(Cell(one[column]) for column in _COLUMNS),
        ]
        for name, one in finished.items()
    ]
    title = f"{len(finished)} {'studies' if len(finished) > 1 else 'study'}, means over seeds"
    print_table(screen, ScreenTable(title, columns_shown, rows, STUDIES))
    if figure := compare_designs(designs):
        save({DESIGNS: figure}, folder, ("png", "svg"))
    for name, why in broken.items():
        screen.print(f"{name}: {why}", highlight=False, soft_wrap=True)
    screen.print(f"Table: {folder / STUDIES}", highlight=False, soft_wrap=True)
    return not broken


def _setting(overrides: Sequence[str], shared: set[str]) -> str:
    """What tells a study from the others."""
    return " ".join(one for one in overrides if one not in shared)


def _record(run: Path) -> tuple[dict[str, Any], Design | None]:
    """A study as one line of numbers, and its design if it has a plain network to compare.

    Raises:
        InputError: if it failed, or its results cannot be read.
    """
    results = read_json(run / RESULTS)
    try:
        if results["status"] != "completed":
            raise InputError(str(results["error"]["message"]))
        if results["schema_version"] != SCHEMA_VERSION:
            raise InputError(f"{run / RESULTS} is of another version: repeat the run that made it.")
        seeds, stage = list(results["seeds"].values()), results["stage"]
        first = next(iter(seeds[0]["branched"]["stages"]))

        def mean(*path: str) -> float | None:
            return over_seeds(seeds, *path).mean

        p = [at(one, "branched", "lesions", "colour", "p") for one in seeds]
        values = (
            mean("branched", "accuracy", "colour"),
            mean("plain", "accuracy", "colour"),
            mean("branched", "lesions", "colour", "excess"),
            None if None in p else sum(one is not None and one <= ALPHA for one in p),
            mean("branched", "stages", stage, "cka", "value"),
            mean("branched", "stages", stage, "cka", "null_mean"),
            mean("branched", "stages", first, "omnibus", "value"),
            mean("branched", "stages", first, "omnibus", "null_mean"),
            mean("treated", "accuracy", "colour"),
            mean("treated", "stages", stage, "cka", "value"),
            mean("treated", "stages", first, "omnibus", "value"),
        )
        overrides = [str(one) for one in results["overrides"]]
        design = Design.of(results)
    except (AttributeError, KeyError, TypeError, ValueError, StopIteration, IndexError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{run / RESULTS} is not a study's ({type(error).__name__}): repeat the run that made it."
        ) from error
    record = {"overrides": overrides, "seeds": len(seeds), **dict(zip(_COLUMNS, values, strict=True))}
    return record, design
