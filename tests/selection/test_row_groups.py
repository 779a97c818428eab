"""What is drawn and counted where examples come in groups; by closed forms and by simulation."""

import numpy as np
import pytest
from numpy.typing import NDArray

from neural_branching.errors import InputError
from neural_branching.selection import Bootstrap, clopper_pearson_upper, risk_coverage_curve
from neural_branching.selection.intervals import difference_interval, share_interval
from neural_branching.selection.row_groups import effective_number, group_sums, one_per_group
from neural_branching.selection.thresholds.guaranteed import FixedSequence, Guaranteed
from neural_branching.selection.thresholds.on_average import Conformal
from neural_branching.selection.thresholds.random_walk import RandomWalk
from neural_branching.selection.thresholds.threshold import HeldOut

GROUPS, ROWS, TARGET, DELTA = 39, 25, 0.2, 0.05


def clustered(generator: np.random.Generator, groups: int = GROUPS) -> tuple[NDArray, NDArray, NDArray]:
    """Scores, errors and groups: a row is wrong with a probability that its group mostly decides."""
    group = np.repeat(np.arange(groups), ROWS)
    base = generator.beta(0.3, 1.0, groups)[
        group
    ]  # 0.23 on average, most groups being good or bad throughout
    score = generator.random(groups * ROWS)
    return score, generator.random(len(group)) < 2 * base * (1 - score), group


def test_one_row_of_each_group_is_drawn() -> None:
    groups = np.array([7, 3, 7, 7, 9, 3])
    drawn = one_per_group(groups)
    assert sorted(groups[drawn]) == [3, 7, 9]
    assert np.array_equal(drawn, one_per_group(groups))
    seen = np.sum([one_per_group(groups, seed) for seed in range(3000)], axis=0)
    np.testing.assert_allclose(seen / 3000, [1 / 3, 1 / 2, 1 / 3, 1 / 3, 1, 1 / 2], atol=0.04)


def test_sums_of_groups() -> None:
    assert group_sums(np.array([1.0, 2, 3, 4]), np.array([5, 2, 5, 2])).tolist() == [6, 4]


def test_a_group_of_equal_rows_counts_once() -> None:
    generator = np.random.default_rng(0)
    each = generator.random(400) < 0.3
    groups = np.repeat(np.arange(400), 10)
    assert effective_number(np.repeat(each, 10), groups, 0.95) == pytest.approx(400, rel=0.02)
    alone = effective_number(each, np.arange(400), 0.95)
    assert alone == pytest.approx(400, rel=0.02)
    assert effective_number(np.ones(50, bool), np.repeat(np.arange(5), 10), 0.95) == 5
    assert share_interval(np.repeat(each, 10), groups) == pytest.approx(share_interval(each), abs=0.01)


def test_a_bootstrap_draws_whole_groups() -> None:
    groups = np.array([4, 4, 4, 1, 1, 8])
    bootstrap = Bootstrap(6, 50, groups=groups)
    counts = bootstrap.counts
    assert (counts[:, 0] == counts[:, 1]).all()
    assert (counts[:, 3] == counts[:, 4]).all()
    assert (counts[:, [0, 3, 5]].sum(axis=1) == 3).all()
    rows = list(bootstrap.draws())
    assert all(
        np.array_equal(np.bincount(one, minlength=6), mine) for one, mine in zip(rows, counts, strict=True)
    )
    values = np.arange(6.0)
    low, high = bootstrap.mean(values)
    means = [values[one].mean() for one in rows]
    assert min(means) <= low <= high <= max(means)


def test_paired_differences_of_groups_of_equal_rows_are_those_of_one_row_each() -> None:
    influence = np.random.default_rng(1).normal(size=200)
    influence -= influence.mean()
    groups = np.repeat(np.arange(200), 5)
    once = difference_interval(0.1, influence, 1)
    copied = difference_interval(0.1, np.repeat(influence, 5), 1, groups)
    assert np.allclose(copied, once, atol=0.02 * (once[1] - once[0]))
    by_row = difference_interval(0.1, np.repeat(influence, 5), 1)
    assert by_row[1] - by_row[0] < 0.6 * (copied[1] - copied[0])


def coverage_of_intervals(*, grouped: bool) -> float:
    generator, held = np.random.default_rng(2), 0
    truth = clustered(np.random.default_rng(3), 20_000)[1].mean()
    for _ in range(400):
        _, error, group = clustered(generator)
        low, high = share_interval(error, group if grouped else None)
        held += low <= truth <= high
    return held / 400


def test_intervals_by_group_hold_where_intervals_by_row_do_not() -> None:
    assert coverage_of_intervals(grouped=True) >= 0.92
    assert coverage_of_intervals(grouped=False) < 0.7


def failures(*, grouped: bool, draws: int = 1000) -> float:
    """How often a single test at full coverage certifies a risk that is above its target."""
    generator, failed = np.random.default_rng(0), 0
    truth = 0.2301  # of the population below, whose risk is a little above the target
    for _ in range(draws):
        base = np.where(generator.random(GROUPS) < truth, 0.95, 0.02)
        truth_of_rows = truth * 0.95 + (1 - truth) * 0.02
        group = np.repeat(np.arange(GROUPS), ROWS)
        error = generator.random(len(group)) < base[group]
        chosen = one_per_group(group) if grouped else np.ones(len(group), bool)
        bound = clopper_pearson_upper(int(error[chosen].sum()), int(chosen.sum()), DELTA)
        failed += bound < truth_of_rows
    return failed / draws


def test_an_exact_bound_fails_by_rows_and_holds_by_groups() -> None:
    slack = 3 * (DELTA * (1 - DELTA) / 1000) ** 0.5
    assert failures(grouped=True) <= DELTA + slack
    assert failures(grouped=False) > 0.2


def failed_certificates(rule: Guaranteed, draws: int, *, grouped: bool) -> tuple[float, float]:
    """Share of draws whose certified threshold has a risk above the target, and share that certify one."""
    score, error, _ = clustered(np.random.default_rng(3), 20_000)
    validation = clustered(np.random.default_rng(5))
    generator, failed, certified = np.random.default_rng(4), 0, 0
    for _ in range(draws):
        scores, errors, group = clustered(generator)
        drawn = one_per_group(group) if grouped else np.ones(len(group), bool)
        groups = group[drawn] if grouped else None
        held_out = HeldOut(scores[drawn], errors[drawn], *validation[:2], np.empty(0), groups)
        passed = rule.search(risk_coverage_curve(held_out.score, held_out.error), held_out)
        if passed:
            certified += 1
            failed += error[score >= passed[0]].mean() > TARGET
    return failed / draws, certified / draws


@pytest.mark.parametrize("rule", [FixedSequence, RandomWalk])
def test_certificates_by_group_fail_at_most_delta_of_the_time(rule: type[Guaranteed]) -> None:
    failed, certified = failed_certificates(rule(TARGET, DELTA), 1000, grouped=True)
    assert failed <= DELTA + 3 * (DELTA * (1 - DELTA) / 1000) ** 0.5
    assert certified > 0.05


def test_certificates_by_row_fail_too_often() -> None:
    failed, _ = failed_certificates(FixedSequence(TARGET, DELTA), 200, grouped=False)
    assert failed > 3 * DELTA


@pytest.mark.parametrize("rule", [RandomWalk(0.05, DELTA), Conformal(0.01)])
def test_what_is_short_is_counted_in_groups(rule: Guaranteed) -> None:
    score, error, group = clustered(np.random.default_rng(0))
    drawn = one_per_group(group)
    choice = rule.fit(HeldOut(score[drawn], error[drawn], score, error, np.empty(0), groups=group[drawn]))
    assert choice.shortage
    assert f"with {GROUPS} calibration groups" in choice.shortage.sentence or (
        f"on {GROUPS} calibration groups" in choice.shortage.sentence
    )


def test_a_certificate_by_rows_is_refused_where_groups_exist() -> None:
    score, error, group = clustered(np.random.default_rng(0))
    with pytest.raises(InputError, match=r"^The 975 calibration examples are of 39 groups, and rows of one"):
        HeldOut(score, error, score, error, np.empty(0), groups=group)
