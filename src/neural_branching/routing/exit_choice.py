"""Which exits a cascade should have: a search over all their subsets, on validation answers alone."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from neural_branching.errors import InputError, number, one_of
from neural_branching.routing.exits import ExitCosts, Exits
from neural_branching.routing.promises import Promise

MOST = 12  # exits to choose among: 2,048 cascades
UNITS = ("macs", "milliseconds")


@dataclass(frozen=True)
class Plan:
    """A cascade, and how it does on validation at one value of the dial.

    Attributes:
        exits: numbers of its exits, the last of all among them.
        broken: share that breaks the promise.
        accuracy: share of all examples with a right answer.
        answered: share with an answer.
        cost: mean cost of an example.
    """

    exits: tuple[int, ...]
    broken: float
    accuracy: float
    answered: float
    cost: float


class ExitChoice:
    """How the exits of a cascade are chosen among those that were trained.

    Without a budget the cheapest cascade whose share of broken promises on validation is at most the target,
    be it the last exit alone; with one, that which breaks the promise least within it. The best of so many
    looks better on validation than it is: calibration examples are left to the certificate.

    Args:
        minimise: what counts: "macs", or measured "milliseconds" of one example by itself.
        budget: largest mean cost as a share of the last exit's by itself, within (0, 1]; None for none.

    Raises:
        InputError: for anything else.
    """

    def __init__(self, minimise: str = "macs", budget: float | None = None) -> None:
        self.minimise = one_of(minimise, UNITS, "minimise")
        self.budget = None if budget is None else number(budget, "budget", 0, 1, open_low=True)

    def check(self, exits: int) -> None:
        """Refuse more exits than can be searched.

        Raises:
            InputError: if they are too many.
        """
        if exits > MOST:
            raise InputError(
                f"stages has {exits} names, and a choice among more than {MOST} is not searched: leave some "
                "out, or choose=null."
            )

    def check_costs(self, costs: ExitCosts, stages: Sequence[str]) -> None:
        """Refuse a budget that not even the first exit by itself keeps to.

        Raises:
            InputError: naming the smallest that it does.
        """
        least = math.ceil(float(costs.alone.min() / costs.alone[-1]) * 1000) / 1000
        if self.budget is not None and self.budget < least:
            first = stages[int(costs.alone.argmin())]
            raise InputError(
                f"choose.budget is {self.budget:g} of what the last exit costs, and the cheapest "
                f"exit, {first}, takes {least:.3f} of it: the budget must be at least that."
            )

    def plans(self, validation: Exits, costs: ExitCosts, promise: Promise) -> list[Plan]:
        """Every cascade at its best value of the dial, the best one first.

        Args:
            validation: of all exits.
            costs: of all exits.
            promise: whose path and share are looked at.
        """
        last = len(costs.prefix) - 1
        limit = None if self.budget is None else self.budget * float(costs.alone[-1])
        found = [
            self._plan((*some, last), validation, costs, promise, limit)
            for count in range(last + 1)
            for some in combinations(range(last), count)
        ]
        return sorted(found, key=lambda plan: _order(plan, promise, limit))

    @staticmethod
    def _plan(
        exits: tuple[int, ...],
        validation: Exits,
        costs: ExitCosts,
        promise: Promise,
        limit: float | None,
    ) -> Plan:
        """A cascade at its best value of the dial."""
        mine, theirs = validation[exits], costs[exits]
        points = []
        for dial in promise.path(mine):
            leaving = mine.leaving(dial, refuses=promise.refuse)
            right = leaving.answered & ~leaving.wrong
            points.append(
                Plan(
                    exits,
                    promise.share(leaving),
                    float(right.mean()),
                    float(leaving.answered.mean()),
                    float(theirs.of(leaving).mean()),
                )
            )
        kept = [one for one in points if one.broken <= promise.target]
        if limit is None and kept:
            return kept[-1]  # the loosest
        return min(points, key=lambda one: _order(one, promise, limit))


def _order(plan: Plan, promise: Promise, limit: float | None) -> tuple[float, ...]:
    """What is smaller for the better of two plans."""
    if limit is None:
        return (max(0.0, plan.broken - promise.target), plan.cost, len(plan.exits))
    return (max(0.0, plan.cost - limit), plan.broken, plan.cost)
