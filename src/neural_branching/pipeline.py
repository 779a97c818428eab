"""The whole flow on one page: data → parent → activations → branches → scores and thresholds → results."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from neural_branching.artifacts.baselines import baselines
from neural_branching.artifacts.branch_cost import (
    costs,
    exit_macs,
    parent_cost,
    path_costs,
    saved_seconds,
)
from neural_branching.artifacts.build_networks import (
    check_branch,
    check_budget,
    check_deferral,
    check_parent,
)
from neural_branching.artifacts.duplicate_effect import duplicates
from neural_branching.artifacts.ensure_data import check_examples, ensure_data
from neural_branching.artifacts.exit_latencies import ensure_exit_latencies, exit_milliseconds
from neural_branching.artifacts.outputs import Outputs
from neural_branching.artifacts.train_together import train_together
from neural_branching.artifacts.trained_weights import HISTORY
from neural_branching.artifacts.workspace import Workspace, store_of
from neural_branching.config.experiment import Experiment
from neural_branching.config.objectives import measured
from neural_branching.data.table import DataTable
from neural_branching.errors import InputError
from neural_branching.evaluation.cascade_evaluation import CascadeEvaluation, evaluate_cascade
from neural_branching.evaluation.foreign import Foreign
from neural_branching.evaluation.node_evaluation import NodeEvaluation, evaluate_node
from neural_branching.evaluation.outcomes import Outcome
from neural_branching.evaluation.threshold_free import evaluate_threshold_free
from neural_branching.evaluation.tree_acceptance import Rules
from neural_branching.evaluation.tree_evaluation import PARENT_ALONE, TreeEvaluation, evaluate_tree
from neural_branching.report.results import records
from neural_branching.routing.exits import ExitCosts
from neural_branching.routing.routers import ROUTERS, Router
from neural_branching.store.artifact_store import Artifact
from neural_branching.store.environment import environment
from neural_branching.training.history import History


@dataclass(frozen=True)
class Run:
    """What one run found out, for the report.

    Attributes:
        experiment: what was asked for.
        results: what results.json will hold.
        nodes: node → its branch, evaluated by itself.
        tree: the tree of several branches, evaluated as one; None for a single one.
        cascade: the cascade, evaluated as one; None for anything else.
        table: the examples.
        histories: of the parent and every branch.
    """

    experiment: Experiment
    results: dict[str, Any]
    nodes: Mapping[str, NodeEvaluation]
    tree: TreeEvaluation | None
    cascade: CascadeEvaluation | None
    table: DataTable
    histories: Mapping[str, History]


def check(experiment: Experiment) -> None:
    """Check everything about the networks that can be known before anything is trained.

    Raises:
        InputError: as ``check_parent`` and, for every node, ``check_branch``.
    """
    experiment.compute.device()
    check_parent(experiment.parent)
    for branch in (*experiment.branches.values(), *experiment.gates.values()):
        check_branch(experiment.parent, branch)
    check_deferral(experiment.parent, experiment.tree, experiment.branches)
    if experiment.choice and experiment.choice.minimise == "macs":
        experiment.choice.check_costs(exit_macs(experiment), list(experiment.tree.nodes))


def check_table(experiment: Experiment, table: DataTable) -> None:
    """Check that there are examples enough, and room for their activations.

    Raises:
        InputError: as ``check_examples`` and ``check_budget``.
    """
    if experiment.promise:
        rows = table.rows("calibration", experiment.tree.classes)
        groups = None if table.groups is None else np.unique(table.groups[rows])
        experiment.promise.check(*((len(rows),) if groups is None else (len(groups), "groups")))
    examples, training = len(table), len(table.rows("train"))
    for branch in (*experiment.branches.values(), *experiment.gates.values()):
        check_examples(table, experiment.data, branch)
        if branch.trunk is None:
            check_budget(experiment.parent, branch, examples, training)


def run(experiment: Experiment, overrides: Sequence[str] = (), fingerprint: str | None = None) -> Run:
    """Do what is missing, evaluate, and return everything that the report needs.

    Args:
        experiment: what to do.
        overrides: what the user typed, recorded so that a summary can tell runs apart.
        fingerprint: of the data that is expected; None for any.

    Raises:
        InputError: as ``check``, and for data, a disk or a training run that fails.
    """
    check(experiment)
    experiment.compute.apply()
    table = ensure_data(experiment.data, store_of(experiment), duplicates=True, fingerprint=fingerprint)
    check_table(experiment, table)
    costs, latencies = _exit_costs(experiment)
    workspace = Workspace.of(experiment, table)
    train_together([experiment])
    outputs = Outputs.of(experiment, workspace, latencies)
    nodes, refused = _nodes(outputs)
    tree = _tree(outputs) if experiment.router else None
    cascade = _cascade(outputs, nodes, costs) if experiment.promise else None
    results = {
        **_settings(outputs),
        **(tree.numbers if tree else {}),
        **({"subset": experiment.tree.name, "cascade": cascade.numbers} if cascade else {}),
        "nodes": {name: _node_numbers(outputs, name, nodes, refused) for name in experiment.nodes},
        "duplicates": _duplicates(outputs, nodes, tree, cascade),
        "environment": environment(experiment.compute.device()),
        "artifacts": _provenance(outputs),
        "used": workspace.store.take_used(),
        "overrides": list(overrides),
    }
    if tree and experiment.router:
        results["cost"] = path_costs(experiment, tree.paths)
    return Run(
        experiment=experiment,
        results={**results, "objectives": measured(records(results)[0], experiment.objectives)},
        nodes=nodes,
        tree=tree,
        cascade=cascade,
        table=table,
        histories={
            name.replace(" ", "/"): one.json(HISTORY)
            for name, one in outputs.artifacts.items()
            if one.kind in ("parent", "branch")
        },
    )


def _nodes(outputs: Outputs) -> tuple[dict[str, NodeEvaluation], dict[str, str]]:
    """Every branch evaluated by itself; and those of a tree that cannot be → why, as the tree may do without.

    Raises:
        InputError: if a single branch cannot be evaluated.
    """
    nodes, refused = {}, {}
    for name in outputs.experiment.branches:
        try:
            nodes[name] = _node(outputs, name)
        except InputError as error:
            if not outputs.experiment.router:
                raise
            refused[name] = str(error)
    return nodes, refused


def _node(outputs: Outputs, name: str) -> NodeEvaluation:
    """Evaluate a branch by itself, on the classes that it tells apart."""
    experiment = outputs.experiment
    data, node = experiment.data, experiment.nodes[name]
    foreign = Foreign.of(outputs.heads[name].spec.classes, data.classes, data.superclasses)
    branch, parent = outputs.of_node(name, node, foreign)
    labels = experiment.tree.nodes[name].labels
    return evaluate_node(
        evaluate_threshold_free(branch, parent, node.score, labels, foreign), node.thresholds
    )


def _tree(outputs: Outputs) -> TreeEvaluation:
    """Evaluate the tree as one: every router that the parent's labels allow, thresholds for the chosen."""
    experiment = outputs.experiment
    assert experiment.router
    splits = ["validation", "calibration", "test"]
    if any(node.score.learns_from == "train" for node in experiment.nodes.values()):
        splits.append("train")
    seen = {split: outputs.of_tree(split) for split in splits}
    routers: dict[str, Router] = {kind: router() for kind, router in ROUTERS.items()}
    routers[experiment.router.kind] = experiment.router
    scores = {name: node.score for name, node in experiment.nodes.items()}
    rules = [
        Rules(scores, {name: node.thresholds[index] for name, node in experiment.nodes.items()})
        for index in range(len(experiment.usual.thresholds))
    ]
    parent = outputs.parent_alone(seen["test"].rows)
    return evaluate_tree(experiment.tree, seen, routers, experiment.router.kind, rules, parent)


def _exit_costs(experiment: Experiment) -> tuple[dict[str, ExitCosts], Artifact | None]:
    """What the exits of a cascade cost, and where it was measured; of what has none, nothing.

    Raises:
        InputError: for a budget that not even one exit keeps to.
    """
    if not experiment.promise:
        return {}, None
    costs, choice, artifact = {"macs": exit_macs(experiment)}, experiment.choice, None
    if choice and choice.minimise == "milliseconds":
        artifact = ensure_exit_latencies(experiment, store_of(experiment))
        costs["milliseconds"] = exit_milliseconds(artifact)
        choice.check_costs(costs["milliseconds"], list(experiment.tree.nodes))
    return costs, artifact


def _cascade(
    outputs: Outputs, nodes: Mapping[str, NodeEvaluation], costs: Mapping[str, ExitCosts]
) -> CascadeEvaluation:
    """Evaluate a cascade as one, and beside it what answers without any exit."""
    experiment = outputs.experiment
    assert experiment.promise
    done = evaluate_cascade(
        experiment.tree,
        {split: outputs.of_tree(split) for split in ("validation", "calibration", "test")},
        {name: node.score for name, node in experiment.nodes.items()},
        {name: one.threshold_free.branch.scorer for name, one in nodes.items()},
        experiment.promise,
        experiment.choice,
        costs,
    )
    first = next(iter(nodes.values())).threshold_free
    whole = parent_cost(experiment.parent).macs
    restricted = None
    if first.parent and first.intervals["parent"]:
        error = first.parent.answers.known["test"].error
        restricted = {
            "accuracy": float(1 - error.mean()),
            "intervals": {"accuracy": first.intervals["parent"]["accuracy"]},
            "macs": {"mean": whole, "share": whole / float(costs["macs"].alone[-1])},
        }
    done.numbers["parent_restricted"] = restricted
    return done


def _node_numbers(
    outputs: Outputs, name: str, nodes: Mapping[str, NodeEvaluation], refused: Mapping[str, str]
) -> dict[str, Any]:
    """What results.json says of a node: of the root of several branches only where it stands."""
    experiment = outputs.experiment
    place = experiment.tree.nodes[name]
    numbers: dict[str, Any] = {"within": place.within, "labels": list(place.labels)}
    numbers["defer_to"] = place.defer_to
    if name in refused:
        return {**numbers, "not_evaluated_alone": refused[name]}
    if name not in nodes:
        return numbers
    head, branch = outputs.heads[name], nodes[name].threshold_free.branch
    spec, facts = head.spec, head.artifacts["branch"].facts
    return {
        **numbers,
        "classes": list(spec.classes),
        "branch_point": spec.stage,
        "readout": spec.readout.kind,
        "trunk": spec.trunk.name if spec.trunk else None,
        "branch": {"name": spec.kind, "seed": spec.seed, **facts},
        **nodes[name].numbers(),
        "cost": costs(experiment.parent, spec, head.artifacts),
        "baselines": baselines(
            outputs.workspace,
            spec,
            experiment.baselines,
            experiment.baseline_epochs,
            branch.answers.known["test"],
        ),
        "published": experiment.published.get(name),
    }


def _duplicates(
    outputs: Outputs,
    nodes: Mapping[str, NodeEvaluation],
    tree: TreeEvaluation | None,
    cascade: CascadeEvaluation | None,
) -> dict[str, Any]:
    """Which test examples repeat training examples, and how the run does without them."""
    branch = outputs.experiment.usual.branch
    if tree and outputs.experiment.router:
        chosen = {"router": tree.outcomes[outputs.experiment.router.kind]}
        if PARENT_ALONE in tree.outcomes:
            chosen["parent_alone"] = tree.outcomes[PARENT_ALONE]
        return duplicates(outputs.workspace, branch, tree.outputs.rows, chosen)
    if cascade:
        return duplicates(outputs.workspace, branch, cascade.outputs.rows, cascade.outcomes)
    [only] = nodes.values()
    sides = {"branch": only.threshold_free.branch, "parent_restricted": only.threshold_free.parent}
    outcomes = {
        name: Outcome(side.answers.known["test"].error, side.known["test"], side.answers.known["test"].groups)
        for name, side in sides.items()
        if side
    }
    rows = only.threshold_free.branch.answers.known["test"].rows
    return duplicates(outputs.workspace, branch, rows, outcomes)


def _provenance(outputs: Outputs) -> dict[str, Any]:
    """Every artifact, and whether this run has built it."""
    artifacts, workspace = outputs.artifacts, outputs.workspace
    provenance = {
        name: {**artifacts[name].provenance(), "built": built}
        for name, built in workspace.store.newly_built(artifacts).items()
    }
    provenance["data"]["build_seconds"] += workspace.table.read_seconds  # of the source itself
    if len(outputs.heads) == 1:
        [only] = outputs.heads.values()
        # Beside the other seconds, so that the rest of two equal runs compares equal.
        saved = saved_seconds(only.spec, workspace.table, only.artifacts)
        provenance["activations"]["saved_seconds"] = saved
    return provenance


def _settings(outputs: Outputs) -> dict[str, Any]:
    """What was asked for, and what is known of the parent."""
    experiment, workspace = outputs.experiment, outputs.workspace
    data, parent, usual = experiment.data, experiment.parent, experiment.usual
    (validation, validation_n), (test, test_n) = map(outputs.parent_accuracy, ("validation", "test"))
    return {
        "command": experiment.command,
        "status": "completed",
        "data": data.name,
        "examples": {
            "n": len(workspace.table),
            "skipped": workspace.table.skipped,
            "disjoint": data.split.disjoint,
            **({"cut": outputs.parent.facts["cut"]} if "cut" in outputs.parent.facts else {}),
        },
        "hierarchy": experiment.tree.name if experiment.router else None,
        "classes": list(experiment.tree.classes),
        "router": experiment.router.kind if experiment.router else None,
        "views": usual.branch.views.count,
        "seeds": {"split": data.split.seed, "parent": parent.seed, "branch": usual.branch.seed},
        "usual": {
            "branch_point": usual.branch.stage,
            "branch": usual.branch.kind,
            "score": str(usual.score),
        },
        "parent": {
            "name": parent.name,
            "classes": len(parent.labels.of),
            "labels": parent.labels.kind,
            "logits": len(parent.labels.names),
            "checkpoint": None if parent.checkpoint is None else str(parent.checkpoint),
            "validation_accuracy": validation,
            "validation_n": validation_n,
            "test_accuracy": test,
            "test_n": test_n,
            **workspace.weights.facts,
        },
        "precision": {
            name: {"training": recipe.precision, "matmul": recipe.matmul_precision}
            for name, recipe in (("parent", parent.recipe), ("branch", usual.branch.recipe))
            if recipe
        },
    }
