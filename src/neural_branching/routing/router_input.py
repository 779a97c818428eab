"""What a router may look at where a path divides."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from array_api_compat import array_namespace

from neural_branching.routing.hierarchy import Node, Tree
from neural_branching.routing.node_outputs import NodeOutputs, probabilities
from neural_branching.selection.array_types import Float, Float64, Int64
from neural_branching.selection.scores.formulas import Array


@dataclass(frozen=True)
class RouterInput:
    """An inner node of a tree and n examples, those included that belong elsewhere.

    Attributes:
        tree: the tree.
        node: the node.
        outputs: of all nodes.
        own: the node's own probability of each node below; None if it does not tell them apart. Rows may add
            up to less than 1: the rest is outside the tree.
        below: logits of the branch of each node below, of a cascade those of its last exit.
        reach: largest probability that any single class below each node has, given that node.
        gate: probabilities of the learned gate; None if none was trained. The rest is "none of them".
    """

    tree: Tree
    node: Node
    outputs: NodeOutputs
    own: Float64[Array, "n below"] | None
    below: Sequence[Float[Array, "n _"]]
    reach: Float64[Array, "n below"]
    gate: Float64[Array, "n below"] | None

    @property
    def truth(self) -> Int64[np.ndarray, " n"]:
        """Index of the node below that each example belongs to; −1 if to none."""
        return self.outputs.truth(self.tree, self.node)

    @property
    def targets(self) -> Int64[np.ndarray, " n"]:
        """Index of each example's label within the node below that it belongs to."""
        below = [self.outputs.truth(self.tree, self.tree.nodes[name]) for name in self.node.labels]
        truth = self.truth
        return np.where(truth < 0, -1, np.stack(below)[truth, np.arange(len(truth))])


def router_inputs(tree: Tree, outputs: NodeOutputs) -> dict[str, RouterInput]:
    """Every inner node with what its router may look at.

    Args:
        tree: the tree.
        outputs: of its nodes, arrays of numpy or torch.
    """
    own = {tree.root: outputs.root}
    own |= {name: probabilities(logits) for name, logits in outputs.logits.items()}
    reach: dict[str, Array] = {}
    found: dict[str, RouterInput] = {}
    for node in reversed(list(tree.nodes.values())):
        mine = own[node.name]
        if node.leaf:
            reach[node.name] = array_namespace(mine).max(mine, axis=1)
            continue
        ends = [tree.last(name) for name in node.labels]
        below = [outputs.logits[name] for name in ends]
        xp = array_namespace(*below)
        furthest = xp.stack([reach[name] for name in ends], axis=1)
        if node.name != tree.root:
            reach[node.name] = xp.max(mine * furthest, axis=1)
        gate = outputs.gates.get(node.name)
        found[node.name] = RouterInput(tree, node, outputs, mine, below, furthest, gate)
    return {name: found[name] for name in tree.nodes if name in found}
