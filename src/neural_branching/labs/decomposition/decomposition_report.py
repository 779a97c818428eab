"""The files and the screen of a study of decomposition."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from neural_branching.errors import printable
from neural_branching.files.csv_text import write_table
from neural_branching.files.writing import write_atomically
from neural_branching.labs.decomposition import measure_figures, part_figures, run_decomposition
from neural_branching.labs.decomposition.decomposition_spec import DecompositionSpec
from neural_branching.labs.study_run import begin_study, finish_study
from neural_branching.labs.verdicts import SEEN, chance, short
from neural_branching.report.cells import Cell, Entry, markdown_table, number
from neural_branching.report.provenance import provenance
from neural_branching.report.screen_table import Column, ScreenTable, console, print_table

FINDINGS, BRANCHES = "findings.md", "branches.csv"
_ROLES = ("branched", "separate", "split", "untrained", "shuffled")


def execute(
    spec: DecompositionSpec, folder: Path, overrides: Sequence[str], sweep: Path | None
) -> dict[str, Any]:
    """Do a study and write its run, the results last.

    Args:
        spec: what to do.
        folder: of the run, which exists and is empty.
        overrides: what the user typed.
        sweep: folder of the sweep that the run belongs to; None for none.

    Raises:
        InputError: as ``run_decomposition.run``.
    """
    done = run_decomposition.run(spec, overrides, begin_study(spec, folder, sweep))
    write_atomically(folder / FINDINGS, printable("\n".join(finding_lines(done.results["findings"])) + "\n"))
    _write_branches(folder / BRANCHES, done.results)
    return finish_study(spec, folder, done.results, [FINDINGS, BRANCHES], draw(done), done.histories)


def draw(done: run_decomposition.Decomposition) -> dict[str, Figure]:
    """Name → figure; pictures of images are those of the first seed."""
    seeds, module = list(done.results["seeds"].values()), done.modules["branched"]
    drawn = {
        "parts": part_figures.parts_figure(module, done.shown),
        "spectra": part_figures.spectra(module, done.shown),
        "swaps": part_figures.swaps(module, done.shown),
        "scales": part_figures.scales(module, done.shown),
        "features": measure_figures.features(seeds),
        "ablation": measure_figures.ablation(seeds),
        "use": measure_figures.use(seeds, done.shown.names),
    }
    if done.shown.components:
        drawn["components"] = measure_figures.components(seeds, list(done.shown.components))
    if "over_epochs" in seeds[0]["branched"]:
        drawn["over_epochs"] = measure_figures.over_epochs(seeds)
    return drawn


def finding_lines(findings: Sequence[Mapping[str, Any]]) -> list[str]:
    """The findings as lines of a Markdown table."""
    header = ["finding", "measure", *_ROLES, "p", "seeds", "verdict"]
    lines = [
        [
            one["finding"],
            one["measure"].replace("|", "\\|"),
            *(number(one[role]) for role in _ROLES),
            chance(one["p"]),
            str(one["n"]),
            one["verdict"],
        ]
        for one in findings
    ]
    return markdown_table(header, lines)


def _write_branches(file: Path, results: Mapping[str, Any]) -> None:
    """One line per branch of every network that has some."""
    features = ("chroma", "frequency", "share", "error_without")
    components = results["components"]
    rows = [
        [
            *(seed, role, branch, numbers["error"], *(numbers[name][branch] for name in features)),
            *(numbers["known"][name][branch] for name in components),
        ]
        for seed, roles in results["seeds"].items()
        for role, numbers in roles.items()
        if role != "split"  # whose parts are others in every division
        for branch in range(results["branches"])
    ]
    write_table(
        file, ["seed", "network", "branch", "error", *features, *(f"r {c}" for c in components)], rows
    )


def print_study(results: Mapping[str, Any], folder: Path) -> None:
    """Print what was found, every control beside it."""
    columns = [Column("finding", "name"), *map(Column, _ROLES), Column("p"), Column("verdict", "name")]
    rows: list[list[Entry]] = [
        [
            one["finding"],
            *(Cell(one[role]) for role in _ROLES),
            chance(one["p"]),
            short(one["verdict"]),
        ]
        for one in results["findings"]
    ]
    seeds = len(results["seeds"])
    title = f"{results['branches']} branches, {seeds} {'seeds' if seeds > 1 else 'seed'}, means"
    screen = console()
    print_table(screen, ScreenTable(f"{title}; {results['examples']} test images", columns, rows, FINDINGS))
    screen.print(f"How each was measured: {folder / FINDINGS}", highlight=False, soft_wrap=True)
    screen.print(f"{provenance(dict(results))}. Results in {folder}", highlight=False, soft_wrap=True)


def one_line(results: Mapping[str, Any]) -> str:
    """A finished study as a phrase."""
    seen = sum(one["verdict"] == SEEN for one in results["findings"])
    return f"{seen} of {len(results['findings'])} findings seen; {provenance(dict(results))}"
