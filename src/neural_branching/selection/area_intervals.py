"""Intervals of the areas under the risk–coverage curve that keep their level at high accuracy.

A test set of 300 examples with an accuracy of .95 holds 15 errors, one of .99 three. A bootstrap then knows
too little: where no confident error was seen, none is in any resample, and its percentiles miss the truth
in more than one draw of ten. Here every area is split into what it is made of, the error rate p and where
the errors lie, which is a failure AUROC or the mean cost of an error; each gets an interval of its own, and
the distances of their ends are added as squares (MOVER: Zou & Donner, 2008). Both come from mid-P, as what is
joined takes no whole steps. Where k errors lie is partly
taken from what is usual, by weights that grow with √k, so that it counts half of all for a handful and next
to nothing for hundreds. The weights were settled by simulation; docs/intervals.md has the coverage.

Where no prediction is wrong, or none is right, nothing is known of the order: the ends are those of the
error rate, for a score that knows nothing.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import gammaincinv, ndtr, ndtri, stdtrit, xlogy

from neural_branching.selection.influence import aurc_influence
from neural_branching.selection.intervals import LEVEL, MID_P, Interval, proportion_interval
from neural_branching.selection.risk_coverage import RiskCoverageCurve

# The usual score: right predictions are more confident than wrong ones in two of three pairs. Its errors
# lie at a coverage of c = √U, U uniform; one there adds −ln c to n·AURC (Zhou et al., 2024), ½ on average.
USUAL_AUROC, USUAL_COST = 2 / 3, 1 / 2
# What k errors say is joined with √k / 3 usual ones.
_USUAL = 1 / 3
# A variance with what it is for this AUROC at √k further errors; for this cost, at 4·√k of them, the
# variance of a single cost being twice its squared mean (that of an exponential law once).
_AUROC_WEIGHT, _COST_WEIGHT, _COST_VARIANCE = 1.0, 4.0, 2.0
# Fourth moment by the squared variance, of an exponential law (costs) and of an even one (placements): how
# far a variance of so many errors may itself be off.
_COST_KURTOSIS, _PLACEMENT_KURTOSIS = 9.0, 1.8
_NORMAL = float(ndtri((1 + LEVEL) / 2))


def area_intervals(curve: RiskCoverageCurve) -> dict[str, Interval]:
    """95 % intervals of the areas under one curve, over examples.

    Returns:
        "aurc", "e_aurc", "augrc" and "failure_auroc"; the last is nan where it is not defined.
    """
    return {
        "aurc": aurc_interval(curve),
        "e_aurc": e_aurc_interval(curve),
        "augrc": augrc_interval(curve),
        "failure_auroc": failure_auroc_interval(curve),
    }


def aurc_interval(curve: RiskCoverageCurve) -> Interval:
    """95 % interval of ``aurc`` = p·W, W = AURC / p being the mean cost of an error."""
    n, k = _counts(curve)
    if k in (0, n):
        return proportion_interval(k, n)
    low, high = _joined(_cost(curve), lambda cost, p: cost * p, n, k)
    return max(low, 0.0), min(high, 1.0)


def e_aurc_interval(curve: RiskCoverageCurve) -> Interval:
    """95 % interval of ``e_aurc`` = p·W − [p + (1 − p)·ln(1 − p)]."""
    n, k = _counts(curve)
    if k in (0, n):
        # Errors in any order: −(1 − p)·ln(1 − p), which is largest at p = 1 − 1/e.
        low, high = proportion_interval(k, n)
        p = np.array([low, high, np.clip(1 - 1 / np.e, low, high)])
        excess = np.abs(xlogy(1 - p, 1 - p))
        return float(excess.min()), float(excess.max())
    low, high = _joined(_cost(curve), lambda cost, p: cost * p - p - float(xlogy(1 - p, 1 - p)), n, k)
    # No population lies below 0; a sample may, as the optimum that is taken off is that of many examples.
    return max(low, min(curve.e_aurc().item(), 0.0)), min(high, 1.0)


def augrc_interval(curve: RiskCoverageCurve) -> Interval:
    """95 % interval of ``augrc`` = (1 − AUROC_f)·p·(1 − p) + ½p², its two parts being uncorrelated."""
    n, k = _counts(curve)
    if k in (0, n):
        low, high = proportion_interval(k, n)
        return low / 2, high / 2
    auroc = float(curve.failure_auroc())
    worst, best = failure_auroc_interval(curve)
    disorder = _Part(1 - auroc, 1 - best, 1 - worst, usual=1 - auroc, correlation=0.0)
    low, high = _joined(disorder, lambda part, p: part * p * (1 - p) + p**2 / 2, n, k)
    return max(low, 0.0), min(high, 1.0)


def failure_auroc_interval(curve: RiskCoverageCurve) -> Interval:
    """95 % interval of ``failure_auroc``.

    The variance of DeLong et al. (1988) from k errors and m right predictions, drawn towards Hanley &
    McNeil's (1982), which depends on the AUROC alone; the interval is that of a proportion with as large
    a variance (Korn & Graubard, 1998).

    Returns:
        Both ends; nan where no prediction is wrong, or none is right.
    """
    n, k = _counts(curve)
    m = n - k
    few = min(k, m)
    if not few:
        return float("nan"), float("nan")
    auroc, weight = float(curve.failure_auroc()), _AUROC_WEIGHT * math.sqrt(few)
    usual = _with_usual(auroc, USUAL_AUROC, few)
    variance = few * _placement_variance(curve, auroc) + weight * _auroc_variance(usual, k, m)
    whole = usual * (1 - usual) / (variance / (few + weight - 1))
    whole *= (_NORMAL / _deviations(few, weight, kurtosis=_PLACEMENT_KURTOSIS)) ** 2
    return proportion_interval(auroc * whole, whole, MID_P)


@dataclass(frozen=True)
class _Part:
    """Where the errors lie, as one number with an interval.

    Attributes:
        value: the estimate.
        low: lower end of its interval.
        high: upper end.
        usual: the estimate joined with what is usual, at which the error rate's share of the upper end is
            taken: a few errors that lie well do not say that the next one would.
        correlation: of the estimate with that of the error rate.
    """

    value: float
    low: float
    high: float
    usual: float
    correlation: float


def _joined(part: _Part, area: Callable[[float, float], float], n: int, k: int) -> Interval:
    """Interval of an area of a part and the error rate, from the intervals of both."""
    p = k / n
    fewest, most = proportion_interval(k, n, MID_P)
    middle = area(part.value, p)
    below = _distance(middle - area(part.low, p), middle - area(part.value, fewest), part.correlation)
    above = _distance(
        area(part.high, p) - middle, area(part.usual, most) - area(part.usual, p), part.correlation
    )
    return middle - below, middle + above


def _distance(one: float, other: float, correlation: float) -> float:
    return float(np.sqrt(max(one**2 + other**2 + 2 * correlation * one * other, 0.0)))


def _cost(curve: RiskCoverageCurve) -> _Part:
    """Mean cost of an error, AURC / p, with the interval of a gamma variable's mean.

    The lower end is the gamma quantile with this variance, the upper one on the cube-root scale (Wilson &
    Hilferty, 1931).
    """
    n, k = _counts(curve)
    p, cost = k / n, float(curve.aurc()) / (k / n)
    influence = aurc_influence(curve)
    # Of the ratio AURC / p, at right and at wrong predictions.
    right, wrong = (influence.right + cost * p) / p, (influence.wrong - cost * (1 - p)) / p
    n_wrong = -np.diff(curve.n_errors, append=0)
    n_right = -np.diff(curve.n_accepted, append=0) - n_wrong
    seen = float(n_right @ right**2 + n_wrong @ wrong**2) / n**2
    shared = float((1 - p) * (n_wrong @ wrong) - p * (n_right @ right)) / n**2
    correlation = shared / (seen * p * (1 - p) / n) ** 0.5 if seen > 0 else 0.0

    usual, weight = _with_usual(cost, USUAL_COST, k), _COST_WEIGHT * math.sqrt(k)
    variance = (k * seen + weight * _COST_VARIANCE * usual**2 / k) / (k + weight - 1)
    rate, spread = usual / variance, variance**0.5 / usual
    deviations = _deviations(k, weight, kurtosis=_COST_KURTOSIS)
    low = float(gammaincinv(cost * rate + 0.5, ndtr(-deviations))) / rate
    high = cost + usual * float((1 + deviations * spread / 3) ** 3 - 1)
    return _Part(cost, min(low, cost), high, usual, correlation)


def _deviations(errors: int, usual: float, kurtosis: float) -> float:
    """Standard deviations to either end: Student's quantile, as the variance is itself an estimate.

    Degrees of freedom by Satterthwaite (1946): the variance of k errors is off by a relative variance of
    (kurtosis − 1) / k, of which the part that is taken from what is usual is free.
    """
    share = errors / (errors + usual)
    freedom = 2 * errors / (kurtosis - 1) / share**2
    return float(stdtrit(freedom, (1 + LEVEL) / 2))


def _counts(curve: RiskCoverageCurve) -> tuple[int, int]:
    """Predictions and wrong ones among them."""
    return int(curve.n[0]), int(curve.n_errors[0])


def _with_usual(value: float, usual: float, errors: int) -> float:
    """The mean of what errors show and what is usual."""
    further = _USUAL * math.sqrt(errors)
    return (errors * value + further * usual) / (errors + further)


def _placement_variance(curve: RiskCoverageCurve, auroc: float) -> float:
    """Variance of the failure AUROC by DeLong et al. (1988), with k and m in the denominators."""
    wrong, right = curve.n_errors.astype(np.float64), (curve.n_accepted - curve.n_errors).astype(np.float64)
    wrong_here, right_here = -np.diff(wrong, append=0), -np.diff(right, append=0)
    k, m = wrong[0], right[0]
    beaten = (right - right_here / 2) / m  # the share of right predictions more confident than a wrong one
    beats = (k - wrong + wrong_here / 2) / k
    return float(wrong_here @ np.square(beaten - auroc) / k**2 + right_here @ np.square(beats - auroc) / m**2)


def _auroc_variance(auroc: float, k: int, m: int) -> float:
    """Variance of an AUROC of k against m, by Hanley & McNeil (1982)."""
    two_wrong, two_right = auroc / (2 - auroc), 2 * auroc**2 / (1 + auroc)
    return (auroc * (1 - auroc) + (k - 1) * (two_wrong - auroc**2) + (m - 1) * (two_right - auroc**2)) / (
        k * m
    )
