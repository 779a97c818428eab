"""What the nodes of a tree put out for some examples, wherever the path of each will lead."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from array_api_compat import array_namespace

from neural_branching.routing.hierarchy import Node, Tree
from neural_branching.selection import Answers
from neural_branching.selection.array_types import Bool, Float, Float64, Int64
from neural_branching.selection.scores import formulas
from neural_branching.selection.scores.formulas import Array


@dataclass(frozen=True)
class NodeOutputs:
    """Outputs of every node for n examples.

    Attributes:
        rows: row numbers in the data table.
        labels: index of each example's class among ``Tree.classes``; −1 if outside the tree.
        logits: branch → its logits.
        activations: node → the vectors that it sees.
        root: the parent's probability of each node below the root, 1 less their sum being outside the tree;
            None if its labels do not tell them apart.
        gates: inner node → a learned gate's probability of each node below.
        groups: equal for examples of one group; None where each is by itself.
    """

    rows: Int64[Array, " n"]
    labels: Int64[Array, " n"]
    logits: Mapping[str, Float[Array, "n _"]]
    activations: Mapping[str, Float[Array, "n _"]]
    root: Float64[Array, "n below"] | None
    gates: Mapping[str, Float64[Array, "n _"]]
    groups: Int64[Array, " n"] | None = None

    @classmethod
    def of(
        cls,
        tree: Tree,
        rows: Int64[Array, " n"],
        labels: Int64[Array, " n"],
        logits: Mapping[str, Float[Array, "n _"]],
        activations: Mapping[str, Float[Array, "n _"]],
        gates: Mapping[str, Float[Array, "n _"]],
        parent: Float[Array, "n _"] | None,
        columns: Sequence[Sequence[int]] | None,
        groups: Int64[Array, " n"] | None = None,
    ) -> "NodeOutputs":
        """From the logits of all networks.

        Args:
            tree: the tree.
            rows: see ``rows``.
            labels: see ``labels``.
            logits: see ``logits``.
            activations: see ``activations``.
            gates: inner node → its gate's logits of the nodes below and, if it was so trained, of "none of
                them".
            parent: the parent's logits; None if nothing asks for them.
            columns: which of these belong to each node below the root; None if they do not tell.
            groups: see ``groups``.
        """
        root = None
        if parent is not None and columns is not None:
            xp, shares = array_namespace(parent), probabilities(parent)
            root = xp.stack([xp.sum(shares[:, list(mine)], axis=1) for mine in columns], axis=1)
        weights = {
            name: probabilities(gate)[:, : len(tree.nodes[name].labels)] for name, gate in gates.items()
        }
        return cls(rows, labels, logits, activations, root, weights, groups)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, chosen: Bool[np.ndarray, " n"]) -> "NodeOutputs":
        """Those of some of the examples."""
        return NodeOutputs(
            self.rows[chosen],
            self.labels[chosen],
            {name: logits[chosen] for name, logits in self.logits.items()},
            {name: vectors[chosen] for name, vectors in self.activations.items()},
            None if self.root is None else self.root[chosen],
            {name: gate[chosen] for name, gate in self.gates.items()},
            None if self.groups is None else self.groups[chosen],
        )

    @property
    def inside(self) -> "NodeOutputs":
        """Those of the examples of the tree's classes."""
        return self[self.labels >= 0]

    def answers(self, tree: Tree, node: Node, logits: Float[Array, "n labels"] | None = None) -> Answers:
        """A node's answers to all of the examples, those that never arrive there included.

        Args:
            tree: the tree.
            node: the node.
            logits: what it answers with; None for its branch's.
        """
        mine = self.logits[node.name] if logits is None else logits
        return Answers(self.rows, self.truth(tree, node), mine, self.activations[node.name], self.groups)

    def truth(self, tree: Tree, node: Node) -> Int64[np.ndarray, " n"]:
        """Index of the label of a node that each example belongs to; −1 if to none."""
        index = np.full(len(tree.classes) + 1, -1, dtype=np.int64)  # the last is for examples outside
        for label, group in enumerate(node.groups):
            index[[tree.classes.index(name) for name in group]] = label
        return index[self.labels]


def probabilities(logits: Float[Array, "n labels"]) -> Float64[Array, "n labels"]:
    """Softmax of logits."""
    xp = array_namespace(logits)
    return formulas.softmax(xp.astype(logits, xp.float64))
