"""What a trained branch is worth: its threshold from calibration, its numbers from test."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix, log_loss

from neural_branching.data.split import SPLITS
from neural_branching.selection import (
    RiskCoverageCurve,
    Threshold,
    coverage,
    max_softmax,
    risk_coverage_curve,
    selective_accuracy,
    softmax,
)

HELD_OUT = SPLITS[1:]
ABSTAIN = "abstain"


@dataclass(frozen=True)
class Answers:
    """One model's logits on one split of the subset's images.

    Attributes:
        rows: row numbers in the data table, int64 (n,).
        targets: indices into the subset's classes, int64 (n,).
        logits: float (n, classes).
    """

    rows: NDArray[np.int64]
    targets: NDArray[np.int64]
    logits: NDArray[np.float32]

    @property
    def predictions(self) -> NDArray[np.int64]:
        """Most probable class of each image, int64 (n,)."""
        most_probable: NDArray[np.int64] = self.logits.argmax(axis=1)
        return most_probable

    @property
    def score(self) -> NDArray[np.float64]:
        """Confidence of each prediction: the largest softmax probability, float64 (n,)."""
        return max_softmax(self.logits)

    @property
    def error(self) -> NDArray[np.bool_]:
        """Whether each prediction is wrong, bool (n,)."""
        wrong: NDArray[np.bool_] = self.predictions != self.targets
        return wrong

    def curve(self) -> RiskCoverageCurve:
        """Risk–coverage curve of these answers."""
        return risk_coverage_curve(self.score, self.error)


@dataclass(frozen=True)
class Evaluation:
    """The numbers of a run and what figures are drawn from.

    Attributes:
        numbers: ``threshold``, ``validation``, ``calibration`` and ``test`` of results.json.
        branch: the branch's answers on each held-out split.
        parent: the parent's answers restricted to the subset, on the same images.
        threshold: the fitted acceptance threshold of the branch.
    """

    numbers: dict[str, Any]
    branch: Mapping[str, Answers]
    parent: Mapping[str, Answers]
    threshold: float


def evaluate(
    branch: Mapping[str, Answers], parent: Mapping[str, Answers], rule: Threshold, classes: Sequence[str]
) -> Evaluation:
    """Fit the threshold on calibration and judge the branch on test, beside its parent.

    The parent restricted to the subset gets a threshold of its own by the same rule.

    Args:
        branch: answers by split, for every split in ``HELD_OUT``.
        parent: the parent's logits of the subset's classes, for the same images.
        rule: how the threshold is chosen.
        classes: the subset's class names.
    """
    calibration = branch["calibration"]
    threshold = rule.fit(calibration.score, calibration.error)
    parent_threshold = rule.fit(parent["calibration"].score, parent["calibration"].error)
    validation = branch["validation"]
    numbers = {
        "threshold": {
            "kind": rule.kind,
            "rule": str(rule),
            "value": threshold,
            "reject_all": threshold == float("inf"),
            "promise": rule.promise,
            "split": "calibration",
            "n": len(calibration.rows),
        },
        "validation": {
            **_selective(validation, threshold),
            "loss": float(
                log_loss(validation.targets, softmax(validation.logits), labels=range(len(classes)))
            ),
        },
        "calibration": _selective(calibration, threshold),
        "test": {
            **_selective(branch["test"], threshold),
            "parent_restricted": {
                **_selective(parent["test"], parent_threshold),
                "threshold": parent_threshold,
            },
            "per_class": _per_class(branch["test"], threshold, classes),
            "confusion": _confusion(branch["test"], threshold, classes),
        },
    }
    return Evaluation(numbers=numbers, branch=branch, parent=parent, threshold=threshold)


def _selective(answers: Answers, threshold: float) -> dict[str, Any]:
    score, error = answers.score, answers.error
    return {
        "n": len(score),
        "accuracy": float((~error).mean()),
        "n_accepted": int((score >= threshold).sum()),
        "coverage": coverage(score, threshold),
        "selective_accuracy": selective_accuracy(score, error, threshold),
        "aurc": answers.curve().aurc(),
    }


def _per_class(answers: Answers, threshold: float, classes: Sequence[str]) -> dict[str, Any]:
    table = {}
    for label, name in enumerate(classes):
        mine = answers.targets == label
        score, error = answers.score[mine], answers.error[mine]
        table[name] = {
            "n": int(mine.sum()),
            "accuracy": float((~error).mean()),
            "n_accepted": int((score >= threshold).sum()),
            "coverage": coverage(score, threshold),
            "selective_accuracy": selective_accuracy(score, error, threshold),
        }
    return table


def _confusion(answers: Answers, threshold: float, classes: Sequence[str]) -> dict[str, Any]:
    """Counts by true class (rows) and answer (columns), abstaining being the last column."""
    abstained = len(classes)
    given = np.where(answers.score >= threshold, answers.predictions, abstained)
    counts = confusion_matrix(answers.targets, given, labels=range(abstained + 1))[:abstained]
    return {"rows": list(classes), "columns": [*classes, ABSTAIN], "counts": counts.tolist()}
