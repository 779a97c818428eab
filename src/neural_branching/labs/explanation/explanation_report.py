"""The files and the screen of a study of explanations, and such studies side by side."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from neural_branching.files.csv_text import write_table
from neural_branching.files.writing import write_atomically
from neural_branching.labs.explanation import run_explanation
from neural_branching.labs.explanation.explanation_figures import draw
from neural_branching.labs.explanation.explanation_spec import ExplanationSpec
from neural_branching.labs.explanation.faithfulness import DISTINCT, JUDGES, MAPS
from neural_branching.labs.study_run import begin_study, finish_study
from neural_branching.labs.study_table import over_seeds, tabulate
from neural_branching.labs.verdicts import NOT_SEEN, SEEN, chance, short
from neural_branching.report.cells import Cell, Entry, markdown_table, number
from neural_branching.report.provenance import provenance
from neural_branching.report.screen_table import Column, ScreenTable, console, print_table

FAITHFULNESS, CURVES = "faithfulness.md", "curves.csv"
_NUMBERS = ("area", "control_area", "difference")
# Column of a sweep's table → place of a number of every seed.
_COLUMNS = {
    "accuracy": ("accuracy", JUDGES[0], "images"),
    "reconstruction": ("accuracy", JUDGES[0], "reconstructions"),
    "alike": ("accuracy", JUDGES[0], "alike"),
    "error": ("error",),
    "moved": ("moved",),
    "share": ("share",),
}


def execute(
    spec: ExplanationSpec, folder: Path, overrides: Sequence[str], sweep: Path | None
) -> dict[str, Any]:
    """Do a study and write its run, the results last.

    Args:
        spec: what to do.
        folder: of the run, which exists and is empty.
        overrides: what the user typed.
        sweep: folder of the sweep that the run belongs to; None for none.

    Raises:
        InputError: as ``run_explanation.run``.
    """
    done = run_explanation.run(spec, overrides, begin_study(spec, folder, sweep))
    lines = [*comparison_lines(done.results["comparisons"]), "", gate_line(done.results["gate"])]
    write_atomically(folder / FAITHFULNESS, "\n".join(lines) + "\n")
    _write_curves(folder / CURVES, done.results)
    return finish_study(spec, folder, done.results, [FAITHFULNESS, CURVES], draw(done), done.histories)


def gate_line(gate: Mapping[str, Any]) -> str:
    """What the reconstruction costs, and whether that is little enough."""
    verdict = (
        "passed"
        if gate["passed"]
        else "failed, so that maps explain another image than the one that was seen"
    )
    return (
        f"Gate: accuracy {gate['images']:.3f} on images and {gate['reconstructions']:.3f} on their "
        f"reconstructions, at most {gate['allowed']:.2f} less: {verdict}."
    )


def comparison_lines(comparisons: Sequence[Mapping[str, Any]]) -> list[str]:
    """The first branch against every control as lines of a Markdown table."""
    header = [
        "answers of",
        "control",
        DISTINCT,
        "control's",
        "difference",
        "95 % over images",
        "p",
        "verdict",
    ]
    lines = [
        [
            one["judge"],
            one["control"],
            *(number(one[name]) for name in _NUMBERS),
            f"[{one['interval'][0]:.3f}, {one['interval'][1]:.3f}]",
            chance(one["p"]),
            one["verdict"],
        ]
        for one in comparisons
    ]
    return markdown_table(header, lines)


def _write_curves(file: Path, results: Mapping[str, Any]) -> None:
    """One line per seed, classifier, map and energy: accuracy without the map."""
    rows = [
        [seed, judge, name, energy, accuracy]
        for seed, one in results["seeds"].items()
        for judge in JUDGES
        for name in MAPS
        for energy, accuracy in zip((0.0, *results["energies"]), one["curves"][judge][name], strict=True)
    ]
    write_table(file, ["seed", "answers of", "map", "energy", "accuracy"], rows)


def print_study(results: Mapping[str, Any], folder: Path) -> None:
    """Print the gate, and the first branch beside every control."""
    columns = [Column("control", "name"), Column("answers of", "name"), *map(Column, (DISTINCT, "control's"))]
    columns += [Column("difference"), Column("p"), Column("more faithful", "name")]
    rows: list[list[Entry]] = [
        [
            one["control"],
            one["judge"],
            *(Cell(one[name]) for name in _NUMBERS[:2]),
            Cell(one["difference"], interval=one["interval"]),
            chance(one["p"]),
            short(one["verdict"]),
        ]
        for one in results["comparisons"]
    ]
    count = len(results["seeds"])
    title = f"Accuracy without a map, mean over its sizes / whole; {count} {'seeds' if count > 1 else 'seed'}"
    screen = console()
    print_table(
        screen, ScreenTable(f"{title}, {results['examples']} test images", columns, rows, FAITHFULNESS)
    )
    screen.print(gate_line(results["gate"]), highlight=False, soft_wrap=True)
    screen.print(f"{provenance(dict(results))}. Results in {folder}", highlight=False, soft_wrap=True)


def one_line(results: Mapping[str, Any]) -> str:
    """A finished study as a phrase."""
    verdicts = [one["verdict"] for one in results["comparisons"]]
    gate = "passed" if results["gate"]["passed"] else "failed"
    return (
        f"gate {gate}; more faithful than {verdicts.count(SEEN)} and less than {verdicts.count(NOT_SEEN)} of "
        f"{len(verdicts)} controls; {provenance(dict(results))}"
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
    names = [*_COLUMNS, *(f"area {name}" for name in MAPS)]
    return {}, tabulate(folder, "explain", dict(zip(names, names, strict=True)), _cells)[1]


def _cells(results: Mapping[str, Any]) -> dict[str, Cell]:
    """A study as one line of numbers; areas are of the classifier that is explained."""
    seeds = list(results["seeds"].values())
    mine = [one for one in results["comparisons"] if one["judge"] == JUDGES[0]]
    found = {name: over_seeds(seeds, *path) for name, path in _COLUMNS.items()}
    found[f"area {DISTINCT}"] = Cell(mine[0]["area"])
    return found | {f"area {one['control']}": Cell(one["control_area"]) for one in mine}
