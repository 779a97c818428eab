"""Two settings on the same test examples: differences, with intervals over examples and spread over seeds."""

import re
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from neural_branching.errors import InputError
from neural_branching.files.csv_text import write_table
from neural_branching.report.cells import Cell, Entry
from neural_branching.report.collect import SEEDS, Summary, cell, collect
from neural_branching.report.predictions_file import Predictions, read_predictions
from neural_branching.report.results import Row, read_results
from neural_branching.report.screen_table import Column, ScreenTable, console, print_table
from neural_branching.report.tables import AREAS_NOTE
from neural_branching.report.view import having
from neural_branching.selection import risk_coverage_curve
from neural_branching.selection.area_intervals import USUAL_AUROC, USUAL_COST
from neural_branching.selection.array_types import Bool
from neural_branching.selection.arrays import Floats, Integers
from neural_branching.selection.influence import augrc_influence, aurc_influence
from neural_branching.selection.intervals import Interval, difference_interval

COMPARISON = "comparison.csv"

HEADINGS = {
    "accuracy": "accuracy",
    "aurc": "AURC",
    "augrc": "AUGRC",
    "coverage": "coverage",
    "selective_accuracy": "selective accuracy",
    "last_accuracy": "last exit: accuracy",
    "differs": "differs from the last exit",
}


@dataclass(frozen=True)
class Value:
    """A metric of one run, and what each example contributes to its uncertainty.

    Attributes:
        value: the metric; nan where it is not defined.
        influence: its influence function at each test example, float64 (n,).
        imagined: the influence of an imagined example (``difference_interval``).
    """

    value: float
    influence: Floats
    imagined: float


@dataclass(frozen=True)
class Tested:
    """What a run answered to its test examples.

    Attributes:
        row: row numbers of the examples in the data table, int64 (n,), ascending.
        data: key of the data that these count.
        group: equal for examples of one group, int64 (n,); None where each is by itself.
        values: metric → its value; keys of ``HEADINGS``.
    """

    row: Integers
    data: str
    group: Integers | None
    values: Mapping[str, Value]


@dataclass(frozen=True)
class Difference:
    """One metric of two settings, B − A, over runs paired by their seeds.

    Attributes:
        metric: key of ``HEADINGS``.
        first: A's values over the seeds.
        second: B's values over the seeds.
        difference: mean of B − A over the seeds for which both are defined; nan if there are none.
        interval: 95 % interval of that mean, by example or group (``difference_interval``); nan likewise.
        deviation: standard deviation of B − A over the seeds; None for a single pair.
    """

    metric: str
    first: Cell
    second: Cell
    difference: float
    interval: Interval
    deviation: float | None


@dataclass(frozen=True)
class Comparison:
    """Two settings that agree in everything else.

    Attributes:
        shared: the settings that both have in common.
        pairs: number of runs paired.
        unpaired: number of runs of either side, in all comparisons, that have no partner.
        examples: number of test examples.
        differences: one per metric.
    """

    shared: Mapping[str, str]
    pairs: int
    unpaired: int
    examples: int
    differences: Sequence[Difference]


def compare(folder: Path, first: str, second: str) -> list[Comparison]:
    """Compare the runs of two settings below a folder on the same test examples.

    Args:
        folder: a sweep, or any folder of runs.
        first: A, as ``column=value`` or several of them joined by commas; columns are those of
            summary.csv that describe a setting, or ``run``.
        second: B, likewise.

    Returns:
        One comparison for each combination of the remaining settings that both sides have.

    Raises:
        InputError: if a column or value is unknown, no runs of both sides belong together, or their
            test examples differ.
    """
    summary = collect(folder)
    return compare_rows(
        folder,
        (first, second),
        partial(_of, summary),
        summary.setting,
        tuple(SEEDS),
        lambda row: _tested(folder / row["run"], row["threshold_value"]),
    )


def compare_rows(
    folder: Path,
    sides: tuple[str, str],
    of: Callable[[str], list[Row]],
    setting: Sequence[str],
    seeds: Sequence[str],
    tested: Callable[[Row], Tested],
) -> list[Comparison]:
    """Pair the rows of two settings, and compare what was measured of them.

    Args:
        folder: where the runs are, for messages.
        sides: A and B as they were typed.
        of: what was typed → its rows.
        setting: columns that describe a setting.
        seeds: columns by which rows are paired.
        tested: row → what its run answered.

    Raises:
        InputError: if the sides name different columns, nothing belongs together, or test examples differ.
    """
    first, second = sides
    named = settings_of(first).keys()
    if named != settings_of(second).keys():
        raise InputError(
            f"{first!r} and {second!r} name different columns: name the same ones on both sides, as in "
            "subset=fish,branch_point=hidden1 subset=fish,branch_point=hidden2."
        )
    rows = [of(text) for text in sides]
    shared = [name for name in setting if name not in named]
    if "run" in named:
        # Runs that are named one by one are a pair, whatever their seeds; of several thresholds each is.
        several = any(len(mine) > 1 for mine in rows)
        shared, seeds = ["threshold"] if several and "threshold" in shared else [], ()
    groups: dict[tuple[str, ...], list[tuple[Row, Row]]] = {}
    seeded = [{_key(row, (*shared, *seeds)): row for row in mine} for mine in rows]
    for key in seeded[0].keys() & seeded[1].keys():
        groups.setdefault(key[: len(shared)], []).append((seeded[0][key], seeded[1][key]))
    if not groups:
        raise InputError(
            f"No run with {first} has a partner with {second} that has the same seeds and otherwise the same "
            f"settings in {folder}: name on both sides what differs, as in subset=fish,branch_point=pool."
        )
    unpaired = len(seeded[0].keys() ^ seeded[1].keys())
    return [
        _compare(folder, dict(zip(shared, key, strict=True)), pairs, unpaired, tested)
        for key, pairs in sorted(groups.items())
    ]


def settings_of(text: str) -> dict[str, str]:
    """Column → value of ``column=value,column=value``; commas within brackets are of a value.

    Raises:
        InputError: if it is not of that form.
    """
    pairs = [part.split("=", 1) for part in re.split(r",(?![^\[]*\])", text)]
    if any(len(pair) != 2 for pair in pairs):
        raise InputError(f"{text!r} does not name a setting: write column=value, as in branch_point=hidden1.")
    return {name.strip(): value.strip() for name, value in pairs}


def rows_of(text: str, rows: Sequence[Row], columns: Sequence[str]) -> list[Row]:
    """The rows that have what was typed in some columns.

    Raises:
        InputError: for an unknown column, or a value that no row has.
    """
    found = list(rows)
    for name, value in settings_of(text).items():
        found = having(found, ("run", *columns), name, [value], repr(text))
    return found


def print_comparison(comparisons: Sequence[Comparison], first: str, second: str, folder: Path) -> None:
    """Print one table per comparison and write them to comparison.csv in the folder."""
    screen = console()
    for one in comparisons:
        varying = {name for name in one.shared if len({other.shared[name] for other in comparisons}) > 1}
        where = " · ".join(
            value for name, value in one.shared.items() if name in varying or len(one.shared) < 3
        )
        title = f"{where + ': ' if where else ''}{one.examples} test examples, {one.pairs} pairs of runs"
        headings = (f"A: {first}", f"B: {second}", "B − A", "its spread over seeds")
        rows: list[list[Entry]] = [
            [
                HEADINGS[change.metric],
                change.first,
                change.second,
                Cell(change.difference, None, change.interval),
                "–" if change.deviation is None else f"±{change.deviation:.3f}",
            ]
            for change in one.differences
        ]
        columns = [Column("", "name"), *map(Column, headings)]
        print_table(screen, ScreenTable(title, columns, rows, COMPARISON))
    screen.print(
        "[ ]: 95 % interval over test examples, paired by example, all seeds together; ±: standard deviation "
        "over seeds.",
        highlight=False,
        markup=False,
    )
    if any(change.metric in ("aurc", "augrc") for change in comparisons[0].differences):
        screen.print(AREAS_NOTE, highlight=False)
    if comparisons[0].unpaired:
        screen.print(
            f"Without a partner of the same seeds and settings: {comparisons[0].unpaired} of the runs."
        )
    _write(folder / COMPARISON, comparisons, first, second)


def _of(summary: Summary, text: str) -> list[Row]:
    rows = summary.completed if "run" in settings_of(text) else summary.counted()
    return rows_of(text, rows, summary.setting)


def _key(row: Row, names: Iterable[str]) -> tuple[str, ...]:
    return tuple(str(row[name]) for name in names)


def _compare(
    folder: Path,
    shared: Mapping[str, str],
    pairs: Sequence[tuple[Row, Row]],
    unpaired: int,
    tested: Callable[[Row], Tested],
) -> Comparison:
    tests = [tuple(map(tested, pair)) for pair in pairs]
    one = tests[0][0]
    for pair, both in zip(pairs, tests, strict=True):
        if any(not np.array_equal(one.row, other.row) or one.data != other.data for other in both):
            raise InputError(
                f"The runs {pair[0]['run']} and {pair[1]['run']} in {folder} were tested on different "
                "examples, so that they cannot be paired: compare runs of the same data and subset."
            )
    values = [[other.values for other in both] for both in tests]
    differences = [_difference(metric, values, one.group) for metric in one.values]
    return Comparison(shared, len(pairs), unpaired, len(one.row), differences)


def _tested(run: Path, threshold: float | None) -> Tested:
    """A branch's test answers in the order of the rows."""
    results = read_results(run)
    test = read_predictions(run, results["classes"]).of("test")
    test = test[np.argsort(test.row)]
    return Tested(test.row, str(results["artifacts"]["data"]["key"]), test.group, _metrics(test, threshold))


def _difference(
    metric: str, values: Sequence[Sequence[Mapping[str, Value]]], groups: Integers | None
) -> Difference:
    """One metric over all pairs of runs."""
    pairs = [(a[metric], b[metric]) for a, b in values]
    # Where a run answers nothing it has no selective accuracy: such pairs do not count for it.
    defined = [(a, b) for a, b in pairs if a.value == a.value and b.value == b.value]
    change = [b.value - a.value for a, b in defined]
    interval = float("nan"), float("nan")
    if defined:
        influence = np.mean([b.influence - a.influence for a, b in defined], axis=0)
        imagined = statistics.mean(one.imagined for pair in defined for one in pair)
        interval = difference_interval(statistics.mean(change), influence, imagined, groups)
    return Difference(
        metric=metric,
        first=cell([_or_none(a.value) for a, _ in pairs]),
        second=cell([_or_none(b.value) for _, b in pairs]),
        difference=statistics.mean(change) if change else float("nan"),
        interval=interval,
        deviation=statistics.stdev(change) if len(change) > 1 else None,
    )


def _metrics(test: Predictions, threshold: float | None) -> dict[str, Value]:
    score, right = test.score, ~test.error
    curve = risk_coverage_curve(score, test.error)
    accepted = score >= (float("inf") if threshold is None else threshold)
    return {
        "accuracy": share_value(right),
        "aurc": Value(float(curve.aurc()), aurc_influence(curve).of(score, test.error), USUAL_COST),
        "augrc": Value(float(curve.augrc()), augrc_influence(curve).of(score, test.error), 1 - USUAL_AUROC),
        "coverage": share_value(accepted),
        "selective_accuracy": selective_value(right, accepted),
    }


def share_value(chosen: Bool[np.ndarray, " n"]) -> Value:
    """The share of the test examples of which something holds."""
    share = float(chosen.mean())
    return Value(share, chosen.astype(np.float64) - share, 1.0)


def selective_value(right: Bool[np.ndarray, " n"], accepted: Bool[np.ndarray, " n"]) -> Value:
    """The share of the accepted that is right; nan if none is accepted."""
    coverage = float(accepted.mean())
    selective = float(right[accepted].mean()) if coverage else float("nan")
    share = coverage or 1.0
    return Value(selective, np.where(accepted, right - selective, 0.0) / share, 1 / share)


def _or_none(value: float) -> float | None:
    return None if value != value else value


def _write(file: Path, comparisons: Sequence[Comparison], first: str, second: str) -> None:
    shared = list(comparisons[0].shared)
    header = ["A", "B", *shared, "pairs", "examples", "metric", "A_mean", "B_mean"]
    header += ["difference", "low", "high", "deviation"]
    lines = []
    for one in comparisons:
        for row in one.differences:
            values = [row.first.mean, row.second.mean, row.difference, *row.interval, row.deviation]
            texts = ["" if value is None or value != value else value for value in values]
            lines.append([first, second, *one.shared.values(), one.pairs, one.examples, row.metric, *texts])
    write_table(file, header, lines)
