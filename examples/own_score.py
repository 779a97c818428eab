"""A confidence score of one's own: how much larger the largest logit is than the mean of all."""

from typing import Any, ClassVar

import neural_branching as nb
from neural_branching.selection.scores.from_logits import LogitScore


class LargestOverMean(LogitScore):
    """Largest logit less the mean of all; a formula of logits, so that ``export`` can write it too."""

    kind: ClassVar[str] = "largest_over_mean"
    bounds: ClassVar[tuple[float, float]] = (0.0, float("inf"))

    @staticmethod
    def formula(logits: Any) -> Any:
        """max_y z(y) − mean_y z(y) of logits (n, classes), of numpy or torch."""
        return nb.scores.MaxLogit.formula(logits) - logits.mean(axis=1)


if __name__ == "__main__":
    for score in (nb.scores.MaxSoftmax(), LargestOverMean()):
        experiment = nb.Experiment(
            data=nb.sources.Glyphs(train_per_class=100, test_per_class=40, image_size=16),
            parent=nb.parents.MLP([128, 64], dropout=0.1, fit={"epochs": 8}),
            branches=nb.Branch(
                "digits",
                at="hidden2",
                score=score,
                threshold=nb.thresholds.Coverage(0.7),
                fit={"epochs": 10, "lr": 1e-2},
            ),
        )
        [row] = experiment.run("outputs").summary().to_dict("records")
        print(f"{score.kind}: AURC {row['test_aurc']:.4f}, lower is better")
