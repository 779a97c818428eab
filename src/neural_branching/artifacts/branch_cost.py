"""What branches cost: to run, along the path from the input, and to keep."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from neural_branching.artifacts.build_networks import branch_outline, input_width, outline
from neural_branching.artifacts.macs import Cost, cost
from neural_branching.config.branch_spec import BranchSpec
from neural_branching.config.experiment import Experiment
from neural_branching.config.parent_spec import ParentSpec
from neural_branching.data.table import DataTable
from neural_branching.routing.descent import RoutingPaths
from neural_branching.routing.exits import ExitCosts
from neural_branching.selection.array_types import Bool
from neural_branching.store.artifact_store import Artifact


def costs(parent: ParentSpec, branch: BranchSpec, artifacts: Mapping[str, Artifact]) -> dict[str, Any]:
    """What a branch costs to run and to keep.

    Args:
        parent: what it grows from, directly or through other branches.
        branch: the branch.
        artifacts: "activations" and, if there are any, "views".
    """
    head = head_cost(branch, input_width(parent, branch))
    whole, prefix = parent_cost(parent), _prefix_cost(parent, branch)
    return {
        "macs": {
            "to_branch_point": prefix.macs,
            "branch": head.macs,
            "path": prefix.macs + head.macs,
            "parent": whole.macs,
        },
        "parameters": {
            "to_branch_point": prefix.parameters,
            "branch": head.parameters,
            "parent": whole.parameters,
        },
        "cache_bytes": sum(
            file["bytes"] for one in _kept(artifacts) for file in one.manifest["files"].values()
        ),
    }


def path_costs(experiment: Experiment, paths: RoutingPaths) -> dict[str, Any]:
    """Multiply–accumulates of one example along its path through the tree, on average over test examples.

    Thresholds stop none here: it is what an answer with a class costs, of a cascade the last exit's with all
    before it. The parent runs once, to the deepest stage that is used; a branch runs if the example arrives
    there, or if the router asks it.

    Args:
        experiment: a tree of several branches.
        paths: where the router sends the examples.
    """
    parent, tree, router = experiment.parent, experiment.tree, experiment.router
    assert router
    branches = experiment.branches
    whole = parent_cost(parent).macs
    heads, gates = (
        {name: head_cost(one, input_width(parent, one)).macs for name, one in some.items()}
        for some in (branches, experiment.gates)
    )
    prefix = {
        name: parent_cost(parent, one.stage).macs for name, one in branches.items() if one.trunk is None
    }
    at_gates = parent_cost(parent, experiment.usual.branch.stage).macs
    n = len(paths.classes)
    deepest, total = np.zeros(n), np.zeros(n)

    def asks(name: str, runs: Bool[np.ndarray, " n"]) -> None:
        """A branch runs, and the parent to its branch point."""
        if not router.final:
            total[runs] += heads[name]
        deepest[runs] = np.maximum(deepest[runs], prefix.get(name, 0))

    if tree.root not in branches and (router.asks_node or experiment.usual.score.asks_activations):
        deepest[:] = whole
    if router.final:  # a mixture asks every branch of the tree
        total[:] = sum(heads.values())
    for name, node in tree.nodes.items():
        here = paths.arrived[name]
        if name in branches and (node.within is None or not router.asks_branches or node.defer_to):
            asks(name, here)
        if not node.leaf and router.asks_gate:
            total[here] += gates[name]
            deepest[here] = np.maximum(deepest[here], at_gates)
        if router.asks_branches and not node.leaf and not node.defer_to:
            for below in node.labels:
                asks(tree.last(below), here)
    return {
        "macs": {
            "path": float((deepest + total).mean()),
            "to_deepest_stage": float(deepest.mean()),
            "branches": float(total.mean()),
            "parent": whole,
        },
    }


def exit_macs(experiment: Experiment) -> ExitCosts:
    """Multiply–accumulates of one example up to each exit of a cascade, and of the exit itself."""
    parent, branches = experiment.parent, experiment.branches.values()
    prefix = np.array([parent_cost(parent, one.stage).macs for one in branches], np.float64)
    return ExitCosts(
        np.maximum.accumulate(prefix),  # who is at an exit has been at those before
        np.array([head_cost(one, input_width(parent, one)).macs for one in branches], np.float64),
    )


def saved_seconds(branch: BranchSpec, table: DataTable, artifacts: Mapping[str, Artifact]) -> float:
    """Seconds that the cache has saved a branch's training.

    The parent would have computed the training examples' activations anew in every epoch, as fast as
    when the cache was built; what building it took is taken off.

    Args:
        branch: the branch.
        table: the examples.
        artifacts: "branch", "activations" and, if there are any, "views".
    """
    seconds = sum(float(one.manifest["seconds"]) for one in _kept(artifacts))
    per_example = seconds / sum(int(one.facts["examples"]) for one in _kept(artifacts))
    examples = len(table.rows("train", branch.classes, per_class=branch.examples_per_class))
    learned = examples * (1 + branch.views.count)
    epochs = int(artifacts["branch"].facts["epochs"])
    return round(epochs * learned * per_example - seconds, 3)


def _kept(artifacts: Mapping[str, Artifact]) -> list[Artifact]:
    return [artifacts[name] for name in ("activations", "views") if name in artifacts]


@lru_cache(maxsize=64)
def parent_cost(spec: ParentSpec, until: str | None = None) -> Cost:
    """What a pass of a parent costs, up to a stage."""
    return cost(outline(spec), spec.input.blank(), until)


@lru_cache(maxsize=64)
def head_cost(spec: BranchSpec, width: int) -> Cost:
    """What a branch costs for vectors of length ``width``."""
    return cost(branch_outline(spec, width), torch.zeros(1, width))


def _prefix_cost(parent: ParentSpec, branch: BranchSpec) -> Cost:
    """What it costs to come to a branch point, through the trunk where there is one."""
    if branch.trunk is None:
        return parent_cost(parent, branch.stage)
    above, width = _prefix_cost(parent, branch.trunk), input_width(parent, branch.trunk)
    stem = cost(branch_outline(branch.trunk, width), torch.zeros(1, width), branch.stage)
    return Cost(above.macs + stem.macs, above.parameters + stem.parameters)
