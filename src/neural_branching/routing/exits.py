"""The exits of a cascade: what each would answer, and at which of them every example leaves."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from neural_branching.selection.array_types import Bool, Float64, Int64
from neural_branching.selection.row_groups import one_per_group

REFUSED = -1


@dataclass(frozen=True, eq=False)
class Exits:
    """What the exits of a cascade say of n examples, the first exit first.

    Attributes:
        confidence: of each exit in its answer; comparable between exits.
        predictions: their answers, class indices.
        targets: the right ones.
        groups: equal for examples of one group; None where each is by itself.
    """

    confidence: Float64[np.ndarray, "exits n"]
    predictions: Int64[np.ndarray, "exits n"]
    targets: Int64[np.ndarray, " n"]
    groups: Int64[np.ndarray, " n"] | None = None

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, chosen: Sequence[int]) -> "Exits":
        """Those of some of the exits."""
        mine = list(chosen)
        return Exits(self.confidence[mine], self.predictions[mine], self.targets, self.groups)

    def of(self, examples: Int64[np.ndarray, " m"] | Bool[np.ndarray, " n"]) -> "Exits":
        """What all exits say of some of the examples, by number or by a mask."""
        groups = None if self.groups is None else self.groups[examples]
        return Exits(
            self.confidence[:, examples], self.predictions[:, examples], self.targets[examples], groups
        )

    @property
    def independent(self) -> "Exits":
        """The same of one example of each group, which an exact test may count."""
        return self if self.groups is None else self.of(one_per_group(self.groups))

    @property
    def unit(self) -> str:
        """What examples stand for."""
        return "examples" if self.groups is None else "groups"

    def strength(self, *, refuses: bool) -> Float64[np.ndarray, " n"]:
        """The largest dial at which an example still leaves early, or, with ``refuses``, is answered.

        Args:
            refuses: as for ``leaving``; of a single exit that answers everything nobody leaves early.
        """
        strength: Float64[np.ndarray, " n"] = self.confidence[: None if refuses else -1].max(axis=0)
        return strength

    def leaving(self, dial: float, *, refuses: bool) -> "Leaving":
        """Who leaves where: each example at the first exit whose confidence reaches the dial.

        Args:
            dial: the one threshold of all exits; inf lets nobody leave early.
            refuses: whether the last exit too refuses what does not reach the dial; else it answers all.
        """
        sure = self.confidence >= dial
        if not refuses:
            sure[-1] = True
        return Leaving(self, np.where(sure.any(axis=0), sure.argmax(axis=0), REFUSED))


@dataclass(frozen=True, eq=False)
class Leaving:
    """Where the examples of a cascade leave.

    Attributes:
        exits: the cascade.
        at: number of the exit of each example; ``REFUSED`` where none answers.
    """

    exits: Exits
    at: Int64[np.ndarray, " n"]

    @property
    def answered(self) -> Bool[np.ndarray, " n"]:
        """Which examples have an answer."""
        answered: Bool[np.ndarray, " n"] = self.at != REFUSED
        return answered

    @cached_property
    def predictions(self) -> Int64[np.ndarray, " n"]:
        """The answers; what is refused has that of the last exit, which nobody is given."""
        found: Int64[np.ndarray, " n"] = self.exits.predictions[self.at, np.arange(len(self.at))]
        return found

    @property
    def confidence(self) -> Float64[np.ndarray, " n"]:
        """Confidence in these answers."""
        found: Float64[np.ndarray, " n"] = self.exits.confidence[self.at, np.arange(len(self.at))]
        return found

    @property
    def wrong(self) -> Bool[np.ndarray, " n"]:
        """Which examples have a wrong answer."""
        wrong: Bool[np.ndarray, " n"] = self.answered & (self.predictions != self.exits.targets)
        return wrong

    @property
    def differs(self) -> Bool[np.ndarray, " n"]:
        """Which examples have an answer that is not the last exit's."""
        differs: Bool[np.ndarray, " n"] = self.answered & (self.predictions != self.exits.predictions[-1])
        return differs


@dataclass(frozen=True, eq=False)
class ExitCosts:
    """What it costs to come to each exit and to ask it, in any unit.

    Attributes:
        prefix: of the network up to each exit; what exits share counts once, so that none is less than the
            one before.
        head: of the exit itself.
    """

    prefix: Float64[np.ndarray, " exits"]
    head: Float64[np.ndarray, " exits"]

    def __getitem__(self, chosen: Sequence[int]) -> "ExitCosts":
        """Those of some of the exits."""
        return ExitCosts(self.prefix[list(chosen)], self.head[list(chosen)])

    @property
    def alone(self) -> Float64[np.ndarray, " exits"]:
        """Of each exit where no other is asked."""
        alone: Float64[np.ndarray, " exits"] = self.prefix + self.head
        return alone

    @property
    def leaving(self) -> Float64[np.ndarray, " exits"]:
        """Of an example that leaves at each exit, all before it having been asked too."""
        leaving: Float64[np.ndarray, " exits"] = self.prefix + np.cumsum(self.head)
        return leaving

    def of(self, leaving: Leaving) -> Float64[np.ndarray, " n"]:
        """Of each example; one that is refused has been to the last exit."""
        each: Float64[np.ndarray, " n"] = self.leaving[leaving.at]
        return each
