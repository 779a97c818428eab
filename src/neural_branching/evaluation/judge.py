"""One model under one score and one threshold rule: what is learned on calibration, scores everywhere."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neural_branching.errors import InputError
from neural_branching.selection import Answers
from neural_branching.selection.arrays import Floats
from neural_branching.selection.scores.base import Score, Scorer
from neural_branching.selection.thresholds.base import Choice, HeldOut, Threshold


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
        scorer: the fitted score.
        held_out: what the threshold was fitted on.
        fitted_on: which calibration images these were, bool (n,); the score learned from the others.
        known: split → scores of the subset's images, float64.
        foreign: split → scores of foreign images, float64.
    """

    material: Material
    scorer: Scorer
    held_out: HeldOut
    fitted_on: NDArray[np.bool_]
    known: Mapping[str, Floats]
    foreign: Mapping[str, Floats]

    def judged(self, rule: Threshold) -> "Judged":
        """The model with the threshold that a rule chooses."""
        return Judged(**vars(self), choice=rule.fit(self.held_out))


@dataclass(frozen=True)
class Judged(Scored):
    """A model with its fitted score and threshold.

    Attributes:
        choice: the fitted threshold.
    """

    choice: Choice


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
    fitted_on = np.ones(len(calibration), dtype=bool)
    if score.learns_from == "calibration":
        fitted_on = every_second(calibration.targets)
        if fitted_on.all():
            raise InputError(
                f"score={score.kind} learns from half of the calibration images of each class, and there is "
                "only one of each: raise data.split.calibration or choose another score."
            )
        try:
            scorer = score.fit(calibration[~fitted_on])
        except InputError as error:
            raise InputError(f"Of {name}: {error}") from None
    else:
        scorer = score.fit(material.known[score.learns_from] if score.learns_from else None)
    known = {split: scorer(answers) for split, answers in material.known.items() if split != "train"}
    foreign = {
        split: scorer(answers) if len(answers) else np.empty(0) for split, answers in material.foreign.items()
    }
    held_out = HeldOut(
        score=known["calibration"][fitted_on],
        error=calibration.error[fitted_on],
        validation_score=known["validation"],
        validation_error=validation.error,
        foreign_score=foreign["calibration"],
    )
    return Scored(material, scorer, held_out, fitted_on, known, foreign)


def every_second(targets: NDArray[np.int64]) -> NDArray[np.bool_]:
    """The first, third, … image of each class, bool (n,).

    Rows are ordered by the hash of their pixels, so that this is a draw; and always the same one.
    """
    chosen = np.zeros(len(targets), dtype=bool)
    for label in np.unique(targets):
        chosen[np.flatnonzero(targets == label)[::2]] = True
    return chosen
