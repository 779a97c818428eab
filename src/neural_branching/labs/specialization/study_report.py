"""The files and the screen of a study."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from neural_branching.errors import printable
from neural_branching.files.csv_text import write_table
from neural_branching.files.writing import write_atomically
from neural_branching.labs.specialization import run_study
from neural_branching.labs.specialization.power import power_statement
from neural_branching.labs.specialization.specialization_figures import draw
from neural_branching.labs.specialization.study_spec import StudySpec
from neural_branching.labs.study_run import begin_study, finish_study
from neural_branching.labs.study_table import over_seeds
from neural_branching.labs.verdicts import SEEN, chance, short
from neural_branching.report.cells import Cell, Entry, markdown_table, number
from neural_branching.report.provenance import provenance
from neural_branching.report.screen_table import Column, ScreenTable, console, print_table
from neural_branching.report.tensorboard import Vectors

CLAIMS, UNITS, EFFECTS = "claims.md", "units.csv", "effects.csv"
_SHOWN_EFFECTS = ("mean η²", "CKA between branches")  # of every stage; those of whole networks all are


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
    done = run_study.run(spec, overrides, begin_study(spec, folder, sweep))
    lines = [*claims_lines(done.results["claims"]), "", study_power(done.results)]
    write_atomically(folder / CLAIMS, printable("\n".join(lines) + "\n"))
    _write_units(folder / UNITS, done)
    effects = done.results["effects"]
    if effects:
        write_table(folder / EFFECTS, list(effects[0]), [list(one.values()) for one in effects])
    tables = [CLAIMS, UNITS, *([EFFECTS] if effects else [])]
    return finish_study(spec, folder, done.results, tables, draw(done), done.histories, _vectors(done))


def claims_lines(claims: Sequence[Mapping[str, Any]]) -> list[str]:
    """The claims as lines of a Markdown table."""
    header = ["claim", "in the article", "measure", "value", "without the effect"]
    header += ["untrained", "p", "Holm", "seeds", "verdict"]
    lines = [
        [
            one["claim"],
            "yes" if one["in_article"] else "no",
            one["measure"].replace("|", "\\|"),
            *(number(one[name]) for name in ("value", "null", "untrained")),
            *(chance(one[name]) for name in ("p", "holm")),
            str(one["n"]),
            one["verdict"] + (f": {one['reason']}" if one["reason"] else ""),
        ]
        for one in claims
    ]
    return markdown_table(header, lines)


def study_power(results: Mapping[str, Any]) -> str:
    """What the study could have found at its first divided stage, by the fewest live units of any seed."""
    seeds = [one["branched"]["stages"] for one in results["seeds"].values()]
    first = next(iter(seeds[0]))
    return power_statement(first, min(one[first]["units"] for one in seeds), len(seeds))


def _vectors(done: run_study.Study) -> dict[str, Vectors]:
    """Stage → responses of its live units, with what is known of each, of the first seed."""
    found = {}
    for network in done.networks.values():
        for stage, one in network.portraits.items():
            rows = [
                [str(unit), one.owners[unit], *(f"{values[unit]:.4g}" for values in one.features.values())]
                for unit in one.units.tolist()
            ]
            found[stage] = Vectors(one.responses.T, ("unit", "branch", *one.features), rows)
    return found


def _write_units(file: Path, done: run_study.Study) -> None:
    """One line per unit of every network: its branch, or in a plain network its part by order."""
    features = list(
        dict.fromkeys(
            name for network in done.networks.values() for one in network.units.values() for name in one
        )
    )
    rows = []
    for (seed, role), network in done.networks.items():
        for stage, values in network.units.items():
            owner = network.owners[stage]
            for unit in range(len(next(iter(values.values())))):
                cells = [float(values[name][unit]) if name in values else "" for name in features]
                rows.append([seed, role, stage, unit, owner.get(unit, ""), *cells])
    write_table(file, ["seed", "network", "stage", "unit", "branch", *features], rows)


def print_study(results: Mapping[str, Any], folder: Path) -> None:
    """Print the networks side by side, what a treatment changes, and the claims with their verdicts."""
    screen = console()
    print_table(screen, _networks(results))
    if results["effects"]:
        print_table(screen, _effects(results))
    columns = [
        Column("claim", "name"),
        Column("value"),
        Column("without it"),
        Column("p"),
        Column("verdict", "name"),
    ]
    rows = [
        [
            one["claim"],
            number(one["value"]),
            number(one["null"]),
            chance(one["p"]),
            short(one["verdict"]),
        ]
        for one in results["claims"]
    ]
    print_table(screen, ScreenTable("Claims", columns, rows))
    screen.print(study_power(results), highlight=False, soft_wrap=True)
    screen.print(f"How each was measured, and why not: {folder / CLAIMS}", highlight=False, soft_wrap=True)
    screen.print(f"{provenance(dict(results))}. Results in {folder}", highlight=False, soft_wrap=True)


def _effects(results: Mapping[str, Any]) -> ScreenTable:
    """A row per measure, with the treatment and without."""
    rows: list[list[Entry]] = [
        [
            f"{one['measure']} at {one['stage']}" if one["stage"] else one["measure"],
            Cell(one["treated"]),
            Cell(one["branched"]),
            chance(one["p"]),
        ]
        for one in results["effects"]
        if not one["stage"] or one["measure"] in _SHOWN_EFFECTS
    ]
    columns = [Column("", "name"), *map(Column, ("treated", "branched", "p"))]
    title = f"What the treatment {results['treatment']['name']} changes, means over seeds"
    return ScreenTable(title, columns, rows, EFFECTS)


def _networks(results: Mapping[str, Any]) -> ScreenTable:
    """A row per measure, a column per network: means and deviations over seeds."""
    stage, seeds, networks = results["stage"], [*results["seeds"].values()], results["networks"]
    first = next(iter(seeds[0]["branched"]["stages"]))
    rows: list[list[Entry]] = [["MACs", *(Cell(one["macs"]) for one in networks.values())]]
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
        rows.append([name, *(over_seeds(seeds, role, *path) for role in networks)])
    several = f"{len(seeds)} seeds" if len(seeds) > 1 else "one seed"
    title = f"Networks: {several}, {results['examples']['test']} test images, stage {stage}"
    return ScreenTable(title, [Column("", "name"), *map(Column, networks)], rows)


def one_line(results: Mapping[str, Any]) -> str:
    """A finished study as a phrase."""
    seen = sum(one["verdict"] == SEEN for one in results["claims"])
    return f"{seen} of {len(results['claims'])} claims seen; {provenance(dict(results))}"
