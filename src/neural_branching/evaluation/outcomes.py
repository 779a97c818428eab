"""One model's answers beside another's, on the same examples."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neural_branching.selection import aurc, risk_coverage_curve
from neural_branching.selection.area_intervals import USUAL_COST
from neural_branching.selection.arrays import Floats
from neural_branching.selection.influence import aurc_influence
from neural_branching.selection.intervals import difference_interval
from neural_branching.selection.scores.from_logits import softmax


@dataclass(frozen=True)
class Outcome:
    """What a model gets wrong, and its confidence.

    Attributes:
        error: whether each answer is wrong, bool (n,).
        score: its largest softmax probability, float64 (n,).
    """

    error: NDArray[np.bool_]
    score: Floats

    @property
    def accuracy(self) -> float:
        """Share of right answers."""
        return float(1 - self.error.mean())

    @property
    def aurc(self) -> float:
        """Area under the risk–coverage curve."""
        return aurc(self.score, self.error)


def outcome(logits: NDArray[np.float32], targets: NDArray[np.int64]) -> Outcome:
    """Answers (n, classes) against the right ones, int64 (n,)."""
    return Outcome(logits.argmax(1) != targets, softmax(logits).max(1))


def accuracy_difference(first: Outcome, second: Outcome) -> dict[str, object]:
    """First less second, with a 95 % interval paired by example."""
    better = second.error.astype(float) - first.error
    difference = float(better.mean())
    interval = difference_interval(difference, better - difference, imagined=1)
    return {"difference": difference, "interval": interval}


def differences(first: Outcome, second: Outcome) -> dict[str, dict[str, object]]:
    """Accuracy and AURC, first less second, with 95 % intervals paired by example."""
    curves = [risk_coverage_curve(one.score, one.error) for one in (first, second)]
    influences = [
        aurc_influence(curve).of(one.score, one.error)
        for curve, one in zip(curves, (first, second), strict=True)
    ]
    difference = float(curves[0].aurc() - curves[1].aurc())
    interval = difference_interval(difference, influences[0] - influences[1], imagined=USUAL_COST)
    return {
        "accuracy": accuracy_difference(first, second),
        "aurc": {"difference": difference, "interval": interval},
    }
