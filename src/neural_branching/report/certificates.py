"""What is guaranteed when the best of several certified settings is chosen."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from neural_branching.config.build import build
from neural_branching.config.experiment import thresholds_of
from neural_branching.errors import InputError
from neural_branching.files.reading import read_yaml
from neural_branching.report.predictions_file import read_predictions
from neural_branching.report.results import Row, read_results
from neural_branching.selection import coverage, selective_accuracy
from neural_branching.selection.thresholds.guaranteed import Guaranteed
from neural_branching.selection.thresholds.threshold import Choice, HeldOut
from neural_branching.store.run_folders import CONFIG, belongs, files_of


@dataclass(frozen=True)
class Certified:
    """One run's certificate, alone and beside the others of its folder.

    Attributes:
        row: the run's record.
        target: selective risk that is not to be exceeded.
        delta: probability of failure.
        compared: number of certificates that are to hold at once.
        alone: the threshold as the run fitted it, at δ.
        adjusted: the threshold fitted again at δ / compared (Bonferroni), never looser than alone.
        test_coverage: share of test examples that the adjusted threshold answers.
        test_selective_accuracy: accuracy on them; nan if there are none.
    """

    row: Row
    target: float
    delta: float
    compared: int
    alone: Choice
    adjusted: Choice
    test_coverage: float
    test_selective_accuracy: float


def certify(folder: Path, rows: Sequence[Row]) -> tuple[list[Certified], dict[str, str]]:
    """Fit the guaranteed thresholds of a folder's runs again, so that all hold at once.

    Every run counts, seeds too: whoever picks the best of them has picked from all. A run that is
    there twice counts once.

    Returns:
        The certificates, and runs that count but whose predictions are lost → why.
    """
    guaranteed = [row for row in rows if row["guarantee"] == Guaranteed.guarantee]
    different = {(row["branch_key"], row["score"], row["threshold"], row["delta"]): row for row in guaranteed}
    found, lost = [], {}
    for row in different.values():
        run = folder / row["run"]
        try:
            found.append(_certify(run, row, len(different)))
        except InputError as error:
            lost[row["run"]] = str(error)
    return found, lost


def _certify(run: Path, row: Row, compared: int) -> Certified:
    results = read_results(run)
    predictions = read_predictions(run, results["classes"])
    config, named = read_yaml(run / CONFIG), files_of(results)
    try:
        threshold = thresholds_of(config)[row["index"]]
    except (AttributeError, IndexError, KeyError, TypeError):
        raise InputError(f"{run / CONFIG} names no threshold: repeat the run that made it.") from None
    if CONFIG in named and not belongs(run, named, CONFIG):
        raise InputError(f"{run / CONFIG} has changed since the run was written: repeat it.")
    # Only rules of this package are looked into: a report runs nobody else's code.
    rule = build(threshold, "threshold", Guaranteed, trusted=False)
    mine, validation = predictions.of("calibration", fits="threshold"), predictions.of("validation")
    test = predictions.of("test")
    if not (len(mine) and len(validation) and len(test)):
        raise InputError(f"{run} has lost predictions of a whole split: repeat it.")
    held_out = HeldOut(
        score=mine.score,
        error=mine.error,
        validation_score=validation.score,
        validation_error=validation.error,
        foreign_score=predictions.of("calibration", foreign=True).score,
        groups=mine.group,
    )
    alone, adjusted = rule.fit(held_out), rule.fit_among(held_out, compared)
    return Certified(
        row=row,
        target=rule.target,
        delta=rule.delta,
        compared=compared,
        alone=alone,
        adjusted=adjusted,
        test_coverage=coverage(test.score, adjusted.value),
        test_selective_accuracy=selective_accuracy(test.score, test.error, adjusted.value),
    )
