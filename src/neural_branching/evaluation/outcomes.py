"""One model's answers beside another's, on the same examples."""

from dataclasses import dataclass

import numpy as np

from neural_branching.selection import aurc, risk_coverage_curve
from neural_branching.selection.area_intervals import USUAL_COST
from neural_branching.selection.array_types import Bool, Float, Float64, Int64
from neural_branching.selection.influence import aurc_influence
from neural_branching.selection.intervals import difference_interval
from neural_branching.selection.scores.from_logits import softmax


@dataclass(frozen=True)
class Outcome:
    """What a model gets wrong, and its confidence.

    Attributes:
        error: whether each answer is wrong.
        score: its largest softmax probability.
        groups: equal for examples of one group; None where each is by itself.
    """

    error: Bool[np.ndarray, " n"]
    score: Float64[np.ndarray, " n"]
    groups: Int64[np.ndarray, " n"] | None = None

    @property
    def accuracy(self) -> float:
        """Share of right answers."""
        return float(1 - self.error.mean())

    @property
    def aurc(self) -> float:
        """Area under the risk–coverage curve."""
        return aurc(self.score, self.error)


def outcome(
    logits: Float[np.ndarray, "n classes"],
    targets: Int64[np.ndarray, " n"],
    groups: Int64[np.ndarray, " n"] | None = None,
) -> Outcome:
    """Answers against the right ones."""
    return Outcome(logits.argmax(1) != targets, softmax(logits).max(1), groups)


def accuracy_difference(first: Outcome, second: Outcome) -> dict[str, object]:
    """First less second, with a 95 % interval paired by example."""
    better = second.error.astype(float) - first.error
    difference = float(better.mean())
    interval = difference_interval(difference, better - difference, 1, first.groups)
    return {"difference": difference, "interval": interval}


def differences(first: Outcome, second: Outcome) -> dict[str, dict[str, object]]:
    """Accuracy and AURC, first less second, with 95 % intervals paired by example."""
    curves = [risk_coverage_curve(one.score, one.error) for one in (first, second)]
    influences = [
        aurc_influence(curve).of(one.score, one.error)
        for curve, one in zip(curves, (first, second), strict=True)
    ]
    difference = float(curves[0].aurc() - curves[1].aurc())
    interval = difference_interval(difference, influences[0] - influences[1], USUAL_COST, first.groups)
    return {
        "accuracy": accuracy_difference(first, second),
        "aurc": {"difference": difference, "interval": interval},
    }
