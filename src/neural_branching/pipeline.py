"""The whole flow on one page: data → parent → activations → branch → score and threshold → report."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

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
from neural_branching.distinct import duplicates
from neural_branching.environment import environment
from neural_branching.evaluation.baselines import Outcome
from neural_branching.evaluation.evaluate import Evaluation, evaluate
from neural_branching.evaluation.examination import Examination, examine
from neural_branching.evaluation.foreign import Foreign
from neural_branching.evaluation.judge import Material
from neural_branching.models import check_budget, check_models
from neural_branching.objectives import measured
from neural_branching.selection import Answers
from neural_branching.settings import Settings
from neural_branching.store import Artifact, store_at
from neural_branching.training import History

# Splits that no parameter is trained on.
HELD_OUT = SPLITS[1:]
BLOCK = 8192


@dataclass(frozen=True)
class Run:
    """What one run found out, for the report."""

    settings: Settings
    results: dict[str, Any]
    evaluation: Evaluation
    table: DataTable
    histories: Mapping[str, History]


def run(settings: Settings, overrides: Sequence[str] = (), fingerprint: str | None = None) -> Run:
    """Do what is missing, evaluate, and return everything that the report needs.

    Args:
        settings: what to do.
        overrides: what the user typed, recorded so that a summary can tell runs apart.
        fingerprint: of the data that is expected; None for any.

    Raises:
        InputError: as ``check_models``, and for data, a disk or a training run that fails.
    """
    check_models(settings)
    settings.compute.apply()
    store = store_at(settings.outputs / "store")
    table = ensure_data(settings, store, duplicates=True, fingerprint=fingerprint)
    check_budget(settings, len(table), len(table.rows("train")))
    parent = ensure_parent(settings, store, table)
    activations = ensure_activations(settings, store, table, parent)
    branch = ensure_branch(settings, store, table, parent)
    logits = ensure_logits(settings, store, table, parent)
    artifacts = {"data": table.artifact, "parent": parent, "activations": activations, "branch": branch}
    if settings.views.count:
        artifacts["views"] = ensure_views(settings, store, table, parent)
    keys = tuple(one.key for one in (*artifacts.values(), logits))
    found = _findings(_Question(settings.but_threshold, keys, settings, table, artifacts, logits))
    evaluation = evaluate(found.examination, settings.threshold)
    answers = found.examination.branch.material.known["test"]
    compared = baselines(settings, store, table, artifacts, answers)
    provenance = {
        name: {**artifacts[name].provenance(), "built": built}
        for name, built in store.claim(artifacts).items()
    }
    # Beside the other seconds, so that the rest of two equal runs compares equal.
    provenance["activations"]["saved_seconds"] = saved_seconds(settings, table, artifacts)
    results = {
        **_results(settings, table, artifacts, evaluation, found.parent_accuracy),
        "duplicates": duplicates(settings, store, table, settings.classes, answers.rows, _outcomes(found)),
        "cost": found.cost,
        "baselines": compared,
        "artifacts": provenance,
        "used": store.take_used(),
        "overrides": list(overrides),
    }
    return Run(
        settings=settings,
        results={**results, "objectives": measured(results, settings.objectives)},
        evaluation=evaluation,
        table=table,
        histories={name: artifacts[name].json(HISTORY) for name in ("parent", "branch")},
    )


@dataclass(frozen=True)
class _Question:
    """What a run asks before it chooses a threshold.

    Attributes:
        settings_but_threshold: with ``keys`` all that two questions are compared by.
        keys: those of the artifacts.
    """

    settings_but_threshold: str
    keys: tuple[str, ...]
    settings: Settings = field(compare=False)
    table: DataTable = field(compare=False)
    artifacts: dict[str, Artifact] = field(compare=False)
    logits: Artifact = field(compare=False)


@dataclass(frozen=True)
class _Findings:
    """What branch and parent say about the images that no model was fitted to, and what they cost."""

    examination: Examination
    parent_accuracy: dict[str, tuple[float, int]]
    cost: dict[str, Any]


@lru_cache(maxsize=16)  # the runs of a sweep of thresholds ask the same
def _findings(question: _Question) -> _Findings:
    settings = question.settings
    foreign = Foreign.of(settings.classes, settings.known, settings.config["data"]["superclasses"] or {})
    branch, parent, accuracy = _answers(question, foreign)
    examination = examine(branch, parent, settings.score, settings.classes, foreign)
    return _Findings(examination, accuracy, costs(settings, question.artifacts))


@torch.inference_mode()
def _answers(
    question: _Question, foreign: Foreign
) -> tuple[Material, Material | None, dict[str, tuple[float, int]]]:
    """Answers by split: the only function that reads the test rows, once per branch and score.

    Returns:
        The branch's; the parent's to the subset's classes, if it knows each of them; and split →
        the parent's accuracy over all its labels, and on how many images.
    """
    settings, table, artifacts = question.settings, question.table, question.artifacts
    model = load_branch(settings, artifacts["branch"])
    labels = settings.labels
    columns = labels.columns(settings.classes)
    of_subset = torch.tensor(columns or [], dtype=torch.int64)
    vectors = act.read(artifacts["activations"], settings.stage)
    logits = act.read(question.logits, "logits")
    branch, parent = Material({}, {}), Material({}, {})

    def ask(split: str, classes: Sequence[str]) -> tuple[Answers, Answers]:
        rows = table.rows(split, classes, per_class=settings.images_per_class)
        targets = act.subset_targets(table, rows, settings.groups)
        foreign_targets = -1 - act.subset_targets(table, rows, [(name,) for name in foreign.classes])
        targets = np.where(targets < 0, foreign_targets, targets)
        seen = vectors[rows]
        mine = model(seen).numpy()
        # Findings outlive the run, and vectors are many times larger than logits.
        kept = seen.numpy() if settings.score.asks_activations else np.empty((len(rows), 0), np.float32)
        return (
            Answers(rows, targets, mine, kept),
            # Of logits by the thousand only the subset's are read from the disk.
            Answers(rows, targets, logits[torch.from_numpy(rows)[:, None], of_subset].numpy(), kept),
        )

    accuracy = {}
    for split in HELD_OUT if settings.score.learns_from != "train" else SPLITS:
        branch.known[split], parent.known[split] = ask(split, settings.classes)
    for split in ("calibration", "test"):
        branch.foreign[split], parent.foreign[split] = ask(split, foreign.classes)
    for split in HELD_OUT:
        everyone = table.rows(split, tuple(labels.of))
        answers = np.concatenate([logits[some].argmax(1).numpy() for some in _blocks(everyone)])
        right = answers == labels.targets(table.classes)[table.labels[everyone]]
        accuracy[split] = float(right.mean()), len(everyone)
    return branch, parent if columns else None, accuracy


def _blocks(rows: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Rows some at a time, so that memory holds the logits of a few of them."""
    for start in range(0, len(rows), BLOCK):
        yield rows[start : start + BLOCK]


def _outcomes(found: _Findings) -> dict[str, Outcome]:
    """What the branch, and its parent if it knows the classes, get wrong of the test images."""
    sides = {"branch": found.examination.branch, "parent_restricted": found.examination.parent}
    return {
        name: Outcome(side.material.known["test"].error, side.known["test"])
        for name, side in sides.items()
        if side
    }


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
        "precision": {
            name: {"training": fit.precision, "matmul": fit.matmul_precision}
            for name, fit in (("parent", settings.parent_fit), ("branch", settings.branch_fit))
        },
        "published": (config["published"] or {}).get(settings.subset.name),
        "environment": environment(settings.compute.device()),
    }
