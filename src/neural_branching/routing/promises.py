"""What a cascade promises of its answers, and the one dial that keeps it.

One scalar is the threshold of every exit (CALM: Schuster et al., 2022). It is looked for along a path that is
settled on validation examples, and tested on calibration examples (Learn then Test: Angelopoulos et al.,
2021).
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from neural_branching.errors import InputError, number, one_of, switch
from neural_branching.routing.exits import Exits, Leaving
from neural_branching.selection.array_types import Bool
from neural_branching.selection.intervals import clopper_pearson_upper
from neural_branching.selection.scores.score import INFINITY
from neural_branching.selection.thresholds.guaranteed import (
    DELTA,
    LEVELS,
    accepted_needed,
    least_accepted,
)
from neural_branching.selection.thresholds.plain import thresholds_at_coverages
from neural_branching.selection.thresholds.threshold import (
    Certificate,
    Choice,
    Guarantee,
    Shortage,
    at_most,
)

__all__ = ["Consistent", "Dial", "Promise", "Risk"]


@dataclass(frozen=True)
class Tested:
    """A point of the path on the calibration examples.

    Attributes:
        value: of the dial.
        counted: examples that the promise is about.
        broken: those of them that break it.
        bound: exact upper bound of their share at level δ; 1 where none is counted.
    """

    value: float
    counted: int
    broken: int
    bound: float


@dataclass(frozen=True)
class Dial:
    """A cascade's fitted dial.

    Attributes:
        choice: the threshold of every exit, with its certificate; inf where nothing could be certified, so
            that everything is refused.
        refuses: whether the last exit has this threshold too.
        path: every point that was declared, from the strictest on.
    """

    choice: Choice
    refuses: bool
    path: Sequence[Tested]

    def leaving(self, exits: Exits) -> Leaving:
        """Who leaves where."""
        return exits.leaving(self.choice.value, refuses=self.refuses)

    def threshold(self, *, last: bool) -> float:
        """The threshold of an exit; of the last −inf if it answers all that comes."""
        return -INFINITY if last and not self.refuses else self.choice.value


class Promise(ABC):
    """A share of examples that is at most a target, except with probability δ over calibration draws.

    Points of the path are those at which 2, 4 … 100 % of the validation examples leave early (are answered,
    if the last exit refuses), and before them the one at which nobody does. From the strictest on each is
    tested by the exact binomial test at the full δ; the first failure ends it, and the last pass is kept.
    Points with too few calibration examples to pass even without an error are left out.

    Args:
        target: largest tolerated share, within (0, 1).
        delta: probability δ of failure, within (0, 1).
        refuse: whether the last exit refuses what does not reach the dial.

    Raises:
        InputError: for anything else.
    """

    kind: ClassVar[str]
    quantity: ClassVar[str]
    guarantee: ClassVar[Guarantee] = "with high probability"
    needs_foreign: ClassVar[bool] = False
    refuses: ClassVar[bool] = False  # by default

    def __init__(self, target: float, delta: float = DELTA, refuse: bool = False) -> None:
        self.target = number(target, "target", 0, 1, open_low=True, open_high=True)
        self.delta = number(delta, "delta", 0, 1, open_low=True, open_high=True)
        self.refuse = switch(refuse, "refuse")

    def __str__(self) -> str:
        unusual = [] if self.delta == DELTA else [f"δ {self.delta:.12g}"]
        unusual += [] if self.refuse == self.refuses else ["refusing" if self.refuse else "not refusing"]
        unusual += self._unusual
        return f"{self.kind} {self.target:.12g}" + (f" ({', '.join(unusual)})" if unusual else "")

    @property
    def _unusual(self) -> list[str]:
        """What else is not as it is by default."""
        return []

    @property
    @abstractmethod
    def promise(self) -> str:
        """What is promised, in words."""

    @abstractmethod
    def counted(self, leaving: Leaving) -> Bool[np.ndarray, " n"]:
        """Which examples the promise is about."""

    @abstractmethod
    def broken(self, leaving: Leaving) -> Bool[np.ndarray, " n"]:
        """Which of them break it."""

    def check(self, examples: int, unit: str = "examples") -> None:
        """Refuse a target that no outcome on so many calibration examples could prove.

        Args:
            examples: how many count.
            unit: what they stand for: "examples" or "groups".

        Raises:
            InputError: saying how many it would take.
        """
        least = least_accepted(self.target, self.delta)
        if examples < least:
            raise InputError(
                f"promise.target is {self.target:g}, which {examples} calibration {unit} cannot certify at "
                f"δ = {self.delta:g}: it takes at least {least:,} of them, or a target of at least "
                f"{math.ceil(_smallest(examples, self.delta) * 10_000) / 10_000:g}."
            )

    def path(self, validation: Exits) -> list[float]:
        """The values of the dial that may be tested, from the strictest on."""
        if len(validation.confidence) == 1 and not self.refuse:
            return [INFINITY]
        strength = validation.strength(refuses=self.refuse)
        loose = list(dict.fromkeys(thresholds_at_coverages(strength, LEVELS)))
        return loose if self.refuse else [INFINITY, *loose]

    def share(self, leaving: Leaving) -> float:
        """The share that the promise bounds; 0 where nothing is counted."""
        counted = self.counted(leaving)
        return float(self.broken(leaving)[counted].mean()) if counted.any() else 0.0

    def fit(self, validation: Exits, calibration: Exits) -> Dial:
        """The loosest value of the dial that is certified; of groups one example counts.

        Args:
            validation: of examples by which models, temperatures and exits were chosen.
            calibration: of examples that nothing has been chosen by.
        """
        calibration = calibration.independent
        path = [self._tested(value, calibration) for value in self.path(validation)]
        least, passed = least_accepted(self.target, self.delta), None
        for point in path:
            if point.counted < least:  # which could not pass without an error
                continue
            if point.bound > self.target:
                break
            passed = point
        n, unit = len(calibration), calibration.unit
        if passed is None:
            shortage = self._shortage(path, n, unit)
            return Dial(Choice(INFINITY, n, shortage=shortage, unit=unit), True, path)
        certificate = Certificate(
            method=self.kind,
            quantity=self.quantity,
            guarantee=self.guarantee,
            target=self.target,
            delta=self.delta,
            bound=passed.bound,
            level=self.delta,
            n=n,
            n_accepted=passed.counted,
            errors=passed.broken,
        )
        return Dial(Choice(passed.value, n, certificate, unit=unit), self.refuse, path)

    def _tested(self, value: float, calibration: Exits) -> Tested:
        leaving = calibration.leaving(value, refuses=self.refuse)
        counted = self.counted(leaving)
        n, broken = int(counted.sum()), int((self.broken(leaving) & counted).sum())
        return Tested(value, n, broken, float(clopper_pearson_upper(broken, n, self.delta)) if n else 1.0)

    def _shortage(self, path: Sequence[Tested], n: int, unit: str) -> Shortage:
        """What the most favourable point would need, its share taken for the true one."""
        below = [
            one
            for one in path
            if one.counted
            and at_most(np.array([one.broken]), np.array([one.counted]), self.target)[0]
            and one.broken / one.counted < self.target
        ]
        if not below:
            return Shortage(
                None,
                None,
                f"not certifiable: on {n} calibration {unit} the share of {self.quantity} is nowhere below "
                f"{self.target:g}, so that more of them will not help, better exits might",
            )
        needed = [
            (accepted_needed(one.broken, one.counted, self.target, self.delta), one.counted) for one in below
        ]
        accepted, seen = min(needed, key=lambda pair: pair[0] / pair[1])
        examples = max(n + 1, -(-accepted * n // seen))
        return Shortage(
            accepted,
            examples,
            f"not certifiable with {n} calibration {unit}: it takes at least {examples:,}; the luckiest "
            "point seen is taken for the true share, so expect to need more",
        )


class Consistent(Promise):
    """The answer differs from the last exit's in at most a share ε of all examples.

    What is refused does not differ.

    Args:
        target: ε, within (0, 1).
        delta: probability δ of failure, within (0, 1).
        refuse: whether the last exit refuses what does not reach the dial.

    Raises:
        InputError: for anything else.
    """

    kind: ClassVar[str] = "consistent"
    quantity: ClassVar[str] = "answers that differ from the last exit's"

    @property
    def promise(self) -> str:
        """ε and δ in words."""
        return (
            f"the answer differs from the last exit's for a share of at most {self.target:g} of new "
            f"examples, except with probability {self.delta:g} over the draw of the calibration examples"
        )

    def counted(self, leaving: Leaving) -> Bool[np.ndarray, " n"]:
        """All."""
        return np.ones(len(leaving.at), dtype=bool)

    def broken(self, leaving: Leaving) -> Bool[np.ndarray, " n"]:
        """Those that are answered otherwise."""
        return leaving.differs


class Risk(Promise):
    """At most a share r of the answers is wrong.

    Args:
        target: r, within (0, 1).
        delta: probability δ of failure, within (0, 1).
        refuse: whether the last exit refuses what does not reach the dial; otherwise no target can be kept
            that is below the last exit's own risk.
        of: the wrong ones among the "answered" examples, or among "all".

    Raises:
        InputError: for anything else.
    """

    kind: ClassVar[str] = "risk"
    quantity: ClassVar[str] = "wrong answers"
    refuses: ClassVar[bool] = True

    def __init__(
        self, target: float, delta: float = DELTA, refuse: bool = True, of: str = "answered"
    ) -> None:
        super().__init__(target, delta, refuse)
        self.of = one_of(of, ("answered", "all"), "of")

    @property
    def _unusual(self) -> list[str]:
        return [] if self.of == "answered" else ["of all"]

    @property
    def promise(self) -> str:
        """The risk r and δ in words."""
        among = "of the answers to new examples" if self.of == "answered" else "of new examples"
        verb = "is wrong" if self.of == "answered" else "is answered wrongly"
        return (
            f"a share of at most {self.target:g} {among} {verb}, except with probability {self.delta:g} over "
            "the draw of the calibration examples"
        )

    def counted(self, leaving: Leaving) -> Bool[np.ndarray, " n"]:
        """The answered examples, or all."""
        return leaving.answered if self.of == "answered" else np.ones(len(leaving.at), dtype=bool)

    def broken(self, leaving: Leaving) -> Bool[np.ndarray, " n"]:
        """The wrong answers."""
        return leaving.wrong


def _smallest(examples: int, delta: float) -> float:
    """The smallest target that so many examples without any error prove."""
    return float(1 - delta ** (1 / examples)) if examples else 1.0
