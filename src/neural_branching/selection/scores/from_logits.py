"""Scores that are functions of the logits alone."""

from abc import abstractmethod
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from neural_branching.selection.answers import Answers
from neural_branching.selection.array_types import Float, Float64
from neural_branching.selection.arrays import Floats, as_logits
from neural_branching.selection.scores import formulas
from neural_branching.selection.scores.formulas import Array
from neural_branching.selection.scores.score import INFINITY, Score, Scorer


def softmax(logits: ArrayLike, temperature: float = 1.0) -> Float64[np.ndarray, "n classes"]:
    """Softmax of logits / temperature over the last axis.

    Args:
        logits: finite reals, shape (n, classes).
        temperature: positive; above 1 it makes probabilities more even.

    Raises:
        ValueError: for logits that are no matrix or not finite.
    """
    probabilities: Floats = formulas.softmax(as_logits(logits), temperature)
    return probabilities


class LogitScore(Score):
    """A score with nothing to learn."""

    @staticmethod
    @abstractmethod
    def formula(logits: Float[Array, "n classes"]) -> Float[Array, " n"]:
        """The score of logits of any array type, see ``formulas``; unchecked."""

    def fit(self, answers: Answers | None) -> Scorer:
        """Nothing to learn."""
        return Scorer.of_logits(self.formula)

    def of(self, logits: ArrayLike) -> Float64[np.ndarray, " n"]:
        """The score of logits (n, classes).

        Raises:
            ValueError: for logits that are no matrix or not finite.
        """
        score: Floats = self.formula(as_logits(logits))
        return score


class MaxSoftmax(LogitScore):
    """Largest softmax probability (Hendrycks & Gimpel, 2017)."""

    kind: ClassVar[str] = "max_softmax"
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)
    formula = staticmethod(formulas.max_softmax)


class Margin(LogitScore):
    """Largest softmax probability less the second largest (Scheffer et al., 2001)."""

    kind: ClassVar[str] = "margin"
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)
    formula = staticmethod(formulas.margin)


class NegativeEntropy(LogitScore):
    """Negative entropy of the softmax (Shannon, 1948), in nats."""

    kind: ClassVar[str] = "negative_entropy"
    bounds: ClassVar[tuple[float, float]] = (-INFINITY, 0.0)
    formula = staticmethod(formulas.negative_entropy)


class MaxLogit(LogitScore):
    """Largest logit (Hendrycks et al., 2022)."""

    kind: ClassVar[str] = "max_logit"
    bounds: ClassVar[tuple[float, float]] = (-INFINITY, INFINITY)
    formula = staticmethod(formulas.max_logit)


class Energy(LogitScore):
    """Negative free energy (Liu et al., 2020)."""

    kind: ClassVar[str] = "energy"
    bounds: ClassVar[tuple[float, float]] = (-INFINITY, INFINITY)
    formula = staticmethod(formulas.energy)
