"""One boundary for every threshold at once: a guaranteed rule that pays for no multiplicity of its own.

Walk through the calibration examples from the most confident down, a step per example: each threshold τ is a
point (k, g) of this walk, k wrong and g right answers accepted so far. A boundary h(g), the number of errors
tolerated beside g right answers, is drawn before the calibration examples are looked at. Any threshold at
which the walk is within the boundary, k ≤ h(g), may be chosen.

Why this is valid for independent examples from one distribution, whatever the scores, ties or the shape
of the true risk R(τ): order what can happen to one example from bad to good as wrong at a high score …
wrong at a low score, accepted by no false threshold (one with R(τ) > r*), right at a low score … right at
a high score. A better example never raises k and never lowers g at any false threshold, so that with h
non-decreasing it can only help a false threshold to pass. Compare with examples of the same scores whose
errors are coin flips of probability r*, independent of the score. At every false threshold
P(wrong, s ≥ τ) = R(τ)·P(s ≥ τ) is larger than the coins' r*·P(s ≥ τ), and P(right, s ≥ τ) smaller: example
by example the coins are stochastically better on that order. So the probability that any false threshold
passes is at most what it is under coins; there the points (k, g) all lie on one walk with independent
steps of probability r*, whose chance ever to be within the boundary is computed exactly and set to δ.

The argument is this project's own; the recursion is that of repeated significance tests (Armitage,
McPherson & Rowe, 1969) with a constant nominal level (Pocock, 1977).
"""

import math
from functools import lru_cache
from typing import ClassVar

import numpy as np
from scipy.special import gammaln, nbdtr

from neural_branching.selection.array_types import Float64, Int64
from neural_branching.selection.risk_coverage import RiskCoverageCurve, risk_coverage_curve
from neural_branching.selection.thresholds.guaranteed import Guaranteed, least_accepted
from neural_branching.selection.thresholds.threshold import HeldOut, at_most

# The boundary is open from a quarter to twice the right answers that validation lets expect. On CIFAR fish
# and flowers, coverage moves by less than .01 between a third and a quarter; half is too late where
# validation promises too much, and closing at once too early where it promises too little.
OPENS, CLOSES = 1 / 4, 2
# Bisection steps for the level, on a logarithmic scale.
STEPS = 14


class RandomWalk(Guaranteed):
    """The loosest threshold at which the walk of calibration errors is within an exact boundary.

    The boundary is open from g₁ to g₂ accepted right answers: a quarter of and twice what the loosest
    validation threshold with empirical risk ≤ r* lets expect. There h(g) is the
    largest k with P(at most k errors before the g-th right answer) ≤ a, coins of probability r*; the
    level a is the largest at which such a walk ever meets h with probability ≤ δ. Validation examples only
    shape the boundary: a misleading validation split costs coverage, never validity.

    Args:
        target: largest tolerated selective risk r*, within (0, 1).
        delta: probability δ of failure, within (0, 1).

    Raises:
        InputError: for anything else.
    """

    kind: ClassVar[str] = "random_walk"

    def passing(self, curve: RiskCoverageCurve, held_out: HeldOut) -> Float64[np.ndarray, " k"]:
        """The thresholds within the boundary."""
        _, tolerated = self._boundary(held_out)
        within = curve.n_errors <= tolerated[curve.n_accepted - curve.n_errors]
        passed: Float64[np.ndarray, " k"] = curve.threshold[within]
        return passed

    def needs(self, curve: RiskCoverageCurve, held_out: HeldOut) -> tuple[float, int]:
        """Nominal level of the boundary, and where it first tolerates 0 errors."""
        level, tolerated = self._boundary(held_out)
        opened = np.flatnonzero(tolerated >= 0)
        return level, int(opened[0]) if len(opened) else least_accepted(self.target, level)

    def _boundary(self, held_out: HeldOut) -> tuple[float, Int64[np.ndarray, " m"]]:
        n, least = len(held_out.score), least_accepted(self.target, self.delta)
        validation = risk_coverage_curve(held_out.validation_score, held_out.validation_error)
        within = np.flatnonzero(at_most(validation.n_errors, validation.n_accepted, self.target))
        right = validation.n_accepted - validation.n_errors
        expected = int(right[within[0]]) * n / int(validation.n[0]) if len(within) else 0.0
        # Rounded to quarters of a doubling: boundaries are worth keeping, and only their size matters.
        rounded = 2 ** (round(4 * math.log2(max(expected, least))) / 4)
        first, last = math.ceil(OPENS * rounded), min(n, round(CLOSES * rounded))
        return boundary(n, self.target, self.delta, max(least, first), max(least, last))


@lru_cache(maxsize=256)
def boundary(
    n: int, target: float, delta: float, first: int, last: int
) -> tuple[float, Int64[np.ndarray, " {n}+1"]]:
    """Nominal level and boundary that a walk of n coin flips ever meets with probability ≤ δ.

    Args:
        n: number of flips.
        target: their probability r* of an error.
        delta: largest probability of meeting the boundary.
        first: right answers from which on errors are tolerated, at least 1.
        last: right answers after which no further errors are.

    Returns:
        The largest level found by bisection, always from below, and the errors tolerated beside
        0, 1 … n right answers, −1 where not even 0 are.
    """
    # A union bound over n looks is always low enough, a single look at δ never is too low.
    low, high = delta / (n + 1), delta
    for _ in range(STEPS):
        middle = math.sqrt(low * high)
        if meeting_probability(_tolerated(n, target, middle, first, last), target) <= delta:
            low = middle
        else:
            high = middle
    tolerated = _tolerated(n, target, low, first, last)
    tolerated.flags.writeable = False  # it is shared by all who ask for it
    return low, tolerated


def meeting_probability(tolerated: Int64[np.ndarray, " m"], target: float) -> float:
    """Probability that a walk of coin flips ever has at most the tolerated errors.

    P(some m ≤ n has k ≤ h(m − k)), k errors among m flips of probability r*, by an exact recursion
    over the flips at which the boundary admits one more error.

    Args:
        tolerated: h(0) … h(n), non-decreasing, −1 where nothing is tolerated.
        target: r*.
    """
    n, top = len(tolerated) - 1, int(tolerated[-1])
    # Flips after which k errors are within the boundary for the first time.
    flips = np.searchsorted(tolerated, np.arange(top + 1)) + np.arange(top + 1)
    alive = np.zeros(top + 1)
    met, done = 0.0, 0
    if top >= 0:
        alive[0] = 1.0
    for errors, at in enumerate(flips):
        if at > n:
            break
        # More than the top number of errors never come back: that mass is dropped.
        alive = np.convolve(alive, _binomial(int(at) - done, target))[: top + 1]
        met += float(alive[: errors + 1].sum())
        alive[: errors + 1] = 0.0
        done = int(at)
    return met


def _tolerated(n: int, target: float, level: float, first: int, last: int) -> Int64[np.ndarray, " {n}+1"]:
    right = np.arange(1, n + 1)
    # The largest k with nbdtr(k, g, 1 − r*) ≤ level, for all g at once: nbdtr rises with k.
    low, high = np.full(n, -1), np.full(n, n + 1)
    while (high - low > 1).any():
        middle = (low + high) // 2
        fits = nbdtr(np.maximum(middle, 0), right, 1 - target) <= level
        low, high = np.where(fits, middle, low), np.where(fits, high, middle)
    low[right < first] = -1
    low[right > last] = low[min(last, n) - 1]
    return np.concatenate([[-1], np.maximum.accumulate(low)])


@lru_cache(maxsize=4096)
def _binomial(flips: int, target: float) -> Float64[np.ndarray, " {flips}+1"]:
    """Probabilities of 0 … flips errors."""
    k = np.arange(flips + 1)
    paths = gammaln(flips + 1) - gammaln(k + 1) - gammaln(flips - k + 1)
    probabilities: Float64[np.ndarray, " m"] = np.exp(
        paths + k * math.log(target) + (flips - k) * math.log1p(-target)
    )
    return probabilities
