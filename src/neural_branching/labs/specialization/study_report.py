"""The files and the screen of a study."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from neural_branching.errors import printable
from neural_branching.files.csv_text import write_table
from neural_branching.files.writing import write_atomically
from neural_branching.labs.specialization import run_study
from neural_branching.labs.specialization.claims import SEEN
from neural_branching.labs.specialization.specialization_figures import draw
from neural_branching.labs.specialization.study_spec import StudySpec
from neural_branching.report.cells import markdown_table, number
from neural_branching.report.figures.style import save
from neural_branching.report.results import write_config, write_results, written
from neural_branching.report.run_report import provenance
from neural_branching.report.screen_table import console
from neural_branching.report.tensorboard import write_figures, write_histories
from neural_branching.store.run_folders import CONFIG, events_of, planned_data
from neural_branching.training.loggers import TensorBoard

CLAIMS, UNITS = "claims.md", "units.csv"
_CLAIM = ("claim", "in_article", "measure", "value", "null", "p", "n", "verdict", "reason")


def execute(spec: StudySpec, folder: Path, overrides: Sequence[str], sweep: Path | None) -> dict[str, Any]:
    """Do a study and write its run, the results last.

    Args:
        spec: what to do.
        folder: of the run, which exists and is empty.
        overrides: what the user typed.
        sweep: folder of the sweep that the run belongs to; None for none.

    Raises:
        InputError: as ``run_study.run``.
    """
    write_config(folder, spec.config)
    fingerprint = planned_data(sweep, spec.data.described) if sweep else None
    done = run_study.run(spec, overrides, fingerprint)
    write_atomically(folder / CLAIMS, printable("\n".join(claims_lines(done.results["claims"])) + "\n"))
    _write_units(folder / UNITS, done)
    drawn = draw(done)
    names = [CONFIG, CLAIMS, UNITS, *save(drawn, folder, ("png", "svg"))]
    logger = spec.compute.logger
    if isinstance(logger, TensorBoard):
        write_histories(folder, done.histories)
        write_figures(folder, drawn)
        names += events_of(folder)
    results = {**done.results, "written": written(folder, names, spec.outputs)}
    write_results(folder, results)
    if logger:
        logger.forget(one.rpartition("/")[2] for one in results["used"])
    return results


def claims_lines(claims: Sequence[Mapping[str, Any]]) -> list[str]:
    """The claims as lines of a Markdown table."""
    header = ["claim", "in the article", "measure", "value", "without the effect", "p", "seeds", "verdict"]
    lines = [
        [
            one["claim"],
            "yes" if one["in_article"] else "no",
            one["measure"],
            *(number(one[name]) for name in ("value", "null", "p")),
            str(one["n"]),
            one["verdict"] + (f": {one['reason']}" if one["reason"] else ""),
        ]
        for one in claims
    ]
    return markdown_table(header, lines)


def _write_units(file: Path, done: run_study.Study) -> None:
    """One line per unit of every network: its branch, or in a plain network its part by order."""
    features = list(
        dict.fromkeys(name for stages in done.units.values() for one in stages.values() for name in one)
    )
    rows = []
    for (seed, role), stages in done.units.items():
        for stage, values in stages.items():
            owner = done.owners[seed, role][stage]
            for unit in range(len(next(iter(values.values())))):
                cells = [float(values[name][unit]) if name in values else "" for name in features]
                rows.append([seed, role, stage, unit, owner.get(unit, ""), *cells])
    write_table(file, ["seed", "network", "stage", "unit", "branch", *features], rows)


def print_study(results: Mapping[str, Any], folder: Path) -> None:
    """Print the networks side by side, and the claims with their verdicts."""
    screen = console()
    seeds = results["seeds"].values()
    several = f"{len(seeds)} seeds" if len(seeds) > 1 else "one seed"
    table = Table(
        title=f"Networks: {several}, {results['examples']['test']} test images, stage {results['stage']}"
    )
    table.add_column("")
    for role in results["networks"]:
        table.add_column(role, justify="right")
    for name, cells in _networks(results).items():
        table.add_row(name, *cells)
    screen.print(table)
    table = Table(title="Claims")
    for name in ("claim", "value", "without it", "p", "verdict"):
        right = name in ("value", "without it", "p")
        table.add_column(name, justify="right" if right else "left", no_wrap=right, overflow="fold")
    for one in results["claims"]:
        table.add_row(one["claim"], *(number(one[name]) for name in ("value", "null", "p")), one["verdict"])
    screen.print(table)
    screen.print(f"How each was measured, and why not: {folder / CLAIMS}", highlight=False, soft_wrap=True)
    screen.print(f"{provenance(dict(results))}. Results in {folder}", highlight=False, soft_wrap=True)


def _networks(results: Mapping[str, Any]) -> dict[str, list[str]]:
    """Name of a measure → one cell per role."""
    stage, seeds = results["stage"], [*results["seeds"].values()]
    first = next(iter(seeds[0]["branched"]["stages"]))

    def over_seeds(role: str, *path: str) -> str:
        values = []
        for one in seeds:
            value = one[role]
            for name in path:
                value = value.get(name) if isinstance(value, Mapping) else None
            values.append(value)
        if None in values:
            return "–"
        return number(float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else None)

    rows = {"MACs": [f"{results['networks'][role]['macs']:,}" for role in results["networks"]]}
    for name, path in {
        "test accuracy": ("accuracy", "colour"),
        "… on grey images": ("accuracy", "grey"),
        "… on blurred images": ("accuracy", "blurred"),
        "a branch costs, beyond random units": ("lesions", "colour", "excess"),
        "CKA between branches": ("stages", stage, "cka", "value"),
        "… units divided at random": ("stages", stage, "cka", "null_mean"),
        f"mean η² at {first}": ("stages", first, "omnibus", "value"),
        "… units permuted": ("stages", first, "omnibus", "null_mean"),
        f"mean η² at {stage}": ("stages", stage, "omnibus", "value"),
        f"silhouette at {stage}": ("stages", stage, "silhouette", "value"),
        f"Treves–Rolls at {stage}": ("stages", stage, "treves_rolls"),
    }.items():
        rows[name] = [over_seeds(role, *path) for role in results["networks"]]
    return rows


def one_line(results: Mapping[str, Any]) -> str:
    """A finished study as a phrase."""
    seen = sum(one["verdict"] == SEEN for one in results["claims"])
    return f"{seen} of {len(results['claims'])} claims seen; {provenance(dict(results))}"
