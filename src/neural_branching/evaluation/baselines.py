"""One model's answers beside another's, on the same images."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neural_branching.selection import Bootstrap, aurc
from neural_branching.selection.arrays import Floats
from neural_branching.selection.intervals import percentile_interval
from neural_branching.selection.scores.outputs import softmax


@dataclass(frozen=True)
class Outcome:
    """What a model gets wrong, and how sure it is.

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


def differences(first: Outcome, second: Outcome) -> dict[str, dict[str, object]]:
    """First less second, with 95 % intervals from the same resamples of the images for both."""
    bootstrap = Bootstrap(len(first.error))
    better = second.error.astype(float) - first.error
    areas = [
        np.concatenate([curves.aurc() for curves in bootstrap.curves(one.score, one.error)])
        for one in (first, second)
    ]
    return {
        "accuracy": {"difference": float(better.mean()), "interval": bootstrap.mean(better)},
        "aurc": {
            "difference": first.aurc - second.aurc,
            "interval": percentile_interval(areas[0] - areas[1]),
        },
    }
