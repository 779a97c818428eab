"""Ways to say how sure an answer is: the parent's own, and a branch's. None has seen calibration or test."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from neural_branching.labs.self_evaluation.parent_answers import ParentAnswers
from neural_branching.selection.array_types import Bool, Float64, Int64
from neural_branching.selection.scores import formulas
from neural_branching.selection.scores.learned import fit_temperature

Rows = Mapping[str, Int64[np.ndarray, " _"]]  # split → row numbers
Scores = Float64[np.ndarray, " n"]  # of every row of the table

TEMPERATURE, FEATURES, PRIOR = "temperature", "features", "prior of the answer"
WITH_BRANCH = BRANCH, BOTH = "branch", "both"
# Imagined answers of mean rightness beside those that were seen with a text or a class.
_IMAGINED = 2.0


def own_confidences(answers: ParentAnswers, rows: Rows) -> dict[str, Scores]:
    """Name → confidence that takes nothing but the parent's answer and its probabilities.

    What is learned is learned from the rows that a branch learns from: the temperature of a classifier, a
    logistic regression on features of the probabilities, and how often each answer was right.

    Args:
        answers: to all rows.
        rows: of "train".
    """
    train = rows["train"]
    found = {answers.name: answers.own}
    if answers.logits is not None:
        known = train[answers.targets[train] >= 0]
        temperature = fit_temperature(answers.logits[known], answers.targets[known])
        found[TEMPERATURE] = np.asarray(formulas.max_softmax(answers.logits, temperature=temperature))
    table = np.column_stack([*answers.features.values()])
    found[FEATURES] = Regression.of(table, answers.right, train)(table)
    found[PRIOR] = prior(answers.answers, answers.right, train)
    return found


def joined(branch: Scores, own: Scores, right: Bool[np.ndarray, " n"], rows: Rows) -> "Regression":
    """A branch's confidence together with the parent's own, by a logistic regression.

    It learns from the validation rows, of which the branch has learned nothing but when to stop.

    Args:
        branch: its log-odds that an answer is right.
        own: the parent's own confidence.
        right: whether each answer is.
        rows: of "validation".
    """
    return Regression.of(pair(branch, own), right, rows["validation"])


def pair(branch: Any, own: Any) -> Any:
    """What ``joined`` learns from and is asked with, of arrays of numpy or torch: (n, 2)."""
    return array_namespace(branch).stack([branch, own], axis=1)


@dataclass(frozen=True)
class Regression:
    """A logistic regression on standardised inputs.

    Attributes:
        mean: of each input.
        scale: of each input, its standard deviation.
        weights: of each standardised input.
        bias: log-odds where all inputs are at their mean.
    """

    mean: tuple[float, ...]
    scale: tuple[float, ...]
    weights: tuple[float, ...]
    bias: float

    @classmethod
    def of(
        cls,
        inputs: Float64[np.ndarray, "n k"],
        right: Bool[np.ndarray, " n"],
        learned: Int64[np.ndarray, " m"],
    ) -> "Regression":
        """Learn whether answers are right from some rows."""
        from sklearn.linear_model import LogisticRegression
        from sklearn.preprocessing import StandardScaler

        standard = StandardScaler().fit(inputs[learned])
        model = LogisticRegression().fit(standard.transform(inputs[learned]), right[learned])
        mean, scale, weights = (
            tuple(some.tolist()) for some in (standard.mean_, standard.scale_, model.coef_[0])
        )
        return cls(mean, scale, weights, float(model.intercept_[0]))

    def __call__(self, inputs: Any) -> Any:
        """Log-odds of float64 inputs (n, k), an array of numpy or torch, (n,)."""
        xp = array_namespace(inputs)
        mean, scale, weights = (
            xp.asarray(some, dtype=xp.float64) for some in (self.mean, self.scale, self.weights)
        )
        return xp.sum((inputs - mean) / scale * weights, axis=1) + self.bias


def prior(
    answers: Int64[np.ndarray, " n"], right: Bool[np.ndarray, " n"], learned: Int64[np.ndarray, " m"]
) -> Scores:
    """How often an answer was right before: (k + 2·mean) / (n + 2) of the rows learned from that gave it."""
    count = int(answers.max()) + 1
    given = np.bincount(answers[learned], minlength=count)
    hits = np.bincount(answers[learned], weights=right[learned], minlength=count)
    share = (hits + _IMAGINED * right[learned].mean()) / (given + _IMAGINED)
    return np.asarray(share[answers], np.float64)
