"""Confidence scores: one number per prediction, higher = surer."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def softmax(logits: ArrayLike) -> NDArray[np.float64]:
    """Softmax over the last axis in float64.

    Args:
        logits: shape (n, classes).

    Returns:
        Probabilities, float64, same shape.
    """
    values = np.asarray(logits, dtype=np.float64)
    values = np.exp(values - values.max(axis=-1, keepdims=True))
    probabilities: NDArray[np.float64] = values / values.sum(axis=-1, keepdims=True)
    return probabilities


def max_softmax(logits: ArrayLike) -> NDArray[np.float64]:
    """Largest softmax probability (Hendrycks & Gimpel, 2017): float64 (n,) within [1/classes, 1].

    Args:
        logits: shape (n, classes).
    """
    score: NDArray[np.float64] = softmax(logits).max(axis=-1)
    return score
