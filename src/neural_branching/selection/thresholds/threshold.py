"""What every rule for choosing a threshold has in common."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import ClassVar, Literal

import numpy as np

from neural_branching.errors import InputError
from neural_branching.selection.array_types import Bool, Float64, Int64
from neural_branching.selection.scores.score import Score

Guarantee = Literal["none", "with high probability", "on average"]


@dataclass(frozen=True)
class HeldOut:
    """What a rule may look at. No model, and no score, has learned from the calibration examples.

    Attributes:
        score: calibration scores.
        error: their errors.
        validation_score: scores of the validation examples: for what a rule has to settle before it looks at
            calibration errors.
        validation_error: their errors. The model stopped early on these examples, so that they may order
            what is tested, never test it.
        foreign_score: scores of calibration examples of classes that the branch was not trained on.
        groups: group of each calibration example, none of them twice; None where examples are by themselves.
            Rows of one group are not independent, and an exact test takes them for it.

    Raises:
        InputError: if a group is there twice.
    """

    score: Float64[np.ndarray, " n"]
    error: Bool[np.ndarray, " n"]
    validation_score: Float64[np.ndarray, " k"]
    validation_error: Bool[np.ndarray, " k"]
    foreign_score: Float64[np.ndarray, " m"]
    groups: Int64[np.ndarray, " n"] | None = None

    def __post_init__(self) -> None:
        if self.groups is not None and (count := len(np.unique(self.groups))) < len(self.groups):
            raise InputError(
                f"The {len(self.groups)} calibration examples are of {count} groups, and rows of one group "
                "are not independent: fit a threshold on one row of each, as one_per_group draws them."
            )

    @property
    def unit(self) -> str:
        """What calibration examples stand for."""
        return "examples" if self.groups is None else "groups"


@dataclass(frozen=True)
class Certificate:
    """What is guaranteed of a fitted threshold.

    Attributes:
        method: the rule's kind.
        quantity: what is bounded: "selective risk", "errors per example" or "false-accept rate".
        guarantee: "with high probability": except in a share ``delta`` of calibration draws; "on
            average": over calibration draws.
        target: largest tolerated value.
        delta: probability of failure; None on average.
        bound: upper bound of the test that the threshold passed, at most the target; what is guaranteed
            is the target.
        level: probability of failure at which that bound was computed: a share of δ, where a rule tests
            several thresholds; None on average.
        n: examples that the threshold was fitted on.
        n_accepted: those of them that it accepts.
        errors: the wrong ones among these; on a false-accept limit those accepted.
    """

    method: str
    quantity: str
    guarantee: Guarantee
    target: float
    delta: float | None
    bound: float
    level: float | None
    n: int
    n_accepted: int
    errors: int


@dataclass(frozen=True)
class Shortage:
    """What a certificate would have needed.

    Attributes:
        accepted: accepted examples that would be needed at the most favourable point seen; None if no
            number of examples would do.
        examples: calibration examples that this takes at the coverage of that point, at the very least; None
            likewise.
        sentence: the same in words.
    """

    accepted: int | None
    examples: int | None
    sentence: str


@dataclass(frozen=True)
class Choice:
    """A fitted threshold.

    Attributes:
        value: accept iff score ≥ value; inf accepts nothing.
        n: examples that it was fitted on.
        certificate: what is guaranteed; None where nothing is.
        shortage: why a rule that guarantees has no certificate; None if it has one, or never has.
        unit: what these examples stand for: "examples", each by itself, or "groups".
    """

    value: float
    n: int
    certificate: Certificate | None = None
    shortage: Shortage | None = None
    unit: str = "examples"


class Threshold(ABC):
    """A rule that chooses a threshold.

    Attributes:
        kind: its name in results.
        guarantee: whether and how its promise holds for new examples.
        needs_foreign: whether it is fitted on examples of foreign classes.
    """

    kind: ClassVar[str]
    guarantee: ClassVar[Guarantee] = "none"
    needs_foreign: ClassVar[bool] = False

    @abstractmethod
    def __str__(self) -> str:
        """Kind and setting, as tables show it: "fixed 0.96"."""

    @property
    @abstractmethod
    def promise(self) -> str:
        """What the threshold promises on new examples, in one phrase."""

    @abstractmethod
    def fit(self, held_out: HeldOut) -> Choice:
        """Choose the threshold."""

    def shared(self, levels: int, nodes: int) -> "Threshold":
        """The rule for one node of a tree, such that what it promises holds for the tree.

        Args:
            levels: number of decisions on the longest path through the tree, all of which may go wrong.
            nodes: number of nodes that are fitted, any of which may fail.

        Returns:
            A share of the budget; the rule itself where it limits no errors.
        """
        return self

    def check(self, score: Score, foreign: bool) -> None:
        """Refuse what this rule cannot be used with, before anything is computed.

        Args:
            score: whose values will be compared with the threshold.
            foreign: whether the data set has classes that the branch is not trained on.

        Raises:
            InputError: if the rule needs foreign classes and there are none.
        """
        if self.needs_foreign and not foreign:
            raise InputError(
                f"threshold={self.kind} is fitted on examples of classes outside the subset, and the subset "
                "has every class of the data set: choose a smaller subset or another threshold."
            )


@cache
def exact(target: float) -> Fraction:
    """The decimal number that a float prints as: 1/10 for 0.1, so that counts compare without rounding."""
    return Fraction(repr(float(target)))


def at_most(
    errors: Int64[np.ndarray, " m"], counts: Int64[np.ndarray, " m"], target: float
) -> Bool[np.ndarray, " m"]:
    """Whether errors ≤ target · counts, in exact arithmetic."""
    share = exact(target)
    # Python's integers are slow, and only targets of very many decimals need them.
    fits = int(counts.max(initial=0)) * share.denominator < 2**62
    kind = np.int64 if fits else object
    within = errors.astype(kind) * share.denominator <= counts.astype(kind) * share.numerator
    return np.asarray(within, dtype=bool)
