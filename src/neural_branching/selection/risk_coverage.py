"""Coverage, selective accuracy and the risk–coverage curve.

Throughout, ``score`` is any finite real per sample (higher = surer), ``error`` is 1 where the
prediction is wrong, and a sample is accepted iff its score is at least the threshold. Equal scores
are accepted together, so that nothing depends on the order of the samples.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def coverage(score: ArrayLike, threshold: float) -> float:
    """Share of samples accepted at a threshold, n_accepted / n.

    Raises:
        ValueError: for empty or non-finite scores.
    """
    return float(np.mean(_scores(score) >= threshold))


def selective_accuracy(score: ArrayLike, error: ArrayLike, threshold: float) -> float:
    """Accuracy on the accepted samples; nan if none is accepted.

    Raises:
        ValueError: for empty, non-finite or unequally long input, or errors other than 0 and 1.
    """
    scores, errors = _pair(score, error)
    accepted = scores >= threshold
    return float((errors[accepted] == 0).mean()) if accepted.any() else float("nan")


@dataclass(frozen=True)
class RiskCoverageCurve:
    """One point per distinct score, from full coverage downwards (thresholds ascend).

    Attributes:
        threshold: the distinct scores, float64 (m,).
        n_accepted: samples with a score of at least the threshold, int64 (m,), falling from n.
        coverage: n_accepted / n, float64 (m,).
        selective_risk: errors among the accepted / n_accepted, float64 (m,).
    """

    threshold: Floats
    n_accepted: NDArray[np.int64]
    coverage: Floats
    selective_risk: Floats

    def aurc(self) -> float:
        """Area under the curve; see ``aurc``."""
        coverages = np.append(self.coverage, 0.0)
        risks = np.append(self.selective_risk, self.selective_risk[-1])
        return float(np.sum((coverages[:-1] - coverages[1:]) * (risks[:-1] + risks[1:]) / 2))

    def at_coverage(self, level: float) -> float:
        """Selective risk at the largest coverage that does not exceed ``level``; nan if there is none."""
        within = np.flatnonzero(self.coverage <= level + 1e-12)
        return float(self.selective_risk[within[0]]) if len(within) else float("nan")


def risk_coverage_curve(score: ArrayLike, error: ArrayLike) -> RiskCoverageCurve:
    """The risk–coverage curve (El-Yaniv & Wiener, 2010) by one sort.

    Args:
        score: finite reals, shape (n,).
        error: 0/1 or booleans, shape (n,).

    Raises:
        ValueError: for empty, non-finite or unequally long input, or errors other than 0 and 1.
    """
    scores, errors = _pair(score, error)
    thresholds, first = np.unique(np.sort(scores), return_index=True)
    order = np.argsort(scores, kind="stable")
    # Errors from position i of the ascending order to the end: those accepted at its threshold.
    errors_from = np.cumsum(errors[order][::-1])[::-1]
    accepted = len(scores) - first
    return RiskCoverageCurve(
        threshold=thresholds,
        n_accepted=accepted,
        coverage=accepted / len(scores),
        selective_risk=errors_from[first] / accepted,
    )


def aurc(score: ArrayLike, error: ArrayLike) -> float:
    """Area under the risk–coverage curve, the smaller the better.

    Convention of Jaeger et al. (2023): one point per distinct score, the last risk carried to
    coverage 0, trapezoids over coverage.

    Raises:
        ValueError: for empty, non-finite or unequally long input, or errors other than 0 and 1.
    """
    return risk_coverage_curve(score, error).aurc()


def _scores(score: ArrayLike) -> Floats:
    scores = np.asarray(score, dtype=np.float64)
    if scores.ndim != 1 or not len(scores):
        raise ValueError(f"score has shape {scores.shape}: it must be a non-empty list of numbers.")
    if not np.isfinite(scores).all():
        raise ValueError(f"score contains {scores[~np.isfinite(scores)][0]}: every score must be finite.")
    return scores


def _pair(score: ArrayLike, error: ArrayLike) -> tuple[Floats, Floats]:
    scores, errors = _scores(score), np.asarray(error, dtype=np.float64)
    if errors.shape != scores.shape:
        raise ValueError(f"score has shape {scores.shape} and error {errors.shape}: they must be equal.")
    if not np.isin(errors, (0, 1)).all():
        raise ValueError("error contains values other than 0 and 1.")
    return scores, errors
