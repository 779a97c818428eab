"""Whether probabilities mean what they say, before and after temperature scaling."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neural_branching.evaluation.selective import acceptance_intervals
from neural_branching.selection import Answers, Bootstrap, selective_accuracy
from neural_branching.selection.arrays import Floats
from neural_branching.selection.intervals import percentile_interval
from neural_branching.selection.scores.learned import fit_temperature
from neural_branching.selection.scores.outputs import softmax

BINS = 15
EDGES = np.linspace(0, 1, BINS + 1)
# The confidence whose truth is reported: the original experiment's threshold.
CLAIM = 0.96


@dataclass(frozen=True)
class Bins:
    """A reliability diagram.

    Attributes:
        edges: of the equal-width bins, float64 (bins + 1,).
        count: images in each bin, int64 (bins,).
        confidence: their mean confidence, float64 (bins,); nan in an empty bin.
        accuracy: their accuracy, likewise.
    """

    edges: Floats
    count: NDArray[np.int64]
    confidence: Floats
    accuracy: Floats


def reliability(calibration: Answers, test: Answers, bootstrap: Bootstrap) -> dict[str, Any]:
    """Fit a temperature on calibration and judge the probabilities on test, before and after.

    Args:
        calibration: answers that the temperature (Guo et al., 2017) is fitted on.
        test: answers that are judged.
        bootstrap: resamples of the test images, for intervals.
    """
    temperature = fit_temperature(calibration.logits, calibration.targets)
    return {
        "temperature": temperature,
        "split": "calibration",
        "n": len(calibration),
        "test_n": len(test),
        "before": _judge(softmax(test.logits), test.targets, bootstrap),
        "after": _judge(softmax(test.logits, temperature), test.targets, bootstrap),
    }


def bins_of(probabilities: Floats, targets: NDArray[np.int64]) -> Bins:
    """Confidence and accuracy in 15 bins of equal width, (edge, edge]."""
    confidence, right = _top(probabilities, targets)
    index = _bin(confidence)
    count = np.bincount(index, minlength=BINS)
    means = [
        np.bincount(index, values, BINS) / np.where(count, count, np.nan) for values in (confidence, right)
    ]
    return Bins(EDGES, count, *means)


def equal_width_error(probabilities: Floats, targets: NDArray[np.int64]) -> float:
    """Expected calibration error (Guo et al., 2017) over the bins of the reliability diagram.

    That of torchmetrics, but in float64: there a confidence that float32 rounds to 1 falls into a
    bin of its own.
    """
    bins = bins_of(probabilities, targets)
    filled = bins.count > 0
    gaps = np.abs(bins.accuracy - bins.confidence)[filled]
    return float(bins.count[filled] @ gaps / bins.count.sum())


def equal_mass_error(probabilities: Floats, targets: NDArray[np.int64]) -> float:
    """Expected calibration error with 15 bins of equally many images (Nixon et al., 2019)."""
    confidence, right = _top(probabilities, targets)
    order = np.argsort(confidence, kind="stable")
    gaps = [
        abs(float((confidence[rows] - right[rows]).sum()))
        for rows in np.array_split(order, BINS)
        if len(rows)
    ]
    return sum(gaps) / len(confidence)


def _judge(probabilities: Floats, targets: NDArray[np.int64], bootstrap: Bootstrap) -> dict[str, Any]:
    true = np.arange(len(targets)), targets
    squares = probabilities.copy()
    squares[true] -= 1
    brier = np.square(squares, out=squares).sum(axis=1)
    # An impossible outcome that happened would cost infinitely much; the smallest float stands for 0.
    loss = -np.log(np.maximum(probabilities[true], np.finfo(np.float64).tiny))
    confidence, right = _top(probabilities, targets)
    claimed = confidence >= CLAIM
    return {
        "ece": equal_width_error(probabilities, targets),
        "ece_equal_mass": equal_mass_error(probabilities, targets),
        "brier": float(brier.mean()),
        "nll": float(loss.mean()),
        "claim": {
            "confidence": CLAIM,
            "n": int(claimed.sum()),
            "accuracy": selective_accuracy(confidence, right == 0, CLAIM),
            "intervals": {
                "accuracy": acceptance_intervals(confidence, right == 0, [CLAIM], bootstrap)[0][
                    "selective_accuracy"
                ]
            },
        },
        "intervals": {
            "ece": percentile_interval(_resampled_error(probabilities, targets, bootstrap)),
            "brier": bootstrap.mean(brier),
            "nll": bootstrap.mean(loss),
        },
    }


def _resampled_error(probabilities: Floats, targets: NDArray[np.int64], bootstrap: Bootstrap) -> Floats:
    """Expected calibration error of each resample, less the excess that resamples have on average.

    Resamples are noisier than the sample, which the error, a mean of absolute gaps, counts as miscalibration.
    """
    confidence, right = _top(probabilities, targets)
    gaps = np.zeros((len(confidence), BINS))
    gaps[np.arange(len(confidence)), _bin(confidence)] = right - confidence
    errors = np.abs(bootstrap.sums(gaps)).sum(axis=1) / len(confidence)
    excess = errors.mean() - np.abs(gaps.sum(axis=0)).sum() / len(confidence)
    shifted: Floats = np.maximum(errors - excess, 0)
    return shifted


def _bin(confidence: Floats) -> NDArray[np.int64]:
    return np.clip(np.searchsorted(EDGES, confidence, side="left") - 1, 0, BINS - 1)


def _top(probabilities: Floats, targets: NDArray[np.int64]) -> tuple[Floats, Floats]:
    return probabilities.max(axis=1), (probabilities.argmax(axis=1) == targets).astype(np.float64)
