"""What the promises of a cascade would keep with more or fewer calibration examples, on its real answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.progress import track

from neural_branching.errors import printable, whole
from neural_branching.files.csv_text import write_table
from neural_branching.files.writing import write_atomically
from neural_branching.report.cascade_summary import collect, without_promise
from neural_branching.report.cells import Entry, markdown_table
from neural_branching.report.exits_file import read_exits
from neural_branching.report.results import Row
from neural_branching.report.screen_table import Column, ScreenTable, console, print_table
from neural_branching.routing.exits import Exits
from neural_branching.routing.promises import Consistent, Promise, Risk

SIMULATION = "cascade_simulation"
NOTE = (
    "Share of examples that leave before the last exit, or are answered where the last one refuses too "
    "(share of draws in which the promise is broken)."
)


@dataclass(frozen=True)
class KeptPromise:
    """How a promise fares, averaged over draws and over the runs of a setting.

    Attributes:
        setting: name of the setting.
        promise: which one.
        n: calibration examples drawn; of groups one example each.
        certified: share of draws in which anything could be certified.
        early: mean share of the population that leaves before the last exit.
        answered: mean share of the population that is answered.
        broken: share of draws whose dial breaks the promise in the population.
        runs: number of runs.
    """

    setting: str
    promise: str
    n: int
    certified: float
    early: float
    answered: float
    broken: float
    runs: int


def simulate_cascades(
    folder: Path, target: float, delta: float, sizes: Sequence[int], draws: int
) -> list[KeptPromise]:
    """Redraw calibration examples from cascades' own held-out answers and fit both promises to them.

    A run's calibration and test examples together are taken for the population, so that the share which a
    promise bounds is known for every dial; n examples are drawn from it with replacement, and validation
    examples from the run's own. Nothing here chooses a dial for use.

    Args:
        folder: a run, or a folder of runs; those of one setting are averaged over their seeds.
        target: largest tolerated share, within (0, 1).
        delta: probability δ of failure, within (0, 1).
        sizes: numbers of calibration examples.
        draws: redraws for each of them.

    Raises:
        InputError: if no cascade in the folder has finished, or a number is out of range.
    """
    promises: tuple[Promise, ...] = (Consistent(target, delta), Risk(target, delta))
    whole(draws, "--draws", 1)
    for n in sizes:
        whole(n, "--examples", 1)
    rows, _ = collect(folder)
    settings: dict[str, dict[tuple[str, ...], Row]] = {}
    for name, row in zip(without_promise(rows), rows, strict=True):
        seeds = tuple(str(row[f"{one}_seed"]) for one in ("split", "parent", "branch"))
        settings.setdefault(name, {})[seeds] = row
    records = []
    jobs = [(name, [*runs.values()], n) for name, runs in settings.items() for n in sizes]
    for name, runs, n in track(jobs, description="Redrawing", console=console(), transient=True):
        means = np.mean([_redraw(folder / run["run"], promises, n, draws) for run in runs], axis=0)
        for promise, (certified, early, answered, broken) in zip(promises, means.tolist(), strict=True):
            records.append(KeptPromise(name, str(promise), n, certified, early, answered, broken, len(runs)))
    return records


def _redraw(run: Path, promises: Sequence[Promise], n: int, draws: int) -> np.ndarray:
    """Of each promise: shares of draws certified, of examples early and answered, and of draws broken."""
    held_out = read_exits(run, ("validation", "calibration", "test"))
    validation, *others = (one.independent for one in held_out.values())
    population = Exits(
        *(
            np.concatenate([getattr(one, part) for one in others], axis=-1)
            for part in ("confidence", "predictions", "targets")
        )
    )
    generator, last = np.random.default_rng(0), len(population.confidence) - 1
    found = np.zeros((draws, len(promises), 4))
    for draw in range(draws):
        calibration = population.of(generator.integers(len(population), size=n))
        settled = validation.of(generator.integers(len(validation), size=len(validation)))
        for place, promise in enumerate(promises):
            dial = promise.fit(settled, calibration)
            leaving = dial.leaving(population)
            broken = promise.share(leaving) > promise.target
            early = leaving.answered & (leaving.at < last)
            numbers = dial.choice.certificate is not None, early.mean(), leaving.answered.mean(), broken
            found[draw, place] = numbers
    mean: np.ndarray = found.mean(axis=0)
    return mean


def write_cascade_simulation(folder: Path, records: Sequence[KeptPromise]) -> None:
    """Write cascade_simulation.csv and .md, and print the table."""
    write_table(folder / f"{SIMULATION}.csv", vars(records[0]), (vars(one).values() for one in records))
    sizes = sorted({record.n for record in records})
    rows: list[list[Entry]] = []
    for setting, promise in dict.fromkeys((record.setting, record.promise) for record in records):
        mine = [one for one in records if (one.setting, one.promise) == (setting, promise)]
        kept = (one.early if one.promise.startswith(Consistent.kind) else one.answered for one in mine)
        cells = [f"{share:.3f} ({one.broken:.3f})" for share, one in zip(kept, mine, strict=True)]
        rows.append([setting, promise, *cells])
    header = ["setting", "promise", *(f"n = {n}" for n in sizes)]
    text = "\n".join([*markdown_table(header, [[*map(str, row)] for row in rows]), "", NOTE, ""])
    write_atomically(folder / f"{SIMULATION}.md", printable(text))
    screen = console()
    columns = [Column("setting", "setting"), Column("promise", "name"), *map(Column, header[2:])]
    title = "Promises of cascades, calibration examples redrawn"
    print_table(screen, ScreenTable(title, columns, rows, f"{SIMULATION}.md"))
    screen.print(NOTE, highlight=False)
    screen.print(f"Table: {folder / SIMULATION}.csv", highlight=False, soft_wrap=True)
