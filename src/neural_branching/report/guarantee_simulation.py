"""What each guaranteed rule would keep with more or fewer calibration examples: planning, on real scores."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from neural_branching.errors import InputError, printable, whole
from neural_branching.files.csv_text import write_table
from neural_branching.files.writing import write_atomically
from neural_branching.report.cells import markdown_table
from neural_branching.report.collect import SEEDS, Summary, collect
from neural_branching.report.figures.guarantee_levels import simulation
from neural_branching.report.figures.style import save
from neural_branching.report.predictions_file import Predictions, read_predictions
from neural_branching.report.results import Row, read_results
from neural_branching.report.screen_table import Column, ScreenTable, console, print_table
from neural_branching.selection import risk_coverage_curve
from neural_branching.selection.row_groups import one_per_group
from neural_branching.selection.scores.score import INFINITY
from neural_branching.selection.thresholds.guaranteed import FixedSequence, Guaranteed, Sgr
from neural_branching.selection.thresholds.random_walk import RandomWalk
from neural_branching.selection.thresholds.threshold import HeldOut, at_most

RULES: tuple[type[Guaranteed], ...] = (Sgr, FixedSequence, RandomWalk)


@dataclass(frozen=True)
class Kept:
    """What a rule keeps, averaged over draws and over the runs of a setting.

    Attributes:
        setting: name of the setting.
        rule: kind of the rule.
        n: calibration examples drawn.
        coverage: mean population coverage of its thresholds; nothing certified counts as 0.
        violations: share of draws whose threshold has a population risk above the target.
        oracle: largest population coverage with a risk within the target.
        runs: number of runs.
    """

    setting: str
    rule: str
    n: int
    coverage: float
    violations: float
    oracle: float
    runs: int


def simulate(
    folder: Path, target: float, delta: float, sizes: Sequence[int], draws: int
) -> tuple[list[Kept], Any]:
    """Redraw calibration examples from a run's own held-out answers and fit every guaranteed rule.

    A run's calibration and test examples together are taken for the population, so that the true risk of
    every threshold is known; n examples are drawn from it with replacement, and validation examples from
    the run's own, in the proportion that the run has. Nothing here chooses a threshold for use.

    Args:
        folder: a run, or a folder of runs; those of one setting are averaged over their seeds.
        target: selective risk r* that must not be exceeded, within (0, 1).
        delta: probability δ of failure, within (0, 1).
        sizes: numbers of calibration examples.
        draws: redraws for each of them.

    Returns:
        One record per setting, rule and size; and the figure.

    Raises:
        InputError: if the folder holds no completed run, or a number is out of range.
    """
    rules = [rule(target, delta) for rule in RULES]
    whole(draws, "--draws", 1)
    for n in sizes:
        whole(n, "--examples", 1)
    groups = _settings(collect(folder))
    if not groups:
        raise InputError(f"No run in {folder} has been completed: there are no scores to draw from.")
    records = []
    jobs = [(name, rows, n) for name, rows in groups.items() for n in sizes]
    for name, rows, n in track(jobs, description="Redrawing", console=console(), transient=True):
        runs = [_redraw(folder / row["run"], rules, n, draws) for row in rows]
        oracle = float(np.mean([run[1] for run in runs]))
        means = np.mean([run[0] for run in runs], axis=0)
        records += [
            Kept(name, rule.kind, n, float(coverage), float(violations), oracle, len(rows))
            for rule, (coverage, violations) in zip(rules, means, strict=True)
        ]
    title = f"coverage kept at selective risk ≤ {target:g}, δ = {delta:g}, {draws} draws"
    return records, simulation(records, title)


def write_simulation(folder: Path, records: Sequence[Kept], figure: Any) -> None:
    """Write simulation.csv, simulation.md and the figure, and print the table."""
    write_table(folder / "simulation.csv", vars(records[0]), (vars(one).values() for one in records))
    header, lines = _table(records)
    text = "\n".join([*markdown_table(header, lines), "", NOTE, ""])
    write_atomically(folder / "simulation.md", printable(text))
    save({"simulation": figure}, folder, ("png", "svg"))
    screen = console()
    columns = [Column("setting", "setting"), Column("rule", "name"), *map(Column, header[2:])]
    print_table(screen, ScreenTable(figure.get_suptitle(), columns, lines, "simulation.md"))
    screen.print(NOTE, highlight=False)
    screen.print(f"Table and figure: {folder}", highlight=False, soft_wrap=True)


NOTE = "Mean coverage (share of draws that exceed the target). The oracle knows the risk of every threshold."


def _settings(summary: Summary) -> dict[str, list[Row]]:
    """Name of a setting → one run per seed: runs that differ in their threshold have the same scores."""
    names = [name for name in summary.setting if name != "threshold" and "threshold." not in name]
    groups: dict[tuple[str, ...], dict[tuple[str, ...], Row]] = {}
    for row in summary.counted():
        key = tuple(str(row[name]) for name in names)
        groups.setdefault(key, {})[tuple(str(row[name]) for name in SEEDS)] = row
    shown = [
        index for index, name in enumerate(names)
        if name in ("subset", "branch_point") or len({key[index] for key in groups}) > 1
    ]  # fmt: skip
    return {" · ".join(key[index] for index in shown): list(rows.values()) for key, rows in groups.items()}


def _redraw(
    run: Path, rules: Sequence[Guaranteed], n: int, draws: int
) -> tuple[list[tuple[float, float]], float]:
    """Mean coverage and share of violations of each rule, and the oracle's coverage."""
    predictions = read_predictions(run, read_results(run)["classes"])
    calibration, test = predictions.of("calibration"), predictions.of("test")
    # Examples that the score learned from are no fair draw.
    calibration = calibration[calibration.fits != "score"]
    validation = predictions.of("validation")
    calibration, validation, test = map(_one_per_group, (calibration, validation, test))
    score = np.concatenate([calibration.score, test.score])
    error = np.concatenate([calibration.error, test.error])
    population = risk_coverage_curve(score, error)
    target = rules[0].target
    within = np.flatnonzero(at_most(population.n_errors, population.n_accepted, target))
    oracle = float(population.coverage[within[0]]) if len(within) else 0.0
    generator = np.random.default_rng(0)
    chosen = np.empty((draws, len(rules)))
    for draw in range(draws):
        held_out = _drawn(generator, score, error, n, validation, len(calibration))
        curve = risk_coverage_curve(held_out.score, held_out.error)
        # The search alone: a fit would also work out, draw by draw, what a failure would have needed.
        passed = (rule.search(curve, held_out) for rule in rules)
        chosen[draw] = [INFINITY if one is None else one[0] for one in passed]
    accepted, wrong = population.at(chosen)
    exceeded = ~at_most(wrong.ravel(), accepted.ravel(), target).reshape(wrong.shape)
    coverage = accepted.mean(axis=0) / len(score)
    return list(zip(coverage, exceeded.mean(axis=0), strict=True)), oracle


def _one_per_group(predictions: Predictions) -> Predictions:
    """One example of each group, as rules are fitted on; all where each is by itself."""
    return predictions if predictions.group is None else predictions[one_per_group(predictions.group)]


def _drawn(
    generator: np.random.Generator, score: Any, error: Any, n: int, validation: Predictions, calibration: int
) -> HeldOut:
    mine = generator.integers(len(score), size=n)
    others = generator.integers(len(validation), size=max(1, round(n * len(validation) / calibration)))
    return HeldOut(score[mine], error[mine], validation.score[others], validation.error[others], np.empty(0))


def _table(records: Sequence[Kept]) -> tuple[list[str], list[list[str]]]:
    """One line per setting and rule, one column per size, and the oracle."""
    sizes = sorted({record.n for record in records})
    cells = {(record.setting, record.rule, record.n): record for record in records}
    lines = []
    for setting in dict.fromkeys(record.setting for record in records):
        for rule in dict.fromkeys(record.rule for record in records):
            mine = [cells[setting, rule, n] for n in sizes]
            lines.append([setting, rule, *(f"{one.coverage:.3f} ({one.violations:.3f})" for one in mine)])
        lines.append([setting, "oracle", *(f"{one.oracle:.3f}" for one in mine)])
    return ["setting", "rule", *(f"n = {n}" for n in sizes)], lines
