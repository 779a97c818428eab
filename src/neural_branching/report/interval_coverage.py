"""Do intervals hold what they promise? Simulated coverage of those that are printed beside numbers."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.progress import track
from scipy.special import ndtri

from neural_branching.errors import whole
from neural_branching.files.writing import write_atomically
from neural_branching.report.cells import markdown_table
from neural_branching.report.screen_table import console
from neural_branching.selection import risk_coverage_curve
from neural_branching.selection.area_intervals import area_intervals
from neural_branching.selection.arrays import Floats
from neural_branching.selection.intervals import Interval, share_interval

Drawn = tuple[Floats, NDArray[np.bool_]]


def _binormal(auroc: float) -> Callable[[np.random.Generator, float, int], Drawn]:
    """Normal scores, those of right predictions shifted upwards to a failure AUROC."""

    def draw(generator: np.random.Generator, accuracy: float, n: int) -> Drawn:
        error: NDArray[np.bool_] = generator.random(n) >= accuracy
        return generator.normal(size=n) + np.sqrt(2) * ndtri(auroc) * ~error, error

    return draw


def _noisy(generator: np.random.Generator, accuracy: float, n: int) -> Drawn:
    """Binormal scores of failure AUROC .9, but a fifth of the errors score like right predictions."""
    score, error = _binormal(0.9)(generator, accuracy, n)
    high = error & (generator.random(n) < 0.2)
    score[high] = generator.normal(size=int(high.sum())) + np.sqrt(2) * ndtri(0.9)
    return score, error


def _confidences(spread: float, wave: float = 0.0) -> Callable[[np.random.Generator, float, int], Drawn]:
    """Confidences c ~ Beta with a mean of the accuracy, right with probability c, or c plus a wave."""

    def draw(generator: np.random.Generator, accuracy: float, n: int) -> Drawn:
        confidence = generator.beta(accuracy * spread, (1 - accuracy) * spread, n)
        bend = 4 * wave * np.sin(8 * np.pi * confidence) * (1 - confidence)
        return confidence, generator.random(n) >= np.clip(confidence + bend, 0, 1)

    return draw


# An overconfident classifier ranks as the calibrated one does, and so has its areas.
POPULATIONS: dict[str, Callable[[np.random.Generator, float, int], Drawn]] = {
    "binormal, .9": _binormal(0.9),
    "binormal, .75": _binormal(0.75),
    "uninformed": _binormal(0.5),
    "calibrated": _confidences(4.0),
    "confident": _confidences(1.0),
    "wavy": _confidences(4.0, 0.08),
    "noisy": _noisy,
}
ACCURACIES = (0.7, 0.8, 0.9, 0.95, 0.97, 0.99)
STATISTICS = ("accuracy", "selective accuracy", "AURC", "E-AURC", "AUGRC", "failure AUROC")
# Draws from a population that stand for it.
POPULATION = 2_000_000

NOTE = (
    "Coverage of nominal 95 % intervals (mean width, relative to the central 95 % of the estimate's own "
    "distribution). Selective accuracy at the threshold that accepts half of the population. Draws in which "
    "a statistic is not defined are left out and counted behind it."
)


@dataclass(frozen=True)
class Coverage:
    """How often an interval holds the truth.

    Attributes:
        population: key of ``POPULATIONS``.
        accuracy: its accuracy.
        n: examples drawn.
        statistic: one of ``STATISTICS``.
        coverage: share of the draws in which the truth lies between both ends.
        width: mean width, relative to the central 95 % of the estimates; nan if they do not vary.
        undefined: draws in which the statistic is not defined.
    """

    population: str
    accuracy: float
    n: int
    statistic: str
    coverage: float
    width: float
    undefined: int


def interval_coverage(sizes: Sequence[int], draws: int) -> list[Coverage]:
    """Draw test sets from known populations and count how often each interval holds the truth.

    Args:
        sizes: numbers of examples.
        draws: test sets for each population, accuracy and size.

    Raises:
        InputError: for a number below 1.
    """
    whole(draws, "--draws", 1)
    for n in sizes:
        whole(n, "--examples", 1)
    cells = [(name, accuracy) for name in POPULATIONS for accuracy in ACCURACIES]
    records = []
    for name, accuracy in track(cells, description="Simulating", console=console(), transient=True):
        generator, draw = np.random.default_rng([*name.encode(), int(100 * accuracy)]), POPULATIONS[name]
        score, error = draw(generator, accuracy, POPULATION)
        half = float(np.median(score))
        truth = [value for value, _ in _meahighd(score, error, half)]
        for n in sizes:
            found = [list(_meahighd(*draw(generator, accuracy, n), half)) for _ in range(draws)]
            for index, statistic in enumerate(STATISTICS):
                values = np.array([one[index][0] for one in found])
                ends = np.array([one[index][1] for one in found])
                held = _held(values, ends, truth[index])
                records.append(Coverage(name, accuracy, n, statistic, *held))
    return records


def write_coverage(file: Path, records: Sequence[Coverage]) -> None:
    """Write one Markdown table per number of examples, and print them.

    Raises:
        OSError: if the file cannot be written.
    """
    lines: list[str] = []
    for n in dict.fromkeys(one.n for one in records):
        mine = {(one.population, one.accuracy, one.statistic): one for one in records if one.n == n}
        rows = [
            [population, f"{accuracy:g}", *(_cell(mine[population, accuracy, name]) for name in STATISTICS)]
            for population, accuracy in dict.fromkeys(key[:2] for key in mine)
        ]
        header = ["scores", "accuracy of the population", *STATISTICS]
        lines += [f"**n = {n}**", "", *markdown_table(header, rows), ""]
    text = "\n".join([*lines, NOTE, ""])
    write_atomically(file, text)
    screen = console()
    screen.print(text, highlight=False, soft_wrap=True, markup=False)
    screen.print(f"Table: {file}", highlight=False, soft_wrap=True, markup=False)


def _meahighd(score: Floats, error: NDArray[np.bool_], half: float) -> Iterator[tuple[float, Interval]]:
    """Each of ``STATISTICS``, and its interval."""
    curve = risk_coverage_curve(score, error)
    accepted = error[np.flatnonzero(score >= half)]
    areas = area_intervals(curve)
    yield float(curve.accuracy()), share_interval(~error)
    yield float(1 - accepted.mean()) if len(accepted) else np.nan, share_interval(~accepted)
    yield float(curve.aurc()), areas["aurc"]
    yield float(curve.e_aurc()), areas["e_aurc"]
    yield float(curve.augrc()), areas["augrc"]
    yield float(curve.failure_auroc()), areas["failure_auroc"]


def _held(values: Floats, ends: Floats, truth: float) -> tuple[float, float, int]:
    drawn, defined = len(values), np.flatnonzero(np.isfinite(ends[:, 0]) & np.isfinite(ends[:, 1]))
    values, ends = values[defined], ends[defined]
    if not len(values):
        return float("nan"), float("nan"), drawn
    low, high = np.quantile(values, [0.025, 0.975])
    width = float((ends[:, 1] - ends[:, 0]).mean() / (high - low)) if high > low else float("nan")
    held = (ends[:, 0] <= truth) & (truth <= ends[:, 1])
    return float(held.mean()), width, drawn - len(values)


def _cell(one: Coverage) -> str:
    undefined = f", {one.undefined} undefined" if one.undefined else ""
    width = f"{one.width:.2f}" if np.isfinite(one.width) else "–"
    return f"{one.coverage:.3f} ({width}){undefined}"
