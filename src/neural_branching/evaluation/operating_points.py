"""What several thresholds would do on the test examples: the table beside the chosen one."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from neural_branching.evaluation.scored_node import ScoredNode, ThresholdedNode
from neural_branching.evaluation.selective import acceptance_intervals
from neural_branching.selection import risk_coverage_curve
from neural_branching.selection.intervals import share_interval
from neural_branching.selection.scores.score import Score
from neural_branching.selection.thresholds.plain import threshold_at_coverage

PROBABILITIES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
COVERAGES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)


@dataclass(frozen=True)
class OperatingPoint:
    """One threshold on the test examples, with 95 % intervals.

    Attributes:
        threshold: accept iff score ≥ threshold.
        chosen: whether it is the run's own.
        n_accepted: examples of the subset answered.
        coverage: their share, within [0, 1].
        selective_accuracy: accuracy on them; nan if there are none.
        false_accept_rate: share of foreign examples answered; None if there are no foreign classes.
    """

    threshold: float
    chosen: bool
    n_accepted: int
    coverage: float
    coverage_low: float
    coverage_high: float
    selective_accuracy: float
    selective_accuracy_low: float
    selective_accuracy_high: float
    false_accept_rate: float | None
    false_accept_rate_low: float | None
    false_accept_rate_high: float | None


def usual_points(one: ScoredNode, score: Score) -> list[OperatingPoint]:
    """The table without a run's own threshold, ascending.

    For probabilities the thresholds are round numbers, for other scores those that answer 100, 90 … 10 %
    of the calibration examples.
    """
    if score.bounds == (0.0, 1.0):
        return _points(one, PROBABILITIES)
    return _points(one, {threshold_at_coverage(one.held_out.score, level) for level in COVERAGES})


def with_own(usual: Sequence[OperatingPoint], evaluated: Sequence[ThresholdedNode]) -> list[OperatingPoint]:
    """A run's own thresholds among the usual ones, ascending."""
    if not evaluated:  # an exit of a cascade
        return list(usual)
    values = {one.choice.value for one in evaluated}
    own = [replace(point, chosen=True) for point in _points(evaluated[0], values)]
    others = [point for point in usual if point.threshold not in values]
    return sorted([*others, *own], key=lambda point: point.threshold)


def _points(one: ScoredNode, chosen: Collection[float]) -> list[OperatingPoint]:
    thresholds = sorted(chosen)
    scores, errors = one.known["test"], one.answers.known["test"].error
    groups = one.answers.known["test"].groups
    accepted, wrong = risk_coverage_curve(scores, errors).at(thresholds)
    intervals = acceptance_intervals(scores, errors, thresholds, groups)
    foreign, theirs = one.foreign["test"], one.answers.foreign["test"].groups
    table = []
    for index, threshold in enumerate(thresholds):
        answered, right = int(accepted[index]), int(accepted[index] - wrong[index])
        coverage, accuracy = intervals[index]["coverage"], intervals[index]["selective_accuracy"]
        false_accepts = share_interval(foreign >= threshold, theirs) if len(foreign) else (None, None)
        table.append(
            OperatingPoint(
                threshold=float(threshold),
                chosen=False,
                n_accepted=answered,
                coverage=answered / len(scores),
                coverage_low=coverage[0],
                coverage_high=coverage[1],
                selective_accuracy=right / answered if answered else float("nan"),
                selective_accuracy_low=accuracy[0],
                selective_accuracy_high=accuracy[1],
                false_accept_rate=float((foreign >= threshold).mean()) if len(foreign) else None,
                false_accept_rate_low=false_accepts[0],
                false_accept_rate_high=false_accepts[1],
            )
        )
    return table
