"""What a model answers to a set of examples: all that scores and thresholds may look at."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Answers:
    """One model's logits on some examples, and what they were computed from.

    Attributes:
        rows: row numbers in the data table, int64 (n,).
        targets: indices into the model's classes, int64 (n,); −1 − i for an example of the i-th foreign
            class, which the model was not trained on.
        logits: float (n, classes).
        activations: the vectors at the branch point, float (n, width).
    """

    rows: NDArray[np.int64]
    targets: NDArray[np.int64]
    logits: NDArray[np.float32]
    activations: NDArray[np.float32]

    @cached_property
    def predictions(self) -> NDArray[np.int64]:
        """Most probable class of each example, int64 (n,)."""
        most_probable: NDArray[np.int64] = self.logits.argmax(axis=1)
        return most_probable

    @cached_property
    def error(self) -> NDArray[np.bool_]:
        """Whether each prediction is wrong, bool (n,); true for every foreign example."""
        wrong: NDArray[np.bool_] = self.predictions != self.targets
        return wrong

    @property
    def foreign_labels(self) -> NDArray[np.int64]:
        """Foreign class of each example, int64 (n,), where all are foreign."""
        return -1 - self.targets

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> "Answers":
        """The answers to some of the examples."""
        return Answers(self.rows[chosen], self.targets[chosen], self.logits[chosen], self.activations[chosen])
