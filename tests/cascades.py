"""Simulated exits of a cascade."""

import numpy as np

from neural_branching.routing.exits import Exits


def exits_of(n: int, seed: int = 0, exits: int = 3, classes: int = 4) -> Exits:
    """Exits that are right more often the deeper they are, and more often the surer they are."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(classes, size=n)
    ease = rng.beta(2, 1, size=n)  # what all exits share
    confidence, predictions = [], []
    for depth in range(exits):
        sure = np.clip(ease * (0.7 + 0.15 * depth) + 0.15 * rng.random(n), 0, 1)
        right = rng.random(n) < 1 - (1 - sure) * 0.6
        confidence.append(sure)
        predictions.append(np.where(right, targets, (targets + rng.integers(1, classes, size=n)) % classes))
    return Exits(np.stack(confidence), np.stack(predictions), targets)
