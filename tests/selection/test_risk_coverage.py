"""Coverage, selective accuracy, curves and their areas against closed forms and brute force."""

import math
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from neural_branching.selection import (
    augrc,
    aurc,
    coverage,
    e_aurc,
    failure_auroc,
    risk_coverage_curve,
    selective_accuracy,
)

Samples = tuple[list[float], list[int]]
Pairs = list[tuple[float, int]]

FIRST: Samples = ([0.99, 0.95, 0.9, 0.85, 0.8, 0.7, 0.65, 0.6, 0.55, 0.5], [0, 0, 1, 0, 0, 1, 0, 1, 1, 0])
SECOND: Samples = ([0.95, 0.9, 0.8, 0.7, 0.6, 0.55], [0, 0, 0, 1, 0, 1])
AREAS = [aurc, e_aurc, augrc, failure_auroc]

seeded = settings(derandomize=True, deadline=None, max_examples=100)
# Few distinct values, so that ties are common, and any finite reals beside them.
reals = st.one_of(st.sampled_from([-1.0, 0.0, 0.25, 0.5, 1.0]), st.floats(-1e6, 1e6))
samples = st.lists(st.tuples(reals, st.integers(0, 1)), min_size=1, max_size=25)


def split(pairs: Pairs) -> Samples:
    return [s for s, _ in pairs], [e for _, e in pairs]


def accepted(scores: list[float], errors: list[int], threshold: float) -> list[int]:
    return [e for s, e in zip(scores, errors, strict=True) if s >= threshold]


def naive_points(scores: list[float], errors: list[int]) -> list[tuple[int, int]]:
    """Accepted and wrong at each distinct score, from full coverage downwards."""
    sets = [accepted(scores, errors, threshold) for threshold in sorted(set(scores))]
    return [(len(answered), sum(answered)) for answered in sets]


def naive_area(points: list[tuple[Fraction, Fraction]]) -> Fraction:
    return sum((((c - d) * (h + g)) / 2 for (c, h), (d, g) in pairwise(points)), Fraction())


def naive_aurc(scores: list[float], errors: list[int]) -> float:
    points = [(Fraction(k, len(scores)), Fraction(wrong, k)) for k, wrong in naive_points(scores, errors)]
    return float(naive_area([*points, (Fraction(), points[-1][1])]))


def naive_e_aurc(scores: list[float], errors: list[int]) -> float:
    risk = sum(errors) / len(errors)
    return naive_aurc(scores, errors) - (risk + ((1 - risk) * math.log(1 - risk) if risk < 1 else 0))


def naive_augrc(scores: list[float], errors: list[int]) -> float:
    n = len(scores)
    points = [(Fraction(k, n), Fraction(wrong, n)) for k, wrong in naive_points(scores, errors)]
    return float(naive_area([*points, (Fraction(), Fraction())]))


def naive_failure_auroc(scores: list[float], errors: list[int]) -> float:
    right = [s for s, e in zip(scores, errors, strict=True) if not e]
    wrong = [s for s, e in zip(scores, errors, strict=True) if e]
    wins = [1.0 if r > w else 0.5 if r == w else 0.0 for r in right for w in wrong]
    return sum(wins) / len(wins) if wins else math.nan


NAIVE = {aurc: naive_aurc, e_aurc: naive_e_aurc, augrc: naive_augrc, failure_auroc: naive_failure_auroc}


def random_samples(number: int, seed: int = 0) -> Iterator[Samples]:
    """Small cases, most of them with ties, some all right or all wrong."""
    rng = np.random.default_rng(seed)
    for _ in range(number):
        n = int(rng.integers(1, 13))
        values = rng.normal(size=n) if rng.random() < 0.3 else rng.integers(0, 5, n) / 4
        yield values.tolist(), (rng.random(n) < rng.random()).astype(int).tolist()


@pytest.mark.parametrize(
    ("area", "first", "second"),
    [
        (aurc, 0.2421825397, 0.1027777778),
        (e_aurc, 0.1486779139, 0.1027777778 - (1 / 3 + 2 / 3 * math.log(2 / 3))),
        (augrc, 0.16, 0.0833333333),
        (failure_auroc, 0.6666666667, 0.875),
    ],
)
def test_areas_of_worked_examples(area: Callable, first: float, second: float) -> None:
    assert area(*FIRST) == pytest.approx(first, abs=6e-11)
    assert area(*SECOND) == pytest.approx(second, abs=1.2e-10)


def test_areas_of_closed_forms() -> None:
    assert aurc([0.5] * 4, [1, 0, 0, 1]) == 0.5  # one point, carried to coverage 0
    assert aurc([2.0, 1.0], [0, 1]) == (0.5 * 0.5) / 2
    assert aurc([2.0, 1.0], [1, 0]) == 0.5 + 0.5 * (0.5 + 1) / 2
    assert augrc([2.0, 1.0], [0, 1]) == 0.5 * 0.5 / 2
    assert augrc([2.0, 1.0], [1, 0]) == 0.5 * 0.5 + 0.5 * 0.5 / 2
    assert augrc([0.5] * 4, [1, 0, 0, 1]) == 0.5 / 2  # one point, a straight line to (0, 0)
    assert failure_auroc([2.0, 1.0], [0, 1]) == 1
    assert failure_auroc([2.0, 1.0], [1, 0]) == 0
    assert failure_auroc([0.5] * 4, [1, 0, 0, 1]) == 0.5


@pytest.mark.parametrize("n", [1, 2, 7])
def test_areas_where_all_are_right_or_all_wrong(n: int) -> None:
    scores = [0.1 * i for i in range(n)]
    assert (aurc(scores, [0] * n), e_aurc(scores, [0] * n), augrc(scores, [0] * n)) == (0, 0, 0)
    assert aurc(scores, [1] * n) == pytest.approx(1)
    assert e_aurc(scores, [1] * n) == pytest.approx(0, abs=1e-12)  # ln 0 counts nothing at risk 1
    assert augrc(scores, [1] * n) == pytest.approx(0.5)
    assert math.isnan(failure_auroc(scores, [0] * n))
    assert math.isnan(failure_auroc(scores, [1] * n))


def test_excess_area_vanishes_for_the_best_ordering_of_many_samples() -> None:
    scores = np.arange(20_000)[::-1]
    assert e_aurc(scores, scores < 6_000) == pytest.approx(0, abs=1e-4)
    assert e_aurc(-scores, scores < 6_000) > 0.3
    assert e_aurc([2.0, 1.0], [0, 1]) < 0  # the bracket is a limit


def test_everything_equals_brute_force() -> None:
    for scores, errors in random_samples(2000):
        curve, n, case = risk_coverage_curve(scores, errors), len(scores), f"{scores} {errors}"
        points = naive_points(scores, errors)
        assert curve.threshold.tolist() == sorted(set(scores)), case
        assert list(zip(curve.n_accepted, curve.n_errors, strict=True)) == points, case
        assert curve.coverage.tolist() == [k / n for k, _ in points], case
        assert curve.selective_risk.tolist() == [wrong / k for k, wrong in points], case
        assert curve.accuracy() == pytest.approx(1 - sum(errors) / n, abs=1e-15), case
        for area, naive in NAIVE.items():
            value = area(scores, errors)
            assert isinstance(value, float)
            assert math.isclose(value, naive(scores, errors), abs_tol=1e-12) or (
                area is failure_auroc and math.isnan(value) and len(set(errors)) == 1
            ), (area.__name__, case)


def test_accepting_at_a_threshold_equals_brute_force() -> None:
    for scores, errors in random_samples(2000, seed=1):
        curve, case = risk_coverage_curve(scores, errors), f"{scores} {errors}"
        thresholds = [-math.inf, -0.1, 0.0, 0.3, 0.5, 1.0, 1.1, math.inf, scores[0]]
        sets = [accepted(scores, errors, threshold) for threshold in thresholds]
        counts, wrong = curve.at(thresholds)
        assert counts.tolist() == [len(answered) for answered in sets], case
        assert wrong.tolist() == [sum(answered) for answered in sets], case
        for threshold, answered in zip(thresholds[1::3], sets[1::3], strict=True):
            assert coverage(scores, threshold) == pytest.approx(len(answered) / len(scores)), case
            value = selective_accuracy(scores, errors, threshold)
            if answered:
                assert value == pytest.approx(1 - sum(answered) / len(answered)), case
            else:
                assert math.isnan(value), case


def test_risk_at_a_coverage_equals_brute_force() -> None:
    for scores, errors in random_samples(2000, seed=2):
        n, points = len(scores), naive_points(scores, errors)
        halves = [Fraction(i, 2 * n) for i in range(2 * n + 1)]
        expected = [next((wrong / k for k, wrong in points if k <= half * n), math.nan) for half in halves]
        found = risk_coverage_curve(scores, errors).at_coverage([float(half) for half in halves])
        np.testing.assert_array_equal(found, expected)


def test_risk_at_a_coverage_of_a_worked_example() -> None:
    curve = risk_coverage_curve(*FIRST)
    assert curve.at_coverage(1.0) == pytest.approx(0.4)
    assert curve.at_coverage(0.3) == pytest.approx(1 / 3)
    assert curve.at_coverage(0.39) == pytest.approx(1 / 3)  # the largest that does not exceed it
    assert curve.at_coverage(1 - 0.9) == 0  # a level that rounding has put a bit below 0.1
    assert math.isnan(curve.at_coverage(0.05))


def test_equal_to_the_threshold_is_accepted_and_nothing_accepted_has_no_accuracy() -> None:
    assert coverage([0.1, 0.2], 0.2) == 0.5
    assert selective_accuracy([0.1, 0.2], [0, 1], 0.2) == 0
    assert coverage([0.1, 0.2], math.inf) == 0
    assert math.isnan(selective_accuracy([0.1, 0.2], [0, 1], math.inf))
    assert selective_accuracy([0.1, 0.2], [0, 1], -math.inf) == 0.5


@seeded
@given(samples)
def test_generalised_area_follows_from_failure_auroc_and_accuracy(pairs: Pairs) -> None:
    scores, errors = split(pairs)
    accuracy = 1 - sum(errors) / len(errors)
    ordering = (1 - failure_auroc(scores, errors)) * accuracy * (1 - accuracy) if 0 < accuracy < 1 else 0
    assert augrc(scores, errors) == pytest.approx(ordering + (1 - accuracy) ** 2 / 2, abs=1e-12)


@seeded
@given(samples)
def test_failure_auroc_equals_scikit_learn(pairs: Pairs) -> None:
    scores, errors = split(pairs)
    assume(0 < sum(errors) < len(errors))
    expected = roc_auc_score([not error for error in errors], scores)
    assert failure_auroc(scores, errors) == pytest.approx(expected, abs=1e-12)


@seeded
@given(samples, reals, reals)
def test_coverage_never_rises_with_the_threshold(pairs: Pairs, one: float, other: float) -> None:
    scores, errors = split(pairs)
    assert coverage(scores, min(one, other)) >= coverage(scores, max(one, other))
    curve = risk_coverage_curve(scores, errors)
    assert (np.diff(curve.threshold) > 0).all()
    assert (np.diff(curve.n_accepted) < 0).all()
    assert (np.diff(curve.n_errors) <= 0).all()
    assert curve.coverage[0] == 1


@seeded
@given(samples, reals)
def test_accepted_and_abstained_are_everything(pairs: Pairs, threshold: float) -> None:
    scores, errors = split(pairs)
    answered, wrong = risk_coverage_curve(scores, errors).at(threshold)
    abstained = sum(s < threshold for s in scores)
    assert answered + abstained == len(scores)
    assert coverage(scores, threshold) * len(scores) + abstained == pytest.approx(len(scores))
    assert wrong + sum(e for s, e in pairs if s < threshold) == sum(errors)


@seeded
@given(samples, st.randoms(use_true_random=False))
def test_the_order_of_samples_does_not_matter(pairs: Pairs, random) -> None:
    curve = risk_coverage_curve(*split(pairs))
    areas = [area(*split(pairs)) for area in AREAS]
    random.shuffle(pairs)
    again = risk_coverage_curve(*split(pairs))
    for name in ("threshold", "n_accepted", "n_errors", "coverage", "selective_risk"):
        np.testing.assert_array_equal(getattr(curve, name), getattr(again, name))
    np.testing.assert_array_equal(areas, [area(*split(pairs)) for area in AREAS])


@seeded
@given(st.lists(st.tuples(st.integers(-9, 9), st.integers(0, 1)), min_size=1, max_size=25))
def test_a_strictly_increasing_transform_leaves_the_areas_unchanged(pairs: Pairs) -> None:
    scores, errors = np.array([s for s, _ in pairs], dtype=float), [e for _, e in pairs]
    for transformed in (np.exp(scores), scores**3 - 7, np.arctan(scores), 1e-9 * scores):
        for area in AREAS:
            np.testing.assert_array_equal(area(transformed, errors), area(scores, errors))


@seeded
@given(samples)
def test_areas_lie_within_their_range(pairs: Pairs) -> None:
    scores, errors = split(pairs)
    risk = sum(errors) / len(errors)
    assert 0 <= aurc(scores, errors) <= 1 + 1e-12
    assert risk**2 / 2 - 1e-12 <= augrc(scores, errors) <= risk - risk**2 / 2 + 1e-12


def weighted(seed: int) -> Iterator[tuple[Samples, np.ndarray]]:
    rng = np.random.default_rng(seed)
    for scores, errors in random_samples(80, seed):
        weight = rng.integers(0, 4, (5, len(scores)))
        weight[:, rng.integers(len(scores))] += 1  # no resample is empty
        yield (scores, errors), weight


def test_weights_equal_repeated_samples() -> None:
    thresholds = [-math.inf, 0.0, 0.25, 0.6, 1.0, math.inf]
    for (scores, errors), weight in weighted(3):
        for row in weight:
            curve = risk_coverage_curve(scores, errors, row)
            repeated = np.repeat(scores, row), np.repeat(errors, row)
            plain = risk_coverage_curve(*repeated)
            assert curve.n.tolist() == plain.n.tolist() == [row.sum()]
            for found, expected in zip(curve.at(thresholds), plain.at(thresholds), strict=True):
                np.testing.assert_array_equal(found, expected)
            for area in AREAS:
                found = getattr(curve, area.__name__)()
                np.testing.assert_allclose(found, area(*repeated), rtol=0, atol=1e-12)
            assert curve.accuracy() == plain.accuracy()


def test_batched_weights_equal_single_ones() -> None:
    thresholds, levels = [-math.inf, 0.0, 0.25, 0.6, 1.0, math.inf], np.arange(0, 41) / 40
    for case, ((scores, errors), weight) in enumerate(weighted(4)):
        for shape in [(5,)] if case % 10 else [(5,), (1, 5)]:
            batch = risk_coverage_curve(scores, errors, weight.reshape(*shape, -1).astype(np.uint16))
            methods = ["accuracy", *(area.__name__ for area in AREAS)]
            values = {name: getattr(batch, name)() for name in methods}
            assert {value.shape for value in values.values()} == {shape}
            counts, wrong = batch.at(thresholds)
            risk = batch.at_coverage(levels)
            assert counts.shape == wrong.shape == (*shape, len(thresholds))
            assert risk.shape == (*shape, len(levels))
            for i, row in enumerate(weight):
                plain = risk_coverage_curve(np.repeat(scores, row), np.repeat(errors, row))
                for name, value in values.items():
                    single = getattr(plain, name)()
                    np.testing.assert_allclose(value.reshape(-1)[i], single, rtol=0, atol=1e-12)
                np.testing.assert_array_equal(counts.reshape(5, -1)[i], plain.at(thresholds)[0])
                np.testing.assert_array_equal(wrong.reshape(5, -1)[i], plain.at(thresholds)[1])
                np.testing.assert_array_equal(risk.reshape(5, -1)[i], plain.at_coverage(levels))


def test_weights_of_one_change_nothing() -> None:
    curve, ones = risk_coverage_curve(*FIRST), risk_coverage_curve(*FIRST, np.ones(10, dtype=np.int64))
    for name in ("threshold", "n_accepted", "n_errors", "coverage", "selective_risk"):
        np.testing.assert_array_equal(getattr(curve, name), getattr(ones, name))


@pytest.mark.parametrize(
    "scores",
    [
        [3, 1, 2, 2],
        (3.0, 1.0, 2.0, 2.0),
        np.array([3, 1, 2, 2], np.int8),
        np.array([3, 1, 2, 2], np.uint64),
        np.array([3, 1, 2, 2], np.float16),
        np.array([3, 1, 2, 2], np.float32),
        np.array([0, 3, 0, 1, 0, 2, 0, 2], ">f8")[1::2],
        torch.tensor([3, 1, 2, 2]),
        torch.tensor([3, 1, 2, 2], dtype=torch.float16),
        torch.tensor([3, 1, 2, 2], dtype=torch.bfloat16),
        torch.tensor([3.0, 1, 2, 2], requires_grad=True),
        torch.tensor([3, 1, 2, 2], dtype=torch.bfloat16, requires_grad=True),
    ],
)
@pytest.mark.parametrize(
    "errors",
    [
        [0, 1, 1, 0],
        [False, True, True, False],
        np.array([0, 1, 1, 0], np.uint8),
        np.array([False, True, True, False]),
        np.array([0, 1, 1, 0], np.float32),
        torch.tensor([False, True, True, False]),
        torch.tensor([0, 1, 1, 0], dtype=torch.bfloat16),
    ],
)
def test_lists_arrays_and_tensors_are_taken_alike(scores: object, errors: object) -> None:
    plain = [3.0, 1.0, 2.0, 2.0], [0, 1, 1, 0]
    for area in AREAS:
        assert area(scores, errors) == area(*plain)
    assert coverage(scores, 2) == 0.75
    assert selective_accuracy(scores, errors, 2) == pytest.approx(2 / 3)
    curve = risk_coverage_curve(scores, errors)
    assert curve.threshold.dtype == np.float64
    assert curve.n_errors.tolist() == [2, 1, 0]


def test_input_is_left_as_it_was() -> None:
    scores, errors = np.array([0.3, 0.1, 0.2]), np.array([True, False, True])
    for area in AREAS:
        area(scores, errors)
    assert scores.tolist() == [0.3, 0.1, 0.2]
    assert errors.tolist() == [True, False, True]


def sentence(refused: pytest.ExceptionInfo[ValueError]) -> str:
    text = str(refused.value)
    assert text.endswith(".")
    assert "\n" not in text
    return text


@pytest.mark.parametrize(
    ("scores", "errors", "named"),
    [
        ([], [], r"score has shape \(0,\)"),
        ([[0.1], [0.2]], [[0], [1]], r"score has shape \(2, 1\)"),
        (0.5, 1, r"score has shape \(\)"),
        ([0.1, math.nan], [0, 1], "score contains nan"),
        ([0.1, math.inf], [0, 1], "score contains inf"),
        ([-math.inf, 0.1], [0, 1], "score contains -inf"),
        ([0.1, None], [0, 1], "score contains nan"),
        (["high", "low"], [0, 1], "score cannot be read as numbers .*'high'"),
        ([10**400, 1], [0, 1], "score cannot be read as numbers"),
        ([0.1, 0.2], [0], r"score has shape \(2,\) and error \(1,\)"),
        ([0.1, 0.2], [[0], [1]], r"error \(2, 1\)"),
        ([0.1, 0.2], [0, 2], "error contains 2:"),
        ([0.1, 0.2], [-1, 0], "error contains -1:"),
        ([0.1, 0.2], [0, 0.5], r"error contains 0\.5:"),
        ([0.1, 0.2], [0, math.nan], "error contains nan:"),
        ([0.1, 0.2], ["no", "yes"], "error cannot be read as numbers .*'no'"),
        (torch.tensor([0.1, math.nan]), [0, 1], "score contains nan"),
    ],
)
def test_unusable_scores_and_errors_are_refused(scores: list, errors: list, named: str) -> None:
    functions = [*AREAS, risk_coverage_curve, lambda s, e: selective_accuracy(s, e, 0.5)]
    if named.startswith("score") and "and error" not in named:
        functions.append(lambda s, e: coverage(s, 0.5))
    for function in functions:
        with pytest.raises(ValueError, match=named) as refused:
            function(scores, errors)
        sentence(refused)


def test_a_threshold_that_is_nan_is_refused() -> None:
    functions: list[Callable[[float], object]] = [
        lambda t: coverage([0.1, 0.2], t),
        lambda t: selective_accuracy([0.1, 0.2], [0, 1], t),
        lambda t: risk_coverage_curve([0.1, 0.2], [0, 1]).at([0.1, t]),
    ]
    for function in functions:
        with pytest.raises(ValueError, match=r"^threshold is nan") as refused:
            function(math.nan)
        sentence(refused)
