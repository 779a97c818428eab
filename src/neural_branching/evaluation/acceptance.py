"""A node's score and threshold, fitted on held-out answers."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from neural_branching.errors import InputError
from neural_branching.routing.promises import Promise
from neural_branching.selection import Answers
from neural_branching.selection.array_types import Bool, Float64, Int64
from neural_branching.selection.row_groups import one_per_group
from neural_branching.selection.scores.score import Score, Scorer
from neural_branching.selection.thresholds.threshold import Choice, HeldOut, Threshold


@dataclass(frozen=True)
class Acceptance:
    """A node's fitted score and threshold.

    Attributes:
        score: confidence in an answer.
        scorer: the same, fitted.
        choice: the threshold.
        rule: what it was chosen by, alone or with the other exits of a cascade.
    """

    score: Score
    scorer: Scorer
    choice: Choice
    rule: Threshold | Promise

    def accepts(self, answers: Answers) -> Bool[np.ndarray, " n"]:
        """Whether each answer is accepted."""
        if not len(answers):
            return np.ones(0, dtype=bool)
        accepted: Bool[np.ndarray, " n"] = self.scorer(answers) >= self.choice.value
        return accepted

    def numbers(self) -> dict[str, Any]:
        """The block "threshold" of results.json."""
        choice, rule = self.choice, self.rule
        return {
            "kind": rule.kind,
            "rule": str(rule),
            "settings": dict(vars(rule)),
            "value": choice.value,
            "reject_all": choice.value == float("inf"),
            "promise": rule.promise,
            "guarantee": rule.guarantee,
            "split": "calibration" if choice.n else None,
            "examples": "foreign" if rule.needs_foreign else "known",
            "n": choice.n,
            "unit": choice.unit,
            "certificate": asdict(choice.certificate) if choice.certificate else None,
            "shortage": asdict(choice.shortage) if choice.shortage else None,
        }


class NothingToLearnError(InputError):
    """No example is left for a score to learn from."""


def fit_score(score: Score, answers: Mapping[str, Answers]) -> tuple[Scorer, Bool[np.ndarray, " n"]]:
    """Fit a score; what learns from calibration leaves half of each class to the threshold.

    Where examples come in groups it leaves half of the groups, and the threshold gets one example of each of
    its groups, which may be exchangeable where examples are not.

    Args:
        score: confidence in an answer.
        answers: "calibration", and "train" if the score learns from it. Only answers to examples of the
            node's own classes are learned from.

    Returns:
        The fitted score; and which calibration examples are left for the threshold.

    Raises:
        NothingToLearnError: if there is nothing to learn from.
        InputError: if the score cannot learn from the answers.
    """
    calibration = answers["calibration"]
    groups = calibration.groups
    left = np.ones(len(calibration), dtype=bool) if groups is None else one_per_group(groups)
    if not score.learns_from:
        return score.fit(None), left
    if score.learns_from == "calibration":
        if groups is None:
            left = every_second(calibration.targets)
            taken = left
        else:
            taken = np.isin(groups, np.unique(groups)[::2])
            left &= taken
        learning = calibration[~taken & (calibration.targets >= 0)]
    else:
        learning = answers[score.learns_from]
        if (learning.targets < 0).any():  # else it is not copied, and may be large
            learning = learning[learning.targets >= 0]
    if not len(learning):
        raise NothingToLearnError(
            f"score={score.kind} learns from half of the calibration examples of each class, and there is "
            "only one of each: raise data.split.calibration or choose another score."
        )
    return score.fit(learning), left


def held_out(
    scorer: Scorer, calibration: Answers, validation: Answers, foreign: Float64[np.ndarray, " m"]
) -> HeldOut:
    """What a threshold is fitted on.

    Args:
        scorer: the fitted score.
        calibration: answers that it has not learned from.
        validation: answers by which models were chosen.
        foreign: scores of calibration examples of foreign classes.
    """
    return HeldOut(
        score=scores(scorer, calibration),
        error=calibration.error,
        validation_score=scores(scorer, validation),
        validation_error=validation.error,
        foreign_score=foreign,
        groups=calibration.groups,
    )


def scores(scorer: Scorer, answers: Answers) -> Float64[np.ndarray, " n"]:
    """Scores of answers, of which there may be none."""
    return scorer(answers) if len(answers) else np.empty(0)


def every_second(targets: Int64[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
    """The first, third, … example of each class.

    Rows are ordered by the hash of their content, so that this is a draw; and always the same one.
    """
    chosen = np.zeros(len(targets), dtype=bool)
    for label in np.unique(targets):
        chosen[np.flatnonzero(targets == label)[::2]] = True
    return chosen
