"""Curves and thresholds against closed forms and brute force."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neural_branching.errors import InputError
from neural_branching.selection import (
    Coverage,
    Fixed,
    Risk,
    aurc,
    coverage,
    max_softmax,
    risk_coverage_curve,
    selective_accuracy,
    softmax,
)

FIRST = ([0.99, 0.95, 0.9, 0.85, 0.8, 0.7, 0.65, 0.6, 0.55, 0.5], [0, 0, 1, 0, 0, 1, 0, 1, 1, 0])
SECOND = ([0.95, 0.9, 0.8, 0.7, 0.6, 0.55], [0, 0, 0, 1, 0, 1])

seeded = settings(derandomize=True, deadline=None, max_examples=150)
# Few distinct values, so that ties are common, and any finite reals beside them.
score = st.one_of(st.sampled_from([-1.0, 0.0, 0.25, 0.5, 1.0]), st.floats(-1e6, 1e6))
samples = st.lists(st.tuples(score, st.integers(0, 1)), min_size=1, max_size=25)


def split(pairs: list[tuple[float, int]]) -> tuple[list[float], list[int]]:
    return [s for s, _ in pairs], [e for _, e in pairs]


def accepted(scores: list[float], errors: list[int], threshold: float) -> list[int]:
    return [e for s, e in zip(scores, errors, strict=True) if s >= threshold]


@pytest.mark.parametrize(("example", "value"), [(FIRST, 0.2421825397), (SECOND, 0.1027777778)])
def test_aurc_of_worked_examples(example: tuple[list[float], list[int]], value: float) -> None:
    assert aurc(*example) == pytest.approx(value, abs=5e-11)


def test_aurc_of_closed_forms() -> None:
    assert aurc([0.3, 0.2, 0.1], [0, 0, 0]) == 0
    assert aurc([0.3, 0.2, 0.1], [1, 1, 1]) == 1
    assert aurc([0.5] * 4, [1, 0, 0, 1]) == 0.5  # one point, carried to coverage 0
    assert aurc([2.0, 1.0], [0, 1]) == (0.5 * 0.5) / 2
    assert aurc([2.0, 1.0], [1, 0]) == 0.5 + 0.5 * (0.5 + 1) / 2


@seeded
@given(samples)
def test_curve_and_aurc_equal_brute_force(pairs: list[tuple[float, int]]) -> None:
    scores, errors = split(pairs)
    curve = risk_coverage_curve(scores, errors)
    points = []
    for index, threshold in enumerate(sorted(set(scores))):
        answered = accepted(scores, errors, threshold)
        assert curve.threshold[index] == threshold
        assert curve.n_accepted[index] == len(answered)
        assert curve.coverage[index] == len(answered) / len(scores)
        assert curve.selective_risk[index] == sum(answered) / len(answered)
        points.append((len(answered) / len(scores), sum(answered) / len(answered)))
    assert len(curve.threshold) == len(points)
    points.append((0.0, points[-1][1]))
    area = sum((c - d) * (r + s) / 2 for (c, r), (d, s) in pairwise(points))
    assert curve.aurc() == pytest.approx(area, abs=1e-12)
    assert aurc(scores, errors) == curve.aurc()
    assert 0 <= area <= 1


@seeded
@given(samples, st.randoms(use_true_random=False))
def test_the_order_of_samples_does_not_matter(pairs: list[tuple[float, int]], random) -> None:
    curve = risk_coverage_curve(*split(pairs))
    random.shuffle(pairs)
    again = risk_coverage_curve(*split(pairs))
    for name in ("threshold", "n_accepted", "coverage", "selective_risk"):
        np.testing.assert_array_equal(getattr(curve, name), getattr(again, name))


@seeded
@given(samples, score)
def test_coverage_and_selective_accuracy_equal_brute_force(
    pairs: list[tuple[float, int]], threshold: float
) -> None:
    scores, errors = split(pairs)
    answered = accepted(scores, errors, threshold)
    assert coverage(scores, threshold) == pytest.approx(len(answered) / len(scores))
    value = selective_accuracy(scores, errors, threshold)
    if answered:
        assert value == pytest.approx(1 - sum(answered) / len(answered))
    else:
        assert math.isnan(value)


def test_nothing_accepted_has_no_accuracy() -> None:
    assert math.isnan(selective_accuracy([0.1, 0.2], [0, 1], math.inf))
    assert coverage([0.1, 0.2], math.inf) == 0
    assert selective_accuracy([0.1, 0.2], [0, 1], 0.2) == 0  # equal to the threshold is accepted


def test_risk_at_a_coverage() -> None:
    curve = risk_coverage_curve(*FIRST)
    assert curve.at_coverage(1.0) == pytest.approx(0.4)
    assert curve.at_coverage(0.3) == pytest.approx(1 / 3)
    assert curve.at_coverage(0.39) == pytest.approx(1 / 3)  # the largest that does not exceed it
    assert math.isnan(curve.at_coverage(0.05))


@pytest.mark.parametrize(
    ("scores", "errors"),
    [
        ([], []),
        ([0.1, math.nan], [0, 1]),
        ([0.1, math.inf], [0, 1]),
        ([0.1, 0.2], [0]),
        ([0.1, 0.2], [0, 2]),
        ([0.1, 0.2], [0, 0.5]),
        ([0.1, 0.2], [0, math.nan]),
        ([[0.1], [0.2]], [[0], [1]]),
    ],
)
def test_unusable_scores_and_errors_are_refused(scores: list, errors: list) -> None:
    for function in (risk_coverage_curve, aurc, lambda s, e: selective_accuracy(s, e, 0.5)):
        with pytest.raises(ValueError, match=r"score|error"):
            function(scores, errors)


@seeded
@given(samples, st.one_of(st.floats(1e-6, 1), st.sampled_from([0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9, 1.0])))
def test_coverage_rule_is_the_largest_threshold_that_reaches_its_target(
    pairs: list[tuple[float, int]], target: float
) -> None:
    scores, errors = split(pairs)
    reaching = [s for s in scores if len(accepted(scores, errors, s)) >= target * len(scores) - 1e-9]
    assert Coverage(target).fit(scores, errors) == max(reaching)


def test_a_tiny_target_coverage_still_takes_the_largest_threshold() -> None:
    assert Coverage(1e-12).fit([0.1, 0.5, 0.9], [0, 0, 0]) == 0.9


@seeded
@given(samples, st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.1, 0.2, 1 / 3, 0.5, 1.0])))
def test_risk_rule_is_the_smallest_threshold_within_its_target(
    pairs: list[tuple[float, int]], target: float
) -> None:
    scores, errors = split(pairs)
    within = [
        s
        for s in scores
        for answered in [accepted(scores, errors, s)]
        if sum(answered) / len(answered) <= target + 1e-12
    ]
    assert Risk(target).fit(scores, errors) == min(within, default=math.inf)


def test_rules_on_a_worked_example() -> None:
    assert Risk(0.2).fit(*FIRST) == 0.8
    assert Risk(0.0).fit(*FIRST) == 0.95
    assert Risk(0.0).fit([0.9, 0.8], [1, 0]) == math.inf
    assert Coverage(0.3).fit(*FIRST) == 0.9
    assert Coverage(1).fit(*FIRST) == 0.5
    assert Coverage(0.1).fit([0.5, 0.5, 0.5], [0, 0, 0]) == 0.5  # ties enter together


@pytest.mark.parametrize("value", [0, 0.96, 1])
def test_fixed_is_used_as_given(value: float) -> None:
    assert Fixed(value).fit(*FIRST) == value
    assert Fixed(value).fit([], []) == value


@pytest.mark.parametrize("rule", [Fixed, Coverage, Risk])
@pytest.mark.parametrize("value", [math.nan, math.inf, -0.1, 1.1, 96, "0.9", True, None, [0.5]])
def test_rules_refuse_what_is_no_share(rule: type, value: object) -> None:
    with pytest.raises(InputError, match=r"(value|target) is .*: it must be a number within"):
        rule(value)


def test_a_coverage_of_nothing_is_refused_and_a_risk_of_nothing_is_not() -> None:
    with pytest.raises(InputError, match=r"within \(0, 1\]"):
        Coverage(0)
    assert Risk(0).target == 0


def test_every_rule_says_what_it_promises() -> None:
    assert [rule.kind for rule in (Fixed, Coverage, Risk)] == ["fixed", "coverage", "risk"]
    assert "promises nothing" in Fixed(0.9).promise
    assert "80%" in Coverage(0.8).promise
    assert "guarantees nothing" in Risk(0.1).promise


def test_softmax_is_stable() -> None:
    logits = np.array([[1e4, -1e4, 0.0], [1e30, 1e30, -1e30], [-1e4, -1e4, -1e4]])
    np.testing.assert_allclose(softmax(logits), [[1, 0, 0], [0.5, 0.5, 0], [1 / 3] * 3])
    np.testing.assert_allclose(max_softmax(logits), [1, 0.5, 1 / 3])


@seeded
@given(st.lists(st.floats(-30, 30), min_size=2, max_size=6), st.floats(-100, 100))
def test_softmax_equals_its_definition_and_ignores_a_shift(logits: list[float], shift: float) -> None:
    expected = np.exp(logits) / np.exp(logits).sum()
    np.testing.assert_allclose(softmax([logits])[0], expected, rtol=1e-9)
    np.testing.assert_allclose(softmax([np.add(logits, shift)])[0], expected, rtol=1e-9)
    assert max_softmax([logits])[0] == softmax([logits]).max()


def test_scores_of_float32_logits_are_float64() -> None:
    assert max_softmax(np.zeros((2, 3), np.float32)).dtype == np.float64
