"""A model with its score and its threshold fitted: what is learned on calibration, and scores everywhere."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from neural_branching.errors import InputError
from neural_branching.evaluation.acceptance import (
    Acceptance,
    NothingToLearnError,
    fit_score,
    held_out,
    scores,
)
from neural_branching.selection import Answers
from neural_branching.selection.array_types import Bool, Float64
from neural_branching.selection.row_groups import one_per_group
from neural_branching.selection.scores.score import Score, Scorer
from neural_branching.selection.thresholds.threshold import Choice, HeldOut, Threshold


@dataclass(frozen=True)
class NodeAnswers:
    """A model's answers to the examples that it is evaluated on.

    Attributes:
        known: split → answers to examples of its own classes; "train" is there if the score learns from it.
        foreign: "calibration" and "test" → answers to examples of other classes, possibly none.
    """

    known: dict[str, Answers]
    foreign: dict[str, Answers]

    @property
    def foreign_fitted(self) -> Bool[np.ndarray, " m"]:
        """Which foreign calibration examples a threshold is fitted on: one of each group, or all."""
        groups = self.foreign["calibration"].groups
        everyone = np.ones(len(self.foreign["calibration"]), dtype=bool)
        return everyone if groups is None else one_per_group(groups)


@dataclass(frozen=True)
class ScoredNode:
    """A model with its fitted score, before a threshold is chosen.

    Attributes:
        answers: its answers.
        score: confidence in an answer.
        scorer: the same, fitted.
        held_out: what the threshold was fitted on.
        fitted_on: which calibration examples these were.
        known: split → scores of examples of its own classes.
        foreign: split → scores of foreign examples.
    """

    answers: NodeAnswers
    score: Score
    scorer: Scorer
    held_out: HeldOut
    fitted_on: Bool[np.ndarray, " calibration"]
    known: Mapping[str, Float64[np.ndarray, " _"]]
    foreign: Mapping[str, Float64[np.ndarray, " _"]]

    @property
    def learned_on(self) -> Bool[np.ndarray, " calibration"]:
        """Which calibration examples the score learned from."""
        groups = self.answers.known["calibration"].groups
        if self.score.learns_from != "calibration":
            return np.zeros_like(self.fitted_on)
        return ~self.fitted_on if groups is None else ~np.isin(groups, groups[self.fitted_on])

    def with_threshold(self, rule: Threshold) -> "ThresholdedNode":
        """The model with the threshold that a rule chooses."""
        return ThresholdedNode(
            **vars(self), rule=rule, choice=replace(rule.fit(self.held_out), unit=self.held_out.unit)
        )


@dataclass(frozen=True)
class ThresholdedNode(ScoredNode):
    """A model with its fitted score and threshold.

    Attributes:
        rule: how the threshold was chosen.
        choice: the threshold.
    """

    rule: Threshold
    choice: Choice

    @property
    def acceptance(self) -> Acceptance:
        """Score and threshold."""
        return Acceptance(self.score, self.scorer, self.choice, self.rule)


def score_node(answers: NodeAnswers, score: Score, name: str = "the branch") -> ScoredNode:
    """Fit a score on held-out examples; nothing here looks at a test label.

    Args:
        answers: the model's answers.
        score: confidence in an answer.
        name: how messages call the model.

    Raises:
        NothingToLearnError: if there is nothing for the score to learn from.
        InputError: if the score cannot learn from the held-out answers.
    """
    known = answers.known
    try:
        scorer, fitted_on = fit_score(score, known)
    except NothingToLearnError:
        raise
    except InputError as error:
        raise InputError(f"Of {name}: {error}") from None
    foreign = {split: scores(scorer, some) for split, some in answers.foreign.items()}
    held_out_foreign = (
        foreign["calibration"][answers.foreign_fitted] if "calibration" in foreign else np.empty(0)
    )
    return ScoredNode(
        answers,
        score,
        scorer,
        held_out(
            scorer,
            known["calibration"][fitted_on],
            known["validation"],
            held_out_foreign,
        ),
        fitted_on,
        {split: scores(scorer, some) for split, some in known.items() if split != "train"},
        foreign,
    )
