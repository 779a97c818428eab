"""The files and the screen of a study of self-evaluation, and such studies side by side."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from neural_branching.files.csv_text import write_table
from neural_branching.files.writing import write_atomically
from neural_branching.labs.self_evaluation import run_self_evaluation
from neural_branching.labs.self_evaluation.confidences import BOTH, BRANCH
from neural_branching.labs.self_evaluation.run_self_evaluation import COMMAND, by_place
from neural_branching.labs.self_evaluation.self_evaluation_figures import draw
from neural_branching.labs.self_evaluation.self_evaluation_spec import SelfEvaluationSpec
from neural_branching.labs.study_run import begin_study, finish_study
from neural_branching.labs.study_table import over_seeds, tabulate
from neural_branching.report.cells import Cell, Entry, markdown_table
from neural_branching.report.provenance import provenance
from neural_branching.report.screen_table import Column, ScreenTable, console, print_table

SUMMARY, TABLE = "self_evaluation.md", "self_evaluation.csv"
# Heading → place of a number of every confidence.
_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "AUROC": ("failure_auroc",),
    "AURC": ("aurc",),
    "AUGRC": ("augrc",),
    "coverage": ("coverage",),
    "right of these": ("selective_accuracy",),
    "AUROC − own": ("difference", "failure_auroc", "value"),
}
_INTERVALS: Mapping[str, tuple[str, ...]] = {
    "AUROC": ("intervals", "failure_auroc"),
    "AURC": ("intervals", "aurc"),
    "AUGRC": ("intervals", "augrc"),
    "coverage": ("intervals", "coverage"),
    "right of these": ("intervals", "selective_accuracy"),
    "AUROC − own": ("difference", "failure_auroc", "interval"),
}


@dataclass(frozen=True)
class Line:
    """A confidence over the seeds of a study.

    Attributes:
        stage: where its branch grows; "" of what takes no branch and no readout.
        name: of the confidence.
        cells: heading → number.
    """

    stage: str
    name: str
    cells: Mapping[str, Cell]


def execute(
    spec: SelfEvaluationSpec,
    folder: Path,
    overrides: Sequence[str],
    sweep: Path | None,
    *,
    draw_figures: bool = True,
) -> dict[str, Any]:
    """Do a study and write its run, the results last.

    Args:
        spec: what to do.
        folder: of the run, which exists and is empty.
        overrides: what the user typed.
        sweep: folder of the sweep that the run belongs to; None for none.
        draw_figures: whether to draw its figures too.

    Raises:
        InputError: as ``run_self_evaluation.run``.
    """
    done = run_self_evaluation.run(spec, overrides, begin_study(spec, folder, sweep))
    rows = [[one.stage or "–", one.name, *one.cells.values()] for one in lines(done.results)]
    text = [*markdown_table(["stage", "confidence", *_COLUMNS], rows), "", *remarks(done.results)]
    write_atomically(folder / SUMMARY, "\n".join(text) + "\n")
    _write_rows(folder / TABLE, done.results)
    drawn = draw(done.results) if draw_figures else {}
    return finish_study(spec, folder, done.results, [SUMMARY, TABLE], drawn, done.histories)


def lines(results: Mapping[str, Any]) -> Iterator[Line]:
    """Every confidence, first those that take no branch."""
    seeds = [dict(by_place(one)) for one in results["seeds"].values()]
    for stage, confidences in seeds[0].items():
        for name in confidences:
            found = [one[stage][name] for one in seeds]
            yield Line(stage, name, {column: _cell(found, column) for column in _COLUMNS})


def _cell(found: Sequence[Mapping[str, Any]], column: str) -> Cell:
    """A number over splits, with the mean of their intervals."""
    cell = over_seeds(found, *_COLUMNS[column])
    ends = [_at(one, *_INTERVALS[column]) for one in found]
    if cell.mean is None or any(end is None or end[0] is None for end in ends):
        return cell
    return Cell(cell.mean, cell.deviation, [sum(end[side] for end in ends) / len(ends) for side in (0, 1)])


def remarks(results: Mapping[str, Any]) -> list[str]:
    """How many answers are right, what is promised and certified, and whether scores have shifted."""
    seeds = list(results["seeds"].values())
    shares = {stage: over_seeds(seeds, "stages", stage, "right", "test") for stage in results["stages"]}
    right = " · ".join(f"{stage} {share}" for stage, share in shares.items())
    if seeds[0]["without_branch"]:  # the same answers at every stage
        right = str(next(iter(shares.values())))
    chosen = [one["chosen"] for one in seeds]
    said = [
        f"Right means that {results['right']}: {right} of the test answers. [ ]: 95 % interval over test "
        f"{'groups' if seeds[0]['groups'] else 'examples'}, mean over splits; ±: their standard deviation.",
        f"coverage: of {results['threshold']}, {results['promise']}; {_certified(results)}.",
        f"Stage of the largest AUROC on validation, by split: {', '.join(chosen)}.",
    ]
    first = seeds[0]["judge"]
    said.append(
        f"predict goes by {first['confidence']} at {first['stage']}: of what takes a branch, that of the "
        "largest AUROC on validation of the first split."
    )
    shifts = results["shifts"]
    count = len(shifts["shifted"])
    said.append(
        f"Calibration and test: {count} of {shifts['tests']} tests see a shift at .01 (Holm)"
        + (", so that nothing is promised of these confidences." if count else ".")
    )
    return said


def _certified(results: Mapping[str, Any]) -> str:
    """In how many splits each kind of confidence has a certificate, and what the first without one lacks."""
    found: dict[str, list[bool]] = {}
    lacking = None
    for one in results["seeds"].values():
        for _, confidences in by_place(one):
            for name, confidence in confidences.items():
                found.setdefault(name, []).append(confidence["certificate"] is not None)
                lacking = lacking or confidence["shortage"]
    if not any(any(some) for some in found.values()) and lacking is None:
        return "nothing is certified"
    said = ", ".join(f"{name} {sum(some)} of {len(some)}" for name, some in found.items())
    return f"certified: {said}" + (f"; where not: {lacking.rstrip('.')}" if lacking else "")


def _write_rows(file: Path, results: Mapping[str, Any]) -> None:
    """One line per split, stage and confidence."""
    header = ["split seed", "stage", "confidence"]
    for column in _COLUMNS:
        header += [column, f"{column} low", f"{column} high"]
    rows = [
        [
            seed,
            stage,
            name,
            *(
                value
                for column, path in _COLUMNS.items()
                for value in (_at(found, *path), *(_at(found, *_INTERVALS[column]) or (None, None)))
            ),
            found["certificate"] is not None,
            found["exchangeability"]["p_value"],
        ]
        for seed, one in results["seeds"].items()
        for stage, confidences in by_place(one)
        for name, found in confidences.items()
    ]
    write_table(file, [*header, "certified", "p of a shift"], rows)


def print_study(results: Mapping[str, Any], folder: Path) -> None:
    """Print every confidence, and what is to be said of them."""
    columns = [Column("stage", "name"), Column("confidence", "name")]
    ranks = {"AUGRC": 2, "AURC": 1}
    columns += [Column(heading, rank=ranks.get(heading, 0)) for heading in _COLUMNS]
    rows: list[list[Entry]] = [[one.stage or "–", one.name, *one.cells.values()] for one in lines(results)]
    count = len(results["seeds"])
    title = f"Is {results['parent']} right? {count} {'splits' if count > 1 else 'split'} of {results['data']}"
    screen = console()
    print_table(screen, ScreenTable(title, columns, rows, SUMMARY))
    for remark in remarks(results):
        screen.print(remark, highlight=False, soft_wrap=True, markup=False)
    screen.print(f"{provenance(dict(results))}. Results in {folder}", highlight=False, soft_wrap=True)


def one_line(results: Mapping[str, Any]) -> str:
    """A finished study as a phrase."""
    cells = _cells(results)
    return (
        f"AUROC of the parent's own confidence {cells['own']}, of the branch {cells[BRANCH]}, of both "
        f"{cells[BOTH]}; {provenance(dict(results))}"
    )


def summarize(folder: Path) -> tuple[dict[str, Figure], bool]:
    """Write studies.csv and print a line per study; nothing is drawn.

    Args:
        folder: a sweep, a run, or any folder of them.

    Returns:
        No figure, and whether every study has finished.

    Raises:
        InputError: if no study below the folder has results.
        OSError: if the table cannot be written.
    """
    columns = {
        "right": "right",
        "own": "AUROC, own",
        BRANCH: "AUROC, branch",
        BOTH: "AUROC, both",
        "own coverage": "coverage, own",
        "branch coverage": "coverage, branch",
        "both coverage": "coverage, both",
    }
    return {}, tabulate(folder, COMMAND, columns, _cells)[1]


def _cells(results: Mapping[str, Any]) -> dict[str, Cell]:
    """A study as one line: at the stage that validation chooses, means over splits."""
    seeds = list(results["seeds"].values())
    chosen = [{**one["without_branch"], **one["stages"][one["chosen"]]["confidences"]} for one in seeds]
    kinds = {"own": seeds[0]["own"], BRANCH: BRANCH, BOTH: BOTH}
    return {
        "right": over_seeds([one["stages"][one["chosen"]] for one in seeds], "right", "test"),
        **{name: over_seeds(chosen, kind, "failure_auroc") for name, kind in kinds.items()},
        **{f"{name} coverage": over_seeds(chosen, kind, "coverage") for name, kind in kinds.items()},
    }


def _at(one: Mapping[str, Any], *path: str) -> Any:
    value: Any = one
    for name in path:
        value = value[name]
    return value
