"""Selective prediction on one set of images, every number with its interval."""

from collections.abc import Callable, Mapping, Sequence
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
from neural_branching.selection.intervals import Interval, percentile_interval

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
    score: Floats, error: NDArray[np.bool_], threshold: float, bootstrap: Bootstrap
) -> dict[str, Interval]:
    """95 % bootstrap percentile intervals of the same numbers, over images, the threshold kept."""

    def coverages(curve: RiskCoverageCurve) -> Floats:
        return np.asarray(curve.at(threshold)[0] / curve.n[..., 0])

    def selective_accuracies(curve: RiskCoverageCurve) -> Floats:
        accepted, errors = curve.at(threshold)
        return np.where(accepted > 0, 1 - errors / np.maximum(accepted, 1), np.nan)

    statistics: dict[str, Statistic] = {
        "accuracy": RiskCoverageCurve.accuracy,
        "coverage": coverages,
        "selective_accuracy": selective_accuracies,
        **AREAS,
    }
    return intervals(statistics, bootstrap.curves(score, error))


def intervals(statistics: Mapping[str, Statistic], curves: Any) -> dict[str, Interval]:
    """Percentile intervals of statistics of resampled curves, all from one pass over them."""
    values: dict[str, list[Floats]] = {name: [] for name in statistics}
    for some in curves:
        for name, statistic in statistics.items():
            values[name].append(statistic(some))
    return {name: percentile_interval(np.concatenate(found)) for name, found in values.items()}


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
        }
    return table


def confusion(answers: Answers, score: Floats, threshold: float, classes: Sequence[str]) -> dict[str, Any]:
    """Counts by true class (rows) and answer (columns), abstaining being the last column."""
    abstained = len(classes)
    given = np.where(score >= threshold, answers.predictions, abstained)
    counts = confusion_matrix(answers.targets, given, labels=range(abstained + 1))[:abstained]
    return {"rows": list(classes), "columns": [*classes, ABSTAIN], "counts": counts.tolist()}
