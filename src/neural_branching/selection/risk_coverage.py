"""Coverage, selective accuracy, the risk–coverage curve and the areas under it.

Throughout, ``score`` is any finite real per sample (higher = more confident), ``error`` is 1 where the
prediction is wrong, and a sample is accepted iff its score is at least the threshold. Equal scores
are accepted together, so that nothing depends on the order of the samples. Arrays, lists and
tensors are taken alike; all arithmetic is on integer counts and float64.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import xlogy

from neural_branching.selection.array_types import Float64, Int64, Integer
from neural_branching.selection.arrays import Floats, as_pair, as_scores


@dataclass(frozen=True, eq=False)
class RiskCoverageCurve:
    """One point per distinct score, from full coverage downwards (thresholds ascend).

    Leading axes, if there are any, are resamples of the same examples (see ``Bootstrap``): every
    method then gives one value per resample.

    Attributes:
        threshold: the distinct scores.
        n_accepted: samples with a score of at least the threshold, falling from n.
        n_errors: the wrong ones among them.
    """

    threshold: Float64[np.ndarray, " m"]
    n_accepted: Int64[np.ndarray, "*resamples m"]
    n_errors: Int64[np.ndarray, "*resamples m"]

    @property
    def n(self) -> Int64[np.ndarray, "*resamples 1"]:
        """Number of samples."""
        return self.n_accepted[..., :1]

    @property
    def coverage(self) -> Float64[np.ndarray, "*resamples m"]:
        """n_accepted / n."""
        share: Floats = self.n_accepted / self.n
        return share

    @property
    def selective_risk(self) -> Float64[np.ndarray, "*resamples m"]:
        """n_errors / n_accepted.

        Above the highest score of a resample, where it accepts nothing, its last risk is carried on.
        """
        risk = _ratio(self.n_errors, self.n_accepted)
        accepts = self.n_accepted > 0
        if not accepts[..., -1].all():
            last = accepts.sum(axis=-1, keepdims=True) - 1
            risk = np.where(accepts, risk, np.take_along_axis(risk, last, -1))
        return risk

    def at(self, threshold: ArrayLike) -> tuple[Int64[np.ndarray, "*shape"], Int64[np.ndarray, "*shape"]]:
        """Samples accepted at any thresholds (k,) and the errors among them, (…, k) each.

        Raises:
            ValueError: for a threshold that is nan.
        """
        thresholds = _not_nan(threshold)
        index = np.searchsorted(self.threshold, thresholds, side="left")
        beyond = np.minimum(index, len(self.threshold) - 1)
        inside = index < len(self.threshold)
        accepted, errors = self.n_accepted[..., beyond] * inside, self.n_errors[..., beyond] * inside
        return np.asarray(accepted), np.asarray(errors)

    def at_coverage(self, level: ArrayLike) -> Float64[np.ndarray, "..."]:
        """Selective risk at the largest coverage that does not exceed each level (k,), shape (…, k).

        nan where every accepted set is larger.
        """
        levels = np.asarray(level, dtype=np.float64)
        flat = self.coverage.reshape(-1, len(self.threshold))
        # Coverage falls along a row, so its negative is sorted; the slack is for rounded levels.
        index = np.array([np.searchsorted(-row, -levels - 1e-12) for row in flat])
        index = index.reshape((*self.n_accepted.shape[:-1], *levels.shape))
        padded = np.concatenate([self.selective_risk, np.full((*self.n.shape[:-1], 1), np.nan)], axis=-1)
        accepts = np.concatenate([self.n_accepted > 0, np.ones_like(self.n, dtype=bool)], axis=-1)
        padded = np.where(accepts, padded, np.nan)
        if self.n_accepted.ndim == 1:
            return np.asarray(padded[index])
        index = index.reshape(*self.n_accepted.shape[:-1], -1)
        return np.asarray(np.take_along_axis(padded, index, axis=-1))

    def accuracy(self) -> Float64[np.ndarray, "*resamples"]:
        """Share of right predictions among all samples."""
        return np.asarray((self.n_accepted[..., 0] - self.n_errors[..., 0]) / self.n[..., 0])

    def aurc(self) -> Float64[np.ndarray, "*resamples"]:
        """Area under selective risk over coverage; see ``aurc``."""
        # The last risk is carried to coverage 0.
        risk = self.selective_risk
        return _area(risk, risk[..., -1], self.coverage)

    def e_aurc(self) -> Float64[np.ndarray, "*resamples"]:
        """AURC less that of the best ordering; see ``e_aurc``."""
        return np.asarray(self.aurc() - self.least_aurc())

    def least_aurc(self) -> Float64[np.ndarray, "*resamples"]:
        """AURC of the ordering that puts every wrong prediction last, in the limit of many samples."""
        risk = 1 - self.accuracy()
        return np.asarray(risk + xlogy(1 - risk, 1 - risk))

    def augrc(self) -> Float64[np.ndarray, "*resamples"]:
        """Area under generalised risk over coverage; see ``augrc``."""
        risk = self.n_errors / self.n
        return _area(risk, np.zeros_like(risk[..., -1]), self.coverage)

    def failure_auroc(self) -> Float64[np.ndarray, "*resamples"]:
        """AUROC of right against wrong predictions; see ``failure_auroc``."""
        right, wrong = self.n_accepted - self.n_errors, self.n_errors
        # Wrong predictions here, times right ones above, those of the same score counting one half.
        here, twice_above = wrong[..., :-1] - wrong[..., 1:], right[..., :-1] + right[..., 1:]
        ordered = ((here * twice_above).sum(axis=-1) + wrong[..., -1] * right[..., -1]) / 2
        return _ratio(ordered, wrong[..., 0] * right[..., 0])


def risk_coverage_curve(
    score: ArrayLike, error: ArrayLike, weight: ArrayLike | None = None
) -> RiskCoverageCurve:
    """The risk–coverage curve (El-Yaniv & Wiener, 2010) by one sort.

    Args:
        score: finite reals, shape (n,).
        error: 0/1 or booleans, shape (n,).
        weight: how often each sample counts, non-negative integers (…, n); once by default. Leading
            axes give as many curves from the same sort.

    Raises:
        ValueError: for empty, non-finite or unequally long input, errors other than 0 and 1, or weights
            that are not such integers or all 0.
    """
    [curve] = weighted_curves(score, error, [weight])
    return curve


def weighted_curves(
    score: ArrayLike, error: ArrayLike, weights: Iterable[ArrayLike | None]
) -> Iterator[RiskCoverageCurve]:
    """Curves of many weights, one block (…, n) after another, from one sort; see ``risk_coverage_curve``."""
    scores, errors = as_pair(score, error)
    order = np.argsort(scores)[::-1]
    descending, wrong = scores[order], errors[order]
    last_of_ties = np.append(np.flatnonzero(descending[1:] != descending[:-1]), len(scores) - 1)
    threshold = descending[last_of_ties][::-1]
    for weight in weights:
        counts = _checked(np.ones_like(errors) if weight is None else weight, len(scores))[..., order]
        accepted = np.cumsum(counts, axis=-1, dtype=np.int64)
        errors_so_far = np.cumsum(np.where(wrong, counts, counts.dtype.type(0)), axis=-1, dtype=np.int64)
        if len(last_of_ties) < len(scores):
            accepted, errors_so_far = accepted[..., last_of_ties], errors_so_far[..., last_of_ties]
        yield RiskCoverageCurve(threshold, accepted[..., ::-1], errors_so_far[..., ::-1])


def coverage(score: ArrayLike, threshold: float) -> float:
    """Share of samples accepted at a threshold, c = n_accepted / n.

    Raises:
        ValueError: for empty or non-finite scores, or a threshold that is nan.
    """
    return float(np.mean(as_scores(score) >= _not_nan(threshold)))


def selective_accuracy(score: ArrayLike, error: ArrayLike, threshold: float) -> float:
    """Accuracy on the accepted samples, 1 − n_errors / n_accepted; nan if none is accepted.

    Raises:
        ValueError: for empty, non-finite or unequally long input, errors other than 0 and 1, or a
            threshold that is nan.
    """
    scores, errors = as_pair(score, error)
    accepted = scores >= _not_nan(threshold)
    return float((errors[accepted] == 0).mean()) if accepted.any() else float("nan")


def aurc(score: ArrayLike, error: ArrayLike) -> float:
    """Area under the risk–coverage curve, the smaller the better.

    Convention of Jaeger et al. (2023): one point per distinct score, the last risk carried to
    coverage 0, trapezoids over coverage.

    Raises:
        ValueError: for empty, non-finite or unequally long input, or errors other than 0 and 1.
    """
    return float(risk_coverage_curve(score, error).aurc())


def e_aurc(score: ArrayLike, error: ArrayLike) -> float:
    """Excess AURC (Geifman et al., 2019): AURC − [r + (1 − r)·ln(1 − r)], r the risk at full coverage.

    The bracket is the area of the ordering that puts every wrong prediction last, in the limit of
    many samples; for few samples the excess may be slightly negative.

    Raises:
        ValueError: for empty, non-finite or unequally long input, or errors other than 0 and 1.
    """
    return float(risk_coverage_curve(score, error).e_aurc())


def augrc(score: ArrayLike, error: ArrayLike) -> float:
    """Area under the generalised risk–coverage curve (Traub et al., 2024), the smaller the better.

    Generalised risk is errors accepted / n; trapezoids over coverage, ending at (0, 0). It equals
    (1 − AUROC_f)·acc·(1 − acc) + ½(1 − acc)², with AUROC_f = ``failure_auroc``.

    Raises:
        ValueError: for empty, non-finite or unequally long input, or errors other than 0 and 1.
    """
    return float(risk_coverage_curve(score, error).augrc())


def failure_auroc(score: ArrayLike, error: ArrayLike) -> float:
    """Probability that a right prediction scores higher than a wrong one, ties counting one half.

    The area under the ROC curve of failure detection; nan where all predictions are right, or all wrong.

    Raises:
        ValueError: for empty, non-finite or unequally long input, or errors other than 0 and 1.
    """
    return float(risk_coverage_curve(score, error).failure_auroc())


def _checked(weight: ArrayLike, n: int) -> Integer[np.ndarray, "*resamples {n}"]:
    weights = np.asarray(weight)
    if not np.issubdtype(weights.dtype, np.integer) or weights.shape[-1:] != (n,):
        raise ValueError(
            f"weight has shape {weights.shape} and type {weights.dtype}: it must be integers (…, {n})."
        )
    signed = np.issubdtype(weights.dtype, np.signedinteger)
    if (signed and (weights < 0).any()) or not weights.any(axis=-1).all():
        raise ValueError("weight must not be negative, and must count at least one sample.")
    return weights


def _not_nan(threshold: ArrayLike) -> Float64[np.ndarray, "..."]:
    thresholds = np.asarray(threshold, dtype=np.float64)
    if np.isnan(thresholds).any():
        raise ValueError("threshold is nan: it must be a number, or inf to accept nothing.")
    return thresholds


def _area(
    height: Float64[np.ndarray, "*resamples m"],
    end: Float64[np.ndarray, "*resamples"],
    coverage: Float64[np.ndarray, "*resamples m"],
) -> Float64[np.ndarray, "*resamples"]:
    """Trapezoids of heights over falling coverages, and one to another height at coverage 0."""
    between = ((coverage[..., :-1] - coverage[..., 1:]) * (height[..., :-1] + height[..., 1:])).sum(axis=-1)
    return np.asarray((between + coverage[..., -1] * (height[..., -1] + end)) / 2)


def _ratio(part: ArrayLike, whole: ArrayLike) -> Float64[np.ndarray, "..."]:
    """Part / whole, nan where the whole is 0."""
    result = np.full(np.shape(part), np.nan)
    np.divide(part, whole, out=result, where=np.asarray(whole) > 0)
    return result
