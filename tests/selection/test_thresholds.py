"""Every rule for a threshold against brute force in exact arithmetic, and what it says when it cannot."""

import math
import re
from collections.abc import Iterator, Sequence
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from neural_branching.errors import InputError
from neural_branching.selection import clopper_pearson_upper, risk_coverage_curve
from neural_branching.selection.scores.from_activations import (
    Mahalanobis,
    NearestNeighbours,
    RelativeMahalanobis,
)
from neural_branching.selection.scores.from_logits import (
    Energy,
    Margin,
    MaxLogit,
    MaxSoftmax,
    NegativeEntropy,
)
from neural_branching.selection.scores.learned import Correctness, Temperature
from neural_branching.selection.scores.score import Score
from neural_branching.selection.thresholds.guaranteed import (
    FixedSequence,
    Guaranteed,
    Sgr,
    accepted_needed,
    least_accepted,
)
from neural_branching.selection.thresholds.on_average import Conformal, FalseAccept
from neural_branching.selection.thresholds.plain import Coverage, Fixed, Risk, threshold_at_coverage
from neural_branching.selection.thresholds.random_walk import RandomWalk
from neural_branching.selection.thresholds.threshold import HeldOut, Threshold

Pairs = list[tuple[float, int]]

FIRST = ([0.99, 0.95, 0.9, 0.85, 0.8, 0.7, 0.65, 0.6, 0.55, 0.5], [0, 0, 1, 0, 0, 1, 0, 1, 1, 0])
GUARANTEED: list[type[Guaranteed]] = [Sgr, FixedSequence]
RULES: list[type[Threshold]] = [Fixed, Coverage, Risk, Conformal, FalseAccept, *GUARANTEED]

EVERY_GUARANTEED = [*GUARANTEED, RandomWalk]

seeded = settings(derandomize=True, deadline=None, max_examples=80)
score = st.one_of(st.sampled_from([-1.0, 0.0, 0.25, 0.5, 1.0]), st.floats(-1e6, 1e6))
samples = st.lists(st.tuples(score, st.integers(0, 1)), min_size=1, max_size=25)
# Decimals that binary fractions only come near to, and any others.
decimals = st.sampled_from([0.07, 0.1, 0.14, 0.2, 0.29, 0.3, 0.57, 0.58, 0.7, 0.8, 0.9])
shares = st.one_of(decimals, st.floats(1e-6, 1, exclude_max=True))


def held_out(
    scores: Sequence[float],
    errors: Sequence[int],
    validation: Sequence[float] | None = None,
    foreign: Sequence[float] = (),
) -> HeldOut:
    validation = scores if validation is None else validation
    return HeldOut(
        score=np.asarray(scores, dtype=np.float64),
        error=np.asarray(errors, dtype=bool),
        validation_score=np.asarray(validation, dtype=np.float64),
        validation_error=np.zeros(len(validation), dtype=bool),
        foreign_score=np.asarray(foreign, dtype=np.float64),
    )


def drawn(seed: int) -> HeldOut:
    """A few hundred answers, half of the time with ties, that are wrong less often the surer they are."""
    rng = np.random.default_rng(seed)
    n, ties, often, fall = rng.integers(20, 400), rng.random() < 0.5, 0.6 * rng.random(), rng.integers(0, 3)
    score = rng.random(n).round(2) if ties else rng.random(n)
    validation = rng.random(rng.integers(10, 100))
    return HeldOut(
        score,
        rng.random(n) < often * (1 - score) ** fall,
        validation,
        rng.random(len(validation)) < often * (1 - validation),
        np.empty(0),
    )


def split(pairs: Pairs) -> tuple[list[float], list[int]]:
    return [s for s, _ in pairs], [e for _, e in pairs]


def accepted(scores: Sequence[float], errors: Sequence[int], threshold: float) -> list[int]:
    return [e for s, e in zip(scores, errors, strict=True) if s >= threshold]


def decimal(number: float) -> Fraction:
    """The number as it is printed."""
    return Fraction(str(number))


def draws(number: int, seed: int) -> Iterator[tuple[HeldOut, float, float]]:
    """Calibration sets of several sizes, with few or many errors, with and without ties."""
    rng = np.random.default_rng(seed)
    for _ in range(number):
        n = int(rng.choice([1, 2, 3, 5, 8, 30, 64, 65, 150, 300]))
        scores, validation = rng.random(n), rng.random(int(rng.integers(1, 200)))
        if rng.random() < 0.4:
            scores, validation = np.round(scores, 1), np.round(validation, 1)
        errors = rng.random(n) < rng.choice([0, 0.2, 0.6, 1.0]) * (1 - scores)
        target, delta = float(rng.choice([0.05, 0.1, 0.2, 0.4])), float(rng.choice([0.01, 0.1, 0.3]))
        yield held_out(scores, errors, validation), target, delta


# What every rule has in common.


def test_every_rule_says_what_it_promises() -> None:
    assert [rule.kind for rule in (Fixed, Coverage, Risk)] == ["fixed", "coverage", "risk"]
    assert [rule.kind for rule in (Conformal, FalseAccept)] == ["conformal", "false_accept"]
    assert len({rule.kind for rule in RULES}) == len(RULES)
    assert "promises nothing" in Fixed(0.9).promise
    assert "0.8 of the calibration examples" in Coverage(0.8).promise
    assert "guarantees nothing" in Risk(0.1).promise
    for rule in (Fixed, Coverage, Risk):
        assert rule.guarantee == "none"
        assert rule(0.5).fit(held_out(*FIRST)).certificate is None
        assert rule(0.5).fit(held_out(*FIRST)).shortage is None
    for rule in RULES:
        assert str(rule(0.25)) == f"{rule.kind} 0.25"  # type: ignore[call-arg]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, "0.9", True, None, [0.5]])
def test_rules_refuse_what_is_no_number(rule: type, value: object) -> None:
    with pytest.raises(
        InputError, match=r"^(value|target) is .*: it must be a (number within .*|finite number)\.$"
    ):
        rule(value)


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule is not Fixed])
@pytest.mark.parametrize("value", [-0.1, 1.1, 96])
def test_rules_refuse_what_is_no_share(rule: type, value: float) -> None:
    with pytest.raises(
        InputError, match=rf"^target is {value}: it must be a (number within .*|finite number)\.$"
    ):
        rule(value)


@pytest.mark.parametrize("rule", [Conformal, FalseAccept, *GUARANTEED])
@pytest.mark.parametrize("value", [0, 1, 0.0, 1.0])
def test_a_guarantee_of_nothing_or_everything_is_refused(rule: type, value: float) -> None:
    with pytest.raises(InputError, match=rf"^target is {value}: it must be a number within \(0, 1\)\.$"):
        rule(value)


@pytest.mark.parametrize("rule", GUARANTEED)
@pytest.mark.parametrize("delta", [0, 1, -0.1, 5, math.nan, "0.1", True, None])
def test_probabilities_of_failure_that_are_none_are_refused(rule: type, delta: object) -> None:
    with pytest.raises(InputError, match=r"^delta is .*: it must be a number within \(0, 1\)\.$"):
        rule(0.1, delta)


def test_a_coverage_of_nothing_is_refused_and_a_risk_of_nothing_is_not() -> None:
    with pytest.raises(InputError, match=r"within \(0, 1\]"):
        Coverage(0)
    assert Risk(0).target == 0
    assert Risk(1).target == Coverage(1).target == 1


@pytest.mark.parametrize("rule", RULES)
def test_only_a_false_accept_limit_needs_foreign_classes(rule: type[Threshold]) -> None:
    needs = rule is FalseAccept
    assert rule.needs_foreign == needs
    one = rule(0.5)  # type: ignore[call-arg]
    one.check(MaxSoftmax(), foreign=True)
    if needs:
        with pytest.raises(
            InputError, match=r"^threshold=false_accept is fitted on examples of classes outside"
        ):
            one.check(MaxSoftmax(), foreign=False)
    else:
        one.check(MaxSoftmax(), foreign=False)


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_looks_only_at_what_is_its_own(rule: type[Threshold]) -> None:
    rng = np.random.default_rng(0)
    scores, foreign, other = rng.random(200), rng.random(200), rng.random(200)
    errors = rng.random(200) < 0.3 * (1 - scores)
    one = rule(0.2)  # type: ignore[call-arg]
    own = HeldOut(scores, errors, scores, errors, foreign)
    choice = one.fit(own)
    assert math.isfinite(choice.value)
    poisoned = {
        "validation_error": ~errors,  # the model stopped on these examples: no rule may believe them
        **({} if rule is FalseAccept else {"foreign_score": other}),
        **({"score": other, "error": ~errors} if rule is FalseAccept else {}),
        **({"error": ~errors} if rule in (Fixed, Coverage) else {}),
        **(
            {} if rule not in (Fixed, Coverage, Risk, Conformal, FalseAccept) else {"validation_score": other}
        ),
    }
    for name, value in poisoned.items():
        changed = HeldOut(**{**own.__dict__, name: value})
        assert one.fit(changed) == choice, name


# Rules without a guarantee.


@pytest.mark.parametrize("value", [0, 0.96, 1, -12.5, 5.0])
def test_fixed_is_used_as_given(value: float) -> None:
    for given_samples in (FIRST, ([], [])):
        choice = Fixed(value).fit(held_out(*given_samples))
        assert (choice.value, choice.n) == (value, 0)
    assert str(Fixed(0.96)) == "fixed 0.96"


@pytest.mark.parametrize(
    ("one", "allowed", "refused", "bounds"),
    [
        (MaxSoftmax(), [0, 0.96, 1], [-0.1, 1.01, 96], "[0, 1]"),
        (Margin(), [0, 0.96, 1], [-0.1, 1.01], "[0, 1]"),
        (Temperature(), [0, 0.96, 1], [-0.1, 1.01], "[0, 1]"),
        (Correctness(), [0, 0.96, 1], [-0.1, 1.01], "[0, 1]"),
        (NearestNeighbours(), [-2, -0.3, 0], [0.96, -2.1], "[-2, 0]"),
        (NegativeEntropy(), [-100, -0.1, 0], [0.96], "(-inf, 0]"),
        (Mahalanobis(), [-1e6, 0], [0.96], "(-inf, 0]"),
        (RelativeMahalanobis(), [-1e6, 0, 5.0], [], ""),
        (MaxLogit(), [-3, 0.96, 5.0], [], ""),
        (Energy(), [-3, 0.96, 5.0], [], ""),
    ],
)
def test_a_fixed_threshold_lies_within_the_bounds_of_its_score(
    one: Score, allowed: list[float], refused: list[float], bounds: str
) -> None:
    for value in allowed:
        Fixed(value).check(one, foreign=False)
    for value in refused:
        sentence = f"value is {value:g}: scores of score={one.kind} lie within {bounds}."
        with pytest.raises(InputError, match=f"^{re.escape(sentence)}$"):
            Fixed(value).check(one, foreign=True)


@seeded
@given(samples, st.one_of(shares, st.just(1.0)))
def test_coverage_is_the_largest_threshold_that_reaches_its_target(pairs: Pairs, target: float) -> None:
    scores, errors = split(pairs)
    reaching = [s for s in scores if len(accepted(scores, errors, s)) >= decimal(target) * len(scores)]
    choice = Coverage(target).fit(held_out(scores, errors))
    assert (choice.value, choice.n) == (max(reaching), len(scores))
    assert threshold_at_coverage(scores, target) == choice.value


@pytest.mark.parametrize(
    ("target", "n", "count"),
    [
        (0.1, 10, 1),
        (0.7, 10, 7),
        (0.29, 100, 29),
        (0.07, 100, 7),
        (0.57, 100, 57),
        (0.291, 100, 30),
        (1, 9, 9),
    ],
)
def test_coverage_targets_are_exact_decimals(target: float, n: int, count: int) -> None:
    value = Coverage(target).fit(held_out(list(range(n)), [0] * n)).value
    assert n - value == count


def test_a_tiny_target_coverage_still_takes_the_largest_threshold() -> None:
    assert Coverage(1e-12).fit(held_out([0.1, 0.5, 0.9], [0, 0, 0])).value == 0.9
    assert Coverage(0.1).fit(held_out([0.5, 0.5, 0.5], [0, 0, 0])).value == 0.5  # ties enter together


@seeded
@given(samples, st.one_of(shares, st.sampled_from([0.0, 1.0, 1 / 3])))
def test_risk_is_the_smallest_threshold_within_its_target(pairs: Pairs, target: float) -> None:
    scores, errors = split(pairs)
    sets = {s: accepted(scores, errors, s) for s in scores}
    within = [s for s, answered in sets.items() if sum(answered) <= decimal(target) * len(answered)]
    assert Risk(target).fit(held_out(scores, errors)).value == min(within, default=math.inf)


@pytest.mark.parametrize(
    ("target", "wrong", "n"), [(0.1, 1, 10), (0.1, 3, 30), (0.07, 7, 100), (0.29, 29, 100), (0.57, 57, 100)]
)
def test_risk_targets_are_exact_decimals(target: float, wrong: int, n: int) -> None:
    assert Risk(target).fit(held_out([0.5] * n, [1] * wrong + [0] * (n - wrong))).value == 0.5
    above = [1] * (wrong + 1) + [0] * (n - wrong - 1)
    assert Risk(target).fit(held_out([0.5] * n, above)).value == math.inf


def test_plain_rules_on_a_worked_example() -> None:
    given_samples = held_out(*FIRST)
    assert Risk(0.2).fit(given_samples).value == 0.8
    assert Risk(0.0).fit(given_samples).value == 0.95
    assert Risk(0.0).fit(held_out([0.9, 0.8], [1, 0])).value == math.inf
    assert Coverage(0.3).fit(given_samples).value == 0.9
    assert Coverage(1).fit(given_samples).value == 0.5


# Rules that hold on average.


@pytest.mark.parametrize(("target", "value"), [(0.2, 0.8), (0.3, 0.65), (0.4, 0.6), (0.1, 0.95)])
def test_conformal_on_a_worked_example(target: float, value: float) -> None:
    choice = Conformal(target).fit(held_out(*FIRST))
    assert choice.value == value
    assert choice.certificate is not None
    wrong = sum(accepted(*FIRST, value))
    assert choice.certificate.errors == wrong
    assert choice.certificate.bound == pytest.approx((wrong + 1) / 11)


@seeded
@given(samples, shares)
def test_conformal_equals_brute_force(pairs: Pairs, target: float) -> None:
    scores, errors = split(pairs)
    n = len(scores)
    sets = {s: accepted(scores, errors, s) for s in scores}
    meeting = [s for s, answered in sets.items() if Fraction(sum(answered) + 1, n + 1) <= decimal(target)]
    choice = Conformal(target).fit(held_out(scores, errors))
    assert (choice.value, choice.n) == (min(meeting, default=math.inf), n)
    if Fraction(1, n + 1) > decimal(target):  # even without any error
        assert choice.certificate is None
        assert choice.shortage is not None
        needed = choice.shortage.examples
        assert needed is not None
        assert Fraction(1, needed + 1) <= decimal(target) < Fraction(1, needed)
        assert f"with {n} calibration examples" in choice.shortage.sentence
        assert f"at least {needed}" in choice.shortage.sentence
    else:
        assert choice.shortage is None
        certificate = choice.certificate
        assert certificate is not None
        answered = accepted(scores, errors, choice.value)
        assert (certificate.n_accepted, certificate.errors) == (len(answered), sum(answered))
        assert certificate.bound <= target
        assert (certificate.method, certificate.quantity) == ("conformal", "errors per example")
        assert (certificate.guarantee, certificate.delta, certificate.n) == ("on average", None, n)


def test_conformal_limits_are_exact_decimals() -> None:
    for target, n, wrong in ((0.1, 9, 0), (0.3, 9, 2), (0.29, 99, 28), (0.07, 99, 6)):
        errors = [1] * wrong + [0] * (n - wrong)
        assert Conformal(target).fit(held_out([0.5] * n, errors)).value == 0.5
        assert Conformal(target).fit(held_out([0.5] * n, [1, *errors[:-1]])).value == math.inf


def test_the_certificate_of_a_tie_that_cannot_be_taken_accepts_nothing() -> None:
    choice = Conformal(0.2).fit(held_out([0.5] * 10, [1] * 5 + [0] * 5))
    assert choice.value == math.inf
    assert choice.certificate is not None
    assert (choice.certificate.n_accepted, choice.certificate.errors) == (0, 0)


@seeded
@given(st.lists(score, max_size=40), shares)
def test_false_accept_lies_just_above_an_order_statistic(foreign: list[float], target: float) -> None:
    n = len(foreign)
    rank = math.ceil((n + 1) * (1 - decimal(target)))
    choice = FalseAccept(target).fit(held_out([0.5], [0], foreign=foreign))
    assert choice.n == n
    if rank > n:
        assert choice.value == math.inf
        assert choice.certificate is None
        assert choice.shortage is not None
        needed = choice.shortage.examples
        assert needed is not None
        assert f"with {n} foreign calibration examples" in choice.shortage.sentence
        assert f"at least {needed}" in choice.shortage.sentence
        assert math.ceil((needed + 1) * (1 - decimal(target))) <= needed
        assert math.ceil(needed * (1 - decimal(target))) > needed - 1
    else:
        statistic = sorted(foreign)[rank - 1]
        assert choice.value == math.nextafter(statistic, math.inf)
        certificate = choice.certificate
        assert certificate is not None
        above = sum(s > statistic for s in foreign)
        assert certificate.n_accepted == certificate.errors == above <= n - rank
        assert certificate.bound <= target
        assert certificate.bound == pytest.approx(float(1 - Fraction(rank, n + 1)))
        assert (certificate.quantity, certificate.guarantee) == ("false-accept rate", "on average")


def test_false_accept_on_a_worked_example() -> None:
    foreign = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
    for target, below in ((0.1, 0.9), (0.3, 0.7), (0.5, 0.5)):
        choice = FalseAccept(target).fit(held_out([], [], [], foreign))
        assert choice.value == math.nextafter(below, 1)
        assert choice.certificate is not None
        assert choice.certificate.bound <= target  # 1 − 7/10 is above 0.3 unless it is rounded with care
    assert FalseAccept(0.09).fit(held_out([], [], [], foreign)).value == math.inf
    assert FalseAccept(0.5).fit(held_out([], [], [], [0.5] * 9)).value > 0.5  # ties are refused together
    assert FalseAccept(0.5).fit(held_out([], [], [], [])).value == math.inf


# Rules that hold with high probability.


def passes(scores: np.ndarray, errors: np.ndarray, tau: float, target: float, level: float) -> bool:
    """Whether so few errors are improbable at any larger risk: B ≤ r* iff P(Bin(n, r*) ≤ k) ≤ δ."""
    answered = errors[scores >= tau]
    return bool(len(answered)) and binom.cdf(answered.sum(), len(answered), target) <= level


def steps(scores: np.ndarray) -> int:
    return max(1, math.ceil(math.log2(len(set(scores.tolist())))))


def naive_sgr(given_samples: HeldOut, target: float, delta: float) -> float:
    scores, errors = given_samples.score, given_samples.error
    ascending, tests = sorted(set(scores.tolist())), steps(scores)
    low, high, passed = 0, len(ascending) - 1, [math.inf]
    for _ in range(tests):
        middle = (low + high) // 2
        if passes(scores, errors, ascending[middle], target, delta / tests):
            passed.append(ascending[middle])
            high = middle
        else:
            low = min(middle + 1, high)
    return min(passed)


def naive_fixed_sequence(given_samples: HeldOut, target: float, delta: float) -> float:
    scores, errors = given_samples.score, given_samples.error
    descending = sorted(given_samples.validation_score.tolist(), reverse=True)
    least = next(m for m in range(1, 10_000) if (1 - target) ** m <= delta * (1 + 1e-12))
    value = math.inf
    for percent in range(2, 101, 2):
        tau = descending[math.ceil(Fraction(percent, 100) * len(descending)) - 1]
        if (scores >= tau).sum() < least:
            continue
        if not passes(scores, errors, tau, target, delta):
            break
        value = tau
    return value


@pytest.mark.parametrize(("rule", "naive"), [(Sgr, naive_sgr), (FixedSequence, naive_fixed_sequence)])
def test_guaranteed_rules_equal_a_naive_version(rule: type[Guaranteed], naive) -> None:
    values = []
    for given_samples, target, delta in draws(150, seed=1):
        choice = rule(target, delta).fit(given_samples)
        assert choice.value == naive(given_samples, target, delta)
        values.append(choice.value)
    assert 0.2 < np.isinf(values).mean() < 0.9


@pytest.mark.parametrize("rule", GUARANTEED)
def test_certificates_are_true_of_their_own_counts(rule: type[Guaranteed]) -> None:
    certified = 0
    for given_samples, target, delta in draws(150, seed=2):
        one = rule(target, delta)
        choice = one.fit(given_samples)
        assert choice.n == len(given_samples.score)
        assert (choice.certificate is None) == (choice.shortage is not None) == (choice.value == math.inf)
        certificate = choice.certificate
        if certificate is None:
            continue
        certified += 1
        answered = given_samples.error[given_samples.score >= choice.value]
        level, _ = one.needs(risk_coverage_curve(given_samples.score, given_samples.error), given_samples)
        assert 0 < level <= delta
        assert (certificate.n_accepted, certificate.errors) == (len(answered), answered.sum())
        bound = clopper_pearson_upper(certificate.errors, certificate.n_accepted, level)
        assert certificate.bound == pytest.approx(float(bound), rel=1e-12)
        assert certificate.bound <= target
        assert (certificate.method, certificate.quantity) == (rule.kind, "selective risk")
        assert (certificate.guarantee, certificate.target) == ("with high probability", target)
        assert (certificate.delta, certificate.n) == (delta, choice.n)
    assert certified > 25


def test_levels_share_out_delta_where_tests_cost_something() -> None:
    for m, tests in ((1, 1), (2, 1), (3, 2), (4, 2), (5, 3), (64, 6), (65, 7), (1000, 10)):
        curve = risk_coverage_curve([*range(m), 0], [0] * (m + 1))  # ties count once
        unused = held_out([0.5], [0])
        for one, level in ((Sgr(0.1, 0.3), 0.3 / tests), (FixedSequence(0.1, 0.3), 0.3)):
            assert one.needs(curve, unused) == (
                pytest.approx(level),
                math.ceil(math.log(level) / math.log(0.9)),
            )


@pytest.mark.parametrize("rule", GUARANTEED)
def test_many_images_without_an_error_are_accepted_whole(rule: type[Guaranteed]) -> None:
    scores = np.random.default_rng(0).random(500)
    choice = rule(0.05).fit(held_out(scores, [0] * 500))
    assert choice.value == scores.min()
    assert choice.certificate is not None
    assert (choice.certificate.n_accepted, choice.certificate.errors) == (500, 0)


@pytest.mark.parametrize("rule", GUARANTEED)
def test_nothing_is_accepted_where_all_are_wrong(rule: type[Guaranteed]) -> None:
    choice = rule(0.05).fit(held_out(np.arange(500) / 500, [1] * 500))
    assert (choice.value, choice.certificate) == (math.inf, None)
    assert choice.shortage is not None
    assert (choice.shortage.accepted, choice.shortage.examples) == (None, None)
    assert "more examples will not help" in choice.shortage.sentence


@pytest.mark.parametrize("rule", EVERY_GUARANTEED)
@seeded
@given(seed=st.integers(0, 10**6), settings=st.integers(1, 40), target=st.sampled_from([0.1, 0.2, 0.3]))
def test_a_certificate_among_several_is_never_looser(
    rule: type[Guaranteed], seed: int, settings: int, target: float
) -> None:
    one, given_ = rule(target, 0.1), drawn(seed)
    alone, adjusted = one.fit(given_), one.fit_among(given_, settings)
    assert adjusted.value >= alone.value
    if settings == 1:
        assert adjusted == alone
    if adjusted.certificate:
        # It passes at δ / settings by itself, and stands in no looser place than there.
        assert adjusted.certificate.delta == pytest.approx(0.1 / settings)
        assert adjusted.certificate.bound <= target
        assert adjusted.value in rule(target, 0.1 / settings).passing(
            risk_coverage_curve(given_.score, given_.error), given_
        )


@pytest.mark.parametrize(
    ("rule", "seed", "target", "settings"),
    [(FixedSequence, 2137, 0.2, 33), (RandomWalk, 1133, 0.2, 22)],
)
def test_a_smaller_delta_by_itself_may_accept_more(
    rule: type[Guaranteed], seed: int, target: float, settings: int
) -> None:
    """Why certificates among several take more than a smaller δ: what is tested changes with it."""
    one, given_ = rule(target, 0.1), drawn(seed)
    alone, alone_at_less = one.fit(given_), rule(target, 0.1 / settings).fit(given_)
    assert alone_at_less.value < alone.value
    assert one.fit_among(given_, settings).value >= alone.value


def test_a_sequence_stops_at_its_first_failure() -> None:
    scores, errors = np.arange(1000)[::-1], [0, 0, 0, 1] * 10 + [0] * 960
    assert passes(scores, np.array(errors), 0, 0.1, 0.1)  # all of them, if it were reached
    choice = FixedSequence(0.1).fit(held_out(scores, errors))
    assert choice.value == math.inf
    assert choice.shortage is not None
    assert choice.shortage.examples == 1001  # a single threshold would pass; the sequence does not get there
    assert Sgr(0.1).fit(held_out(scores, errors)).value == 0
    # The last pass before a failure is kept.
    errors = [0] * 300 + [1, 0] * 50 + [0] * 600
    choice = FixedSequence(0.1).fit(held_out(scores, errors))
    assert passes(scores, np.array(errors), 0, 0.1, 0.1)
    assert choice.value == scores[339]  # 34 %: 20 errors of 340; 36 % with 30 of 360 fails


def test_a_sequence_leaves_out_points_that_cannot_pass() -> None:
    # 22 examples without an error prove 0.1 at 0.1; before that even perfect points would fail.
    scores = np.arange(100)[::-1]
    choice = FixedSequence(0.1).fit(held_out(scores, [0] * 24 + [1] * 76))
    assert choice.value == scores[23]
    assert choice.certificate is not None
    assert (choice.certificate.n_accepted, choice.certificate.errors) == (24, 0)
    assert FixedSequence(0.1).fit(held_out(scores[:21], [0] * 21)).value == math.inf
    assert FixedSequence(0.1).fit(held_out(scores[:22], [0] * 22)).value == scores[21]


def test_a_sequence_takes_its_grid_from_validation_images() -> None:
    scores = np.arange(100) / 100
    choice = FixedSequence(0.1).fit(held_out(scores, [0] * 100, validation=[0.205, 0.405]))
    assert choice.value == 0.205
    assert choice.certificate is not None
    assert choice.certificate.n_accepted == 79
    assert FixedSequence(0.1).fit(held_out(scores, [0] * 100, validation=[5.0])).value == math.inf


def test_a_bisection_keeps_the_pass_of_largest_coverage() -> None:
    # Sixteen scores, a hundred examples each; the five worst are all wrong.
    scores = np.repeat(np.arange(16), 100)
    choice = Sgr(0.1, 0.1).fit(held_out(scores, scores < 5))
    assert choice.value == 5  # tried last is 4, and 100 errors of 1,200 do not pass at δ/4
    assert choice.certificate is not None
    assert (choice.certificate.n_accepted, choice.certificate.errors) == (1100, 0)


def test_the_least_number_of_accepted_images_is_exact() -> None:
    assert least_accepted(0.1, 0.1) == 22
    assert least_accepted(0.05, 0.1) == 45
    assert least_accepted(0.01, 0.05) == 299
    for target in (0.01, 0.03, 0.1, 0.25, 0.6):
        for delta in (0.001, 0.013, 0.1, 0.3):
            least = least_accepted(target, delta)
            assert binom.cdf(0, least, target) <= delta < binom.cdf(0, least - 1, target)


def naive_needed(errors: int, seen: int, target: float, delta: float) -> int:
    sizes = np.arange(1, 40_000)
    enough = binom.cdf(-(-errors * sizes // seen), sizes, target) <= delta
    assert enough.any()
    return int(sizes[np.flatnonzero(enough)[0]])


def test_the_number_needed_at_a_risk_equals_brute_force() -> None:
    rng = np.random.default_rng(3)
    cases = [(1, 39, 0.05, 0.05), (14, 138, 0.2, 0.1), (0, 7, 0.1, 0.1), (1, 1000, 0.1, 0.1)]
    while len(cases) < 40:
        seen, target = int(rng.integers(1, 300)), float(rng.choice([0.05, 0.1, 0.2, 0.3]))
        errors = int(rng.integers(0, max(1, int(0.8 * target * seen)) + 1))
        if errors < 0.85 * target * seen:
            cases.append((errors, seen, target, float(rng.choice([0.01, 0.05, 0.1, 0.2]))))
    for case in cases:
        assert accepted_needed(*case) == naive_needed(*case), case


@pytest.mark.timeout(20)
def test_the_number_needed_close_to_the_target_is_found_soon() -> None:
    needed = accepted_needed(997, 10_000, 0.1, 0.1)
    assert 1_500_000 < needed < 1_800_000
    assert binom.cdf(-(-997 * needed // 10_000), needed, 0.1) <= 0.1


@pytest.mark.parametrize("rule", GUARANTEED)
def test_shortages_say_what_would_do(rule: type[Guaranteed]) -> None:
    told = {"help": 0, "zero": 0, "some": 0}
    pattern = (
        r"not certifiable with (\d+) calibration examples: it takes at least (\d+) accepted calibration "
        r"examples without an error(?: \(or ([\d,]+) at the risk of (\d\.\d{3}) seen at coverage "
        r"(\d\.\d\d)\))?, at the very least ([\d,]+) calibration examples at this coverage; the luckiest "
        r"point seen is taken for the true risk, so expect to need more"
    )
    for given_samples, target, delta in draws(100, seed=4):
        one = rule(target, delta)
        shortage = one.fit(given_samples).shortage
        if shortage is None:
            continue
        curve = risk_coverage_curve(given_samples.score, given_samples.error)
        n, (level, _) = len(given_samples.score), one.needs(curve, given_samples)
        least = next(m for m in range(1, 10_000) if binom.cdf(0, m, target) <= level)
        counts = [(int(e), int(k)) for e, k in zip(curve.n_errors, curve.n_accepted, strict=True)]
        below = [(e, k) for e, k in counts if Fraction(e, k) < decimal(target)]
        if not below:
            told["help"] += 1
            assert (shortage.accepted, shortage.examples) == (None, None)
            assert "more examples will not help" in shortage.sentence
            assert f"nowhere below {target:g}" in shortage.sentence
            assert f"at least {least} accepted" in shortage.sentence
            continue
        found = re.fullmatch(pattern, shortage.sentence)
        assert found, shortage.sentence
        assert [int(found[1]), int(found[2])] == [n, least]
        assert found[6] == f"{shortage.examples:,}"
        # A few lucky examples at the top do not count where there are points that could prove something.
        solid = [(e, k) for e, k in below if k >= least] or below
        if found[3] is None:
            told["zero"] += 1
            points = [(e, k) for e, k in solid if e == 0]
        else:
            told["some"] += 1
            assert int(found[3].replace(",", "")) == shortage.accepted
            points = [(e, k) for e, k in solid if (f"{e / k:.3f}", f"{k / n:.2f}") == (found[4], found[5])]
        needed = {(accepted_needed(e, k, target, level), k) for e, k in points}
        allowed = {(m, max(n + 1, math.ceil(Fraction(m * n, k)))) for m, k in needed}
        assert (shortage.accepted, shortage.examples) in allowed
    assert told["help"] > 0
    assert told["zero"] + told["some"] > 10
    assert told["some"] > 0


def test_shortages_of_a_worked_example() -> None:
    # 3 errors of 30 are at the target; without the worst one 1 of 20 is below it.
    scores, errors = [0.9] * 20 + [0.1] * 10, [1] + [0] * 19 + [1, 1] + [0] * 8
    shortage = FixedSequence(0.1).fit(held_out(scores, errors)).shortage
    assert shortage is not None
    needed = naive_needed(1, 20, 0.1, 0.1)
    assert (shortage.accepted, shortage.examples) == (needed, math.ceil(needed * 1.5))
    assert shortage.sentence == (
        "not certifiable with 30 calibration examples: it takes at least 22 accepted calibration examples "
        f"without an error (or {needed} at the risk of 0.050 seen at coverage 0.67), at the very least "
        f"{math.ceil(needed * 1.5)} calibration examples at this coverage; the luckiest point seen is taken "
        "for the true risk, so expect to need more"
    )


@pytest.mark.timeout(20)
@pytest.mark.parametrize("rule", GUARANTEED)
@pytest.mark.parametrize(
    ("target", "wrong", "n"), [(0.07, 7, 100), (0.14, 14, 100), (0.1, 3, 30), (0.29, 29, 100)]
)
def test_a_risk_equal_to_the_target_is_not_below_it(
    rule: type[Guaranteed], target: float, wrong: int, n: int
) -> None:
    choice = rule(target).fit(held_out([0.5] * n, [1] * wrong + [0] * (n - wrong)))
    assert choice.value == math.inf
    assert choice.shortage is not None
    assert choice.shortage.examples is None
    assert "more examples will not help" in choice.shortage.sentence


@pytest.mark.parametrize("rule", GUARANTEED)
def test_one_image_is_never_enough(rule: type[Guaranteed]) -> None:
    for error in (0, 1):
        choice = rule(0.1).fit(held_out([0.5], [error]))
        assert (choice.value, choice.n, choice.certificate) == (math.inf, 1, None)
        assert choice.shortage is not None
        assert choice.shortage.accepted == (None if error else 22)
