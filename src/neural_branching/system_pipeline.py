"""The whole flow of a system on one page: parent → activations → branches → routers → thresholds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neural_branching import activations as act
from neural_branching.artifacts import (
    HISTORY,
    ensure_activations,
    ensure_branch,
    ensure_data,
    ensure_logits,
    ensure_parent,
    load_branch,
)
from neural_branching.cost import cost
from neural_branching.data.table import DataTable
from neural_branching.distinct import duplicates
from neural_branching.environment import environment
from neural_branching.evaluation.baselines import Outcome
from neural_branching.evaluation.stops import Rules
from neural_branching.evaluation.system import PARENT_ALONE, SystemEvaluation, evaluate_system
from neural_branching.models import check_budget, check_models, image_shape, new_branch, new_parent
from neural_branching.routing.descent import Seen, Way
from neural_branching.routing.hierarchy import ROOT
from neural_branching.routing.routers import ROUTERS, Router
from neural_branching.selection.arrays import Floats
from neural_branching.selection.scores.outputs import softmax
from neural_branching.settings import Settings
from neural_branching.store import Artifact, Store, store_at
from neural_branching.system import System
from neural_branching.together import train_together
from neural_branching.training import History


@dataclass(frozen=True)
class SystemRun:
    """What one run of a system found out, for the report."""

    system: System
    results: dict[str, Any]
    evaluation: SystemEvaluation
    table: DataTable
    histories: Mapping[str, History]


def check_system(system: System) -> None:
    """Check everything about the networks that can be known before anything is trained.

    Raises:
        InputError: as ``check_models``, for the parent and every node.
    """
    for settings in (system.base, *system.nodes.values()):
        check_models(settings)


def branches_of(system: System) -> list[Settings]:
    """Settings of every branch of a system, gates included."""
    inner = [name for name, node in system.tree.nodes.items() if not node.leaf]
    return [*system.nodes.values(), *(system.gate(name) for name in inner)]


def run_system(system: System, overrides: Sequence[str] = (), fingerprint: str | None = None) -> SystemRun:
    """Do what is missing, evaluate, and return everything that the report needs.

    Every router that the parent's labels allow is compared; thresholds are fitted for the chosen one.

    Args:
        system: what to do.
        overrides: what the user typed, recorded so that a summary can tell runs apart.
        fingerprint: of the data that is expected; None for any.

    Raises:
        InputError: as ``check_system``, and for data, a disk or a training run that fails.
    """
    check_system(system)
    base, tree = system.base, system.tree
    base.compute.apply()
    store = store_at(base.outputs / "store")
    table = ensure_data(base, store, duplicates=True, fingerprint=fingerprint)
    for settings in (base, *system.nodes.values()):
        if settings.trunk is None:
            check_budget(settings, len(table), len(table.rows("train")))
    parent = ensure_parent(base, store, table)
    logits = ensure_logits(base, store, table, parent)
    artifacts = {"data": table.artifact, "parent": parent, "activations": logits}
    train_together(branches_of(system))
    shelf: dict[tuple[str, str], Tensor] = {}
    voices = {
        name: _Voice.of(settings, store, table, parent, shelf) for name, settings in system.nodes.items()
    }
    inner = [name for name, node in tree.nodes.items() if not node.leaf]
    gates = {name: _Voice.of(system.gate(name), store, table, parent, shelf) for name in inner}
    artifacts |= {f"branch {name}": voice.branch for name, voice in voices.items()}
    artifacts |= {f"gate {name}": voice.branch for name, voice in gates.items()}
    spoken = act.read(logits, "logits").numpy()
    splits = ["validation", "calibration", "test"]
    if any(one.score.learns_from == "train" for one in (base, *system.nodes.values())):
        splits.append("train")
    seen = {split: _seen(system, table, split, spoken, voices, gates) for split in splits}
    columns = base.labels.columns(tree.classes)
    everything = {ROOT: base, **system.nodes}
    rules = Rules(
        {name: settings.score for name, settings in everything.items()},
        {name: settings.threshold for name, settings in everything.items()},
    )
    routers: dict[str, Router] = {kind: router() for kind, router in ROUTERS.items()}
    routers[system.router.kind] = system.router
    evaluation = evaluate_system(
        tree,
        seen,
        routers,
        system.router.kind,
        rules,
        None if columns is None else spoken[seen["test"].rows][:, columns],
    )
    provenance = {
        name: {**artifacts[name].provenance(), "built": built}
        for name, built in store.claim(artifacts).items()
    }
    config = base.config
    return SystemRun(
        system,
        {
            "command": "route",
            "status": "completed",
            "data": config["data"]["name"],
            "hierarchy": tree.name,
            "classes": list(tree.classes),
            "router": system.router.kind,
            "parent": {"name": config["parent"]["name"], "labels": base.labels.kind},
            "branch_point": base.stage,
            "branch": {"name": config["branch"]["name"]},
            "score": base.score.kind,
            "threshold": str(base.threshold),
            "seeds": {"parent": base.parent_seed, "branch": base.branch_seed},
            **evaluation.numbers,
            "duplicates": duplicates(
                base, store, table, tree.classes, evaluation.seen.rows, _outcomes(evaluation, system)
            ),
            "cost": _costs(system, voices, gates, evaluation.way),
            "environment": environment(base.compute.device()),
            "artifacts": provenance,
            "used": store.take_used(),
            "overrides": list(overrides),
        },
        evaluation,
        table,
        {
            name.replace(" ", "/"): one.json(HISTORY)
            for name, one in artifacts.items()
            if one.kind in ("parent", "branch")
        },
    )


@dataclass(frozen=True)
class _Voice:
    """A trained branch and what it says of every image of the table."""

    settings: Settings
    branch: Artifact
    logits: NDArray[np.float32]
    inputs: Tensor

    @classmethod
    def of(
        cls,
        settings: Settings,
        store: Store,
        table: DataTable,
        parent: Artifact,
        shelf: dict[tuple[str, str], Tensor],
    ) -> "_Voice":
        """Ask a branch; ``shelf`` keeps what it sees for the next that sees the same."""
        activations = ensure_activations(settings, store, table, parent)
        branch = ensure_branch(settings, store, table, parent)
        place = activations.key, settings.stage
        if place not in shelf:
            shelf[place] = act.read(activations, settings.stage)
        inputs = shelf[place]
        with torch.inference_mode():
            logits = load_branch(settings, branch)(inputs)
        return cls(settings, branch, logits.numpy(), inputs)


def _seen(
    system: System,
    table: DataTable,
    split: str,
    spoken: NDArray[np.float32],
    voices: Mapping[str, _Voice],
    gates: Mapping[str, _Voice],
) -> Seen:
    """What every node says of a split's images, of classes outside the tree too."""
    tree, base = system.tree, system.base
    rows = table.rows(split, per_class=base.images_per_class)
    columns = base.labels.columns_of(tree.nodes[ROOT].groups)
    # Selected once for all that see the same.
    everything = {id(voice.inputs): voice.inputs for voice in voices.values()}
    inputs = {place: one[torch.from_numpy(rows)].numpy() for place, one in everything.items()}
    root: Floats | None = None
    if columns is not None:
        probabilities = softmax(spoken[rows])
        root = np.stack([probabilities[:, mine].sum(axis=1) for mine in columns], axis=1)
    return Seen(
        rows=rows,
        labels=act.subset_targets(table, rows, [(name,) for name in tree.classes]),
        logits={name: voice.logits[rows] for name, voice in voices.items()},
        activations={
            ROOT: spoken[rows],
            **{name: inputs[id(voice.inputs)] for name, voice in voices.items()},
        },
        root=root,
        gates={
            name: softmax(one.logits[rows])[:, : len(tree.nodes[name].labels)] for name, one in gates.items()
        },
    )


def _outcomes(evaluation: SystemEvaluation, system: System) -> dict[str, Outcome]:
    """What the chosen router, and the parent by itself, get wrong without thresholds."""
    found = {"router": evaluation.outcomes[system.router.kind]}
    if PARENT_ALONE in evaluation.outcomes:
        found["parent_alone"] = evaluation.outcomes[PARENT_ALONE]
    return found


def _costs(
    system: System, voices: Mapping[str, _Voice], gates: Mapping[str, _Voice], way: Way
) -> dict[str, Any]:
    """Multiply–accumulates of one image along the path that the chosen router takes, on average over test.

    Thresholds stop no image here: it is what an answer with a class costs. The parent runs once, to the
    deepest stage that is used; a branch runs if the image arrives there, or if the router asks it.
    """
    base, tree, router = system.base, system.tree, system.router
    with torch.device("meta"):
        parent, shape = new_parent(base), image_shape(base)
        whole = cost(parent, shape).macs
        heads = {
            name: cost(new_branch(voice.settings, voice.inputs.shape[1]), (voice.inputs.shape[1],)).macs
            for name, voice in voices.items()
        }
        gate = {
            name: cost(new_branch(voice.settings, voice.inputs.shape[1]), (voice.inputs.shape[1],)).macs
            for name, voice in gates.items()
        }
        stages = {one.stage for one in (base, *system.nodes.values()) if one.trunk is None}
        prefix = {stage: cost(parent, shape, stage).macs for stage in stages}
    n = len(way.classes)
    deepest, total = np.zeros(n), np.zeros(n)
    if router.asks_node or base.score.asks_activations:
        deepest[:] = whole
    if router.final:  # a mixture asks every branch of the tree
        total[:] = sum(heads.values())
    for name, node in tree.nodes.items():
        here = way.arrived[name]
        if not node.leaf and router.asks_gate:
            total[here] += gate[name]
            deepest[here] = np.maximum(deepest[here], prefix[base.stage])
        for below in () if node.leaf else node.labels:
            if router.final:
                continue
            runs = here if router.asks_branches else way.arrived[below]
            total[runs] += heads[below]
            settings = system.nodes[below]
            if settings.trunk is None:
                deepest[runs] = np.maximum(deepest[runs], prefix[settings.stage])
    return {
        "macs": {
            "path": float((deepest + total).mean()),
            "to_deepest_stage": float(deepest.mean()),
            "branches": float(total.mean()),
            "parent": whole,
        },
    }
