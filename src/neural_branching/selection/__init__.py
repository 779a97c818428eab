"""When a branch answers: confidence scores, thresholds and the curves that judge them.

A score knows no threshold, a threshold knows no metric. Everything here works on numpy arrays in
float64 and imports no torch.
"""

from neural_branching.selection.risk_coverage import (
    RiskCoverageCurve,
    aurc,
    coverage,
    risk_coverage_curve,
    selective_accuracy,
)
from neural_branching.selection.scores import max_softmax, softmax
from neural_branching.selection.thresholds import Coverage, Fixed, Risk, Threshold

__all__ = [
    "Coverage",
    "Fixed",
    "Risk",
    "RiskCoverageCurve",
    "Threshold",
    "aurc",
    "coverage",
    "max_softmax",
    "risk_coverage_curve",
    "selective_accuracy",
    "softmax",
]
