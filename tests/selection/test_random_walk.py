"""The boundary of the random walk: exact, monotone, and valid whatever validation says."""

from itertools import product

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from neural_branching.selection import clopper_pearson_upper, risk_coverage_curve
from neural_branching.selection.thresholds.guaranteed import FixedSequence, Sgr
from neural_branching.selection.thresholds.random_walk import RandomWalk, boundary, meeting_probability
from neural_branching.selection.thresholds.threshold import HeldOut

NONE = np.empty(0)
CASES = [(20, 0.3, 0.2, 4, 12), (150, 0.1, 0.1, 22, 60), (300, 0.2, 0.1, 40, 160), (300, 0.05, 0.05, 60, 300)]


def meets(errors: np.ndarray, tolerated: np.ndarray) -> np.ndarray:
    """Whether each walk (walks, n) ever has at most the tolerated errors."""
    wrong = errors.cumsum(axis=1)
    right = np.arange(1, errors.shape[1] + 1) - wrong
    return (wrong <= tolerated[right]).any(axis=1)


@pytest.mark.parametrize("tolerated", [[-1, -1, 0, 0, 1, 1, 2, 2, 2], [-1, 0, 1, 2, 3, 4, 5, 6, 7], [-1] * 9])
@pytest.mark.parametrize("target", [0.1, 0.5])
def test_the_probability_of_meeting_is_that_of_all_walks(tolerated: list[int], target: float) -> None:
    n = len(tolerated) - 1
    walks = np.array(list(product((0, 1), repeat=n)))
    weights = target ** walks.sum(axis=1) * (1 - target) ** (n - walks.sum(axis=1))
    expected = weights[meets(walks, np.array(tolerated))].sum()
    assert meeting_probability(np.array(tolerated), target) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("n", "target", "delta", "first", "last"), CASES)
def test_a_boundary_spends_delta_and_not_more(
    n: int, target: float, delta: float, first: int, last: int
) -> None:
    level, tolerated = boundary(n, target, delta, first, last)
    assert 0.8 * delta < meeting_probability(tolerated, target) <= delta
    walks = np.random.default_rng(0).random((4000, n)) < target
    met = int(meets(walks, tolerated).sum())
    assert binomtest(met, 4000, meeting_probability(tolerated, target)).pvalue > 1e-3
    assert delta / (n + 1) <= level <= delta


@pytest.mark.parametrize(("n", "target", "delta", "first", "last"), CASES)
def test_a_boundary_tolerates_what_its_level_allows(
    n: int, target: float, delta: float, first: int, last: int
) -> None:
    level, tolerated = boundary(n, target, delta, first, last)
    assert (np.diff(tolerated) >= 0).all()  # what the proof needs
    assert (tolerated[:first] == -1).all()
    assert (tolerated[last:] == tolerated[last]).all()
    for right in range(first, last + 1):
        k = tolerated[right]
        assert k < 0 or binom.cdf(k, k + right, target) <= level
        assert binom.cdf(k + 1, k + 1 + right, target) > level


def test_nobody_can_change_a_boundary_that_others_use() -> None:
    _, tolerated = boundary(20, 0.3, 0.2, 4, 12)
    with pytest.raises(ValueError, match="read-only"):
        tolerated[0] = 5


def drawn(rng: np.random.Generator, n: int, risk: float = 0.3) -> HeldOut:
    """Scores uniform on (0, 1), errors with probability 2·risk·(1 − s): the risk above τ is risk·(1 − τ)."""
    score, validation = rng.random(n), rng.random(n // 2)
    error = rng.random(n) < 2 * risk * (1 - score)
    return HeldOut(score, error, validation, rng.random(n // 2) < 2 * risk * (1 - validation), NONE)


def test_the_choice_is_the_loosest_threshold_within_the_boundary() -> None:
    one = drawn(np.random.default_rng(1), 300)
    choice = RandomWalk(0.2, 0.1).fit(one)
    certificate = choice.certificate
    assert certificate is not None
    level, tolerated = RandomWalk(0.2, 0.1)._boundary(one)
    passing = [
        tau
        for tau in one.score
        if one.error[one.score >= tau].sum() <= tolerated[(~one.error[one.score >= tau]).sum()]
    ]
    assert choice.value == min(passing)
    accepted = one.score >= choice.value
    assert (certificate.n_accepted, certificate.errors) == (accepted.sum(), one.error[accepted].sum())
    assert certificate.bound == clopper_pearson_upper(certificate.errors, certificate.n_accepted, level)
    assert certificate.bound <= 0.2


def test_ties_enter_together() -> None:
    score = np.repeat([0.9, 0.5], [60, 60])
    error = np.zeros(120, dtype=bool)
    error[60:100] = True
    one = HeldOut(score, error, score[::2], np.zeros(60, dtype=bool), NONE)
    for order in (np.arange(120), np.random.default_rng(0).permutation(120)):
        shuffled = HeldOut(score[order], error[order], one.validation_score, one.validation_error, NONE)
        assert RandomWalk(0.2, 0.1).fit(shuffled).value == 0.9


@pytest.mark.parametrize("misled", ["all wrong", "all right", "upside down", "few"])
def test_whatever_validation_says_the_risk_exceeds_its_target_in_at_most_delta_of_all_draws(
    misled: str,
) -> None:
    rng, rule, exceeded, number = np.random.default_rng(2), RandomWalk(0.1, 0.1), 0, 1000
    for _ in range(number):
        one = drawn(rng, 150)
        score, error = one.validation_score, one.validation_error
        if misled == "few":
            score, error = score[:3], error[:3]
        error = {"all wrong": error | True, "all right": error & False}.get(misled, error)
        score = -score if misled == "upside down" else score
        misguided = HeldOut(one.score, one.error, score, error, NONE)
        passed = rule.search(risk_coverage_curve(one.score, one.error), misguided)
        exceeded += passed is not None and 0.3 * (1 - passed[0]) > 0.1
    assert binomtest(int(exceeded), number, 0.1, alternative="greater").pvalue > 1e-3


def test_it_keeps_more_than_the_other_rules() -> None:
    rng = np.random.default_rng(3)
    sets = [drawn(rng, 300) for _ in range(200)]
    kept = {
        rule: np.mean([max(0.0, 1 - rule(0.2, 0.1).fit(one).value) for one in sets])
        for rule in (Sgr, FixedSequence, RandomWalk)
    }
    assert kept[RandomWalk] > max(kept[Sgr], kept[FixedSequence]) + 0.02


def test_a_shortage_counts_from_where_the_boundary_opens() -> None:
    one = drawn(np.random.default_rng(4), 60, risk=0.5)
    choice = RandomWalk(0.05, 0.1).fit(one)
    assert choice.shortage is not None
    _, least = RandomWalk(0.05, 0.1).needs(None, one)  # type: ignore[arg-type]
    assert f"at least {least} accepted calibration examples without an error" in choice.shortage.sentence
