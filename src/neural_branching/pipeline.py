"""The whole flow on one page: data → parent → activations → branch → score and threshold → report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from neural_branching import activations as act
from neural_branching.artifacts import (
    HISTORY,
    ensure_activations,
    ensure_branch,
    ensure_data,
    ensure_logits,
    ensure_parent,
    ensure_views,
    load_branch,
)
from neural_branching.baselines import baselines, costs, saved_seconds
from neural_branching.data.split import SPLITS
from neural_branching.data.table import DataTable
from neural_branching.environment import environment
from neural_branching.evaluation.evaluate import Evaluation, evaluate
from neural_branching.evaluation.foreign import Foreign
from neural_branching.evaluation.judge import Material
from neural_branching.models import check_budget, check_models
from neural_branching.selection import Answers
from neural_branching.settings import Settings
from neural_branching.store import Artifact, store_at
from neural_branching.training import History

# Splits that no parameter is trained on.
HELD_OUT = SPLITS[1:]


@dataclass(frozen=True)
class Run:
    """What one run found out, for the report."""

    settings: Settings
    results: dict[str, Any]
    evaluation: Evaluation
    table: DataTable
    histories: Mapping[str, History]


def run(settings: Settings, overrides: Sequence[str] = ()) -> Run:
    """Do what is missing, evaluate, and return everything that the report needs.

    Args:
        settings: what to do.
        overrides: what the user typed, recorded so that a summary can tell runs apart.

    Raises:
        InputError: as ``check_models``, and for data, a disk or a training run that fails.
    """
    check_models(settings)
    settings.compute.apply()
    store = store_at(settings.outputs / "store")
    table = ensure_data(settings, store)
    check_budget(settings, len(table), len(table.rows("train")))
    parent = ensure_parent(settings, store, table)
    activations = ensure_activations(settings, store, table, parent)
    branch = ensure_branch(settings, store, table, parent)
    foreign = Foreign.of(settings.classes, settings.known, settings.config["data"]["superclasses"] or {})
    logits = ensure_logits(settings, store, table, parent)
    held_out = _held_out(settings, table, activations, logits, branch, foreign)
    evaluation = evaluate(
        held_out.branch, held_out.parent, settings.score, settings.threshold, settings.classes, foreign
    )
    artifacts = {"data": table.artifact, "parent": parent, "activations": activations, "branch": branch}
    if settings.views.count:
        artifacts["views"] = ensure_views(settings, store, table, parent)
    compared = baselines(settings, store, table, artifacts, held_out.branch.known["test"])
    provenance = {
        name: {**artifacts[name].provenance(), "built": built}
        for name, built in store.claim(artifacts).items()
    }
    # Beside the other seconds, so that the rest of two equal runs compares equal.
    provenance["activations"]["saved_seconds"] = saved_seconds(settings, table, artifacts)
    return Run(
        settings=settings,
        results={
            **_results(settings, table, artifacts, evaluation, held_out.parent_accuracy),
            "cost": costs(settings, artifacts),
            "baselines": compared,
            "artifacts": provenance,
            "overrides": list(overrides),
        },
        evaluation=evaluation,
        table=table,
        histories={name: artifacts[name].json(HISTORY) for name in ("parent", "branch")},
    )


@dataclass(frozen=True)
class _HeldOut:
    """What branch and parent say about the images that no model was fitted to."""

    branch: Material
    parent: Material | None
    parent_accuracy: dict[str, tuple[float, int]]


@torch.inference_mode()
def _held_out(
    settings: Settings,
    table: DataTable,
    activations: Artifact,
    logits_artifact: Artifact,
    artifact: Artifact,
    foreign: Foreign,
) -> _HeldOut:
    """Answers by split: the only function that reads the test rows, once per run."""
    model = load_branch(settings, artifact)
    labels = settings.labels
    columns = labels.columns(settings.classes)
    vectors, logits = act.read(activations, settings.stage), act.read(logits_artifact, "logits")
    branch, parent = Material({}, {}), Material({}, {})

    def ask(split: str, classes: Sequence[str]) -> tuple[Answers, Answers]:
        rows = table.rows(split, classes, per_class=settings.images_per_class)
        targets = act.subset_targets(table, rows, settings.groups)
        foreign_targets = -1 - act.subset_targets(table, rows, [(name,) for name in foreign.classes])
        targets = np.where(targets < 0, foreign_targets, targets)
        seen = vectors[rows]
        return (
            Answers(rows, targets, model(seen).numpy(), seen.numpy()),
            Answers(rows, targets, logits[rows][:, columns or []].numpy(), seen.numpy()),
        )

    accuracy = {}
    for split in HELD_OUT if settings.score.learns_from != "train" else SPLITS:
        branch.known[split], parent.known[split] = ask(split, settings.classes)
    for split in ("calibration", "test"):
        branch.foreign[split], parent.foreign[split] = ask(split, foreign.classes)
    for split in HELD_OUT:
        everyone = table.rows(split, tuple(labels.of))
        right = logits[everyone].argmax(1).numpy() == labels.targets(table.classes)[table.labels[everyone]]
        accuracy[split] = float(right.mean()), len(everyone)
    return _HeldOut(branch, parent if columns else None, accuracy)


def _results(
    settings: Settings,
    table: DataTable,
    artifacts: dict[str, Artifact],
    evaluation: Evaluation,
    parent_accuracy: Mapping[str, tuple[float, int]],
) -> dict[str, Any]:
    config = settings.config
    facts = {name: artifacts[name].facts for name in ("parent", "branch")}
    validation, test = parent_accuracy["validation"], parent_accuracy["test"]
    return {
        "command": "train",
        "status": "completed",
        "data": config["data"]["name"],
        "images": {"n": len(table), "skipped": table.skipped, "disjoint": settings.split.disjoint},
        "subset": settings.subset.name,
        "classes": list(settings.classes),
        "branch_point": settings.stage,
        "readout": settings.readout.kind,
        "views": settings.views.count,
        "seeds": {
            "split": settings.split.seed,
            "parent": settings.parent_seed,
            "branch": settings.branch_seed,
        },
        **evaluation.numbers,
        "parent": {
            "name": config["parent"]["name"],
            "classes": len(settings.labels.of),
            "labels": settings.labels.kind,
            "logits": len(settings.labels.names),
            "checkpoint": None if settings.checkpoint is None else str(settings.checkpoint),
            "validation_accuracy": validation[0],
            "validation_n": validation[1],
            "test_accuracy": test[0],
            "test_n": test[1],
            **facts["parent"],
        },
        "branch": {"name": config["branch"]["name"], **facts["branch"]},
        "published": (config["published"] or {}).get(settings.subset.name),
        "environment": environment(settings.compute.device()),
    }
