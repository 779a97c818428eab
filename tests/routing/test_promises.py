"""Who leaves a cascade where, and whether its dial keeps what it promises."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascades import exits_of
from neural_branching.errors import InputError
from neural_branching.routing.exits import REFUSED, ExitCosts, Exits
from neural_branching.routing.promises import Consistent, Promise, Risk
from neural_branching.selection.intervals import clopper_pearson_upper

INFINITY = float("inf")


@given(st.integers(0, 1000), st.floats(0, 1), st.booleans())
def test_every_example_leaves_at_the_first_exit_that_is_sure(seed: int, dial: float, refuses: bool) -> None:
    exits = exits_of(30, seed)
    leaving = exits.leaving(dial, refuses=refuses)
    costs = ExitCosts(np.array([3.0, 5.0, 9.0]), np.array([0.5, 0.25, 1.0]))
    for index in range(30):
        expected = REFUSED if refuses else 2
        for exit_ in range(2, -1, -1):
            if exits.confidence[exit_, index] >= dial:
                expected = exit_
        assert leaving.at[index] == expected
        asked = range(expected + 1 if expected != REFUSED else 3)
        price = costs.prefix[max(asked)] + sum(costs.head[one] for one in asked)
        assert costs.of(leaving)[index] == pytest.approx(price)
        if expected == REFUSED:
            assert not leaving.answered[index]
            assert not leaving.wrong[index]
            assert not leaving.differs[index]
            continue
        given_ = exits.predictions[expected, index]
        assert leaving.predictions[index] == given_
        assert leaving.confidence[index] == exits.confidence[expected, index]
        assert leaving.wrong[index] == (given_ != exits.targets[index])
        assert leaving.differs[index] == (given_ != exits.predictions[2, index])


def test_an_infinite_dial_lets_nobody_leave_early() -> None:
    exits = exits_of(50)
    assert (exits.leaving(INFINITY, refuses=False).at == 2).all()
    assert not exits.leaving(INFINITY, refuses=False).differs.any()
    assert not exits.leaving(INFINITY, refuses=True).answered.any()


@pytest.mark.parametrize(
    "promise", [Consistent(0.1), Consistent(0.1, refuse=True), Risk(0.2), Risk(0.1, of="all")]
)
def test_the_dial_is_the_last_that_passes_in_turn(promise: Promise) -> None:
    validation, calibration = exits_of(200, 1), exits_of(400, 2)
    dial = promise.fit(validation, calibration)
    path = promise.path(validation)
    assert path == sorted(path, reverse=True)
    expected = None
    for value in path:
        leaving = calibration.leaving(value, refuses=promise.refuse)
        counted = promise.counted(leaving)
        broken = int(promise.broken(leaving)[counted].sum())
        if 0.9 ** counted.sum() > 0 and (1 - promise.target) ** counted.sum() > promise.delta:
            continue  # too few to pass even without an error
        if clopper_pearson_upper(broken, int(counted.sum()), promise.delta) > promise.target:
            break
        expected = value
    assert expected is not None
    assert dial.choice.value == expected
    assert dial.choice.certificate
    assert dial.choice.certificate.bound <= promise.target
    assert len(dial.path) == len(path)


@pytest.mark.thorough
@pytest.mark.parametrize(
    "promise",
    [
        *(Consistent(0.05, 0.1), Consistent(0.1, 0.05), Consistent(0.05, 0.1, refuse=True)),
        *(Risk(0.15, 0.1), Risk(0.1, 0.1, of="all"), Risk(0.25, 0.1, refuse=False)),
    ],
    ids=str,
)
def test_the_promise_fails_in_a_share_delta_of_draws_at_most(promise: Promise) -> None:
    """1,000 calibration draws out of one population, in which the true share is known."""
    population, validation = exits_of(20_000, 7), exits_of(150, 8)
    truth = {
        value: promise.share(population.leaving(value, refuses=promise.refuse))
        for value in promise.path(validation)
    }
    rng, failed, certified, early = np.random.default_rng(0), 0, 0, []
    for _ in range(1000):
        rows = rng.integers(20_000, size=300)
        drawn = Exits(
            population.confidence[:, rows], population.predictions[:, rows], population.targets[rows]
        )
        dial = promise.fit(validation, drawn)
        if dial.choice.certificate is None:
            continue
        certified += 1
        failed += truth[dial.choice.value] > promise.target
        leaving = dial.leaving(drawn)
        early.append(float((leaving.at[leaving.answered] < 2).mean()))
    # A dial of the path that breaks the promise is there, or nothing could fail.
    assert max(truth.values()) > promise.target
    assert certified > 500
    assert np.mean(early) > 0.1
    deviation = np.sqrt(promise.delta * (1 - promise.delta) / 1000)
    assert failed / 1000 <= promise.delta + 3 * deviation
    assert failed > 0  # as tight as a discrete test can be


def test_of_groups_one_example_counts() -> None:
    """Rows of a group that are all alike say no more than one of them."""
    one = exits_of(300, 2)
    rows = np.repeat(np.arange(300), 10)
    many = Exits(one.confidence[:, rows], one.predictions[:, rows], one.targets[rows], rows)
    alone, grouped = (Consistent(0.1).fit(exits_of(200, 1), some) for some in (one, many))
    assert grouped.choice.n == 300
    assert grouped.choice.unit == "groups"
    assert grouped.choice.value == alone.choice.value
    assert grouped.choice.certificate == alone.choice.certificate
    careless = Consistent(0.1).fit(exits_of(200, 1), Exits(many.confidence, many.predictions, many.targets))
    assert careless.choice.value < alone.choice.value  # which took rows for independent
    with pytest.raises(InputError, match="which 39 calibration groups cannot certify"):
        Consistent(0.02).check(39, "groups")


def test_what_cannot_be_certified_says_how_many_it_takes() -> None:
    Consistent(0.02, 0.1).check(114)
    with pytest.raises(
        InputError, match=r"promise\.target is 0\.02, which 113 .* at δ = 0\.1: .* at least 114"
    ):
        Consistent(0.02, 0.1).check(113)
    with pytest.raises(InputError, match=r"or a target of at least 0\.0202"):
        Consistent(0.02, 0.1).check(113)


def test_what_nobody_keeps_refuses_everything_and_says_why() -> None:
    wrong = exits_of(300, 3)
    hopeless = Exits(wrong.confidence, (wrong.predictions * 0 + wrong.targets + 1) % 4, wrong.targets)
    dial = Risk(0.1).fit(exits_of(100, 4), hopeless)
    assert dial.choice.value == INFINITY
    assert dial.choice.shortage
    assert "nowhere below 0.1" in dial.choice.shortage.sentence
    assert not dial.leaving(hopeless).answered.any()
    few = exits_of(40, 5)
    lucky = Exits(few.confidence, np.tile(few.targets, (3, 1)), few.targets)
    dial = Risk(0.01).fit(exits_of(100, 4), lucky)
    assert dial.choice.shortage
    assert dial.choice.shortage.examples == 230  # ⌈ln .1 / ln .99⌉, all of them answered


def test_only_a_cascade_that_refuses_has_a_threshold_at_its_last_exit() -> None:
    validation, calibration = exits_of(100, 1), exits_of(600, 2)
    dial = Consistent(0.1).fit(validation, calibration)
    assert dial.threshold(last=False) == dial.choice.value
    assert dial.threshold(last=True) == -INFINITY
    dial = Risk(0.2).fit(validation, calibration)
    assert dial.threshold(last=True) == dial.choice.value


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Consistent(0.0), "target is 0.0"),
        (lambda: Risk(0.1, 1.0), "delta is 1.0"),
        (lambda: Consistent(0.1, refuse="no"), "refuse is 'no': it must be true or false"),
        (lambda: Risk(0.1, of="every"), "of is 'every'.*answered, all"),
    ],
)
def test_promises_validate(make, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        make()


def test_promises_say_what_they_are() -> None:
    assert str(Consistent(0.02)) == "consistent 0.02"
    assert str(Risk(0.1, 0.05)) == "risk 0.1 (δ 0.05)"
    assert str(Risk(0.1, refuse=False, of="all")) == "risk 0.1 (not refusing, of all)"
    assert str(Consistent(0.1, refuse=True)) == "consistent 0.1 (refusing)"
    assert "at most 0.02 of new examples" in Consistent(0.02).promise
    assert "of the answers to new examples is wrong" in Risk(0.1).promise
    assert "of new examples is answered wrongly" in Risk(0.1, of="all").promise
