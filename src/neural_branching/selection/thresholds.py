"""Acceptance thresholds: rules that turn held-out scores and errors into one number.

A rule is fitted on the calibration split: never on test, never on what a model trained or stopped
on. It accepts iff score ≥ threshold; ``inf`` accepts nothing and is a legal result.
"""

from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import ArrayLike

from neural_branching.errors import number
from neural_branching.selection.risk_coverage import risk_coverage_curve


class Threshold(Protocol):
    """A rule for choosing a threshold.

    Attributes:
        kind: its name in results.
        promise: one sentence on what the threshold promises on new images.
    """

    kind: ClassVar[str]

    @property
    def promise(self) -> str:
        """What the threshold promises on new images, in one sentence."""

    def __str__(self) -> str:
        """Kind and setting, as tables show it: "fixed 0.96"."""

    def fit(self, score: ArrayLike, error: ArrayLike) -> float:
        """Choose the threshold from calibration scores (n,) and errors (n,), 0/1."""


class Fixed:
    """A threshold given beforehand.

    Args:
        value: a probability, within [0, 1].

    Raises:
        InputError: for anything else.
    """

    kind: ClassVar[str] = "fixed"

    def __init__(self, value: float) -> None:
        self.value = number(value, "value", 0, 1)

    def __str__(self) -> str:
        return f"{self.kind} {self.value:.12g}"

    @property
    def promise(self) -> str:
        """Nothing: the value was not fitted."""
        return f"accepts scores of at least {self.value:g}; not fitted, promises nothing"

    def fit(self, score: ArrayLike, error: ArrayLike) -> float:
        """Return the value, whatever the calibration data."""
        return self.value


class Coverage:
    """The largest threshold that still answers a given share of the calibration images.

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
        """What holds on the calibration images."""
        return f"answers at least {self.target:.0%} of the calibration images; new images scatter around that"

    def fit(self, score: ArrayLike, error: ArrayLike) -> float:
        """Largest observed score with coverage ≥ target; ties are accepted together."""
        scores = np.sort(np.asarray(score, dtype=np.float64))[::-1]
        needed = max(1, int(np.ceil(self.target * len(scores) - 1e-9)))
        return float(scores[needed - 1])


class Risk:
    """The smallest threshold whose selective risk *on the calibration images* is within a target.

    This guarantees nothing: being chosen for its luck on the calibration images, the threshold
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
        return f"at most {self.target:.1%} errors among answered calibration images; guarantees nothing"

    def fit(self, score: ArrayLike, error: ArrayLike) -> float:
        """Smallest observed score with selective risk ≤ target; inf if there is none."""
        curve = risk_coverage_curve(score, error)
        within = np.flatnonzero(curve.selective_risk <= self.target + 1e-12)
        return float(curve.threshold[within[0]]) if len(within) else float("inf")
