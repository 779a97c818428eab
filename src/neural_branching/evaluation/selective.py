"""Selective prediction on one set of images, every number with its interval."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix

from neural_branching.selection import (
    Answers,
    Bootstrap,
    RiskCoverageCurve,
    coverage,
    risk_coverage_curve,
    selective_accuracy,
)
from neural_branching.selection.arrays import Floats
from neural_branching.selection.intervals import Interval, percentile_interval, proportion_interval

ABSTAIN = "abstain"

Statistic = Callable[[RiskCoverageCurve], Floats]

AREAS: Mapping[str, Statistic] = {
    "aurc": RiskCoverageCurve.aurc,
    "e_aurc": RiskCoverageCurve.e_aurc,
    "augrc": RiskCoverageCurve.augrc,
    "failure_auroc": RiskCoverageCurve.failure_auroc,
}


def selective(score: Floats, error: NDArray[np.bool_], threshold: float) -> dict[str, Any]:
    """Accuracy, coverage, selective accuracy and the areas under the curves, without intervals."""
    curve = risk_coverage_curve(score, error)
    return {
        "n": len(score),
        "accuracy": float(curve.accuracy()),
        "n_accepted": int((score >= threshold).sum()),
        "coverage": coverage(score, threshold),
        "selective_accuracy": selective_accuracy(score, error, threshold),
        **{name: float(area(curve)) for name, area in AREAS.items()},
    }


def selective_intervals(
    score: Floats, error: NDArray[np.bool_], threshold: float, bootstrap: Bootstrap, *, areas: bool = True
) -> dict[str, Interval]:
    """95 % bootstrap intervals of the same numbers, over images, the threshold kept.

    Args:
        score: finite reals, float64 (n,).
        error: whether each answer is wrong, bool (n,).
        threshold: accept iff score ≥ threshold.
        bootstrap: resamples of these images.
        areas: whether to include those of the areas under the curves.
    """
    curve = risk_coverage_curve(score, error)
    accepted, wrong = (int(count) for count in curve.at(threshold))
    resampled = resample(
        {
            "accuracy": RiskCoverageCurve.accuracy,
            "coverage": lambda one: one.at(threshold)[0] / one.n[..., 0],
            "selective_accuracy": lambda one: selective_accuracies(one, threshold),
            **(AREAS if areas else {}),
        },
        bootstrap.curves(score, error),
    )
    n, right = len(score), int((~error).sum())
    counts = {
        "accuracy": (right, n),
        "coverage": (accepted, n),
        "selective_accuracy": (accepted - wrong, accepted),
    }
    return {
        name: proportion_interval(values, *counts[name]) if name in counts else percentile_interval(values)
        for name, values in resampled.items()
    }


def selective_accuracies(curve: RiskCoverageCurve, threshold: float) -> Floats:
    """Selective accuracy of each resample at a threshold; nan where it accepts nothing."""
    accepted, wrong = curve.at(threshold)
    return np.where(accepted > 0, 1 - wrong / np.maximum(accepted, 1), np.nan)


def resample(statistics: Mapping[str, Statistic], curves: Iterable[RiskCoverageCurve]) -> dict[str, Floats]:
    """Values of statistics on resampled curves, all from one pass over them."""
    values: dict[str, list[Floats]] = {name: [] for name in statistics}
    for some in curves:
        for name, statistic in statistics.items():
            values[name].append(statistic(some))
    return {name: np.concatenate(found) for name, found in values.items()}


def per_class(answers: Answers, score: Floats, threshold: float, classes: Sequence[str]) -> dict[str, Any]:
    """Accuracy, coverage and selective accuracy of each class."""
    table = {}
    for label, name in enumerate(classes):
        mine = answers.targets == label
        scores, errors = score[mine], answers.error[mine]
        table[name] = {
            "n": int(mine.sum()),
            "accuracy": float((~errors).mean()),
            "n_accepted": int((scores >= threshold).sum()),
            "coverage": coverage(scores, threshold),
            "selective_accuracy": selective_accuracy(scores, errors, threshold),
            "intervals": selective_intervals(scores, errors, threshold, Bootstrap(len(scores)), areas=False),
        }
    return table


def confusion(answers: Answers, score: Floats, threshold: float, classes: Sequence[str]) -> dict[str, Any]:
    """Counts by true class (rows) and answer (columns), abstaining being the last column."""
    abstained = len(classes)
    given = np.where(score >= threshold, answers.predictions, abstained)
    counts = confusion_matrix(answers.targets, given, labels=range(abstained + 1))[:abstained]
    return {"rows": list(classes), "columns": [*classes, ABSTAIN], "counts": counts.tolist()}
