"""Rules that bound the selective risk on new examples with high probability.

All of them test with the exact binomial bound, and differ in which thresholds they test, in which
order. That is all that matters: a single threshold could not be tested better, and every further
one costs something.
"""

import math
from abc import abstractmethod
from typing import ClassVar

import numpy as np
from scipy.special import betainccinv

from neural_branching.errors import number
from neural_branching.selection.array_types import Bool, Float64, Int64
from neural_branching.selection.intervals import clopper_pearson_upper
from neural_branching.selection.risk_coverage import RiskCoverageCurve, risk_coverage_curve
from neural_branching.selection.scores.score import INFINITY
from neural_branching.selection.thresholds.plain import thresholds_at_coverages
from neural_branching.selection.thresholds.threshold import (
    Certificate,
    Choice,
    Guarantee,
    HeldOut,
    Shortage,
    Threshold,
    exact,
)

# Tables name the probability of failure where it is another than this.
DELTA = 0.1
# Coverage levels of the grid that a sequence of tests walks along: 2, 4 … 100 %.
LEVELS = tuple(percent / 100 for percent in range(2, 101, 2))


class Guaranteed(Threshold):
    """A threshold whose true selective risk exceeds a target with probability at most δ.

    The probability is over draws of the calibration examples; they and new examples must come from the
    same source, independently. Rejecting everything counts as risk 0.

    Args:
        target: largest tolerated selective risk r*, within (0, 1).
        delta: probability δ of failure, within (0, 1).

    Raises:
        InputError: for anything else.
    """

    guarantee: ClassVar[Guarantee] = "with high probability"

    def __init__(self, target: float, delta: float = DELTA) -> None:
        self.target = number(target, "target", 0, 1, open_low=True, open_high=True)
        self.delta = number(delta, "delta", 0, 1, open_low=True, open_high=True)

    def __str__(self) -> str:
        usual = f"{self.kind} {self.target:.12g}"
        return usual if self.delta == DELTA else f"{usual} (δ {self.delta:.12g})"

    @property
    def promise(self) -> str:
        """Target and probability."""
        return (
            f"a share of at most {self.target:.12g} of the answers to new examples is wrong, except with "
            f"probability {self.delta:.6g} over the draw of the calibration examples"
        )

    def fit_among(self, held_out: HeldOut, settings: int) -> Choice:
        """The threshold for use beside others: all certificates hold at once with probability 1 − δ.

        Bonferroni's correction, δ / settings: what has to be paid for choosing the best of several. It
        never accepts more than ``fit`` does at δ. That takes a rule of its own, as a smaller δ also changes
        what is tested: a fixed sequence leaves out more of its strict points, one of which may have been the
        first failure at δ; a random walk's boundary opens later, and may be wider from there on.

        Of what passes at δ / settings the loosest is kept that is no looser than the threshold at δ. That is
        valid: with probability 1 − δ / settings no threshold passes whose risk exceeds the target, so that
        any of those that pass may be chosen, for whatever reason.
        """
        alone = self.fit(held_out)
        if settings == 1:
            return alone
        return type(self)(self.target, self.delta / settings)._fit(held_out, at_least=alone.value)

    def shared(self, levels: int, nodes: int) -> "Guaranteed":
        """Risk r* / levels and failure δ / nodes: risks add up along a path, failures over the nodes."""
        return type(self)(self.target / levels, self.delta / nodes)

    def fit(self, held_out: HeldOut) -> Choice:
        """The threshold of largest coverage that passes, with its certificate; else inf and a shortage."""
        return self._fit(held_out, at_least=-INFINITY)

    def _fit(self, held_out: HeldOut, at_least: float) -> Choice:
        curve = risk_coverage_curve(held_out.score, held_out.error)
        n = len(held_out.score)
        passed = self.search(curve, held_out, at_least)
        if passed is None:
            return Choice(INFINITY, n, shortage=self._shortage(curve, held_out))
        value, bound = passed
        accepted, errors = curve.at(value)
        certificate = Certificate(
            method=self.kind,
            quantity="selective risk",
            guarantee=self.guarantee,
            target=self.target,
            delta=self.delta,
            bound=bound,
            level=self.needs(curve, held_out)[0],
            n=n,
            n_accepted=int(accepted),
            errors=int(errors),
        )
        return Choice(value, n, certificate)

    def search(
        self, curve: RiskCoverageCurve, held_out: HeldOut, at_least: float = -INFINITY
    ) -> tuple[float, float] | None:
        """Threshold and bound of the largest coverage that passes; None if nothing does.

        Args:
            curve: risk–coverage curve of the calibration examples.
            held_out: what else the rule may look at.
            at_least: smaller thresholds are left out.
        """
        passed = self.passing(curve, held_out)
        passed = passed[passed >= at_least]
        if not len(passed):
            return None
        value = float(passed.min())
        accepted, errors = curve.at(value)
        return value, float(clopper_pearson_upper(errors, accepted, self.needs(curve, held_out)[0]))

    @abstractmethod
    def passing(self, curve: RiskCoverageCurve, held_out: HeldOut) -> Float64[np.ndarray, " k"]:
        """All thresholds that pass: none of them exceeds the target, with probability 1 − δ."""

    def needs(self, curve: RiskCoverageCurve, held_out: HeldOut) -> tuple[float, int]:
        """Level of a single test, and accepted examples without any error that pass one."""
        return self.delta, least_accepted(self.target, self.delta)

    def _shortage(self, curve: RiskCoverageCurve, held_out: HeldOut) -> Shortage:
        """What the most favourable point of the curve would need, its risk taken for the true one."""
        n, (level, least), unit = int(curve.n[0]), self.needs(curve, held_out), held_out.unit
        zero = f"at least {least} accepted calibration {unit} without an error"
        # Exactly: 0.07 · 100 is above 7 in floats, and a risk equal to the target is proved by no number.
        share = exact(self.target)
        below = np.flatnonzero(
            curve.n_errors.astype(object) * share.denominator
            < curve.n_accepted.astype(object) * share.numerator
        )
        if not len(below):
            return Shortage(
                None,
                None,
                f"not certifiable: the selective risk on {n} calibration {unit} is nowhere below "
                f"{self.target:g}, so that more {unit} will not help, a better branch or score might "
                f"({zero} would do)",
            )
        # A few lucky examples at the top prove nothing, where there are points that could.
        solid = below[curve.n_accepted[below] >= least]
        below = solid if len(solid) else below
        # The normal approximation says where; the exact bound then says how many.
        gap = self.target - curve.selective_risk[below]
        total = np.maximum(least, self.target * (1 - self.target) / gap**2) / curve.coverage[below]
        best = below[np.argmin(total)]
        errors, seen = int(curve.n_errors[best]), int(curve.n_accepted[best])
        accepted = accepted_needed(errors, seen, self.target, level)
        examples = max(n + 1, math.ceil(accepted * n / seen))
        found = f" (or {accepted:,} at the risk of {errors / seen:.3f} seen at coverage {seen / n:.2f})"
        return Shortage(
            accepted,
            examples,
            f"not certifiable with {n} calibration {unit}: it takes {zero}{found if errors else ''}, at "
            f"the very least {examples:,} calibration {unit} at this coverage; the luckiest point seen is "
            "taken for the true risk, so expect to need more",
        )


class Sgr(Guaranteed):
    """Selection with guaranteed risk (Geifman & El-Yaniv, 2017, algorithm 1).

    Bisection over the m distinct calibration scores, ⌈log₂ m⌉ steps, each tested at δ / ⌈log₂ m⌉. Of
    the thresholds that pass the one of largest coverage is kept, not the last one tried.

    Its published proof is a union bound over the steps as if their thresholds were settled beforehand;
    which are tried depends on the calibration examples. docs/thresholds.md says what that leaves open.

    Args:
        target: largest tolerated selective risk r*, within (0, 1).
        delta: probability δ of failure, within (0, 1).

    Raises:
        InputError: for anything else.
    """

    kind: ClassVar[str] = "sgr"

    def needs(self, curve: RiskCoverageCurve, held_out: HeldOut) -> tuple[float, int]:
        """δ shared out to the steps of the bisection."""
        level = self.delta / _steps(curve)
        return level, least_accepted(self.target, level)

    def passing(self, curve: RiskCoverageCurve, held_out: HeldOut) -> Float64[np.ndarray, " k"]:
        """Bisection for the smallest threshold that passes."""
        low, high = 0, len(curve.threshold) - 1
        passed = []
        for _ in range(_steps(curve)):
            middle = (low + high) // 2
            bound = clopper_pearson_upper(
                curve.n_errors[middle], curve.n_accepted[middle], self.delta / _steps(curve)
            )
            if bound <= self.target:
                passed.append(float(curve.threshold[middle]))
                high = middle
            else:
                low = min(middle + 1, high)
        return np.array(passed)


class FixedSequence(Guaranteed):
    """Fixed-sequence testing (Angelopoulos et al., 2021, "Learn then Test").

    A grid of thresholds is declared before the calibration examples are looked at: those that answer
    2, 4 … 100 % of the *validation* examples. From the strictest on, each is tested at the full δ; the
    first failure ends it, and the last pass is kept. Points that accept too few calibration examples to
    pass even without an error are left out.

    Args:
        target: largest tolerated selective risk r*, within (0, 1).
        delta: probability δ of failure, within (0, 1).

    Raises:
        InputError: for anything else.
    """

    kind: ClassVar[str] = "fixed_sequence"

    def passing(self, curve: RiskCoverageCurve, held_out: HeldOut) -> Float64[np.ndarray, " k"]:
        """Walk from the strictest threshold to the first failure."""
        grid = np.array(thresholds_at_coverages(held_out.validation_score, LEVELS))
        accepted, errors = curve.at(grid)
        tested = np.flatnonzero(accepted >= least_accepted(self.target, self.delta))
        bounds = clopper_pearson_upper(errors[tested], accepted[tested], self.delta)
        failed = np.flatnonzero(bounds > self.target)
        passed: Float64[np.ndarray, " k"] = grid[tested[: failed[0]] if len(failed) else tested]
        return passed


def least_accepted(target: float, delta: float) -> int:
    """Accepted examples without any error that prove a target risk: ⌈ln δ / ln(1 − r*)⌉."""
    return math.ceil(math.log(delta) / math.log1p(-target))


def accepted_needed(errors: int, accepted: int, target: float, delta: float) -> int:
    """Smallest m with B*(⌈r̂·m⌉, m, δ) ≤ r*, B* being ``clopper_pearson_upper``.

    Args:
        errors: wrong answers seen.
        accepted: answers seen; r̂ = errors / accepted is below the target.
        target: r*.
        delta: δ.
    """

    def passes(sizes: Int64[np.ndarray, " m"]) -> Bool[np.ndarray, " m"]:
        return clopper_pearson_upper(-(-errors * sizes // accepted), sizes, delta) <= target

    # Without rounding up the errors the bound falls with m, and nothing below its root can pass.
    rate = errors / accepted
    low, high = 0, least_accepted(target, delta)
    while _unrounded(rate, high, delta) > target:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        if _unrounded(rate, middle, delta) > target:
            low = middle
        else:
            high = middle
    # Errors are whole, so that the bound goes up and down with m: the first m is looked for in turn.
    start = max(1, low)
    while not len(found := np.flatnonzero(passes(np.arange(start, start + 4096)))):
        start += 4096
    return start + int(found[0])


def _unrounded(risk: float, accepted: int, delta: float) -> float:
    """Clopper–Pearson's bound with a number of errors that need not be whole."""
    return float(betainccinv(risk * accepted + 1, accepted - risk * accepted, delta))


def _steps(curve: RiskCoverageCurve) -> int:
    return max(1, math.ceil(math.log2(len(curve.threshold))))
