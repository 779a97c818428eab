"""What a model answers to a set of examples: all that scores and thresholds may look at."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from neural_branching.selection.array_types import Bool, Float, Int64


@dataclass(frozen=True)
class Answers:
    """One model's logits on some examples, and what they were computed from.

    Attributes:
        rows: row numbers in the data table.
        targets: indices into the model's classes; −1 − i for an example of the i-th foreign class, which the
            model was not trained on.
        logits: the model's logits.
        activations: the vectors at the branch point.
        groups: equal for examples of one group; None where each is by itself.
    """

    rows: Int64[np.ndarray, " n"]
    targets: Int64[np.ndarray, " n"]
    logits: Float[np.ndarray, "n classes"]
    activations: Float[np.ndarray, "n width"]
    groups: Int64[np.ndarray, " n"] | None = None

    @cached_property
    def predictions(self) -> Int64[np.ndarray, " n"]:
        """Most probable class of each example."""
        most_probable: Int64[np.ndarray, " n"] = self.logits.argmax(axis=1)
        return most_probable

    @cached_property
    def error(self) -> Bool[np.ndarray, " n"]:
        """Whether each prediction is wrong; true for every foreign example."""
        wrong: Bool[np.ndarray, " n"] = self.predictions != self.targets
        return wrong

    @property
    def foreign_labels(self) -> Int64[np.ndarray, " n"]:
        """Foreign class of each example, where all are foreign."""
        return -1 - self.targets

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, chosen: Bool[np.ndarray, " n"] | Int64[np.ndarray, " k"]) -> "Answers":
        """The answers to some of the examples."""
        groups = None if self.groups is None else self.groups[chosen]
        return Answers(
            self.rows[chosen], self.targets[chosen], self.logits[chosen], self.activations[chosen], groups
        )
