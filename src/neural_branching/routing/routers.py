"""Routers choose a child node: a weight for each node below, of which the largest wins.

Weights are written on the Array API standard, so that an exported program routes with the same code.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from array_api_compat import array_namespace

from neural_branching.errors import InputError, whole
from neural_branching.routing.router_input import RouterInput
from neural_branching.selection.array_types import Float64
from neural_branching.selection.scores import formulas
from neural_branching.selection.scores.formulas import Array
from neural_branching.selection.scores.learned import fit_temperature

__all__ = ["Energy", "Gate", "MaxConfidence", "Oracle", "ParentMass", "Random", "Router", "Soft"]

Weights = Callable[[RouterInput], Float64[Array, "n below"]]


class Router(ABC):
    """A rule that weighs the nodes below.

    Attributes:
        kind: its name in results.
        asks_node: whether it takes the node's own output: the parent's logits at the root.
        asks_branches: whether every node below has to answer before one is chosen.
        asks_gate: whether a gate has to be trained for it.
        final: whether it follows the most probable class of the mixture, whose probability is then the
            confidence of the whole path.
        bound: whether it only bounds what routers can do, as it looks at the truth or at nothing.
    """

    kind: ClassVar[str]
    asks_node: ClassVar[bool] = False
    asks_branches: ClassVar[bool] = False
    asks_gate: ClassVar[bool] = False
    final: ClassVar[bool] = False
    bound: ClassVar[bool] = False

    def fit(self, validation: RouterInput) -> Weights:
        """Fit the router at one node.

        Args:
            validation: what it sees there of validation examples. Calibration is left to thresholds: a
                router that had seen it would void what they guarantee.

        Returns:
            Maps examples at the node to non-negative weights of the nodes below, with sums of at most 1.
            Where more is left than the largest weight, an example belongs to none of the nodes.

        Raises:
            InputError: if what the router asks is not there.
        """
        return self.weights

    @abstractmethod
    def weights(self, given: RouterInput) -> Float64[Array, "n below"]:
        """Weights of the nodes below."""


class ParentMass(Router):
    """P(b) = Σ p(y) over the classes y of b, by the node's own output: the parent's at the root."""

    kind: ClassVar[str] = "parent_mass"
    asks_node: ClassVar[bool] = True

    def weights(self, given: RouterInput) -> Float64[Array, "n below"]:
        """The node's own probabilities."""
        return _own(given, self.kind)


class Soft(Router):
    """The class y with the largest P(b) · P(y | b): as the mixture of all branches answers."""

    kind: ClassVar[str] = "soft"
    asks_node: ClassVar[bool] = True
    asks_branches: ClassVar[bool] = True
    final: ClassVar[bool] = True

    def weights(self, given: RouterInput) -> Float64[Array, "n below"]:
        """Shares of the largest probability of a single class below each node, of what is inside the tree."""
        own = _own(given, self.kind)
        xp, mixed = array_namespace(own), own * given.reach
        inside = xp.sum(own, axis=1, keepdims=True)
        return mixed / xp.sum(mixed, axis=1, keepdims=True) * inside


class MaxConfidence(Router):
    """The node below whose branch is most confident.

    Confidence is the largest softmax probability at a temperature of each branch's own, fitted on
    the validation examples that belong there (Guo et al., 2017): branches trained apart are not
    overconfident alike.
    """

    kind: ClassVar[str] = "max_confidence"
    asks_branches: ClassVar[bool] = True

    def fit(self, validation: RouterInput) -> Weights:
        """Fit the temperatures."""
        truth, targets, temperatures = validation.truth, validation.targets, []
        for index, logits in enumerate(validation.below):
            mine = truth == index
            temperatures.append(fit_temperature(logits[mine], targets[mine]) if mine.any() else 1.0)
        return ScaledConfidences(tuple(temperatures))

    def weights(self, given: RouterInput) -> Float64[Array, "n below"]:
        """Shares of the confidences as they come."""
        return ScaledConfidences((1.0,) * len(given.below))(given)


@dataclass(frozen=True)
class ScaledConfidences:
    """Confidences of the branches at their temperatures, divided by their sum.

    Attributes:
        temperatures: one for each node below.
    """

    temperatures: tuple[float, ...]

    def __call__(self, given: RouterInput) -> Float64[Array, "n below"]:
        """Weights of the nodes below."""
        xp = array_namespace(*given.below)
        pairs = zip(given.below, self.temperatures, strict=True)
        each = [formulas.max_softmax(xp.astype(one, xp.float64), t) for one, t in pairs]
        confidences = xp.stack(each, axis=1)
        return confidences / xp.sum(confidences, axis=1, keepdims=True)


class Energy(Router):
    """The node below with the largest free energy log Σ exp of its branch's logits (Liu et al., 2020)."""

    kind: ClassVar[str] = "energy"
    asks_branches: ClassVar[bool] = True

    def weights(self, given: RouterInput) -> Float64[Array, "n below"]:
        """Softmax of the energies."""
        xp = array_namespace(*given.below)
        energies = [formulas.energy(xp.astype(one, xp.float64)) for one in given.below]
        return formulas.softmax(xp.stack(energies, axis=1))


class Gate(Router):
    """A small network learned at the branch point, with an output for "none of them"."""

    kind: ClassVar[str] = "gate"
    asks_gate: ClassVar[bool] = True

    def weights(self, given: RouterInput) -> Float64[Array, "n below"]:
        """The gate's probabilities."""
        assert given.gate is not None
        return given.gate


class Oracle(Router):
    """Always right: the upper bound. Examples that belong to none of the nodes are told so."""

    kind: ClassVar[str] = "oracle"
    bound: ClassVar[bool] = True

    def weights(self, given: RouterInput) -> Float64[Array, "n below"]:
        """1 for the node that the example belongs to."""
        return (given.truth[:, None] == np.arange(len(given.below))).astype(np.float64)


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

    def weights(self, given: RouterInput) -> Float64[Array, "n below"]:
        """1 for a node drawn evenly."""
        # Every node has a stream of its own, or the choice at one would decide the choices below it.
        generator = np.random.default_rng([self.seed, *given.node.name.encode()])
        drawn = generator.integers(len(given.below), size=len(given.outputs))
        return (drawn[:, None] == np.arange(len(given.below))).astype(np.float64)


ROUTERS: dict[str, type[Router]] = {
    router.kind: router for router in (ParentMass, Soft, MaxConfidence, Energy, Gate, Oracle, Random)
}


def _own(given: RouterInput, kind: str) -> Float64[Array, "n below"]:
    if given.own is None:
        raise InputError(
            f"router={kind} asks the parent which node an example belongs to, and the parent's labels do not "
            f"tell the nodes below {given.node.name} apart: choose another router, such as gate."
        )
    return given.own
