"""Rules without a guarantee for new examples."""

import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from neural_branching.errors import ArgumentError, number
from neural_branching.selection.arrays import as_scores
from neural_branching.selection.risk_coverage import risk_coverage_curve
from neural_branching.selection.scores.score import INFINITY, Score
from neural_branching.selection.thresholds.threshold import Choice, HeldOut, Threshold, at_most, exact


class Fixed(Threshold):
    """A threshold given beforehand.

    Args:
        value: a finite number within the bounds of the score it is used with.

    Raises:
        InputError: for anything else.
    """

    kind: ClassVar[str] = "fixed"

    def __init__(self, value: float) -> None:
        self.value = number(value, "value", -INFINITY, INFINITY)

    def __str__(self) -> str:
        return f"{self.kind} {self.value:.12g}"

    @property
    def promise(self) -> str:
        """Nothing: the value was not fitted."""
        return f"accepts scores of at least {self.value:g}; not fitted, promises nothing"

    def check(self, score: Score, foreign: bool) -> None:
        """Refuse a value outside the score's bounds.

        Raises:
            InputError: naming the bounds.
        """
        super().check(score, foreign)
        low, high = score.bounds
        if not low <= self.value <= high:
            left, right = "(" if low == -INFINITY else "[", ")" if high == INFINITY else "]"
            raise ArgumentError(
                "value",
                f"is {self.value:g}: scores of score={score.kind} lie within {left}{low:g}, {high:g}{right}.",
            )

    def fit(self, held_out: HeldOut) -> Choice:
        """Return the value, whatever the calibration data."""
        return Choice(self.value, n=0)


class Coverage(Threshold):
    """The largest threshold that still answers a given share of the calibration examples.

    Args:
        target: coverage to reach, within (0, 1].

    Raises:
        InputError: for anything else.
    """

    kind: ClassVar[str] = "coverage"

    def __init__(self, target: float) -> None:
        self.target = number(target, "target", 0, 1, open_low=True)

    def __str__(self) -> str:
        return f"{self.kind} {self.target:.12g}"

    @property
    def promise(self) -> str:
        """What holds on the calibration examples."""
        return (
            f"answers a share of at least {self.target:.12g} of the calibration examples; new examples "
            "scatter around that"
        )

    def fit(self, held_out: HeldOut) -> Choice:
        """Largest observed score with coverage ≥ target; ties are accepted together."""
        return Choice(threshold_at_coverage(held_out.score, self.target), len(held_out.score))


class Risk(Threshold):
    """The smallest threshold whose selective risk *on the calibration examples* is within a target.

    This guarantees nothing: being chosen for its luck on the calibration examples, the threshold
    exceeds the target in more than half of repeated draws.

    Args:
        target: largest tolerated share of errors among the answers, within [0, 1].

    Raises:
        InputError: for anything else.
    """

    kind: ClassVar[str] = "risk"

    def __init__(self, target: float) -> None:
        self.target = number(target, "target", 0, 1)

    def __str__(self) -> str:
        return f"{self.kind} {self.target:.12g}"

    @property
    def promise(self) -> str:
        """No guarantee, said plainly."""
        return (
            f"a share of at most {self.target:.12g} of the answers to calibration examples is wrong; "
            "guarantees nothing: typically more than half of all draws exceed it on new examples"
        )

    def shared(self, levels: int, nodes: int) -> "Risk":
        """A share of the tolerated errors for each level."""
        return Risk(self.target / levels)

    def fit(self, held_out: HeldOut) -> Choice:
        """Smallest observed score with selective risk ≤ target; inf if there is none."""
        curve = risk_coverage_curve(held_out.score, held_out.error)
        within = np.flatnonzero(at_most(curve.n_errors, curve.n_accepted, self.target))
        value = float(curve.threshold[within[0]]) if len(within) else INFINITY
        return Choice(value, len(held_out.score))


def threshold_at_coverage(score: ArrayLike, target: float) -> float:
    """Largest observed score that accepts at least a share of the samples; ties are accepted together.

    Args:
        score: finite reals, shape (n,).
        target: the share, within (0, 1].

    Raises:
        ValueError: for empty or non-finite scores.
    """
    return thresholds_at_coverages(score, [target])[0]


def thresholds_at_coverages(score: ArrayLike, targets: Sequence[float]) -> list[float]:
    """The same for several shares, from one sort."""
    ascending = np.sort(as_scores(score))
    needed = (max(1, math.ceil(exact(target) * len(ascending))) for target in targets)
    return [float(ascending[-count]) for count in needed]
