"""Binomial bounds against the binomial tail, bootstrap intervals against loops and simulation."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from neural_branching.selection import (
    Bootstrap,
    RiskCoverageCurve,
    augrc,
    aurc,
    bootstrap_interval,
    clopper_pearson_upper,
    e_aurc,
    failure_auroc,
    risk_coverage_curve,
    selective_accuracy,
)
from neural_branching.selection.intervals import (
    difference_interval,
    percentile_interval,
    proportion_interval,
    share_interval,
)

seeded = settings(derandomize=True, deadline=None, max_examples=80)

RNG = np.random.default_rng(0)
SCORES = RNG.integers(0, 12, 40) / 12  # with ties
ERRORS = (RNG.random(40) < 0.7 - 0.5 * SCORES).astype(int)


@pytest.mark.parametrize(
    ("errors", "n", "delta", "bound"),
    [
        (0, 49, 0.05, 0.0593060142),
        (1, 49, 0.05, 0.0931924714),
        (10, 1000, 0.001, 0.0239638128),
        (0, 22, 0.1, 1 - 0.1 ** (1 / 22)),
        (7, 7, 0.05, 1.0),
        (1, 1, 0.5, 1.0),
        (0, 0, 0.05, 1.0),
    ],
)
def test_bounds_of_worked_examples(errors: int, n: int, delta: float, bound: float) -> None:
    assert float(clopper_pearson_upper(errors, n, delta)) == pytest.approx(bound, abs=6e-11)


@seeded
@given(st.integers(1, 3000), st.floats(0, 1, exclude_max=True), st.floats(1e-5, 0.99))
def test_the_bound_inverts_the_binomial_tail(n: int, share: float, delta: float) -> None:
    errors = int(share * n)
    bound = float(clopper_pearson_upper(errors, n, delta))
    assert errors / n < bound < 1 or delta > 0.5
    assert binom.cdf(errors, n, bound) == pytest.approx(delta, rel=1e-6)


@seeded
@given(st.integers(1, 60), st.floats(0.001, 0.999), st.sampled_from([0.01, 0.1, 0.3]))
def test_the_bound_lies_below_the_truth_with_probability_of_at_most_delta(
    n: int, risk: float, delta: float
) -> None:
    errors = np.arange(n + 1)
    too_low = clopper_pearson_upper(errors, n, delta) < risk - 1e-12
    assert binom.pmf(errors, n, risk)[too_low].sum() <= delta * (1 + 1e-9)


def test_the_bound_covers_simulated_draws_and_is_not_much_too_wide() -> None:
    errors = np.random.default_rng(1).binomial(200, 0.1, 20_000)
    too_low = int((clopper_pearson_upper(errors, 200, 0.05) < 0.1).sum())
    assert binomtest(too_low, 20_000, 0.05, alternative="greater").pvalue > 0.001
    assert too_low / 20_000 > 0.02


def test_bounds_of_arrays_are_those_of_their_elements() -> None:
    errors, n = np.array([[0, 1, 5], [2, 3, 0]]), np.array([[5, 5, 5], [9, 3, 0]])
    bounds = clopper_pearson_upper(errors, n, 0.1)
    assert bounds.shape == (2, 3)
    assert bounds.dtype == np.float64
    for index in np.ndindex(2, 3):
        assert bounds[index] == clopper_pearson_upper(int(errors[index]), int(n[index]), 0.1)
    assert clopper_pearson_upper([0, 1], 49, 0.05).tolist() == pytest.approx([0.0593060142, 0.0931924714])


def test_the_bound_rises_with_errors_and_falls_with_images_and_delta() -> None:
    assert (np.diff(clopper_pearson_upper(np.arange(51), 50, 0.1)) > 0).all()
    assert (np.diff(clopper_pearson_upper(3, np.arange(3, 500), 0.1)) < 0).all()
    bounds = [float(clopper_pearson_upper(3, 50, delta)) for delta in (1e-9, 0.001, 0.1, 0.5, 0.9)]
    assert bounds == sorted(bounds, reverse=True)


@pytest.mark.parametrize(
    ("errors", "n"),
    [
        (-1, 5),
        (6, 5),
        (0.5, 5),
        (1, 5.5),
        (math.nan, 5),
        (1, math.nan),
        (0, math.inf),
        (math.inf, math.inf),
        ([0, 6], [5, 5]),
    ],
)
def test_counts_that_are_none_are_refused(errors: float, n: float) -> None:
    with pytest.raises(ValueError, match=r"^errors and n must be whole numbers with 0 ≤ errors ≤ n\.$"):
        clopper_pearson_upper(errors, n, 0.1)


@pytest.mark.parametrize("delta", [0, 1, -0.1, 1.5, math.nan, math.inf])
def test_a_delta_outside_its_range_is_refused(delta: float) -> None:
    with pytest.raises(ValueError, match=rf"^delta is {delta}: it must be within \(0, 1\)\.$"):
        clopper_pearson_upper(1, 5, delta)


def accuracy(scores: np.ndarray, errors: np.ndarray) -> float:
    return 1 - float(errors.mean())


def risk_at_half(scores: np.ndarray, errors: np.ndarray) -> float:
    return float(risk_coverage_curve(scores, errors).at_coverage(0.5))


def accuracy_at_threshold(scores: np.ndarray, errors: np.ndarray) -> float:
    return selective_accuracy(scores, errors, 0.6)


def batched_accuracy_at_threshold(curve: RiskCoverageCurve) -> np.ndarray:
    accepted, errors = curve.at([0.6])
    return 1 - errors[..., 0] / accepted[..., 0]


@pytest.mark.parametrize(
    ("statistic", "batched"),
    [
        (aurc, RiskCoverageCurve.aurc),
        (e_aurc, RiskCoverageCurve.e_aurc),
        (augrc, RiskCoverageCurve.augrc),
        (failure_auroc, RiskCoverageCurve.failure_auroc),
        (accuracy, RiskCoverageCurve.accuracy),
        (risk_at_half, lambda curve: curve.at_coverage([0.5])[..., 0]),
        (accuracy_at_threshold, batched_accuracy_at_threshold),
    ],
)
def test_the_loop_over_resamples_equals_the_batched_curves(statistic: Callable, batched: Callable) -> None:
    bootstrap = Bootstrap(len(SCORES), resamples=200, seed=3)
    loop = [statistic(SCORES[rows], ERRORS[rows]) for rows in bootstrap.draws()]
    blocks = [batched(curve) for curve in bootstrap.curves(SCORES, ERRORS)]
    values = np.concatenate(blocks)
    np.testing.assert_allclose(values, loop, rtol=0, atol=1e-12)
    interval = bootstrap_interval(statistic, SCORES, ERRORS, resamples=200, seed=3)
    np.testing.assert_allclose(percentile_interval(values), interval, rtol=0, atol=1e-12)
    assert interval[0] < interval[1]


def test_a_statistic_sees_checked_arrays() -> None:
    def look(scores: np.ndarray, errors: np.ndarray) -> float:
        assert (scores.dtype, errors.dtype) == (np.float64, np.int64)
        assert len(scores) == len(errors) == 3
        assert {(s, e) for s, e in zip(scores, errors, strict=True)} <= {(0.5, 1), (1.0, 0), (2.0, 1)}
        return float(scores.sum())

    low, high = bootstrap_interval(look, [0.5, 1, 2], [True, False, True], resamples=500)
    assert 1.5 <= low < high <= 6


def test_intervals_are_deterministic_and_depend_on_the_seed() -> None:
    one, again, other = (bootstrap_interval(aurc, SCORES, ERRORS, resamples=50, seed=s) for s in (1, 1, 2))
    assert one == again != other
    np.testing.assert_array_equal(Bootstrap(9, 5, seed=1).counts, Bootstrap(9, 5, seed=1).counts)
    assert (Bootstrap(9, 5, seed=1).counts != Bootstrap(9, 5, seed=2).counts).any()


def test_resamples_are_drawn_once_and_hold_n_images() -> None:
    bootstrap = Bootstrap(7, resamples=2000)
    assert bootstrap.counts is bootstrap.counts
    assert bootstrap.counts.shape == (2000, 7)
    assert (bootstrap.counts.sum(axis=1) == 7).all()
    np.testing.assert_allclose(bootstrap.counts.mean(axis=0), 1, atol=0.1)
    # With replacement: the variance of each count is that of a binomial, 1 − 1/n.
    np.testing.assert_allclose(bootstrap.counts.var(axis=0), 6 / 7, atol=0.15)
    drawn = [np.bincount(rows, minlength=7) for rows in bootstrap.draws()]
    np.testing.assert_array_equal(bootstrap.counts, drawn)
    first, second = next(bootstrap.draws()), next(bootstrap.draws())
    np.testing.assert_array_equal(first, second)


def test_more_resamples_begin_with_the_same_ones() -> None:
    np.testing.assert_array_equal(Bootstrap(7, 10).counts, Bootstrap(7, 30).counts[:10])


@pytest.mark.parametrize("width", [1, 40, 12_500, 25_000, 50_000, 10**9])
def test_chunks_cover_all_resamples_in_order(width: int) -> None:
    bootstrap = Bootstrap(5, resamples=11)
    blocks = list(bootstrap.chunks(width))
    np.testing.assert_array_equal(np.concatenate(blocks), bootstrap.counts)
    assert len(blocks) == {1: 1, 40: 1, 12_500: 3, 25_000: 6}.get(width, 11)


def test_curves_of_many_images_come_in_blocks_that_equal_single_ones() -> None:
    rng = np.random.default_rng(5)
    scores, errors = rng.random(4000), rng.random(4000) < 0.2
    bootstrap = Bootstrap(4000, resamples=15)
    blocks = list(bootstrap.curves(scores, errors))
    assert len(blocks) == 2
    risk = np.concatenate([curve.accuracy() for curve in blocks])
    expected = [1 - errors[rows].mean() for rows in bootstrap.draws()]
    np.testing.assert_allclose(risk, expected, atol=1e-12)


def test_the_interval_of_a_mean_is_close_to_the_normal_one() -> None:
    values = np.random.default_rng(6).exponential(size=400)
    low, high = Bootstrap(400, resamples=4000).mean(values)
    half = 1.96 * values.std() / 20
    assert low == pytest.approx(values.mean() - half, abs=0.12 * half)
    assert high == pytest.approx(values.mean() + half, abs=0.12 * half)


def test_the_mean_is_that_of_the_drawn_values() -> None:
    bootstrap = Bootstrap(6, resamples=30, seed=4)
    values = [0.0, 1.0, 4.0, -2.0, 8.0, 3.0]
    means = [np.mean([values[row] for row in rows]) for rows in bootstrap.draws()]
    assert bootstrap.mean(values) == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])))
    low, high = bootstrap_interval(accuracy, SCORES, ERRORS, resamples=30, seed=4)
    assert Bootstrap(40, 30, seed=4).mean(1 - ERRORS) == pytest.approx((low, high), abs=1e-12)


def test_about_95_of_100_intervals_hold_the_true_mean() -> None:
    rng = np.random.default_rng(7)
    held = 0
    for seed in range(500):
        low, high = Bootstrap(100, resamples=250, seed=seed).mean(rng.uniform(size=100))
        held += low <= 0.5 <= high
    # Percentile intervals of 100 values are a little short: 94 % where 95 % are asked for.
    assert binomtest(held, 500, 0.945).pvalue > 0.001


def test_intervals_are_central_percentiles() -> None:
    values = list(range(101))
    assert percentile_interval(values) == pytest.approx((2.5, 97.5))
    assert percentile_interval(values, 0.5) == pytest.approx((25, 75))
    wide, narrow = (
        bootstrap_interval(aurc, SCORES, ERRORS, resamples=200, level=level) for level in (0.99, 0.5)
    )
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


def test_resamples_without_a_value_are_left_out() -> None:
    assert percentile_interval([math.nan, *range(101), math.nan]) == pytest.approx((2.5, 97.5))
    assert all(math.isnan(end) for end in percentile_interval([math.nan, math.nan]))
    assert all(math.isnan(end) for end in percentile_interval([]))
    assert all(math.isnan(end) for end in bootstrap_interval(failure_auroc, [0.1, 0.2], [0, 0], resamples=9))
    # Two examples: half of the resamples hold one of them twice, so that nothing can be ordered.
    assert bootstrap_interval(failure_auroc, [0.1, 0.2], [1, 0], resamples=50) == (1, 1)


def test_one_image_has_an_interval_of_one_value() -> None:
    assert bootstrap_interval(aurc, [0.4], [1], resamples=20) == (1, 1)


@pytest.mark.parametrize("level", [0, 1, -0.1, 1.1, 95, math.nan])
def test_levels_outside_their_range_are_refused(level: float) -> None:
    with pytest.raises(ValueError, match=rf"^level is {level}: it must be within \(0, 1\)\.$"):
        bootstrap_interval(aurc, SCORES, ERRORS, level=level)


@pytest.mark.parametrize("resamples", [0, -1])
def test_numbers_of_resamples_below_1_are_refused(resamples: int) -> None:
    with pytest.raises(ValueError, match=rf"^resamples is {resamples}: it must be at least 1\.$"):
        bootstrap_interval(aurc, SCORES, ERRORS, resamples=resamples)


@pytest.mark.parametrize(
    ("scores", "errors", "named"),
    [
        ([], [], "score has shape"),
        ([0.1, math.nan], [0, 1], "score contains nan"),
        ([0.1, 0.2], [0], "error"),
        ([0.1, 0.2], [0, 2], "error contains 2"),
    ],
)
def test_unusable_scores_and_errors_have_no_interval(scores: list, errors: list, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        bootstrap_interval(aurc, scores, errors)
    with pytest.raises(ValueError, match=named):
        list(Bootstrap(max(1, len(scores)), 3).curves(scores, errors))


# Proportions and differences.


@seeded
@given(st.integers(1, 400), st.floats(0, 1), st.sampled_from([0.5, 0.75, 1.0]))
def test_the_interval_of_a_proportion_inverts_its_test(n: int, share: float, counted: float) -> None:
    k = round(share * n)
    low, high = proportion_interval(k, n, counted)
    assert 0 <= low <= k / n <= high <= 1
    if k:
        assert binom.sf(k, n, low) + counted * binom.pmf(k, n, low) == pytest.approx(0.025, rel=1e-4)
    if k < n:
        assert binom.cdf(k - 1, n, high) + counted * binom.pmf(k, n, high) == pytest.approx(0.025, rel=1e-4)
    exact = binomtest(k, n).proportion_ci()
    assert exact.low <= low + 1e-9
    assert high <= exact.high + 1e-9
    assert proportion_interval(n - k, n, counted) == pytest.approx((1 - high, 1 - low), abs=1e-9)


@pytest.mark.parametrize("n", [100, 300, 1000])
@pytest.mark.parametrize("p", [0.7, 0.8, 0.9, 0.95, 0.97, 0.99, 0.995])
def test_intervals_of_proportions_hold_the_truth(n: int, p: float) -> None:
    """Exactly, by summing over all counts; bootstrap percentiles hold .86 of them at p = .99, n = 300."""
    counts = np.arange(n + 1)
    ends = np.array([proportion_interval(k, n) for k in counts])
    held = binom.pmf(counts, n, p) @ ((ends[:, 0] <= p) & (p <= ends[:, 1]))
    assert held >= 0.94


def test_of_no_images_there_is_no_interval() -> None:
    assert np.isnan(proportion_interval(0, 0)).all()
    assert np.isnan(share_interval([])).all()
    assert share_interval([True, False, True]) == proportion_interval(2, 3)


def test_counts_need_not_be_whole() -> None:
    low, high = proportion_interval(3.5, 10.25)
    wide, narrow = proportion_interval(3, 9), proportion_interval(35, 102.5)
    assert wide[0] < low < narrow[0] < narrow[1] < high < wide[1]


def test_the_interval_of_a_difference_is_normal_and_has_a_width_where_nothing_differs() -> None:
    influence = np.random.default_rng(8).normal(size=500)
    low, high = difference_interval(0.2, influence, imagined=0.0)
    half = 1.959964 * np.sqrt(np.square(influence).sum()) / 500
    assert (low, high) == pytest.approx((0.2 - half, 0.2 + half), rel=1e-6)
    assert difference_interval(0.0, np.zeros(100), imagined=1.0) == pytest.approx(
        (-0.02772, 0.02772), rel=1e-3
    )
