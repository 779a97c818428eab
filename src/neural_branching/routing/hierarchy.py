"""Trees of branches: which node tells apart what."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from neural_branching.errors import ArgumentError, InputError, folder_name, one_of

ROOT, UNCERTAIN = "root", "uncertain"
RESERVED = (ROOT, UNCERTAIN)
_OVER_CLASSES = ("within", "classes", "superclass", "defer_to")
_OPTIONS = (*_OVER_CLASSES, "branch_point", "branch", "score", "threshold")


@dataclass(frozen=True)
class Node:
    """An inner node or a leaf: a branch, or at the root of several the parent network.

    Attributes:
        name: the node's name; an example that gets no further is answered with it.
        within: name of the node above; None for the root.
        labels: what the node tells apart: names of nodes, or of classes at a leaf.
        groups: the classes behind each label, in the data set's order.
        leaf: whether the labels are classes.
        settings: configuration groups in which the node differs from the rest of the run.
        defer_to: the next node of a cascade, which tells the same labels apart and is asked where this one
            does not accept; None if there is none.
    """

    name: str
    within: str | None
    labels: tuple[str, ...]
    groups: tuple[tuple[str, ...], ...]
    leaf: bool
    settings: Mapping[str, Any] = field(default_factory=dict)
    defer_to: str | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """Every class below the node."""
        return tuple(name for group in self.groups for name in group)


@dataclass(frozen=True)
class Tree:
    """A resolved hierarchy; of a single branch, one leaf.

    Nodes that defer to each other are the exits of a *cascade*. It has one place in the tree: labels and
    answers name its first exit.

    Attributes:
        name: the hierarchy's name.
        nodes: name → node, the root first and every node after the one above it and that which defers to it.
    """

    name: str
    nodes: Mapping[str, Node]

    @classmethod
    def cascade(cls, name: str, exits: Sequence[Node]) -> "Tree":
        """Exits that defer to each other, from the first on.

        Args:
            name: of the tree.
            exits: nodes that tell the same labels apart.
        """
        further = [*(one.name for one in exits[1:]), None]
        linked = [replace(one, defer_to=to) for one, to in zip(exits, further, strict=True)]
        return cls(name, {one.name: one for one in linked})

    @property
    def root(self) -> str:
        """Name of the first node."""
        return next(iter(self.nodes))

    @property
    def classes(self) -> tuple[str, ...]:
        """Every class of the tree, in the order of its leaves."""
        return self.nodes[self.root].classes

    @property
    def inner(self) -> tuple[str, ...]:
        """Names of the places that have nodes below them."""
        further = {node.defer_to for node in self.nodes.values()}
        return tuple(name for name, node in self.nodes.items() if not node.leaf and name not in further)

    @property
    def named(self) -> tuple[Node, ...]:
        """The nodes that an answer may name: every place in the tree but the root."""
        labels = {label for name in self.inner for label in self.nodes[name].labels}
        return tuple(node for name, node in self.nodes.items() if name in labels)

    def exits(self, name: str) -> tuple[str, ...]:
        """A node and those that it defers to, one after another."""
        further = self.nodes[name].defer_to
        return (name,) if further is None else (name, *self.exits(further))

    def last(self, name: str) -> str:
        """Where deferring ends: the last exit of a cascade, or the node itself."""
        return self.exits(name)[-1]

    def depth(self, name: str) -> int:
        """Number of decisions above a node: 0 for the root."""
        within = self.nodes[name].within
        return 0 if within is None else 1 + self.depth(within)

    def before(self, name: str) -> tuple[str, ...]:
        """The nodes that are asked before this one, where none above it answers: the longest way there."""
        node = self.nodes[name]
        asked = [one.name for one in self.nodes.values() if one.defer_to == name]
        if not asked and node.within is not None:
            asked = [self.last(node.within)]
        return (*self.before(asked[0]), asked[0]) if asked else ()

    @property
    def levels(self) -> int:
        """Number of decisions on the longest path to a class."""
        return 1 + max(self.depth(name) for name in self.nodes)


class Hierarchy:
    """A tree of any depth over any classes, as its configuration gives it.

    Args:
        name: how the hierarchy is called in tables and folders.
        nodes: name → options: ``within`` (the node above; the root if left out), ``classes`` or
            ``superclass`` at a leaf (above it, optional: the classes that its nodes must share out),
            ``defer_to`` (the node that is asked where this one does not accept: it stands in the same place
            and tells the same apart, so that it need not repeat either), and ``branch_point``, ``branch``,
            ``score`` and ``threshold`` where the node differs from the rest of the run.

    Raises:
        InputError: for an unknown option, a node within one that does not exist or within itself, and nodes
            that defer in a circle or from two nodes to one.
    """

    def __init__(self, name: str, nodes: Mapping[str, Mapping[str, Any] | None]) -> None:
        if not isinstance(nodes, Mapping) or not nodes:
            raise ArgumentError("nodes", f"is {nodes!r}: it must name at least two nodes.")
        self.name = folder_name(name, "name")
        for node, options in nodes.items():
            if options is not None and not isinstance(options, Mapping):
                raise ArgumentError(f"nodes.{node}", f"is {options!r}: it must hold options.")
        self.nodes = {str(node): dict(options or {}) for node, options in nodes.items()}
        for node, options in self.nodes.items():
            if node == ROOT or not re.fullmatch(r"[\w.+-]+", node):
                raise ArgumentError(
                    "nodes", f"has a node {node!r}: names have letters, digits and _.+-, and root is taken."
                )
            for option in options:
                one_of(option, _OPTIONS, f"an option of node {node!r}")
            one_of(options.get("within", ROOT), (ROOT, *self.nodes), f"within of node {node!r}")
            if options.get("defer_to") is not None:
                one_of(options["defer_to"], self.nodes, f"defer_to of node {node!r}")
        for node in self.nodes:
            self._refuse_cycle(node, "within")
            self._refuse_cycle(node, "defer_to")
        self._further = self._deferred()

    def resolve(self, known: Sequence[str], superclasses: Mapping[str, Sequence[str]]) -> Tree:
        """The tree over the classes of a data set.

        Args:
            known: every class of the data set, in its order.
            superclasses: name → classes, as the data set's configuration gives it.

        Raises:
            InputError: if a class is unknown or below two nodes, a node lacks classes that it was said to
                have or lies outside the node above, or tells fewer than two things apart.
        """
        below: dict[str, list[str]] = {name: [] for name in (ROOT, *self.nodes)}
        for name, options in self.nodes.items():
            if name not in self._further:
                below[options.get("within", ROOT)].append(name)
        given = {name: self._given(name, known, superclasses) for name in self.nodes}
        found: dict[str, Node] = {}
        # A node that has the root for itself is the root: a branch then decides what the parent else does.
        [first, *others] = below[ROOT]
        alone = not others and (below[first] or self.nodes[first].get("defer_to"))
        self._add(first if alone else ROOT, None, below, given, known, found)
        tree = Tree(self.name, found)
        for name in (*tree.classes, *self.nodes):
            if name in RESERVED:
                raise InputError(
                    f"The hierarchy {self.name!r} has a class or node {name!r}, which means "
                    "something else: choose another name."
                )
        for name in self.nodes:
            if name in known:
                raise InputError(f"The hierarchy {self.name!r} has a node {name!r}, which is a class too.")
        return tree

    def _add(
        self,
        name: str,
        within: str | None,
        below: Mapping[str, Sequence[str]],
        given: Mapping[str, tuple[str, ...] | None],
        known: Sequence[str],
        found: dict[str, Node],
    ) -> tuple[str, ...]:
        """Add a node, those that it defers to and all below them, in this order; its classes."""
        children, mine, exits = below[name], given.get(name), self._exits(name)
        found |= {one: Node(one, within, (), (), False) for one in exits}  # their place, before those below
        if children:
            groups = [self._add(child, name, below, given, known, found) for child in children]
            labels: Sequence[str] = children
        else:
            if mine is None:
                raise InputError(
                    f"The node {name!r} of hierarchy {self.name!r} has neither classes nor nodes within it: "
                    "give it classes or a superclass."
                )
            groups, labels = [(one,) for one in mine], mine
        if len(labels) < 2:
            raise InputError(
                f"The node {name!r} of hierarchy {self.name!r} holds only {', '.join(labels) or 'nothing'}: "
                "a node needs at least two things to tell apart."
            )
        everything = [one for group in groups for one in group]
        for one in everything:
            if everything.count(one) > 1:
                holders = [label for label, group in zip(labels, groups, strict=True) if one in group]
                raise InputError(
                    f"The class {one!r} is twice in hierarchy {self.name!r}: below {' and '.join(holders)}."
                )
        if children and mine is not None:
            self._compare(name, mine, children, groups)
        classes = tuple(one for one in known if one in everything)
        for one in exits:
            options = self.nodes.get(one, {})
            if given.get(one) not in (None, classes):
                raise InputError(
                    f"The node {name!r} of hierarchy {self.name!r} defers to {one!r}, which has other "
                    f"classes: give it the same, {', '.join(classes)}, or none."
                )
            settings = {group: options[group] for group in options if group not in _OVER_CLASSES}
            further = options.get("defer_to")
            found[one] = Node(one, within, tuple(labels), tuple(groups), not children, settings, further)
        return classes

    def _given(
        self, name: str, known: Sequence[str], superclasses: Mapping[str, Sequence[str]]
    ) -> tuple[str, ...] | None:
        """The classes that a node's options name, in the data set's order; None if they name none."""
        options = self.nodes[name]
        classes, superclass = options.get("classes"), options.get("superclass")
        if classes is not None and superclass is not None:
            raise InputError(
                f"The node {name!r} of hierarchy {self.name!r} has both classes and a superclass."
            )
        if superclass is not None:
            members = superclasses[one_of(superclass, superclasses, f"superclass of node {name!r}")]
            return tuple(one for one in known if one in members)
        if classes is None:
            return None
        if isinstance(classes, str) or not isinstance(classes, Sequence):
            raise InputError(
                f"The classes of node {name!r} are {classes!r}: give a list of names, as in [a,b]."
            )
        for one in classes:
            one_of(one, known, f"a class of node {name!r}")
            if list(classes).count(one) > 1:
                raise InputError(
                    f"The node {name!r} of hierarchy {self.name!r} names the class {one!r} twice."
                )
        return tuple(one for one in known if one in classes)

    def _compare(
        self, name: str, mine: Sequence[str], children: Sequence[str], groups: Sequence[Sequence[str]]
    ) -> None:
        for child, group in zip(children, groups, strict=True):
            for one in group:
                if one not in mine:
                    raise InputError(
                        f"The node {child!r} of hierarchy {self.name!r} holds {one!r}, which is no class of "
                        f"{name!r} above it: {', '.join(mine)}."
                    )
        for one in mine:
            if not any(one in group for group in groups):
                raise InputError(
                    f"The class {one!r} of node {name!r} in hierarchy {self.name!r} is in none of its nodes: "
                    f"{', '.join(children)}."
                )

    def _exits(self, name: str) -> list[str]:
        """A node and those that it defers to, one after another."""
        exits = [name]
        while (further := self.nodes.get(exits[-1], {}).get("defer_to")) is not None:
            exits.append(further)
        return exits

    def _deferred(self) -> dict[str, str]:
        """Every node that another defers to → that other.

        Raises:
            InputError: if two defer to it, it lies elsewhere, or nodes lie within it.
        """
        found: dict[str, str] = {}
        for node, options in self.nodes.items():
            further = options.get("defer_to")
            if further is None:
                continue
            if further in found:
                raise InputError(
                    f"The nodes {found[further]!r} and {node!r} of hierarchy {self.name!r} both defer to "
                    f"{further!r}: give each a node of its own."
                )
            found[further] = node
        for further, node in found.items():
            first = node
            while first in found:
                first = found[first]
            place = self.nodes[first].get("within", ROOT)
            if self.nodes[further].get("within", place) != place:
                raise InputError(
                    f"The node {node!r} of hierarchy {self.name!r} defers to {further!r}, which lies within "
                    f"{self.nodes[further]['within']!r}: it must lie within {place!r} too, or say nothing."
                )
            for inner, options in self.nodes.items():
                if options.get("within") == further:
                    raise InputError(
                        f"The node {inner!r} of hierarchy {self.name!r} lies within {further!r}, to which "
                        f"{node!r} defers: let it lie within {first!r}, where the cascade begins."
                    )
        return found

    def _refuse_cycle(self, start: str, along: str) -> None:
        seen, node = [start], self.nodes[start].get(along)
        while node not in (None, ROOT):
            if node in seen:
                circle = f" {along} ".join([*seen, node])
                raise InputError(f"The hierarchy {self.name!r} goes round in a circle: {circle}.")
            seen.append(node)
            node = self.nodes[node].get(along)
