"""The way of every image through a tree: where it turns, how far it gets, and what it is answered."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neural_branching.routing.hierarchy import UNCERTAIN, Node, Tree
from neural_branching.routing.router_input import Crossing
from neural_branching.routing.routers import Router, Weigh
from neural_branching.selection import Answers
from neural_branching.selection.arrays import Floats
from neural_branching.selection.scores.from_logits import softmax

TINY = 1e-12  # no probability is nothing: its logarithm has to be finite


@dataclass(frozen=True)
class Seen:
    """What every node says of the images of a split, wherever the way of each will lead.

    Attributes:
        rows: row numbers in the data table, int64 (n,).
        labels: index of each image's class among ``Tree.classes``, int64 (n,); −1 if outside the tree.
        logits: branch → its logits, float32 (n, labels).
        activations: node → the vectors that it sees, float32 (n, width).
        root: the parent's probability of each node below the root, float64 (n, k), 1 less their sum
            being outside the tree; None if its labels do not tell them apart.
        gates: inner node → a learned gate's probability of each node below, float64 (n, k).
    """

    rows: NDArray[np.int64]
    labels: NDArray[np.int64]
    logits: Mapping[str, NDArray[np.float32]]
    activations: Mapping[str, NDArray[np.float32]]
    root: Floats | None
    gates: Mapping[str, Floats]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, chosen: NDArray[np.bool_]) -> "Seen":
        """Some of the images."""
        return Seen(
            self.rows[chosen],
            self.labels[chosen],
            {name: logits[chosen] for name, logits in self.logits.items()},
            {name: vectors[chosen] for name, vectors in self.activations.items()},
            None if self.root is None else self.root[chosen],
            {name: gate[chosen] for name, gate in self.gates.items()},
        )

    @property
    def inside(self) -> "Seen":
        """The images of the tree's classes."""
        return self[self.labels >= 0]

    def truth(self, tree: Tree, node: Node) -> NDArray[np.int64]:
        """Index of the label of a node that each image belongs to, int64 (n,); −1 if to none."""
        index = np.full(len(tree.classes) + 1, -1, dtype=np.int64)  # the last is for images outside
        for label, group in enumerate(node.groups):
            index[[tree.classes.index(name) for name in group]] = label
        return index[self.labels]


@dataclass(frozen=True)
class Way:
    """Where each image turns at each node, if nothing stops it.

    Attributes:
        weights: node → weight of each of its labels, float64 (n, labels).
        turn: node → index of the label with the largest weight, int64 (n,).
        arrived: node → whether the image gets there, bool (n,).
        lost: inner node → whether it belongs to none of the nodes below, as the router has it, bool (n,).
        classes: index among ``Tree.classes`` of the class at the end, int64 (n,).
        sureness: product of the weights along the way, or of a mixture the class's probability, float64 (n,).
    """

    weights: Mapping[str, Floats]
    turn: Mapping[str, NDArray[np.int64]]
    arrived: Mapping[str, NDArray[np.bool_]]
    lost: Mapping[str, NDArray[np.bool_]]
    classes: NDArray[np.int64]
    sureness: Floats

    def answers(self, tree: Tree, seen: Seen, node: Node) -> Answers:
        """A node's answers to all images, those that never arrive there included.

        A leaf answers with its branch's logits, an inner node with the logarithms of its weights.
        """
        logits = seen.logits[node.name] if node.leaf else np.log(self.weights[node.name] + TINY)
        targets = seen.truth(tree, node)
        return Answers(seen.rows, targets, logits.astype(np.float32), seen.activations[node.name])

    def goes_on(self, node: str) -> NDArray[np.bool_]:
        """Where the router does not lose an image at a node, bool (n,)."""
        return ~self.lost[node] if node in self.lost else np.ones(len(self.classes), dtype=bool)

    def routed(self, node: Node, chosen: NDArray[np.bool_]) -> dict[str, NDArray[np.bool_]]:
        """Label of a node → which of some images, bool (n,), turn there."""
        return {label: chosen & (self.turn[node.name] == index) for index, label in enumerate(node.labels)}


@dataclass(frozen=True)
class Guide:
    """A router made ready for every inner node of a tree.

    Attributes:
        router: the router.
        weigh: inner node → weights of the nodes below.
    """

    router: Router
    weigh: Mapping[str, Weigh]

    @classmethod
    def of(cls, tree: Tree, router: Router, validation: Seen) -> "Guide":
        """Fit a router on validation images.

        Raises:
            InputError: if what the router asks is not there.
        """
        return cls(router, {name: router.fit(one) for name, one in _crossings(tree, validation).items()})


def travel(tree: Tree, seen: Seen, guide: Guide | None) -> Way:
    """Send images through the tree.

    Args:
        tree: the tree.
        seen: what its nodes say of the images.
        guide: who shows the way; None for a single leaf.
    """
    crossings, n = _crossings(tree, seen), len(seen)
    weigh, final = (guide.weigh, guide.router.final) if guide else ({}, False)
    weights: dict[str, Floats] = {}
    for node in tree.nodes.values():
        weights[node.name] = (
            softmax(seen.logits[node.name]) if node.leaf else weigh[node.name](crossings[node.name])
        )
    turn = {name: weight.argmax(axis=1) for name, weight in weights.items()}
    lost = {name: 1 - weights[name].sum(axis=1) > weights[name].max(axis=1) for name in crossings}
    arrived = {tree.root: np.ones(n, dtype=bool)}
    classes, sureness = np.zeros(n, dtype=np.int64), np.ones(n)
    for name, node in tree.nodes.items():
        here, taken = arrived[name], turn[name]
        if not final:
            sureness = np.where(here, sureness * weights[name][np.arange(n), taken], sureness)
        for label, (below, group) in enumerate(zip(node.labels, node.groups, strict=True)):
            chosen = here & (taken == label)
            if node.leaf:
                classes[chosen] = tree.classes.index(group[0])
            else:
                arrived[below] = chosen
    if final:
        root = crossings[tree.root]
        assert root.own is not None
        sureness = (root.own * root.reach).max(axis=1)
    return Way(weights, turn, arrived, lost, classes, sureness)


@dataclass(frozen=True)
class Visit:
    """What happens to images at a node.

    Attributes:
        node: the node.
        here: whether each image arrives, bool (n,).
        accepted: whether it is also neither lost by the router nor refused by the node, bool (n,).
        routed: label → which of the accepted turn there, bool (n,).
    """

    node: Node
    here: NDArray[np.bool_]
    accepted: NDArray[np.bool_]
    routed: Mapping[str, NDArray[np.bool_]]


def descend(tree: Tree, way: Way, accepts: Callable[[str], NDArray[np.bool_]]) -> Iterator[Visit]:
    """Follow images down the tree, for as long as the nodes on their way accept them.

    Args:
        tree: the tree.
        way: where the images turn.
        accepts: node → whether it accepts each image, bool (n,), those that never arrive there included.

    Yields:
        Every node, after the one above it.
    """
    going = {tree.root: np.ones(len(way.classes), dtype=bool)}
    for name, node in tree.nodes.items():
        accepted = going[name] & way.goes_on(name) & accepts(name)
        routed = way.routed(node, accepted)
        yield Visit(node, going[name], accepted, routed)
        if not node.leaf:
            going |= routed


def answer(
    tree: Tree, way: Way, accepts: Callable[[str], NDArray[np.bool_]], *, back_off: bool
) -> NDArray[np.int64]:
    """What each image is answered, an index into ``answers_of(tree)``.

    An image goes on as long as the nodes on its way accept it. Where one does not, the last label
    that was accepted is the answer ("some flower"), or, without ``back_off``, "uncertain".

    Args:
        tree: the tree.
        way: where the images turn.
        accepts: node → whether it accepts each image, bool (n,).
        back_off: whether less than a class is an answer.
    """
    names = answers_of(tree)
    given = np.zeros(len(way.classes), dtype=np.int64)
    for visit in descend(tree, way, accepts):
        if visit.node.leaf or back_off:
            for label, chosen in visit.routed.items():
                given[chosen] = names.index(label)
    return given


def answers_of(tree: Tree) -> tuple[str, ...]:
    """Every possible answer: "uncertain", the nodes below the root, the classes."""
    return (UNCERTAIN, *(node.name for node in tree.branches), *tree.classes)


def right(tree: Tree, given: NDArray[np.int64], labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether each image's class is below its answer, bool (n,); false where there is no answer.

    Args:
        tree: the tree.
        given: indices into ``answers_of(tree)``.
        labels: indices into ``tree.classes``; −1 for classes outside the tree.
    """
    holds = np.zeros((len(answers_of(tree)), len(tree.classes) + 1), dtype=bool)
    for index, name in enumerate(answers_of(tree)[1:], start=1):
        classes = tree.nodes[name].classes if name in tree.nodes else (name,)
        holds[index, [tree.classes.index(one) for one in classes]] = True
    found: NDArray[np.bool_] = holds[given, labels]
    return found


def _crossings(tree: Tree, seen: Seen) -> dict[str, Crossing]:
    """Every inner node with what its router may look at."""
    own: dict[str, Floats | None] = {tree.root: seen.root}
    own |= {name: softmax(logits) for name, logits in seen.logits.items()}
    reach: dict[str, Floats] = {}
    crossings: dict[str, Crossing] = {}
    for node in reversed(list(tree.nodes.values())):
        if node.leaf:
            reach[node.name] = softmax(seen.logits[node.name]).max(axis=1)
            continue
        below = [tree.nodes[name] for name in node.labels]
        furthest = np.stack([reach[one.name] for one in below], axis=1)
        mine = own[node.name]
        if node.name != tree.root:
            assert mine is not None
            reach[node.name] = (mine * furthest).max(axis=1)
        truth = seen.truth(tree, node)
        within = np.stack([seen.truth(tree, one) for one in below])
        crossings[node.name] = Crossing(
            name=node.name,
            rows=seen.rows,
            truth=truth,
            targets=np.where(truth < 0, -1, within[truth, np.arange(len(seen))]),
            own=mine,
            below=[seen.logits[one.name] for one in below],
            reach=furthest,
            gate=seen.gates.get(node.name),
        )
    return {name: crossings[name] for name in tree.nodes if name in crossings}
