"""Selective prediction on one set of images, every number with its interval."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
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

ABSTAIN, OTHERS = "abstain", "any other"
# A confusion matrix of more classes than the first shows as many as the second.
MOST, SHOWN = 100, 25


def areas(curve: RiskCoverageCurve) -> dict[str, Floats]:
    """The areas under a curve, or under each of several resampled ones."""
    aurc = curve.aurc()
    return {
        "aurc": aurc,
        "e_aurc": aurc - curve.least_aurc(),
        "augrc": curve.augrc(),
        "failure_auroc": curve.failure_auroc(),
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
        **{name: float(area) for name, area in areas(curve).items()},
    }


def area_intervals(score: Floats, error: NDArray[np.bool_], bootstrap: Bootstrap) -> dict[str, Interval]:
    """95 % bootstrap percentile intervals of the areas, over images.

    Args:
        score: finite reals, float64 (n,).
        error: whether each answer is wrong, bool (n,).
        bootstrap: resamples of these images.
    """
    values = resampled(areas, bootstrap.curves(score, error))
    return {name: percentile_interval(found) for name, found in values.items()}


def acceptance_intervals(
    score: Floats, error: NDArray[np.bool_], thresholds: ArrayLike, bootstrap: Bootstrap
) -> list[dict[str, Interval]]:
    """95 % bootstrap intervals of coverage and selective accuracy, over images, the threshold kept.

    Args:
        score: finite reals, float64 (n,).
        error: whether each answer is wrong, bool (n,).
        thresholds: accept iff score ≥ threshold; shape (k,).
        bootstrap: resamples of these images.

    Returns:
        For each threshold, "coverage" and "selective_accuracy".
    """
    accepts = score[:, None] >= np.asarray(thresholds)
    accepted = bootstrap.sums(accepts)
    right = bootstrap.sums(accepts & ~error[:, None])
    accuracies = np.where(accepted > 0, right / np.maximum(accepted, 1), np.nan)
    table = []
    for index, mine in enumerate(accepts.T):
        answered = int(mine.sum())
        table.append(
            {
                "coverage": proportion_interval(accepted[:, index] / len(score), answered, len(score)),
                "selective_accuracy": proportion_interval(
                    accuracies[:, index], int((mine & ~error).sum()), answered
                ),
            }
        )
    return table


def resampled(
    statistics: Callable[[RiskCoverageCurve], Mapping[str, Floats]], curves: Iterable[RiskCoverageCurve]
) -> dict[str, Floats]:
    """Values of statistics on resampled curves, all from one pass over them."""
    found = [statistics(some) for some in curves]
    return {name: np.concatenate([one[name] for one in found]) for name in found[0]}


def per_class(answers: Answers, score: Floats, threshold: float, classes: Sequence[str]) -> dict[str, Any]:
    """Accuracy, coverage and selective accuracy of each class."""
    table = {}
    for label, name in enumerate(classes):
        mine = answers.targets == label
        scores, errors, bootstrap = score[mine], answers.error[mine], Bootstrap(int(mine.sum()))
        table[name] = {
            "n": int(mine.sum()),
            "accuracy": float((~errors).mean()),
            "n_accepted": int((scores >= threshold).sum()),
            "coverage": coverage(scores, threshold),
            "selective_accuracy": selective_accuracy(scores, errors, threshold),
            "intervals": {
                "accuracy": bootstrap.share(~errors),
                **acceptance_intervals(scores, errors, [threshold], bootstrap)[0],
            },
        }
    return table


def confusion(answers: Answers, score: Floats, threshold: float, classes: Sequence[str]) -> dict[str, Any]:
    """Counts by true class (rows) and answer (columns), abstaining being the last column.

    Of more classes than anyone can read only those are counted of which most images are answered wrongly,
    and all other answers together.
    """
    if len(classes) <= MOST:
        shown, others = list(range(len(classes))), []
    else:
        wrong = np.bincount(answers.targets[answers.error], minlength=len(classes))
        shown, others = sorted(np.argsort(-wrong, kind="stable")[:SHOWN].tolist()), [OTHERS]
    columns = [*(classes[label] for label in shown), *others, ABSTAIN]
    place = np.full(len(classes), len(shown))
    place[shown] = np.arange(len(shown))
    given = np.where(score >= threshold, place[answers.predictions], len(columns) - 1)
    mine = np.isin(answers.targets, shown)
    counts = confusion_matrix(place[answers.targets[mine]], given[mine], labels=range(len(columns)))
    return {"rows": columns[: len(shown)], "columns": columns, "counts": counts[: len(shown)].tolist()}
