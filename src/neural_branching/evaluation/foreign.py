"""What a branch does with examples of classes that it was not trained on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from neural_branching.evaluation.selective import resampled
from neural_branching.selection import (
    Answers,
    Bootstrap,
    RiskCoverageCurve,
    failure_auroc,
    risk_coverage_curve,
)
from neural_branching.selection.area_intervals import failure_auroc_interval
from neural_branching.selection.array_types import Bool, Float64, Int64
from neural_branching.selection.intervals import Interval, percentile_interval, share_interval
from neural_branching.selection.risk_coverage import weighted_curves
from neural_branching.selection.thresholds.plain import threshold_at_coverage
from neural_branching.selection.thresholds.threshold import HeldOut, Threshold

# The share of the subset's examples that must be answered when false accepts are counted.
FPR_COVERAGE = 0.95


@dataclass(frozen=True)
class Foreign:
    """Foreign classes of a subset.

    Attributes:
        classes: class names; foreign labels are indices into them.
        near: those that share a superclass with a class of the subset.
    """

    classes: tuple[str, ...]
    near: frozenset[str]

    @classmethod
    def of(
        cls, subset: Sequence[str], known: Sequence[str], superclasses: Mapping[str, Sequence[str]]
    ) -> "Foreign":
        """Foreign classes in the order of the data set, near ones found by the superclasses."""
        mine = set(subset)
        foreign = tuple(name for name in known if name not in mine)
        related = {name for members in superclasses.values() if mine & set(members) for name in members}
        return cls(foreign, frozenset(related) & frozenset(foreign))

    def distance(self, name: str) -> str:
        """Near or far."""
        return "near" if name in self.near else "far"


def scod_curve(
    score: Float64[np.ndarray, " n"],
    error: Bool[np.ndarray, " n"],
    foreign_score: Float64[np.ndarray, " m"],
) -> RiskCoverageCurve:
    """Risk–coverage curve with every foreign example counted as an error when it is answered.

    Selective classification in the presence of out-of-distribution data (Xia & Bouganis, 2022).
    """
    errors = np.concatenate([error, np.ones(len(foreign_score), dtype=bool)])
    return risk_coverage_curve(np.concatenate([score, foreign_score]), errors)


def foreign_numbers(
    score: Float64[np.ndarray, " n"],
    error: Bool[np.ndarray, " n"],
    foreign_score: Float64[np.ndarray, " m"],
    threshold: float,
) -> dict[str, Any]:
    """False-accept rate at the threshold, AUROC and FPR95 against the subset's examples, SCOD areas.

    Args:
        score: scores of the subset's examples.
        error: their errors.
        foreign_score: scores of foreign examples.
        threshold: accept iff score ≥ threshold.
    """
    curve = scod_curve(score, error, foreign_score)
    accepted = foreign_score >= threshold
    return {
        "n": len(foreign_score),
        "n_accepted": int(accepted.sum()),
        "false_accept_rate": float(accepted.mean()),
        "auroc": failure_auroc(*_against(score, foreign_score)),
        "fpr95": float((foreign_score >= threshold_at_coverage(score, FPR_COVERAGE)).mean()),
        "scod_aurc": float(curve.aurc()),
        "scod_augrc": float(curve.augrc()),
    }


def foreign_intervals(
    score: Float64[np.ndarray, " n"],
    error: Bool[np.ndarray, " n"],
    foreign_score: Float64[np.ndarray, " m"],
    bootstrap: Bootstrap,
    groups: Int64[np.ndarray, " m"] | None = None,
) -> dict[str, Any]:
    """95 % intervals of all numbers but the false-accept rate.

    Bootstrap percentiles, the subset's and the foreign examples resampled apart; of the AUROC, that of the
    failure AUROC.

    Args:
        score: scores of the subset's examples.
        error: their errors.
        foreign_score: scores of foreign examples.
        bootstrap: resamples of the subset's examples.
        groups: of the foreign examples; None where each is by itself.
    """
    scores, is_foreign = _against(score, foreign_score)
    errors = np.concatenate([error, np.ones(len(foreign_score), dtype=bool)])
    # Drawn apart from the subset's examples.
    mine = Bootstrap(len(foreign_score), bootstrap.resamples, seed=1, groups=groups)
    pairs = zip(bootstrap.chunks(len(scores)), mine.chunks(len(scores)), strict=True)
    values = resampled(
        lambda curve: {"scod_aurc": curve.aurc(), "scod_augrc": curve.augrc()},
        weighted_curves(scores, errors, (np.concatenate(pair, axis=1) for pair in pairs)),
    )
    # The threshold that answers 95 % of the subset moves with the resample.
    fpr95 = [
        theirs[foreign_score >= threshold_at_coverage(score[own], FPR_COVERAGE)].sum() / theirs.sum()
        for own, theirs in zip(bootstrap.draws(), mine.counts, strict=True)
    ]
    return {
        "auroc": failure_auroc_interval(risk_coverage_curve(scores, is_foreign)),
        "fpr95": percentile_interval(fpr95),
        **{name: percentile_interval(found) for name, found in values.items()},
    }


def accept_interval(
    answers: Answers, foreign_score: Float64[np.ndarray, " m"], threshold: float
) -> dict[str, Interval]:
    """The interval of the false-accept rate alone, for parts of the foreign examples."""
    return {"false_accept_rate": share_interval(foreign_score >= threshold, answers.groups)}


def by_class(
    foreign: Foreign, answers: Answers, score: Float64[np.ndarray, " n"], threshold: float
) -> dict[str, Any]:
    """Distance and false-accept rate of every foreign class."""
    table = {}
    for label, name in enumerate(foreign.classes):
        mine = answers.foreign_labels == label
        accepted = score[mine] >= threshold
        table[name] = {
            "distance": foreign.distance(name),
            "n": len(accepted),
            "n_accepted": int(accepted.sum()),
            "false_accept_rate": float(accepted.mean()),
            "intervals": accept_interval(answers[mine], score[mine], threshold),
        }
    return table


def left_out(
    rule: Threshold,
    held_out: HeldOut,
    calibration: Answers,
    test: Answers,
    score: Float64[np.ndarray, " n"],
) -> dict[int, float]:
    """False-accept rate of each foreign class when the rule is fitted without it, as a new class would see.

    Args:
        rule: a rule that is fitted on foreign examples.
        held_out: what it is fitted on; its foreign scores belong to ``calibration``.
        calibration: answers to foreign calibration examples.
        test: answers to foreign test examples.
        score: scores of the latter.

    Returns:
        Index of the foreign class → rate; none if there is only one class.
    """
    rates = {}
    for label in np.unique(test.foreign_labels):
        others = held_out.foreign_score[calibration.foreign_labels != label]
        if len(others):
            threshold = rule.fit(replace(held_out, foreign_score=others)).value
            rates[int(label)] = float((score[test.foreign_labels == label] >= threshold).mean())
    return rates


def _against(
    score: Float64[np.ndarray, " n"], foreign_score: Float64[np.ndarray, " m"]
) -> tuple[Float64[np.ndarray, " all"], Bool[np.ndarray, " all"]]:
    scores = np.concatenate([score, foreign_score])
    return scores, np.arange(len(scores)) >= len(score)
