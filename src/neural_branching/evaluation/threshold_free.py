"""The evaluation of a branch's answers before a threshold is chosen: most of the work, done once."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import log_softmax

from neural_branching.evaluation.foreign import Foreign, foreign_intervals, scod_curve
from neural_branching.evaluation.operating_points import OperatingPoint, usual_points
from neural_branching.evaluation.reliability import reliability
from neural_branching.evaluation.scored_node import NodeAnswers, ScoredNode, score_node
from neural_branching.evaluation.selective import areas_of, resampled
from neural_branching.selection import Answers, Bootstrap, RiskCoverageCurve, risk_coverage_curve
from neural_branching.selection.area_intervals import area_intervals
from neural_branching.selection.exchangeability import Exchangeability, exchangeability
from neural_branching.selection.intervals import Interval, percentile_interval, share_interval
from neural_branching.selection.scores.score import Score


@dataclass(frozen=True, eq=False)
class ThresholdFree:
    """A branch beside its parent, under one score and any threshold.

    All thresholds of a run share it, so that each only counts what it accepts itself.

    Attributes:
        branch: the branch with its fitted score.
        parent: the parent restricted to the subset, scored in the same way on the same examples; None if it
            does not know each of the classes.
        score: confidence in an answer.
        classes: the subset's class names.
        foreign: the classes that the branch was not trained on.
        bootstrap: the resamples of the test examples that intervals of means come from.
        validation_loss: mean cross-entropy on validation, in nats.
        reliability: whether the branch's probabilities mean what they say.
        curve: the branch's risk–coverage curve on test.
        scod_curve: the same with every answered foreign example counted as an error.
        exchangeability: whether calibration and test scores seem to be of one source.
        usual_points: what usual thresholds would do on test.
        intervals: "branch", "parent" and "foreign" → intervals on test that no threshold changes; None
            for what is not there.
    """

    branch: ScoredNode
    parent: ScoredNode | None
    score: Score
    classes: Sequence[str]
    foreign: Foreign
    bootstrap: Bootstrap
    validation_loss: float
    reliability: dict[str, Any]
    curve: RiskCoverageCurve
    scod_curve: RiskCoverageCurve
    exchangeability: Exchangeability
    usual_points: Sequence[OperatingPoint]
    intervals: dict[str, dict[str, Interval] | None]

    def numbers(self) -> dict[str, Any]:
        """The blocks "score", "reliability" and "exchangeability" of results.json."""
        score = self.score
        return {
            "score": {
                "kind": score.kind,
                "name": str(score),
                "bounds": list(score.bounds),
                "learns_from": score.learns_from,
                "learned": dict(self.branch.scorer.learned),
            },
            "reliability": self.reliability,
            "exchangeability": {**vars(self.exchangeability), "shifted": self.exchangeability.shifted},
        }


def evaluate_threshold_free(
    branch: NodeAnswers, parent: NodeAnswers | None, score: Score, classes: Sequence[str], foreign: Foreign
) -> ThresholdFree:
    """Fit the score on calibration, for branch and parent apart, and look at their answers.

    Args:
        branch: the branch's answers.
        parent: the parent's logits of the subset's classes, for the same examples; None if it was not
            trained to tell them apart.
        score: confidence in an answer.
        classes: the subset's class names.
        foreign: the other classes of the data set.

    Raises:
        InputError: if the score cannot learn from the held-out answers.
    """
    mine = score_node(branch, score)
    theirs = score_node(parent, score, "the parent restricted to the subset") if parent else None
    test, validation = branch.known["test"], branch.known["validation"]
    bootstrap = Bootstrap(len(test), groups=test.groups)

    def intervals(one: ScoredNode) -> dict[str, Interval]:
        score, error = one.known["test"], one.answers.known["test"].error
        if test.groups is not None:
            areas = resampled(areas_of, bootstrap.curves(score, error))
            found = {name: percentile_interval(values) for name, values in areas.items()}
            return {"accuracy": share_interval(~error, test.groups), **found}
        return {"accuracy": share_interval(~error), **area_intervals(risk_coverage_curve(score, error))}

    return ThresholdFree(
        branch=mine,
        parent=theirs,
        score=score,
        classes=classes,
        foreign=foreign,
        bootstrap=bootstrap,
        validation_loss=_cross_entropy(validation),
        reliability=reliability(branch.known["calibration"], test, bootstrap),
        curve=risk_coverage_curve(mine.known["test"], test.error),
        scod_curve=scod_curve(mine.known["test"], test.error, mine.foreign["test"]),
        exchangeability=_exchangeability(mine),
        usual_points=usual_points(mine, score),
        intervals={
            "branch": intervals(mine),
            "parent": intervals(theirs) if theirs else None,
            "foreign": foreign_intervals(
                mine.known["test"],
                test.error,
                mine.foreign["test"],
                bootstrap,
                branch.foreign["test"].groups,
            )
            if foreign.classes
            else None,
        },
    )


def _exchangeability(one: ScoredNode) -> Exchangeability:
    """Scores of calibration, but for what the score has learned from, against those of test."""
    left, groups = ~one.learned_on, None
    mine, theirs = one.answers.known["calibration"].groups, one.answers.known["test"].groups
    if mine is not None and theirs is not None:
        groups = mine[left], theirs
    return exchangeability(one.known["calibration"][left], one.known["test"], groups)


def _cross_entropy(answers: Answers) -> float:
    """Mean over examples of the subset's classes, in nats."""
    logs = log_softmax(answers.logits.astype(np.float64), axis=1)
    return float(-logs[np.arange(len(answers)), answers.targets].mean())
