"""Ways to say how sure an answer is: the parent's own, and a branch's. None has seen calibration or test."""

from collections.abc import Mapping

import numpy as np

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
    found[FEATURES] = regression(table, answers.right, train)
    found[PRIOR] = prior(answers.answers, answers.right, train)
    return found


def with_branch(answers: ParentAnswers, branch: Scores, rows: Rows) -> dict[str, Scores]:
    """A branch's confidence, alone and together with the parent's own.

    Both are joined by a logistic regression on the validation rows, of which the branch has learned nothing
    but when to stop.

    Args:
        answers: to all rows.
        branch: its log-odds that an answer is right.
        rows: of "validation".
    """
    both = np.column_stack([branch, answers.own])
    return {BRANCH: branch, BOTH: regression(both, answers.right, rows["validation"])}


def regression(
    inputs: Float64[np.ndarray, "n k"], right: Bool[np.ndarray, " n"], learned: Int64[np.ndarray, " m"]
) -> Scores:
    """Log-odds by a logistic regression on standardised inputs, learned from some rows."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(inputs[learned], right[learned])
    return np.asarray(model.decision_function(inputs), np.float64)


def prior(
    answers: Int64[np.ndarray, " n"], right: Bool[np.ndarray, " n"], learned: Int64[np.ndarray, " m"]
) -> Scores:
    """How often an answer was right before: (k + 2·mean) / (n + 2) of the rows learned from that gave it."""
    count = int(answers.max()) + 1
    given = np.bincount(answers[learned], minlength=count)
    hits = np.bincount(answers[learned], weights=right[learned], minlength=count)
    share = (hits + _IMAGINED * right[learned].mean()) / (given + _IMAGINED)
    return np.asarray(share[answers], np.float64)
