"""Augmented views of the training examples, computed once and kept like other activations."""

from collections.abc import Mapping
from typing import Any

from neural_branching.errors import ArgumentError, whole


class Views:
    """How many views of every training example a branch learns from, beside the example itself.

    Args:
        count: views per example; 0 for none. Each is another random change by the augmentation.
        seed: seed of the changes, apart from the seeds of models.
        budget: largest number of bytes that the activations of one pass may take on the disk.
        augment: what makes them, class and options: building it takes torch.

    Raises:
        InputError: for negative numbers or a budget below 1.
    """

    def __init__(
        self,
        count: int = 0,
        seed: int = 0,
        budget: int = 8_000_000_000,
        augment: Mapping[str, Any] | None = None,
    ) -> None:
        self.count = whole(count, "count", 0)
        self.seed = whole(seed, "seed", 0)
        self.budget = whole(budget, "budget", 1)
        if augment is not None and not isinstance(augment, Mapping):
            raise ArgumentError("augment", f"is {augment!r}: it must be a class (_target_) and its options.")
        self.augment = augment
