"""One model under one score and one threshold rule: what is learned on calibration, scores everywhere."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neural_branching.errors import InputError
from neural_branching.evaluation.fitted import Stop, fit_score, held_out, scores
from neural_branching.selection import Answers
from neural_branching.selection.arrays import Floats
from neural_branching.selection.scores.score import Score, Scorer
from neural_branching.selection.thresholds.threshold import Choice, HeldOut, Threshold


@dataclass(frozen=True)
class Material:
    """A model's answers to the images that it is judged by.

    Attributes:
        known: split → answers to images of the subset; "train" is there if the score learns from it.
        foreign: "calibration" and "test" → answers to images of other classes, possibly none.
    """

    known: dict[str, Answers]
    foreign: dict[str, Answers]


@dataclass(frozen=True)
class Scored:
    """A model with its fitted score, before a threshold is chosen.

    Attributes:
        material: its answers.
        score: confidence in an answer.
        scorer: the same, fitted.
        held_out: what the threshold was fitted on.
        fitted_on: which calibration images these were, bool (n,); the score learned from the others.
        known: split → scores of the subset's images, float64.
        foreign: split → scores of foreign images, float64.
    """

    material: Material
    score: Score
    scorer: Scorer
    held_out: HeldOut
    fitted_on: NDArray[np.bool_]
    known: Mapping[str, Floats]
    foreign: Mapping[str, Floats]

    def judged(self, rule: Threshold) -> "Judged":
        """The model with the threshold that a rule chooses."""
        return Judged(**vars(self), rule=rule, choice=rule.fit(self.held_out))


@dataclass(frozen=True)
class Judged(Scored):
    """A model with its fitted score and threshold.

    Attributes:
        rule: how the threshold was chosen.
        choice: the threshold.
    """

    rule: Threshold
    choice: Choice

    @property
    def stop(self) -> Stop:
        """Score and threshold."""
        return Stop(self.score, self.scorer, self.choice, self.rule)


def scored(material: Material, score: Score, name: str = "the branch") -> Scored:
    """Fit a score on held-out images; nothing here looks at a test label.

    Args:
        material: the model's answers.
        score: confidence in an answer.
        name: how messages call the model.

    Raises:
        InputError: if the score cannot learn from the held-out answers.
    """
    calibration, validation = material.known["calibration"], material.known["validation"]
    try:
        scorer, fitted_on = fit_score(score, material.known)
    except InputError as error:
        raise InputError(f"Of {name}: {error}") from None
    if scorer is None:
        raise InputError(
            f"score={score.kind} learns from half of the calibration images of each class, and there is "
            "only one of each: raise data.split.calibration or choose another score."
        )
    foreign = {split: scores(scorer, answers) for split, answers in material.foreign.items()}
    return Scored(
        material,
        score,
        scorer,
        held_out(scorer, calibration[fitted_on], validation, foreign["calibration"]),
        fitted_on,
        {split: scorer(answers) for split, answers in material.known.items() if split != "train"},
        foreign,
    )
