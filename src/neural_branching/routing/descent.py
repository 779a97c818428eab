"""The path of every example through a tree: which node it reaches, how far it gets, what it is answered.

Written on the Array API standard: an exported program descends with the same code as an evaluation.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from array_api_compat import array_namespace, device

from neural_branching.routing.hierarchy import UNCERTAIN, Node, Tree
from neural_branching.routing.node_outputs import NodeOutputs, probabilities
from neural_branching.routing.router_input import router_inputs
from neural_branching.routing.routers import Router, Weights
from neural_branching.selection import Answers
from neural_branching.selection.array_types import Bool, Float, Float64, Int64
from neural_branching.selection.scores.formulas import Array

Accepts = Callable[[str], Bool[Array, " n"]]

SMALLEST = 1e-12  # no probability is nothing: its logarithm has to be finite


@dataclass(frozen=True)
class FittedRouter:
    """A router, fitted at every inner node of a tree.

    Attributes:
        router: the router.
        weights: inner node → weights of the nodes below.
    """

    router: Router
    weights: Mapping[str, Weights]

    @classmethod
    def of(cls, tree: Tree, router: Router, validation: NodeOutputs) -> "FittedRouter":
        """Fit a router on validation examples.

        Raises:
            InputError: if what the router asks is not there.
        """
        inputs = router_inputs(tree, validation)
        return cls(router, {name: router.fit(one) for name, one in inputs.items()})


@dataclass(frozen=True)
class RoutingPaths:
    """Which label each example follows at each node, if nothing stops it.

    Of a cascade its last exit decides then: nothing but a threshold lets an earlier one answer.

    Attributes:
        weights: node → weight of each of its labels.
        label: node → index of the label with the largest weight.
        arrived: node → whether the example gets there.
        lost: inner node → whether it belongs to none of the nodes below, as the router has it.
        classes: index among ``Tree.classes`` of the class at the end.
        confidence: product of the weights along the path, or of a mixture the class's probability.
    """

    weights: Mapping[str, Float64[Array, "n _"]]
    label: Mapping[str, Int64[Array, " n"]]
    arrived: Mapping[str, Bool[Array, " n"]]
    lost: Mapping[str, Bool[Array, " n"]]
    classes: Int64[Array, " n"]
    confidence: Float64[Array, " n"]

    def logits(self, outputs: NodeOutputs, node: Node) -> Float[Array, "n labels"]:
        """What a node's score is taken of, also where an example never arrives.

        A leaf answers with its branch's logits, an inner node with the logarithms of its weights.
        """
        if node.leaf:
            return outputs.logits[node.name]
        weights = self.weights[node.name]
        xp = array_namespace(weights)
        return xp.astype(xp.log(weights + SMALLEST), xp.float32)

    def answers(self, tree: Tree, outputs: NodeOutputs, node: Node) -> Answers:
        """A node's answers to all examples, those that never arrive there included."""
        return outputs.answers(tree, node, self.logits(outputs, node))

    def goes_on(self, node: str) -> Bool[Array, " n"]:
        """Where the router does not lose an example at a node."""
        if node in self.lost:
            return ~self.lost[node]
        return array_namespace(self.classes).ones_like(self.classes) > 0

    def routed(self, node: Node, chosen: Bool[Array, " n"]) -> dict[str, Bool[Array, " n"]]:
        """Label of a node → which of some examples follow it."""
        return {label: chosen & (self.label[node.name] == index) for index, label in enumerate(node.labels)}


def descend(tree: Tree, outputs: NodeOutputs, fitted: FittedRouter | None) -> RoutingPaths:
    """Route examples through the tree.

    Args:
        tree: the tree.
        outputs: of its nodes.
        fitted: the router; None for a single leaf.
    """
    inputs = router_inputs(tree, outputs)
    xp = array_namespace(*outputs.logits.values())
    weights_at, final = (fitted.weights, fitted.router.final) if fitted else ({}, False)
    weights = {
        name: probabilities(outputs.logits[name]) if node.leaf else weights_at[name](inputs[name])
        for name, node in tree.nodes.items()
    }
    label = {name: xp.argmax(weight, axis=1) for name, weight in weights.items()}
    lost = {name: 1 - xp.sum(weights[name], axis=1) > xp.max(weights[name], axis=1) for name in inputs}
    first = label[tree.root]
    arrived = {tree.root: xp.ones_like(first) > 0}
    classes, confidence = xp.zeros_like(first), xp.ones_like(first, dtype=xp.float64)
    for name, node in tree.nodes.items():
        here, taken = arrived[name], label[name]
        if node.defer_to:
            arrived[node.defer_to] = here
            continue
        if not final:
            largest = xp.max(weights[name], axis=1)
            confidence = xp.where(here, confidence * largest, confidence)
        if node.leaf:
            ends = [tree.classes.index(one) for one in node.labels]
            ends = xp.asarray(ends, dtype=xp.int64, device=device(taken))
            classes = xp.where(here, xp.take(ends, taken, axis=0), classes)
        else:
            arrived |= {below: here & (taken == index) for index, below in enumerate(node.labels)}
    if final:
        root = inputs[tree.root]
        confidence = xp.max(root.own * root.reach, axis=1)
    return RoutingPaths(weights, label, arrived, lost, classes, confidence)


@dataclass(frozen=True)
class Visit:
    """What happens to examples at a node.

    Attributes:
        node: the node.
        here: whether each example arrives.
        accepted: whether it is also neither lost by the router nor refused by the node; what is refused goes
            to the node that this one defers to, if there is any.
        routed: label → which of the accepted follow it.
    """

    node: Node
    here: Bool[Array, " n"]
    accepted: Bool[Array, " n"]
    routed: Mapping[str, Bool[Array, " n"]]

    def hand_on(self, going: dict[str, Bool[Array, " n"]]) -> None:
        """Say of the nodes that are asked next who arrives there.

        Args:
            going: node → who arrives there.
        """
        if self.node.defer_to:
            going[self.node.defer_to] = self.here & ~self.accepted
        if not self.node.leaf:
            for label, chosen in self.routed.items():  # several exits of a cascade lead there
                going[label] = going[label] | chosen if label in going else chosen


def visits(tree: Tree, paths: RoutingPaths, accepts: Accepts) -> Iterator[Visit]:
    """Follow examples down the tree, for as long as the nodes on their paths accept them.

    Args:
        tree: the tree.
        paths: which labels the examples follow.
        accepts: node → whether it accepts each example, those that never arrive there included.

    Yields:
        Every node, after the one above it.
    """
    going = {tree.root: paths.arrived[tree.root]}
    for name, node in tree.nodes.items():
        accepted = going[name] & paths.goes_on(name) & accepts(name)
        routed = paths.routed(node, accepted)
        visit = Visit(node, going[name], accepted, routed)
        visit.hand_on(going)
        yield visit


def answer(tree: Tree, paths: RoutingPaths, accepts: Accepts, *, back_off: bool) -> Int64[Array, " n"]:
    """What each example is answered, an index into ``answers_of(tree)``.

    An example goes on as long as the nodes on its path accept it. Where one does not, the last label
    that was accepted is the answer ("some flower"), or, without ``back_off``, "uncertain".

    Args:
        tree: the tree.
        paths: which labels the examples follow.
        accepts: node → whether it accepts each example.
        back_off: whether less than a class is an answer.
    """
    names, xp = answers_of(tree), array_namespace(paths.classes)
    given = xp.zeros_like(paths.classes)
    for visit in visits(tree, paths, accepts):
        if visit.node.leaf or back_off:
            for label, chosen in visit.routed.items():
                given = xp.where(chosen, names.index(label), given)
    return given


def answers_of(tree: Tree) -> tuple[str, ...]:
    """Every possible answer: "uncertain", the nodes below the root, the classes."""
    return (UNCERTAIN, *(node.name for node in tree.named), *tree.classes)


def right(
    tree: Tree, given: Int64[np.ndarray, " n"], labels: Int64[np.ndarray, " n"]
) -> Bool[np.ndarray, " n"]:
    """Whether each example's class is below its answer; false where there is no answer.

    Args:
        tree: the tree.
        given: indices into ``answers_of(tree)``.
        labels: indices into ``tree.classes``; −1 for classes outside the tree.
    """
    holds = np.zeros((len(answers_of(tree)), len(tree.classes) + 1), dtype=bool)
    for index, name in enumerate(answers_of(tree)[1:], start=1):
        classes = tree.nodes[name].classes if name in tree.nodes else (name,)
        holds[index, [tree.classes.index(one) for one in classes]] = True
    found: Bool[np.ndarray, " n"] = holds[given, labels]
    return found
