"""Rules whose promise holds on average over draws of the calibration examples."""

import math
from typing import ClassVar

import numpy as np

from neural_branching.errors import number
from neural_branching.selection.risk_coverage import risk_coverage_curve
from neural_branching.selection.scores.score import INFINITY
from neural_branching.selection.thresholds.threshold import (
    Certificate,
    Choice,
    Guarantee,
    HeldOut,
    Shortage,
    Threshold,
    exact,
)


class Conformal(Threshold):
    """Conformal risk control (Angelopoulos et al., 2024) of wrong answers per example.

    Bounds the generalised risk, errors accepted / examples (not / answers): the smallest observed
    threshold with (errors accepted) + 1 ≤ α(n + 1), in exact arithmetic; else everything is refused.
    The expectation over calibration draws is at most α; a single draw exceeds it in about a third of
    all cases.

    Args:
        target: largest tolerated expectation α of wrong answers per example, within (0, 1).

    Raises:
        InputError: for anything else.
    """

    kind: ClassVar[str] = "conformal"
    guarantee: ClassVar[Guarantee] = "on average"

    def __init__(self, target: float) -> None:
        self.target = number(target, "target", 0, 1, open_low=True, open_high=True)

    def __str__(self) -> str:
        return f"{self.kind} {self.target:.12g}"

    @property
    def promise(self) -> str:
        """The expectation, and that a single draw may exceed it."""
        return (
            f"a share of at most {self.target:.12g} of all new examples is answered wrongly, on "
            "average over calibration draws; a single draw may exceed it"
        )

    def shared(self, levels: int, nodes: int) -> "Conformal":
        """Wrong answers α / levels: expectations add up along a path, however many nodes there are."""
        return Conformal(self.target / levels)

    def fit(self, held_out: HeldOut) -> Choice:
        """Smallest observed threshold that meets the condition; inf if there is none."""
        curve = risk_coverage_curve(held_out.score, held_out.error)
        n = len(held_out.score)
        allowed = math.floor(exact(self.target) * (n + 1)) - 1
        within = np.flatnonzero(curve.n_errors <= allowed)
        if allowed < 0:
            needed = math.ceil(1 / exact(self.target)) - 1
            sentence = (
                f"with {n} calibration {held_out.unit} everything is refused: it takes at least {needed}"
            )
            return Choice(INFINITY, n, shortage=Shortage(None, needed, sentence))
        value = float(curve.threshold[within[0]]) if len(within) else INFINITY
        accepted, errors = (int(count) for count in curve.at(value))
        certificate = Certificate(
            method=self.kind,
            quantity="errors per example",
            guarantee=self.guarantee,
            target=self.target,
            delta=None,
            bound=(errors + 1) / (n + 1),
            level=None,
            n=n,
            n_accepted=accepted,
            errors=errors,
        )
        return Choice(value, n, certificate)


class FalseAccept(Threshold):
    """A limit on how often examples of foreign classes are answered (after Vovk et al., 2005).

    The threshold lies just above the ⌈(n + 1)(1 − α)⌉-th smallest score of n calibration examples of
    classes that the branch was not trained on; infinite if that rank exceeds n. It holds on average
    over calibration draws, for new foreign examples from the same classes: for others see the
    false-accept rates of classes that were left out when it was fitted.

    Args:
        target: largest tolerated expectation α of the false-accept rate, within (0, 1).

    Raises:
        InputError: for anything else.
    """

    kind: ClassVar[str] = "false_accept"
    guarantee: ClassVar[Guarantee] = "on average"
    needs_foreign: ClassVar[bool] = True

    def __init__(self, target: float) -> None:
        self.target = number(target, "target", 0, 1, open_low=True, open_high=True)

    def __str__(self) -> str:
        return f"{self.kind} {self.target:.12g}"

    @property
    def promise(self) -> str:
        """The expectation, and for which foreign examples."""
        return (
            f"answers a share of at most {self.target:.12g} of new examples of the same foreign classes, on "
            "average over calibration draws; a single draw, or another foreign class, may exceed it"
        )

    def fit(self, held_out: HeldOut) -> Choice:
        """Just above the order statistic of the foreign scores."""
        foreign = np.sort(held_out.foreign_score)
        n = len(foreign)
        rank = math.ceil((n + 1) * (1 - exact(self.target)))
        if rank > n:
            needed = math.ceil(1 / exact(self.target)) - 1
            unit = held_out.unit
            sentence = (
                f"with {n} foreign calibration {unit} everything is refused: it takes at least {needed}"
            )
            return Choice(INFINITY, n, shortage=Shortage(None, needed, sentence))
        value = float(np.nextafter(foreign[rank - 1], INFINITY))
        accepted = int((foreign >= value).sum())
        certificate = Certificate(
            method=self.kind,
            quantity="false-accept rate",
            guarantee=self.guarantee,
            target=self.target,
            delta=None,
            bound=(n + 1 - rank) / (n + 1),
            level=None,
            n=n,
            n_accepted=accepted,
            errors=accepted,
        )
        return Choice(value, n, certificate)
