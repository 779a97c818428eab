"""Checked input: scores and errors of any array type as float64, or a ValueError of one sentence."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neural_branching.selection.array_types import Float, Float64, Int64

# Numbers of a matrix that are worked on at once: so few that they stay in the processor's cache.
BLOCK = 100_000

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def as_scores(score: ArrayLike) -> Float64[np.ndarray, " n"]:
    """Scores as an array.

    Raises:
        ValueError: if they are empty, not one-dimensional, or not all finite.
    """
    scores = _as_floats(score, "score")
    if scores.ndim != 1 or not len(scores):
        raise ValueError(f"score has shape {scores.shape}: it must be a non-empty list of numbers.")
    finite = np.isfinite(scores)
    if not finite.all():
        raise ValueError(f"score contains {scores[~finite][0]}: every score must be finite.")
    return scores


def as_pair(score: ArrayLike, error: ArrayLike) -> tuple[Float64[np.ndarray, " n"], Int64[np.ndarray, " n"]]:
    """Scores, and errors given as booleans or 0/1, as arrays.

    Raises:
        ValueError: for empty, non-finite or unequally long input, or errors other than 0 and 1.
    """
    scores, errors = as_scores(score), _as_floats(error, "error")
    if errors.shape != scores.shape:
        raise ValueError(f"score has shape {scores.shape} and error {errors.shape}: they must be equal.")
    other = (errors != 0) & (errors != 1)
    if other.any():
        raise ValueError(f"error contains {errors[other][0]:g}: every error must be 0 or 1.")
    return scores, errors.astype(np.int64)


def as_logits(logits: ArrayLike) -> Float64[np.ndarray, "n classes"]:
    """Logits as an array.

    Raises:
        ValueError: if they are no matrix of at least one column, or not all finite.
    """
    values = _as_floats(logits, "logits")
    if values.ndim != 2 or not values.shape[1]:
        raise ValueError(f"logits have shape {values.shape}: it must be (n, classes).")
    if not np.isfinite(values).all():
        raise ValueError(f"logits contain {values[~np.isfinite(values)][0]}: all must be finite.")
    return values


def by_blocks(
    function: Callable[[Any], Floats], matrix: Float[np.ndarray, "n columns"]
) -> Float64[np.ndarray, " n"]:
    """A function of each row of a matrix; of a large one some rows at a time, in threads."""
    rows = max(1, BLOCK // max(1, matrix.shape[1]))
    if len(matrix) <= rows:
        return function(matrix)
    blocks = [matrix[start : start + rows] for start in range(0, len(matrix), rows)]
    with ThreadPoolExecutor() as pool:  # numpy lets others work meanwhile
        return np.concatenate(list(pool.map(function, blocks)))


def _as_floats(value: Any, name: str) -> Floats:
    # A tensor on a device, or one that carries a gradient, is no array yet; this room knows no torch.
    if hasattr(value, "detach"):
        value = value.detach().cpu().double().numpy()
    try:
        return np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{name} cannot be read as numbers ({error}).") from None
