"""What a perfectly calibrated classifier with the same confidences would show on as many examples.

Expected calibration error is a mean of absolute gaps, so that chance alone makes it positive. Labels are
redrawn, each answer being right with the probability that it states: the errors of the redraws are the
floor that an observed one is to be held against.
"""

from collections.abc import Iterator

import numpy as np

from neural_branching.selection.array_types import Float32, Float64

REDRAWS = 1000
# Labels that are drawn at once: these few, so that they stay in the processor's cache.
_HELD = 200_000


def redrawn_shares(
    confidence: Float64[np.ndarray, " n"],
    bins: Float64[np.ndarray, "n bins"],
    redraws: int = REDRAWS,
    seed: int = 0,
) -> Float64[np.ndarray, "redraws bins"]:
    """Right answers in each bin, less what the confidences promise, as shares of all examples.

    Args:
        confidence: probability that each answer is right, within [0, 1].
        bins: 1 where an example belongs to a bin, else 0.
        redraws: how many times all labels are drawn.
        seed: seed of the draws.
    """
    n, columns = len(confidence), bins.astype(np.float32)
    counts = np.concatenate([right @ columns for right in _labels(confidence, redraws, seed)])
    shares: Float64[np.ndarray, "redraws bins"] = (counts - confidence @ bins) / n
    return shares


def p_value(observed: float, redrawn: Float64[np.ndarray, " redraws"]) -> float:
    """One-sided p-value of an observed value against redrawn ones, (1 + #≥) / (1 + redraws)."""
    # Sums in another order differ in their last digits.
    return float((1 + (redrawn >= observed - 1e-9).sum()) / (1 + len(redrawn)))


def _labels(
    confidence: Float64[np.ndarray, " n"], redraws: int, seed: int
) -> Iterator[Float32[np.ndarray, "rows n"]]:
    generator, probability = np.random.default_rng(seed), confidence.astype(np.float32)
    rows = max(1, _HELD // len(confidence))
    for start in range(0, redraws, rows):
        drawn = generator.random((min(rows, redraws - start), len(confidence)), dtype=np.float32)
        yield (drawn < probability).astype(np.float32)
