"""What every confidence score has in common."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np

from neural_branching.errors import InputError
from neural_branching.selection.answers import Answers
from neural_branching.selection.array_types import Float, Float64
from neural_branching.selection.arrays import as_logits, by_blocks
from neural_branching.selection.scores.formulas import Array

Formula = Callable[[Float[Array, "n classes"]], Float[Array, " n"]]

INFINITY = float("inf")


@dataclass(frozen=True)
class Scorer:
    """A score that is ready for use.

    Attributes:
        function: from answers to one finite real each, higher = more confident.
        learned: what was learned, for results: a temperature, a number of examples.
        formula: the same of logits of any array type, by which an exported program scores; None for a score
            that looks at more than logits.
    """

    function: Callable[[Answers], Float64[np.ndarray, " n"]]
    learned: Mapping[str, float] = field(default_factory=dict)
    formula: Formula | None = None

    @classmethod
    def of_logits(cls, formula: Formula, learned: Mapping[str, float] | None = None) -> "Scorer":
        """A score that is a formula of the logits alone.

        Args:
            formula: see ``formula``.
            learned: see ``learned``.
        """
        return cls(
            lambda answers: by_blocks(lambda some: formula(as_logits(some)), answers.logits),
            learned or {},
            formula,
        )

    def __call__(self, answers: Answers) -> Float64[np.ndarray, " n"]:
        """Confidence in each answer.

        Raises:
            InputError: if the score gives something else.
        """
        scores = self.function(answers)
        if scores.shape != (len(answers.logits),):
            raise InputError(
                f"The score gives shape {scores.shape}: it must give one number for each answer."
            )
        finite = np.isfinite(scores)
        if not finite.all():
            raise InputError(f"The score gives {scores[~finite][0]}: it must give finite numbers.")
        return scores


class Score(ABC):
    """A confidence score; it knows no threshold.

    Attributes:
        kind: its name in results.
        bounds: smallest and largest value it can take; a fixed threshold must lie within.
        learns_from: the split that ``fit`` is given, or None if there is nothing to learn. A score
            that learns from the calibration split is given half of it, and the threshold the other
            half: a score that has seen the examples of its threshold would void every guarantee.
        asks_activations: whether it looks at more than logits, at what the branch sees.
    """

    kind: ClassVar[str]
    bounds: ClassVar[tuple[float, float]]
    learns_from: Literal["train", "validation", "calibration"] | None = None
    asks_activations: ClassVar[bool] = False

    def __str__(self) -> str:
        """Kind and setting, as tables show it."""
        return self.kind

    @abstractmethod
    def fit(self, answers: Answers | None) -> Scorer:
        """Make the score ready for use.

        Args:
            answers: answers to the examples of ``learns_from``; None if that is None.

        Raises:
            InputError: if nothing can be learned from them.
        """
