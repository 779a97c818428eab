"""A rule for the threshold of one's own: the smallest one that tolerates so many calibration errors."""

from typing import ClassVar

import numpy as np

import neural_branching as nb
from neural_branching.selection.thresholds.threshold import Choice, HeldOut, Threshold


class ToleratedErrors(Threshold):
    """The smallest threshold that accepts at most so many wrong answers of the calibration split.

    Args:
        count: how many.
    """

    kind: ClassVar[str] = "tolerated_errors"

    def __init__(self, count: int = 3) -> None:
        self.count = count

    def __str__(self) -> str:
        return f"{self.kind} {self.count}"

    @property
    def promise(self) -> str:
        """Nothing of new examples."""
        return f"accepted at most {self.count} wrong answers of the calibration split"

    def fit(self, held_out: HeldOut) -> Choice:
        """Just above the score of the first error that is too many."""
        wrong = np.sort(held_out.score[held_out.error.astype(bool)])[::-1]
        value = float(np.nextafter(wrong[self.count], np.inf)) if len(wrong) > self.count else 0.0
        return Choice(value, n=len(held_out.score))


if __name__ == "__main__":
    experiment = nb.Experiment(
        data=nb.sources.Glyphs(train_per_class=100, test_per_class=40, image_size=16),
        parent=nb.parents.MLP([128, 64], dropout=0.1, fit={"epochs": 8}),
        branches=nb.Branch(
            "digits",
            at="hidden2",
            threshold=[ToleratedErrors(0), ToleratedErrors(3), ToleratedErrors(10)],
            fit={"epochs": 10, "lr": 1e-2},
        ),
    )
    frame = experiment.run("outputs").summary()  # one training, three thresholds
    print(frame[["threshold", "threshold_value", "test_coverage", "test_selective_accuracy"]])
