"""Which exits are kept: the search against one written out."""

from itertools import combinations

import numpy as np
import pytest

from cascades import exits_of
from neural_branching.errors import InputError
from neural_branching.routing.exit_choice import ExitChoice
from neural_branching.routing.exits import ExitCosts
from neural_branching.routing.promises import Consistent, Risk

COSTS = ExitCosts(np.array([1.0, 3.0, 4.0, 10.0]), np.array([0.1, 0.2, 0.1, 0.3]))


def best_at(exits: tuple[int, ...], promise, validation) -> tuple[float, float]:
    """Share broken and cost at the loosest value of the dial at which validation keeps the promise."""
    mine, found = validation[exits], None
    for value in promise.path(mine):
        leaving = mine.leaving(value, refuses=promise.refuse)
        point = promise.share(leaving), float(COSTS[exits].of(leaving).mean())
        if point[0] <= promise.target:
            found = point
    assert found
    return found


@pytest.mark.parametrize("promise", [Consistent(0.1), Risk(0.2)])
def test_the_cheapest_cascade_that_validation_allows(promise) -> None:
    validation = exits_of(300, 5, exits=4)
    plans = ExitChoice().plans(validation, COSTS, promise)
    every = [(*some, 3) for count in range(4) for some in combinations(range(3), count)]
    assert sorted(plan.exits for plan in plans) == sorted(every)
    for plan in plans:
        assert (plan.broken, plan.cost) == pytest.approx(best_at(plan.exits, promise, validation))
    allowed = [plan for plan in plans if plan.broken <= promise.target]
    assert plans[0].cost == min(plan.cost for plan in allowed)


def test_a_budget_buys_what_breaks_the_promise_least() -> None:
    validation, promise = exits_of(300, 6, exits=4), Consistent(0.05)
    plans = ExitChoice(budget=0.5).plans(validation, COSTS, promise)
    limit = 0.5 * float(COSTS.alone[-1])
    within = []
    for count in range(4):
        for some in combinations(range(3), count):
            exits = (*some, 3)
            for value in promise.path(validation[exits]):
                leaving = validation[exits].leaving(value, refuses=False)
                cost = float(COSTS[exits].of(leaving).mean())
                if cost <= limit:
                    within.append(promise.share(leaving))
    assert plans[0].cost <= limit
    assert plans[0].broken == pytest.approx(min(within))


def test_one_early_mistake_does_not_decide() -> None:
    """The surest validation answer is wrong: with few answers the risk seen there is far above the target."""
    validation = exits_of(300, 5, exits=4)
    surest = int(validation.confidence.max(axis=0).argmax())
    validation.predictions[:, surest] = (validation.targets[surest] + 1) % 4
    [best, *_] = ExitChoice().plans(validation, COSTS, Risk(0.2))
    assert best.answered > 0.5


def test_the_last_exit_alone_is_a_choice() -> None:
    dear = ExitCosts(COSTS.prefix, np.full(4, 50.0))  # heads that cost more than leaving early saves
    [best, *_] = ExitChoice().plans(exits_of(300, 5, exits=4), dear, Consistent(0.02))
    assert best.exits == (3,)
    assert (best.broken, best.cost) == (0, 60.0)


def test_what_no_exit_keeps_to_is_refused() -> None:
    with pytest.raises(InputError, match=r"budget is 0\.05 .* the cheapest exit, a, takes 0\.107 of it"):
        ExitChoice(budget=0.05).check_costs(COSTS, ["a", "b", "c", "d"])
    ExitChoice(budget=0.11).check_costs(COSTS, ["a", "b", "c", "d"])


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: ExitChoice("seconds"), "minimise is 'seconds'.*macs, milliseconds"),
        (lambda: ExitChoice(budget=0), r"budget is 0: it must be a number within \(0, 1\]"),
        (lambda: ExitChoice(budget=1.5), "budget is 1.5"),
        (lambda: ExitChoice().check(13), "stages has 13 names"),
    ],
)
def test_what_cannot_be_is_refused(make, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        make()
