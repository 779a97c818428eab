"""What one more example would change in an area: influence functions of the areas, as they are computed.

They are n times the exact derivative of a statistic by the weight of an example (the infinitesimal
jackknife of Jaeckel, 1972, and Efron, 1982), ties included. Their sum over the examples is 0, that of their
squares over n² the variance of the statistic.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from neural_branching.selection.array_types import Float64
from neural_branching.selection.arrays import Floats, as_pair
from neural_branching.selection.risk_coverage import RiskCoverageCurve


@dataclass(frozen=True, eq=False)
class Influence:
    """How a statistic answers to one more example at each distinct score.

    Attributes:
        curve: the curve that the statistic is computed from.
        right: influence of a right prediction at each threshold of the curve.
        wrong: that of a wrong one.
    """

    curve: RiskCoverageCurve
    right: Float64[np.ndarray, " m"]
    wrong: Float64[np.ndarray, " m"]

    def of(self, score: ArrayLike, error: ArrayLike) -> Float64[np.ndarray, " n"]:
        """Influence of each of the examples that the curve was made from."""
        scores, errors = as_pair(score, error)
        place = np.searchsorted(self.curve.threshold, scores)
        return np.where(errors == 1, self.wrong[place], self.right[place])


def aurc_influence(curve: RiskCoverageCurve) -> Influence:
    """Influence function of ``aurc``."""
    accepted, errors, step = _descending(curve)
    risk = errors / accepted
    by_risk = _half_steps(step)
    by_risk[0] += step[0] / 2  # the last risk is carried to coverage 0
    height = (risk + np.concatenate([risk[:1], risk[:-1]])) / 2
    right = _beyond(_fall(height) - by_risk * risk / accepted)[::-1] - curve.aurc()
    return Influence(curve, right, right + _beyond(by_risk / accepted)[::-1])


def augrc_influence(curve: RiskCoverageCurve) -> Influence:
    """Influence function of ``augrc``."""
    _, errors, step = _descending(curve)
    height = (errors + np.concatenate([[0], errors[:-1]])) / 2
    right = _beyond(_fall(height))[::-1] / curve.n - 2 * curve.augrc()
    return Influence(curve, right, right + _beyond(_half_steps(step))[::-1] / curve.n)


def _descending(
    curve: RiskCoverageCurve,
) -> tuple[Float64[np.ndarray, " m"], Float64[np.ndarray, " m"], Float64[np.ndarray, " m"]]:
    """Accepted examples and errors from the strictest threshold on, and the examples that each one adds."""
    accepted = curve.n_accepted[::-1].astype(np.float64)
    return accepted, curve.n_errors[::-1].astype(np.float64), np.diff(accepted, prepend=0)


def _half_steps(step: Float64[np.ndarray, " m"]) -> Float64[np.ndarray, " m"]:
    half: Floats = (step + np.append(step[1:], 0)) / 2
    return half


def _fall(height: Float64[np.ndarray, " m"]) -> Float64[np.ndarray, " m"]:
    fall: Floats = height - np.append(height[1:], 0)
    return fall


def _beyond(values: Float64[np.ndarray, " m"]) -> Float64[np.ndarray, " m"]:
    """Sums from each place to the end: an example is accepted at its own score and all looser ones."""
    sums: Floats = np.cumsum(values[::-1])[::-1]
    return sums
