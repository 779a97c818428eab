"""The pictures of a branch."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from neural_branching.report.figures.confusion import confusion
from neural_branching.report.figures.histograms import histograms
from neural_branching.report.figures.reliability_diagram import reliability
from neural_branching.report.figures.risk_coverage_curves import Line, risk_coverage
from neural_branching.report.figures.thresholds import thresholds
from neural_branching.selection import Bootstrap, risk_coverage_curve
from neural_branching.selection.intervals import percentile_interval

if TYPE_CHECKING:
    from neural_branching.evaluation.node_evaluation import NodeEvaluation
    from neural_branching.evaluation.scored_node import ThresholdedNode
    from neural_branching.selection import RiskCoverageCurve


def pictures(record: Mapping[str, Any], evaluation: "NodeEvaluation") -> dict[str, Any]:
    """Name → figure: curves with their band, reliability, scores, confusion and thresholds.

    Args:
        record: the run under its first threshold, which scores and confusion are drawn for.
        evaluation: the branch, evaluated.
    """
    threshold_free, branches = evaluation.threshold_free, [one.branch for one in evaluation.thresholds]
    parents = [one.parent for one in evaluation.thresholds if one.parent]
    branch = branches[0]
    test = branch.answers.known["test"]
    where = f"{record['subset']} at {record['branch_point']}"
    score = record["score"]["name"]
    lines = {"branch": _line(branches, threshold_free.bootstrap)}
    if parents:
        lines["parent restricted"] = _line(parents, threshold_free.bootstrap)
    drawn = {}
    if threshold_free.foreign.classes:
        curve = threshold_free.scod_curve
        drawn["scod"] = risk_coverage(
            {"branch": Line(curve.coverage, 1 - curve.selective_risk, _points(curve, branches))},
            f"{where}, answered foreign examples count as errors",
            examples="all test examples, foreign ones too,",
        )
    before, after = evaluation.diagrams()
    numbers = record["reliability"]
    names = ("before scaling", f"after, temperature {numbers['temperature']:.2f}")
    return drawn | {
        "risk_coverage": risk_coverage(lines, f"{where}, score {score}", "bands: 95 % bootstrap"),
        "reliability": reliability(
            dict(zip(names, (before, after), strict=True)),
            dict(zip(names, (_error(numbers[key]) for key in ("before", "after")), strict=True)),
            f"{where}, {len(test)} test examples",
        ),
        "scores": histograms(
            branch.known["test"][~test.error],
            branch.known["test"][test.error],
            branch.foreign["test"],
            branch.choice.value,
            score,
            f"{where}, test examples",
        ),
        "confusion": confusion(record["test"]["confusion"], f"{where}, {_shown(record)}"),
        "thresholds": thresholds(
            evaluation.operating_points, f"{where}, {len(test)} test examples, score {score} (95 % intervals)"
        ),
    }


def _shown(record: Mapping[str, Any]) -> str:
    """Which test examples the confusion matrix shows."""
    shown, classes = len(record["test"]["confusion"]["rows"]), len(record["classes"])
    if shown == classes:
        return "test examples"
    return f"test examples of the {shown} among {classes} classes with the most wrong answers"


def _error(numbers: Mapping[str, Any]) -> tuple[float, float]:
    """Expected calibration error, and what it would be on average if the answers were calibrated."""
    return numbers["ece"], numbers["if_calibrated"]["ece"]["mean"]


def _line(evaluated: Sequence["ThresholdedNode"], bootstrap: Bootstrap) -> Line:
    """A model's curve at whole percents of coverage, its band, and the points at its thresholds."""
    score, error = evaluated[0].known["test"], evaluated[0].answers.known["test"].error
    levels = np.arange(100, 0, -1) / 100
    curve = risk_coverage_curve(score, error)
    resampled = np.concatenate([some.at_coverage(levels) for some in bootstrap.curves(score, error)])
    band = np.array([percentile_interval(column) for column in resampled.T])
    points = _points(curve, evaluated)
    return Line(levels, 1 - curve.at_coverage(levels), points, (1 - band[:, 1], 1 - band[:, 0]))


def _points(
    curve: "RiskCoverageCurve", evaluated: Sequence["ThresholdedNode"]
) -> dict[str, tuple[float, float]]:
    """Coverage and selective accuracy at each threshold that accepts something."""
    points = {}
    for one in evaluated:
        accepted, wrong = (int(count) for count in curve.at(one.choice.value))
        if accepted:
            name = str(one.rule) if len(evaluated) > 1 else ""
            points[name] = accepted / int(curve.n[0]), 1 - wrong / accepted
    return points
