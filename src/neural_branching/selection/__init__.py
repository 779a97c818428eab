"""When a branch answers: confidence scores, thresholds and the curves that evaluate them.

A score knows no threshold, a threshold knows no metric. Everything here works on numpy arrays in
float64 and imports no torch; the functions take lists and tensors as well.
"""

from neural_branching.selection.answers import Answers
from neural_branching.selection.intervals import Bootstrap, bootstrap_interval, clopper_pearson_upper
from neural_branching.selection.risk_coverage import (
    RiskCoverageCurve,
    augrc,
    aurc,
    coverage,
    e_aurc,
    failure_auroc,
    risk_coverage_curve,
    selective_accuracy,
)

__all__ = [
    "Answers",
    "Bootstrap",
    "RiskCoverageCurve",
    "augrc",
    "aurc",
    "bootstrap_interval",
    "clopper_pearson_upper",
    "coverage",
    "e_aurc",
    "failure_auroc",
    "risk_coverage_curve",
    "selective_accuracy",
]
