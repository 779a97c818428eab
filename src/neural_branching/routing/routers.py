"""How the way goes on where it splits: a weight for each node below, of which the largest wins."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.special import logsumexp
from scipy.special import softmax as shares

from neural_branching.errors import InputError, whole
from neural_branching.routing.router_input import Crossing
from neural_branching.selection.arrays import Floats
from neural_branching.selection.scores.from_logits import softmax
from neural_branching.selection.scores.learned import fit_temperature

Weigh = Callable[[Crossing], Floats]


class Router(ABC):
    """A way of weighing the nodes below.

    Attributes:
        kind: its name in results.
        asks_node: whether it takes the node's own output: the parent's logits at the root.
        asks_branches: whether every node below has to answer before one is chosen.
        asks_gate: whether a gate has to be trained for it.
        final: whether it follows the most probable class of the mixture, whose probability is its sureness.
        bound: whether it only bounds what routers can do, as it looks at the truth or at nothing.
    """

    kind: ClassVar[str]
    asks_node: ClassVar[bool] = False
    asks_branches: ClassVar[bool] = False
    asks_gate: ClassVar[bool] = False
    final: ClassVar[bool] = False
    bound: ClassVar[bool] = False

    def fit(self, validation: Crossing) -> Weigh:
        """Make the router ready for one crossing.

        Args:
            validation: the crossing's validation images. Calibration is left to thresholds: a router
                that had seen it would void what they guarantee.

        Returns:
            Maps images at the crossing to non-negative weights, float64 (n, k), with sums of at most 1.
            Where more is left than the largest weight, an image belongs to none of the nodes.

        Raises:
            InputError: if what the router asks is not there.
        """
        return self.weigh

    @abstractmethod
    def weigh(self, crossing: Crossing) -> Floats:
        """Weights of the nodes below, float64 (n, k)."""


class ParentMass(Router):
    """P(b) = Σ p(y) over the classes y of b, by the node's own output: the parent's at the root."""

    kind: ClassVar[str] = "parent_mass"
    asks_node: ClassVar[bool] = True

    def weigh(self, crossing: Crossing) -> Floats:
        """The node's own probabilities."""
        return _own(crossing, self.kind)


class Soft(Router):
    """The way to the class y with the largest P(b) · P(y | b): as the mixture of all branches answers."""

    kind: ClassVar[str] = "soft"
    asks_node: ClassVar[bool] = True
    asks_branches: ClassVar[bool] = True
    final: ClassVar[bool] = True

    def weigh(self, crossing: Crossing) -> Floats:
        """Shares of the largest probability of a single class below each node, of what is inside the tree."""
        own = _own(crossing, self.kind)
        mixed = own * crossing.reach
        weights: Floats = mixed / mixed.sum(axis=1, keepdims=True) * own.sum(axis=1, keepdims=True)
        return weights


class MaxConfidence(Router):
    """The node below whose branch is surest.

    Confidence is the largest softmax probability at a temperature of each branch's own, fitted on
    the validation images that belong there (Guo et al., 2017): branches trained apart are not
    overconfident alike.
    """

    kind: ClassVar[str] = "max_confidence"
    asks_branches: ClassVar[bool] = True

    def fit(self, validation: Crossing) -> Weigh:
        """Fit the temperatures."""
        temperatures = []
        for index, logits in enumerate(validation.below):
            mine = validation.truth == index
            temperatures.append(
                fit_temperature(logits[mine], validation.targets[mine]) if mine.any() else 1.0
            )
        return Scaled(tuple(temperatures))

    def weigh(self, crossing: Crossing) -> Floats:
        """Shares of the confidences as they come."""
        return Scaled((1.0,) * len(crossing.below))(crossing)


@dataclass(frozen=True)
class Scaled:
    """Confidences of the branches at their temperatures, divided by their sum.

    Attributes:
        temperatures: one for each node below.
    """

    temperatures: tuple[float, ...]

    def __call__(self, crossing: Crossing) -> Floats:
        """Weights of the nodes below, float64 (n, k)."""
        each = [softmax(one, t).max(axis=1) for one, t in zip(crossing.below, self.temperatures, strict=True)]
        confidences = np.stack(each, axis=1)
        weights: Floats = confidences / confidences.sum(axis=1, keepdims=True)
        return weights


class Energy(Router):
    """The node below with the largest free energy log Σ exp of its branch's logits (Liu et al., 2020)."""

    kind: ClassVar[str] = "energy"
    asks_branches: ClassVar[bool] = True

    def weigh(self, crossing: Crossing) -> Floats:
        """Softmax of the energies."""
        energies = [logsumexp(logits.astype(np.float64), axis=1) for logits in crossing.below]
        weights: Floats = shares(np.stack(energies, axis=1), axis=1)
        return weights


class Gate(Router):
    """A small network learned at the branch point, with an output for "none of them"."""

    kind: ClassVar[str] = "gate"
    asks_gate: ClassVar[bool] = True

    def weigh(self, crossing: Crossing) -> Floats:
        """The gate's probabilities."""
        assert crossing.gate is not None
        return crossing.gate


class Oracle(Router):
    """Always right: the upper bound. Images that belong to none of the nodes are told so."""

    kind: ClassVar[str] = "oracle"
    bound: ClassVar[bool] = True

    def weigh(self, crossing: Crossing) -> Floats:
        """1 for the node that the image belongs to."""
        weights: Floats = (crossing.truth[:, None] == np.arange(len(crossing.below))).astype(np.float64)
        return weights


class Random(Router):
    """Any of the nodes below: the lower bound.

    Args:
        seed: seed of the draw.

    Raises:
        InputError: for a negative seed.
    """

    kind: ClassVar[str] = "random"
    bound: ClassVar[bool] = True

    def __init__(self, seed: int = 0) -> None:
        self.seed = whole(seed, "seed", 0)

    def weigh(self, crossing: Crossing) -> Floats:
        """1 for a node drawn evenly."""
        # Every crossing has a stream of its own, or the turn at one would decide the turns below it.
        generator = np.random.default_rng([self.seed, *crossing.name.encode()])
        drawn = generator.integers(len(crossing.below), size=len(crossing.rows))
        weights: Floats = (drawn[:, None] == np.arange(len(crossing.below))).astype(np.float64)
        return weights


ROUTERS: dict[str, type[Router]] = {
    router.kind: router for router in (ParentMass, Soft, MaxConfidence, Energy, Gate, Oracle, Random)
}


def _own(crossing: Crossing, kind: str) -> Floats:
    if crossing.own is None:
        raise InputError(
            f"router={kind} asks the parent which node an image belongs to, and the parent's labels do not "
            f"tell the nodes below {crossing.name} apart: choose another router, such as gate."
        )
    return crossing.own
