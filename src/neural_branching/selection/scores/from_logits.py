"""Scores that are functions of the logits alone."""

from abc import abstractmethod
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import entr, logsumexp

from neural_branching.selection.answers import Answers
from neural_branching.selection.arrays import Floats, as_logits, by_blocks
from neural_branching.selection.scores.score import INFINITY, Score, Scorer


def softmax(logits: ArrayLike, temperature: float = 1.0) -> Floats:
    """Softmax of logits / temperature over the last axis, float64 (n, classes).

    Args:
        logits: finite reals, shape (n, classes).
        temperature: positive; above 1 it makes probabilities more even.

    Raises:
        ValueError: for logits that are no matrix or not finite.
    """
    values: Floats = as_logits(logits) / temperature
    values -= values.max(axis=1, keepdims=True)
    np.exp(values, out=values)
    values /= values.sum(axis=1, keepdims=True)
    return values


class OutputScore(Score):
    """A score with nothing to learn."""

    def fit(self, answers: Answers | None) -> Scorer:
        """Nothing to learn."""
        return Scorer(lambda given: by_blocks(self.of, given.logits))

    @abstractmethod
    def of(self, logits: ArrayLike) -> Floats:
        """The score of logits (n, classes), float64 (n,)."""


class MaxSoftmax(OutputScore):
    """Largest softmax probability (Hendrycks & Gimpel, 2017)."""

    kind: ClassVar[str] = "max_softmax"
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def of(self, logits: ArrayLike) -> Floats:
        """max_y p(y), within [1/classes, 1]."""
        score: Floats = softmax(logits).max(axis=1)
        return score


class Margin(OutputScore):
    """Largest softmax probability less the second largest (Scheffer et al., 2001)."""

    kind: ClassVar[str] = "margin"
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def of(self, logits: ArrayLike) -> Floats:
        """p₁ − p₂, within [0, 1]."""
        probabilities = np.sort(softmax(logits), axis=1)
        second = probabilities[:, -2] if probabilities.shape[1] > 1 else 0.0
        score: Floats = probabilities[:, -1] - second
        return score


class NegativeEntropy(OutputScore):
    """Negative entropy of the softmax (Shannon, 1948), in nats."""

    kind: ClassVar[str] = "negative_entropy"
    bounds: ClassVar[tuple[float, float]] = (-INFINITY, 0.0)

    def of(self, logits: ArrayLike) -> Floats:
        """Σ p·ln p, within [−ln(classes), 0]."""
        score: Floats = -entr(softmax(logits)).sum(axis=1)
        return score


class MaxLogit(OutputScore):
    """Largest logit (Hendrycks et al., 2022)."""

    kind: ClassVar[str] = "max_logit"
    bounds: ClassVar[tuple[float, float]] = (-INFINITY, INFINITY)

    def of(self, logits: ArrayLike) -> Floats:
        """max_y z(y)."""
        score: Floats = as_logits(logits).max(axis=1)
        return score


class Energy(OutputScore):
    """Negative free energy (Liu et al., 2020)."""

    kind: ClassVar[str] = "energy"
    bounds: ClassVar[tuple[float, float]] = (-INFINITY, INFINITY)

    def of(self, logits: ArrayLike) -> Floats:
        """Ln Σ exp z(y)."""
        score: Floats = logsumexp(as_logits(logits), axis=1)
        return score
