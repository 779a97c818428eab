"""Promises for new examples, kept or broken over many simulated draws of calibration examples."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from scipy.stats import binomtest

from neural_branching.selection import risk_coverage_curve
from neural_branching.selection.thresholds.guaranteed import FixedSequence, Guaranteed, Sgr
from neural_branching.selection.thresholds.on_average import Conformal, FalseAccept
from neural_branching.selection.thresholds.plain import Risk
from neural_branching.selection.thresholds.random_walk import RandomWalk
from neural_branching.selection.thresholds.threshold import HeldOut, Threshold

GUARANTEED: list[type[Guaranteed]] = [Sgr, FixedSequence, RandomWalk]
TARGET, DELTA, DRAWS = 0.1, 0.1, 1000


@dataclass(frozen=True)
class Population:
    """Scores uniform on (0, 1), and errors whose probability depends on the score.

    Attributes:
        error: probability of an error at a score.
        wrong: its integral from a threshold to 1, the true share of examples accepted and wrong.
    """

    error: Callable[[np.ndarray], np.ndarray]
    wrong: Callable[[float], float]

    def risk(self, threshold: float) -> float:
        """True selective risk; 0 where nothing is accepted."""
        accepted = 1 - threshold
        return self.wrong(threshold) / accepted if accepted > 0 else 0.0


POPULATIONS = {
    # Risk 0.3·(1 − τ), within the target from τ = 2/3 on.
    "falling": Population(lambda s: 0.6 * (1 - s), lambda t: 0.3 * (1 - t) ** 2 if t < 1 else 0.0),
    # The surest answers are often wrong: within the target from about 0.43 to 0.86 only.
    "not monotone": Population(
        lambda s: np.select([s >= 0.9, s >= 0.5], [0.25, 0.02], 0.3),
        lambda t: 0.25 * max(0, min(0.1, 1 - t)) + 0.02 * max(0, min(0.4, 0.9 - t)) + 0.3 * max(0, 0.5 - t),
    ),
    # A score that says nothing, and a risk just above the target: every finite threshold is wrong.
    "flat": Population(lambda s: np.full_like(s, 0.1001), lambda t: 0.1001 * (1 - t) if t < 1 else 0.0),
}


def draws(population: Population, n: int, seed: int, number: int = DRAWS) -> list[HeldOut]:
    """Calibration sets of n examples each, with as many validation examples and foreign examples."""
    rng = np.random.default_rng(seed)
    scores, validation, foreign = rng.random((3, number, n))
    errors = rng.random((number, n)) < population.error(scores)
    # Optimistic, as where a model has stopped early: a third of the validation errors are not seen.
    mistakes = rng.random((number, n)) < population.error(validation) * 2 / 3
    columns = zip(scores, errors, validation, mistakes, foreign, strict=True)
    return [HeldOut(*column) for column in columns]


def fitted(rule: Threshold, one: HeldOut) -> float:
    """The fitted threshold; a shortage in words would take longer than all the rest."""
    if isinstance(rule, Guaranteed):
        passed = rule.search(risk_coverage_curve(one.score, one.error), one)
        return np.inf if passed is None else passed[0]
    return rule.fit(one).value


def true_risks(rule: Threshold, population: Population, n: int, number: int = DRAWS) -> np.ndarray:
    """True selective risk of the thresholds fitted on repeated draws."""
    return np.array([population.risk(fitted(rule, one)) for one in draws(population, n, n, number)])


@pytest.mark.parametrize("name", POPULATIONS)
def test_true_risks_are_those_of_many_images(name: str) -> None:
    population = POPULATIONS[name]
    (one,) = draws(population, 400_000, seed=0, number=1)
    for threshold in (0.0, 0.3, 0.5, 0.8, 0.95):
        seen = one.error[one.score >= threshold].mean()
        assert population.risk(threshold) == pytest.approx(seen, abs=0.012)
    assert population.risk(np.inf) == 0


@pytest.mark.parametrize("rule", GUARANTEED)
@pytest.mark.parametrize("name", POPULATIONS)
@pytest.mark.parametrize("n", [100, 300])
def test_the_risk_exceeds_its_target_in_at_most_delta_of_all_draws(
    rule: type[Guaranteed], name: str, n: int
) -> None:
    one = rule(TARGET, DELTA)
    assert one.guarantee == "with high probability"
    assert f"except with probability {DELTA}" in one.promise
    risks = true_risks(one, POPULATIONS[name], n)
    exceeded = int((risks > TARGET).sum())
    assert binomtest(exceeded, DRAWS, DELTA, alternative="greater").pvalue > 0.001, exceeded / DRAWS


@pytest.mark.parametrize("rule", GUARANTEED)
def test_a_guarantee_is_not_kept_by_refusing_everything(rule: type[Guaranteed]) -> None:
    values = [fitted(rule(0.2, DELTA), one) for one in draws(POPULATIONS["falling"], 300, 1, 200)]
    # The best threshold is 1/3, so that two thirds of all examples could be answered.
    assert np.isfinite(values).mean() > 0.7
    assert 1 / 3 < np.median(values) < 0.75


@pytest.mark.parametrize("rule", GUARANTEED)
def test_a_larger_delta_is_used(rule: type[Guaranteed]) -> None:
    sets = draws(POPULATIONS["falling"], 300, 2, 100)
    strict, loose = (np.mean([fitted(rule(0.2, d), one) < 1 for one in sets]) for d in (1e-6, 0.3))
    assert strict < loose


@pytest.mark.parametrize("n", [100, 300])
def test_the_plain_risk_rule_exceeds_its_target_in_most_draws(n: int) -> None:
    for name in ("falling", "flat"):
        risks = true_risks(Risk(TARGET), POPULATIONS[name], n)
        assert (risks > TARGET).mean() > 0.5
    assert Risk.guarantee == "none"
    assert "guarantees nothing" in Risk(TARGET).promise
    assert "guarantees nothing" in (Risk.__doc__ or "")


def rate(threshold: float) -> float:
    """True false-accept rate of foreign examples with uniform scores."""
    return max(0.0, 1 - threshold)


def wrong_per_image(threshold: float) -> float:
    """True share of examples that are answered wrongly."""
    return POPULATIONS["falling"].wrong(threshold)


@pytest.mark.parametrize("alpha", [0.05, 0.1])
@pytest.mark.parametrize("n", [100, 300])
@pytest.mark.parametrize(("rule", "truth"), [(Conformal, wrong_per_image), (FalseAccept, rate)])
def test_a_promise_on_average_holds_on_average_and_not_in_each_draw(
    rule: type[Conformal] | type[FalseAccept], truth: Callable[[float], float], n: int, alpha: float
) -> None:
    one = rule(alpha)
    values = np.array([truth(one.fit(given).value) for given in draws(POPULATIONS["falling"], n, 3, 1500)])
    standard_error = values.std() / np.sqrt(len(values))
    assert values.mean() <= alpha + 3 * standard_error
    assert values.mean() > 0.8 * alpha  # and little is given away
    assert (values > alpha).mean() > 0.15
    assert rule.guarantee == "on average"
    assert "on average" in one.promise
    assert "a single draw" in one.promise
    text = " ".join((rule.__doc__ or "").split())
    assert "on average" in text or "expectation" in text


@pytest.mark.parametrize("name", ["not monotone", "flat"])
def test_the_errors_per_image_hold_on_average_whatever_the_population(name: str) -> None:
    population = POPULATIONS[name]
    sets = draws(population, 100, 4, 1500)
    values = np.array([population.wrong(Conformal(0.05).fit(one).value) for one in sets])
    assert values.mean() <= 0.05 + 3 * values.std() / np.sqrt(len(values))


def test_a_false_accept_limit_holds_for_the_smallest_number_of_images() -> None:
    # Nine examples and a tenth: the threshold lies above all of them.
    sets = draws(POPULATIONS["flat"], 9, 5, 3000)
    values = np.array([rate(FalseAccept(0.1).fit(one).value) for one in sets])
    assert values.mean() == pytest.approx(0.1, abs=3 * values.std() / np.sqrt(len(values)))
