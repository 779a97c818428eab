"""Influence functions against finite differences, intervals of the areas against what they must hold."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neural_branching.selection import Bootstrap, RiskCoverageCurve, failure_auroc, risk_coverage_curve
from neural_branching.selection.area_intervals import area_intervals, augrc_interval, failure_auroc_interval
from neural_branching.selection.influence import augrc_influence, aurc_influence
from neural_branching.selection.intervals import percentile_interval, proportion_interval

seeded = settings(derandomize=True, deadline=None, max_examples=60)
AREAS = ("aurc", "e_aurc", "augrc", "failure_auroc")
INFLUENCES = {
    "aurc": (aurc_influence, RiskCoverageCurve.aurc),
    "augrc": (augrc_influence, RiskCoverageCurve.augrc),
}


def answers(
    seed: int, n: int = 60, accuracy: float = 0.8, ties: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Scores, rounded where they shall tie, and errors, at least one and not all."""
    rng = np.random.default_rng(seed)
    error = rng.random(n) > accuracy
    error[:2] = True, False
    score = rng.normal(size=n) + 1.8 * ~error
    return (score.round(1) if ties else score), error


@pytest.mark.parametrize("name", INFLUENCES)
@seeded
@given(seed=st.integers(0, 10**6), ties=st.booleans())
def test_an_influence_is_the_derivative_by_the_weight_of_an_image(name: str, seed: int, ties: bool) -> None:
    score, error = answers(seed, ties=ties)
    influence_of, statistic = INFLUENCES[name]
    influence = influence_of(risk_coverage_curve(score, error))
    each, many = influence.of(score, error), 10**7
    weights = np.full((3, len(score)), many)
    weights[np.arange(3), [0, 1, 30]] += 1
    changed = statistic(risk_coverage_curve(score, error, weights))
    derivative = (changed - statistic(risk_coverage_curve(score, error))) * many * len(score)
    np.testing.assert_allclose(each[[0, 1, 30]], derivative, atol=1e-4)
    assert each.sum() == pytest.approx(0, abs=1e-9)


@seeded
@given(seed=st.integers(0, 10**6), accuracy=st.sampled_from([0.1, 0.5, 0.9, 1.0]), ties=st.booleans())
def test_intervals_hold_the_value_and_keep_within_bounds(seed: int, accuracy: float, ties: bool) -> None:
    score, error = answers(seed, n=30, accuracy=accuracy, ties=ties)
    curve = risk_coverage_curve(score, error)
    found = area_intervals(curve)
    assert tuple(found) == AREAS
    for name, (low, high) in found.items():
        assert low < high
        value = float(getattr(curve, name)())
        # Of E-AURC the optimum is that of many samples: few may lie a little below it.
        assert low >= (min(value, 0) if name == "e_aurc" else 0)
        assert high <= 1
        assert low <= value <= high


def test_without_an_error_the_ends_are_those_of_the_error_rate() -> None:
    score, none = np.linspace(0, 1, 200), np.zeros(200)
    error_rate = proportion_interval(0, 200)
    found = area_intervals(risk_coverage_curve(score, none))
    assert found["aurc"] == error_rate
    assert found["augrc"] == (0, error_rate[1] / 2)
    assert found["e_aurc"] == (0, pytest.approx(error_rate[1], rel=0.01))
    assert np.isnan(found["failure_auroc"]).all()
    worst = area_intervals(risk_coverage_curve(score, none + 1))
    assert worst["aurc"] == (pytest.approx(1 - error_rate[1]), 1)
    assert worst["augrc"] == (pytest.approx((1 - error_rate[1]) / 2), 0.5)
    assert worst["e_aurc"][0] == 0 < worst["e_aurc"][1]
    assert np.isnan(worst["failure_auroc"]).all()


def test_one_error_that_is_told_apart_leaves_much_open() -> None:
    score, error = np.linspace(0, 1, 200), np.arange(200) < 1
    assert failure_auroc(score, error) == 1
    low, high = failure_auroc_interval(risk_coverage_curve(score, error))
    assert 0.1 < low < 0.7
    assert high == 1
    few, many = (failure_auroc_interval(risk_coverage_curve(score, np.arange(200) < k))[0] for k in (3, 40))
    assert low < few < many < 1


def test_where_errors_are_many_areas_have_the_intervals_of_a_bootstrap() -> None:
    score, error = answers(5, n=3000, accuracy=0.7, ties=False)
    curve, bootstrap = risk_coverage_curve(score, error), Bootstrap(3000)
    found = area_intervals(curve)
    resampled = list(bootstrap.curves(score, error))
    for name in AREAS:
        values = np.concatenate([getattr(some, name)() for some in resampled])
        assert found[name] == pytest.approx(percentile_interval(values), rel=0.035), name
    assert found["augrc"] == augrc_interval(curve)
