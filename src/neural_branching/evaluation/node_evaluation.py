"""A branch evaluated by itself: from its answers and its parent's to the numbers of results.json."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from neural_branching.evaluation.foreign import (
    accept_interval,
    by_class,
    foreign_numbers,
    left_out,
)
from neural_branching.evaluation.operating_points import OperatingPoint, with_own
from neural_branching.evaluation.reliability import Bins, bins_of
from neural_branching.evaluation.scored_node import ThresholdedNode
from neural_branching.evaluation.selective import acceptance_intervals, confusion, per_class, selective
from neural_branching.evaluation.threshold_free import ThresholdFree
from neural_branching.selection.scores.from_logits import softmax
from neural_branching.selection.thresholds.threshold import Threshold


@dataclass(frozen=True)
class NodeAtThreshold:
    """A branch under one threshold.

    Attributes:
        numbers: an entry of the node's block "thresholds" in results.json.
        branch: the branch, evaluated.
        parent: the parent restricted to the subset, evaluated by the same score and rule on the same
            examples; None if it does not know each of the classes.
    """

    numbers: dict[str, Any]
    branch: ThresholdedNode
    parent: ThresholdedNode | None


@dataclass(frozen=True)
class NodeEvaluation:
    """A branch evaluated by itself: its numbers and what figures are drawn from.

    Attributes:
        threshold_free: what was known before a threshold was chosen.
        thresholds: what each of the thresholds makes of it.
        operating_points: what these and usual thresholds would do.
    """

    threshold_free: ThresholdFree
    thresholds: Sequence[NodeAtThreshold]
    operating_points: Sequence[OperatingPoint]

    def numbers(self) -> dict[str, Any]:
        """The blocks "score", "reliability", "exchangeability" and "thresholds" of results.json."""
        return {**self.threshold_free.numbers(), "thresholds": [one.numbers for one in self.thresholds]}

    def diagrams(self) -> tuple[Bins, Bins]:
        """Reliability diagrams of the branch on test, before and after temperature scaling."""
        test = self.threshold_free.branch.answers.known["test"]
        temperature = self.threshold_free.reliability["temperature"]
        return (
            bins_of(softmax(test.logits), test.targets),
            bins_of(softmax(test.logits, temperature), test.targets),
        )

    def fits(self, side: str, split: str) -> list[str]:
        """What each example was used to fit: "score", "threshold" or "" for nothing.

        Args:
            side: "known" or "foreign".
            split: name of the split.
        """
        branch = self.threshold_free.branch
        fits = np.full(len(getattr(branch, side)[split]), "", dtype=object)
        if split == "calibration" and side == "known":
            fits[branch.learned_on] = "score"
        fitted = [one.numbers["threshold"] for one in self.thresholds]
        if split == "calibration" and any(one["n"] and one["examples"] == side for one in fitted):
            fits[branch.fitted_on if side == "known" else branch.answers.foreign_fitted] = "threshold"
        return list(fits)


def evaluate_node(threshold_free: ThresholdFree, rules: Sequence[Threshold]) -> NodeEvaluation:
    """Fit thresholds on calibration and evaluate the branch on test under each, beside its parent.

    The parent restricted to the subset gets a threshold of its own in the same way.

    Args:
        threshold_free: what is known of the answers before.
        rules: how thresholds are chosen.
    """
    evaluated = [_at_threshold(threshold_free, rule) for rule in rules]
    return NodeEvaluation(
        threshold_free, evaluated, with_own(threshold_free.usual_points, [one.branch for one in evaluated])
    )


def _at_threshold(threshold_free: ThresholdFree, rule: Threshold) -> NodeAtThreshold:
    classes, foreign = threshold_free.classes, threshold_free.foreign
    mine = threshold_free.branch.with_threshold(rule)
    theirs = threshold_free.parent.with_threshold(rule) if threshold_free.parent else None
    test, threshold = mine.answers.known["test"], mine.choice.value
    numbers = {
        "threshold": mine.acceptance.numbers(),
        "validation": {**_on(mine, "validation"), "loss": threshold_free.validation_loss},
        "calibration": selective(mine.held_out.score, mine.held_out.error, threshold),
        "test": {
            **_on(mine, "test"),
            "intervals": _intervals(mine, threshold_free, "branch"),
            "parent_restricted": {
                **_on(theirs, "test"),
                "intervals": _intervals(theirs, threshold_free, "parent"),
                "threshold": theirs.choice.value,
            }
            if theirs
            else None,
            "per_class": per_class(test, mine.known["test"], threshold, classes),
            "confusion": confusion(test, mine.known["test"], threshold, classes),
        },
        "foreign": _foreign(mine, theirs, rule, threshold_free) if foreign.classes else None,
    }
    return NodeAtThreshold(numbers, mine, theirs)


def _on(evaluated: ThresholdedNode, split: str) -> dict[str, Any]:
    return selective(evaluated.known[split], evaluated.answers.known[split].error, evaluated.choice.value)


def _intervals(evaluated: ThresholdedNode, threshold_free: ThresholdFree, side: str) -> dict[str, Any]:
    test = evaluated.answers.known["test"]
    at = acceptance_intervals(evaluated.known["test"], test.error, [evaluated.choice.value], test.groups)
    return {**(threshold_free.intervals[side] or {}), **at[0]}


def _foreign(
    mine: ThresholdedNode, theirs: ThresholdedNode | None, rule: Threshold, threshold_free: ThresholdFree
) -> dict[str, Any]:
    foreign = threshold_free.foreign
    answers, scores = mine.answers.foreign["test"], mine.foreign["test"]
    error, threshold = mine.answers.known["test"].error, mine.choice.value
    table = by_class(foreign, answers, scores, threshold)
    if rule.needs_foreign:
        rates = left_out(
            rule,
            mine.held_out,
            mine.answers.foreign["calibration"][mine.answers.foreign_fitted],
            answers,
            scores,
        )
        for label, rate in rates.items():
            table[foreign.classes[label]]["left_out_false_accept_rate"] = rate
    distances = [foreign.distance(foreign.classes[label]) for label in answers.foreign_labels]
    by_distance = {}
    for distance in ("near", "far"):
        chosen = np.array([one == distance for one in distances], dtype=bool)
        given = mine.known["test"], error, scores[chosen], threshold
        by_distance[distance] = (
            {
                **foreign_numbers(*given),
                "intervals": accept_interval(answers[chosen], scores[chosen], threshold),
            }
            if chosen.any()
            else None
        )
    return {
        **foreign_numbers(mine.known["test"], error, scores, threshold),
        "intervals": {
            **(threshold_free.intervals["foreign"] or {}),
            **accept_interval(answers, scores, threshold),
        },
        **by_distance,
        "per_class": table,
        "parent_restricted": _foreign_restricted(theirs) if theirs else None,
    }


def _foreign_restricted(theirs: ThresholdedNode) -> dict[str, Any]:
    scores, threshold = theirs.foreign["test"], theirs.choice.value
    error = theirs.answers.known["test"].error
    return {
        **foreign_numbers(theirs.known["test"], error, scores, threshold),
        "intervals": accept_interval(theirs.answers.foreign["test"], scores, threshold),
    }
