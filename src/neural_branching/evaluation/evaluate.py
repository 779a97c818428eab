"""From a branch's answers and its parent's to the numbers of results.json."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from neural_branching.evaluation.examination import Examination
from neural_branching.evaluation.foreign import (
    accept_interval,
    by_class,
    foreign_numbers,
    left_out,
)
from neural_branching.evaluation.judge import Judged
from neural_branching.evaluation.points import Point, with_own
from neural_branching.evaluation.reliability import Bins, bins_of
from neural_branching.evaluation.selective import acceptance_intervals, confusion, per_class, selective
from neural_branching.selection.scores.outputs import softmax
from neural_branching.selection.thresholds.base import Threshold


@dataclass(frozen=True)
class Evaluation:
    """The numbers of a run and what figures are drawn from.

    Attributes:
        numbers: the blocks ``score`` … ``foreign`` of results.json.
        branch: the branch, judged.
        parent: the parent restricted to the subset, judged by the same score and rule on the same images;
            None if it does not know each of the classes.
        points: what several thresholds would do.
        examination: what was known before the threshold was chosen.
    """

    numbers: dict[str, Any]
    branch: Judged
    parent: Judged | None
    points: Sequence[Point]
    examination: Examination

    def diagrams(self) -> tuple[Bins, Bins]:
        """Reliability diagrams of the branch on test, before and after temperature scaling."""
        test, temperature = self.branch.material.known["test"], self.numbers["reliability"]["temperature"]
        return (
            bins_of(softmax(test.logits), test.targets),
            bins_of(softmax(test.logits, temperature), test.targets),
        )

    def fits(self, side: str, split: str) -> list[str]:
        """What each image was used to fit: "score", "threshold" or "" for nothing.

        Args:
            side: "known" or "foreign".
            split: name of the split.
        """
        fits = np.full(len(getattr(self.branch, side)[split]), "", dtype=object)
        fitted = self.numbers["threshold"]
        if split == "calibration" and side == "known":
            fits[~self.branch.fitted_on] = "score"
        if split == "calibration" and fitted["n"] and side == fitted["images"]:
            fits[fits == ""] = "threshold"
        return list(fits)


def evaluate(examination: Examination, rule: Threshold) -> Evaluation:
    """Fit the threshold on calibration and judge the branch on test, beside its parent.

    The parent restricted to the subset gets a threshold of its own in the same way.

    Args:
        examination: what is known of the answers before.
        rule: how the threshold is chosen.
    """
    score, classes, foreign = examination.score, examination.classes, examination.foreign
    mine = examination.branch.judged(rule)
    theirs = examination.parent.judged(rule) if examination.parent else None
    test, threshold = mine.material.known["test"], mine.choice.value
    numbers = {
        "score": {
            "kind": score.kind,
            "name": str(score),
            "bounds": list(score.bounds),
            "learns_from": score.learns_from,
            "learned": dict(mine.scorer.learned),
        },
        "threshold": _threshold(mine, rule),
        "validation": {**_on(mine, "validation"), "loss": examination.validation_loss},
        "calibration": selective(mine.held_out.score, mine.held_out.error, threshold),
        "reliability": examination.reliability,
        "test": {
            **_on(mine, "test"),
            "intervals": _intervals(mine, examination, "branch"),
            "parent_restricted": {
                **_on(theirs, "test"),
                "intervals": _intervals(theirs, examination, "parent"),
                "threshold": theirs.choice.value,
            }
            if theirs
            else None,
            "per_class": per_class(test, mine.known["test"], threshold, classes),
            "confusion": confusion(test, mine.known["test"], threshold, classes),
        },
        "foreign": _foreign(mine, theirs, rule, examination) if foreign.classes else None,
    }
    table = with_own(examination.usual_points, mine)
    return Evaluation(numbers, mine, theirs, table, examination)


def _threshold(judged: Judged, rule: Threshold) -> dict[str, Any]:
    choice = judged.choice
    return {
        "kind": rule.kind,
        "rule": str(rule),
        "settings": dict(vars(rule)),
        "value": choice.value,
        "reject_all": choice.value == float("inf"),
        "promise": rule.promise,
        "guarantee": rule.guarantee,
        "split": "calibration" if choice.n else None,
        "images": "foreign" if rule.needs_foreign else "known",
        "n": choice.n,
        "certificate": asdict(choice.certificate) if choice.certificate else None,
        "shortage": asdict(choice.shortage) if choice.shortage else None,
    }


def _on(judged: Judged, split: str) -> dict[str, Any]:
    return selective(judged.known[split], judged.material.known[split].error, judged.choice.value)


def _intervals(judged: Judged, examination: Examination, side: str) -> dict[str, Any]:
    error = judged.material.known["test"].error
    at = acceptance_intervals(judged.known["test"], error, [judged.choice.value])
    return {**(examination.intervals[side] or {}), **at[0]}


def _foreign(
    mine: Judged, theirs: Judged | None, rule: Threshold, examination: Examination
) -> dict[str, Any]:
    foreign = examination.foreign
    answers, scores = mine.material.foreign["test"], mine.foreign["test"]
    error, threshold = mine.material.known["test"].error, mine.choice.value
    table = by_class(foreign, answers, scores, threshold)
    if rule.needs_foreign:
        rates = left_out(rule, mine.held_out, mine.material.foreign["calibration"], answers, scores)
        for label, rate in rates.items():
            table[foreign.classes[label]]["left_out_false_accept_rate"] = rate
    distances = [foreign.distance(foreign.classes[label]) for label in answers.foreign_labels]
    by_distance = {}
    for distance in ("near", "far"):
        chosen = [one == distance for one in distances]
        given = mine.known["test"], error, scores[chosen], threshold
        by_distance[distance] = (
            {
                **foreign_numbers(*given),
                "intervals": accept_interval(scores[chosen], threshold),
            }
            if any(chosen)
            else None
        )
    return {
        **foreign_numbers(mine.known["test"], error, scores, threshold),
        "intervals": {
            **(examination.intervals["foreign"] or {}),
            **accept_interval(scores, threshold),
        },
        **by_distance,
        "per_class": table,
        "parent_restricted": _foreign_restricted(theirs) if theirs else None,
    }


def _foreign_restricted(theirs: Judged) -> dict[str, Any]:
    scores, threshold = theirs.foreign["test"], theirs.choice.value
    error = theirs.material.known["test"].error
    return {
        **foreign_numbers(theirs.known["test"], error, scores, threshold),
        "intervals": accept_interval(scores, threshold),
    }
