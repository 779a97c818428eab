"""Selective prediction on one set of examples, every number with its interval."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from neural_branching.selection import (
    Answers,
    RiskCoverageCurve,
    coverage,
    risk_coverage_curve,
    selective_accuracy,
)
from neural_branching.selection.array_types import Bool, Float64, Int64
from neural_branching.selection.arrays import Floats
from neural_branching.selection.intervals import Interval, proportion_interval, share_interval

ABSTAIN, OTHERS = "abstain", "any other"
# A confusion matrix of more classes than the first shows as many as the second.
MOST, SHOWN = 100, 25


def selective(
    score: Float64[np.ndarray, " n"], error: Bool[np.ndarray, " n"], threshold: float
) -> dict[str, Any]:
    """Accuracy, coverage, selective accuracy and the areas under the curves, without intervals."""
    curve = risk_coverage_curve(score, error)
    return {
        "n": len(score),
        "accuracy": float(curve.accuracy()),
        "n_accepted": int((score >= threshold).sum()),
        "coverage": coverage(score, threshold),
        "selective_accuracy": selective_accuracy(score, error, threshold),
        "aurc": float(curve.aurc()),
        "e_aurc": float(curve.e_aurc()),
        "augrc": float(curve.augrc()),
        "failure_auroc": float(curve.failure_auroc()),
    }


def acceptance_intervals(
    score: Float64[np.ndarray, " n"],
    error: Bool[np.ndarray, " n"],
    thresholds: ArrayLike,
    groups: Int64[np.ndarray, " n"] | None = None,
) -> list[dict[str, Interval]]:
    """95 % intervals of coverage and selective accuracy, over examples, the threshold kept.

    Both are proportions: of all examples, and of those accepted (given how many these are).

    Args:
        score: finite reals.
        error: whether each answer is wrong.
        thresholds: accept iff score ≥ threshold; shape (k,).
        groups: equal for examples of one group; None where each is by itself.

    Returns:
        For each threshold, "coverage" and "selective_accuracy"; nan where nothing is accepted.
    """
    if groups is not None:
        taken = [score >= threshold for threshold in np.asarray(thresholds)]
        return [
            {
                "coverage": share_interval(mine, groups),
                "selective_accuracy": share_interval(~error[mine], groups[mine]),
            }
            for mine in taken
        ]
    accepted, wrong = risk_coverage_curve(score, error).at(thresholds)
    return [
        {
            "coverage": proportion_interval(answered, len(score)),
            "selective_accuracy": proportion_interval(answered - mistaken, answered),
        }
        for answered, mistaken in zip(accepted.tolist(), wrong.tolist(), strict=True)
    ]


def resampled(
    statistics: Callable[[RiskCoverageCurve], Mapping[str, Floats]], curves: Iterable[RiskCoverageCurve]
) -> dict[str, Floats]:
    """Values of statistics on resampled curves, all from one pass over them."""
    found = [statistics(some) for some in curves]
    return {name: np.concatenate([one[name] for one in found]) for name in found[0]}


def areas_of(curve: RiskCoverageCurve) -> dict[str, Floats]:
    """The areas under one curve, or under each of many."""
    return {
        "aurc": curve.aurc(),
        "e_aurc": curve.e_aurc(),
        "augrc": curve.augrc(),
        "failure_auroc": curve.failure_auroc(),
    }


def per_class(
    answers: Answers, score: Float64[np.ndarray, " n"], threshold: float, classes: Sequence[str]
) -> dict[str, Any]:
    """Accuracy, coverage and selective accuracy of each class."""
    table = {}
    for label, name in enumerate(classes):
        mine = answers.targets == label
        scores, errors = score[mine], answers.error[mine]
        groups = None if answers.groups is None else answers.groups[mine]
        table[name] = {
            "n": int(mine.sum()),
            "accuracy": float((~errors).mean()),
            "n_accepted": int((scores >= threshold).sum()),
            "coverage": coverage(scores, threshold),
            "selective_accuracy": selective_accuracy(scores, errors, threshold),
            "intervals": {
                "accuracy": share_interval(~errors, groups),
                **acceptance_intervals(scores, errors, [threshold], groups)[0],
            },
        }
    return table


def confusion(
    answers: Answers, score: Float64[np.ndarray, " n"], threshold: float, classes: Sequence[str]
) -> dict[str, Any]:
    """Counts by true class (rows) and answer (columns), abstaining being the last column.

    Of more classes than anyone can read only those are counted of which most examples are answered wrongly,
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
    counts = np.zeros((len(shown), len(columns)), dtype=np.int64)
    np.add.at(counts, (place[answers.targets[mine]], given[mine]), 1)
    return {"rows": columns[: len(shown)], "columns": columns, "counts": counts.tolist()}
