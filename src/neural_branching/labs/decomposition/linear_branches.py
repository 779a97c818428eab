"""What theory says of branches: parallel deep linear networks that learn one mode of the data together.

From small, balanced initial weights the strength of a mode of size s in branch b follows du_b/dt =
L·u_b^(2 − 2/L)·(s − Σu) (Shi, Shea-Brown & Buice, 2022). Every two branches keep an invariant, so that the
branch that starts ahead ends ahead, the more so the deeper they are.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq

from neural_branching.errors import number, whole
from neural_branching.selection.array_types import Float64

STEPS = 4_000  # at most
TOLERANCE = 1e-12  # of s − Σu where descent has come to its end


@dataclass(frozen=True)
class Descent:
    """Gradient descent on the weights of all layers of all branches.

    Attributes:
        strengths: of the mode in each branch at the end, products of their layers' weights.
        rate: the learning rate.
        steps: that were taken.
        settled: whether Σ strengths came within 1e-12 of the mode's size.
        drift: largest relative change of the invariant between the first branch and another at any step;
            nan if a branch has died or descent has diverged.
        path: strengths at 200 steps at most, evenly spread over those that were taken.
    """

    strengths: Float64[np.ndarray, " branches"]
    rate: float
    steps: int
    settled: bool
    drift: float
    path: Float64[np.ndarray, "points branches"]


def invariant(
    strengths: Float64[np.ndarray, "... branches"], depth: int
) -> Float64[np.ndarray, "... others"]:
    """What gradient flow keeps between the first branch and each other.

    ln u_1 − ln u_b at depth 2; u_1^(−p) − u_b^(−p) with p = 1 − 2/L beyond; u_1 − u_b at depth 1.
    """
    power = 2 / depth - 1
    scaled = np.log(strengths) if power == 0 else strengths**power
    return np.asarray(scaled[..., :1] - scaled[..., 1:])


def final_strengths(
    initial: Float64[np.ndarray, " branches"], depth: int, size: float = 1.0
) -> Float64[np.ndarray, " branches"]:
    """Strengths at the end of gradient flow, from the invariants and Σu = s alone.

    Args:
        initial: positive strengths whose sum is below ``size``.
        depth: layers of a branch, at least 1.
        size: of the mode.
    """
    power = 2 / whole(depth, "depth", 1) - 1
    kept = np.concatenate([[0.0], invariant(initial, depth)])

    def branches(first: float) -> Float64[np.ndarray, " branches"]:
        if power == 0:
            return np.asarray(first * np.exp(-kept))
        return np.asarray(np.maximum(first**power - kept, 1e-300) ** (1 / power))

    first = brentq(lambda value: branches(value).sum() - size, initial[0], size, xtol=1e-15, rtol=1e-14)
    return branches(first)


def descend(initial: Float64[np.ndarray, " branches"], depth: int, rate: float, size: float = 1.0) -> Descent:
    """Gradient descent on ½(s − Σ_b Π_l w_bl)², from balanced weights.

    Args:
        initial: positive strengths; every layer starts with their depth-th root.
        depth: layers of a branch, at least 1.
        rate: the learning rate, above 0.
        size: of the mode.
    """
    number(rate, "rate", 0, float("inf"), open_low=True)
    weights = np.tile(initial ** (1 / whole(depth, "depth", 1)), (depth, 1))
    kept, path, steps, settled = invariant(initial, depth), [initial], 0, False
    others = [[*range(layer), *range(layer + 1, depth)] for layer in range(depth)]
    while steps < STEPS and not settled:
        strengths = weights.prod(0)
        missing = size - strengths.sum()
        if not abs(missing) < 1e6:  # diverged
            break
        settled = abs(missing) < TOLERANCE
        gradient = np.stack([weights[rest].prod(0) for rest in others])
        weights = weights + rate * missing * gradient
        path.append(strengths)
        steps += 1
    strengths = weights.prod(0)
    every = np.stack([*path, strengths])
    alive = bool((every > 0).all() and np.isfinite(every).all())
    drift = float(np.abs(invariant(every, depth) / kept - 1).max()) if alive else float("nan")
    chosen = np.unique(np.linspace(0, len(path) - 1, 200).round().astype(np.int64))
    return Descent(strengths, rate, steps, settled, drift, every[chosen])


def stability_limit(initial: Float64[np.ndarray, " branches"], depth: int, size: float = 1.0) -> float:
    """The learning rate beyond which descent cannot stay where gradient flow ends: 2 / curvature there."""
    end = final_strengths(initial, depth, size)
    return float(2 / (depth * end ** (2 - 2 / depth)).sum())
