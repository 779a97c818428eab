"""Whether probabilities mean what they say, before and after temperature scaling."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from neural_branching.evaluation.calibrated import REDRAWS, p_value, redrawn_shares
from neural_branching.selection import Answers, Bootstrap
from neural_branching.selection.array_types import Float64, Int64
from neural_branching.selection.intervals import LEVEL, share_interval
from neural_branching.selection.scores.from_logits import softmax
from neural_branching.selection.scores.learned import fit_temperature

BINS = 15
EDGES = np.linspace(0, 1, BINS + 1)
# The confidence whose truth is reported: the original experiment's threshold.
CONFIDENT = 0.96


@dataclass(frozen=True)
class Bins:
    """A reliability diagram.

    Attributes:
        edges: of the equal-width bins, one more than these.
        count: examples in each bin.
        confidence: their mean confidence; nan in an empty bin.
        accuracy: their accuracy, likewise.
        low: 2.5 % quantile of the accuracy that a perfectly calibrated classifier with these confidences
            would show, likewise.
        high: its 97.5 % quantile.
    """

    edges: Float64[np.ndarray, " edges"]
    count: Int64[np.ndarray, " bins"]
    confidence: Float64[np.ndarray, " bins"]
    accuracy: Float64[np.ndarray, " bins"]
    low: Float64[np.ndarray, " bins"]
    high: Float64[np.ndarray, " bins"]


def reliability(calibration: Answers, test: Answers, bootstrap: Bootstrap) -> dict[str, Any]:
    """Fit a temperature on calibration and evaluate the probabilities on test, before and after.

    Args:
        calibration: answers that the temperature (Guo et al., 2017) is fitted on.
        test: answers that are evaluated.
        bootstrap: resamples of the test examples, for intervals of means.
    """
    temperature = fit_temperature(calibration.logits, calibration.targets)
    return {
        "temperature": temperature,
        "split": "calibration",
        "n": len(calibration),
        "test_n": len(test),
        "before": _judge(softmax(test.logits), test, bootstrap),
        "after": _judge(softmax(test.logits, temperature), test, bootstrap),
    }


def bins_of(probabilities: Float64[np.ndarray, "n classes"], targets: Int64[np.ndarray, " n"]) -> Bins:
    """Confidence and accuracy in 15 bins of equal width, (edge, edge]."""
    confidence, right = _top(probabilities, targets)
    members = _equal_width(confidence)
    count = members.sum(axis=0)
    filled = np.where(count, count, np.nan)
    promised = confidence @ members / filled
    tails = (1 - LEVEL) / 2, (1 + LEVEL) / 2
    low, high = np.quantile(redrawn_shares(confidence, members), tails, axis=0) * len(confidence) / filled
    return Bins(
        EDGES, count.astype(np.int64), promised, right @ members / filled, promised + low, promised + high
    )


def equal_width_error(
    probabilities: Float64[np.ndarray, "n classes"], targets: Int64[np.ndarray, " n"]
) -> float:
    """Expected calibration error (Guo et al., 2017) over the bins of the reliability diagram.

    That of torchmetrics, but in float64: there a confidence that float32 rounds to 1 falls into a
    bin of its own.
    """
    confidence, right = _top(probabilities, targets)
    return _error(confidence, right, _equal_width(confidence))


def equal_mass_error(
    probabilities: Float64[np.ndarray, "n classes"], targets: Int64[np.ndarray, " n"]
) -> float:
    """Expected calibration error with 15 bins of equally many examples (Nixon et al., 2019)."""
    confidence, right = _top(probabilities, targets)
    return _error(confidence, right, _equal_mass(confidence))


def if_calibrated(
    probabilities: Float64[np.ndarray, "n classes"], targets: Int64[np.ndarray, " n"]
) -> dict[str, Any]:
    """What both errors would be if every answer were right with the probability that it states.

    No interval is given around an expected calibration error. The population's own, Σ over the bins of
    |P(right, bin) − E(confidence, bin)|, is 0 where the classifier is calibrated, and no method that was
    tried (percentile, basic and debiased bootstraps: Bröcker, 2012; Kumar, Liang & Ma, 2019) holds it
    there in more than 60 % of draws; docs/intervals.md.

    Returns:
        "ece" and "ece_equal_mass" → mean and 95 % quantile over redraws of the labels, and the one-sided
        p-value of the observed error against them; and the number of redraws.
    """
    confidence, right = _top(probabilities, targets)
    binnings = {"ece": _equal_width(confidence), "ece_equal_mass": _equal_mass(confidence)}
    shares = np.abs(redrawn_shares(confidence, np.concatenate([*binnings.values()], axis=1)))
    numbers: dict[str, Any] = {"redraws": REDRAWS}
    for (name, members), part in zip(binnings.items(), (shares[:, :BINS], shares[:, BINS:]), strict=True):
        redrawn = part.sum(axis=1)
        numbers[name] = {
            "mean": float(redrawn.mean()),
            "quantile_95": float(np.quantile(redrawn, 0.95)),
            "p_value": p_value(_error(confidence, right, members), redrawn),
        }
    return numbers


def _judge(
    probabilities: Float64[np.ndarray, "n classes"], answers: Answers, bootstrap: Bootstrap
) -> dict[str, Any]:
    targets, groups = answers.targets, answers.groups
    true = np.arange(len(targets)), targets
    squares = probabilities.copy()
    squares[true] -= 1
    brier = np.square(squares, out=squares).sum(axis=1)
    # An impossible outcome that happened would cost infinitely much; the smallest float stands for 0.
    loss = -np.log(np.maximum(probabilities[true], np.finfo(np.float64).tiny))
    confidence, right = _top(probabilities, targets)
    confident = confidence >= CONFIDENT
    return {
        "ece": equal_width_error(probabilities, targets),
        "ece_equal_mass": equal_mass_error(probabilities, targets),
        "brier": float(brier.mean()),
        "nll": float(loss.mean()),
        "confident": {
            "confidence": CONFIDENT,
            "n": int(confident.sum()),
            "accuracy": float(right[confident].mean()) if confident.any() else float("nan"),
            "intervals": {
                "accuracy": share_interval(right[confident], None if groups is None else groups[confident])
            },
        },
        "if_calibrated": if_calibrated(probabilities, targets),
        "intervals": {
            "brier": bootstrap.mean(brier),
            "nll": bootstrap.mean(loss),
        },
    }


def _error(
    confidence: Float64[np.ndarray, " n"],
    right: Float64[np.ndarray, " n"],
    members: Float64[np.ndarray, "n bins"],
) -> float:
    """Expected calibration error over bins, members being 1 where an example is in a bin."""
    return float(np.abs((right - confidence) @ members).sum() / len(confidence))


def _equal_width(confidence: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, "n bins"]:
    index = np.clip(np.searchsorted(EDGES, confidence, side="left") - 1, 0, BINS - 1)
    return np.eye(BINS)[index]


def _equal_mass(confidence: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, "n bins"]:
    members = np.zeros((len(confidence), BINS))
    parts = np.array_split(np.argsort(confidence, kind="stable"), BINS)
    for column, rows in enumerate(parts):
        members[rows, column] = 1
    return members


def _top(
    probabilities: Float64[np.ndarray, "n classes"], targets: Int64[np.ndarray, " n"]
) -> tuple[Float64[np.ndarray, " n"], Float64[np.ndarray, " n"]]:
    return probabilities.max(axis=1), (probabilities.argmax(axis=1) == targets).astype(np.float64)
