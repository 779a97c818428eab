"""The pictures of one run."""

from typing import TYPE_CHECKING, Any

import numpy as np

from neural_branching.report.figures.confusion import confusion
from neural_branching.report.figures.histograms import histograms
from neural_branching.report.figures.reliability import reliability
from neural_branching.report.figures.risk_coverage import Line, risk_coverage
from neural_branching.report.figures.thresholds import thresholds
from neural_branching.selection import Bootstrap, risk_coverage_curve
from neural_branching.selection.intervals import percentile_interval

if TYPE_CHECKING:
    from neural_branching.evaluation.evaluate import Evaluation
    from neural_branching.evaluation.judge import Judged


def draw(results: dict[str, Any], evaluation: "Evaluation") -> dict[str, Any]:
    """Name → figure: curves with their band, reliability, scores, confusion and thresholds."""
    branch, parent = evaluation.branch, evaluation.parent
    test = branch.material.known["test"]
    where = f"{results['subset']} at {results['branch_point']}"
    score = results["score"]["name"]
    lines = {"branch": _line(branch, evaluation.examination.bootstrap)}
    if parent:
        lines["parent restricted"] = _line(parent, evaluation.examination.bootstrap)
    pictures = {}
    if evaluation.examination.foreign.classes:
        curve = evaluation.examination.scod_curve
        accepted, wrong = (int(count) for count in curve.at(branch.choice.value))
        points = {"": (accepted / int(curve.n[0]), 1 - wrong / accepted)} if accepted else {}
        pictures["scod"] = risk_coverage(
            {"branch": Line(curve.coverage, 1 - curve.selective_risk, points)},
            f"{where}, answered foreign images count as errors",
            images="all test images, foreign ones too,",
        )
    before, after = evaluation.diagrams()
    numbers = results["reliability"]
    names = ("before scaling", f"after, temperature {numbers['temperature']:.2f}")
    return pictures | {
        "risk_coverage": risk_coverage(lines, f"{where}, score {score}", "bands: 95 % bootstrap"),
        "reliability": reliability(
            dict(zip(names, (before, after), strict=True)),
            dict(zip(names, (_error(numbers[key]) for key in ("before", "after")), strict=True)),
            f"{where}, {len(test)} test images",
        ),
        "scores": histograms(
            branch.known["test"][~test.error],
            branch.known["test"][test.error],
            branch.foreign["test"],
            branch.choice.value,
            score,
            f"{where}, test images",
        ),
        "confusion": confusion(results["test"]["confusion"], f"{where}, {_shown(results)}"),
        "thresholds": thresholds(
            evaluation.points, f"{where}, {len(test)} test images, score {score} (95 % intervals)"
        ),
    }


def _shown(results: dict[str, Any]) -> str:
    """Which test images the confusion matrix shows."""
    shown, classes = len(results["test"]["confusion"]["rows"]), len(results["classes"])
    if shown == classes:
        return "test images"
    return f"test images of the {shown} among {classes} classes with the most wrong answers"


def _error(numbers: dict[str, Any]) -> tuple[float, float]:
    """Expected calibration error, and what it would be on average if the answers were calibrated."""
    return numbers["ece"], numbers["if_calibrated"]["ece"]["mean"]


def _line(judged: "Judged", bootstrap: Bootstrap) -> Line:
    """A model's curve at whole percents of coverage, its band, and the point at its threshold."""
    score, error = judged.known["test"], judged.material.known["test"].error
    levels = np.arange(100, 0, -1) / 100
    curve = risk_coverage_curve(score, error)
    resampled = np.concatenate([some.at_coverage(levels) for some in bootstrap.curves(score, error)])
    band = np.array([percentile_interval(column) for column in resampled.T])
    accepted, wrong = (int(count) for count in curve.at(judged.choice.value))
    points = {"": (accepted / len(score), 1 - wrong / accepted)} if accepted else {}
    return Line(levels, 1 - curve.at_coverage(levels), points, (1 - band[:, 1], 1 - band[:, 0]))
