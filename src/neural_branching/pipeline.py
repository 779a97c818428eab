"""The whole flow on one page: data → parent → activations → branch → score and threshold → report.

Every ``ensure_…`` asks the store and computes only what is missing. Keys chain through the
checksums of what they rest on, so that a parent with other weights brings other activations and
other branches; scores and thresholds enter no key at all.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from safetensors.torch import load_file, save_file

from neural_branching import activations as act
from neural_branching.branch import RECIPE as BRANCH_RECIPE
from neural_branching.classifier import Classifier
from neural_branching.data.batches import TensorDataModule
from neural_branching.data.pixels import PixelDataModule
from neural_branching.data.split import SPLITS
from neural_branching.data.table import DataTable, ensure_table
from neural_branching.evaluation.evaluate import Evaluation, evaluate
from neural_branching.evaluation.foreign import Foreign
from neural_branching.evaluation.judge import Material
from neural_branching.models import (
    augmentation,
    check_budget,
    check_models,
    kept_stages,
    new_branch,
    new_parent,
    view_augmentation,
)
from neural_branching.networks.weights import read_state
from neural_branching.parent import RECIPE as PARENT_RECIPE
from neural_branching.readout import Readout
from neural_branching.selection import Answers
from neural_branching.settings import Settings
from neural_branching.store import Artifact, Facts, Store, sha256_of, store_at
from neural_branching.training import History, best_epoch, fit

log = logging.getLogger(__name__)

WEIGHTS, HISTORY = "weights.safetensors", "history.json"
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
    return Run(
        settings=settings,
        results={
            **_results(settings, table, artifacts, evaluation, held_out.parent_accuracy),
            "artifacts": {
                name: {**artifacts[name].provenance(), "built": built}
                for name, built in store.claim(artifacts).items()
            },
            "overrides": list(overrides),
        },
        evaluation=evaluation,
        table=table,
        histories={name: artifacts[name].json(HISTORY) for name in ("parent", "branch")},
    )


def ensure_data(settings: Settings, store: Store, *, pixels: bool = False) -> DataTable:
    """The table of images with its split; ``pixels`` if the caller will read the images too."""
    name = settings.config["data"]["name"]
    return ensure_table(
        store, name, settings.source, settings.known, settings.image_size, settings.split, pixels=pixels
    )


def ensure_parent(settings: Settings, store: Store, table: DataTable) -> Artifact:
    """The trained parent's weights and history."""
    config = settings.config["parent"]
    identity = {
        "recipe": PARENT_RECIPE,
        "data": table.artifact.key,
        "split": table.split_key,
        "labels": settings.labels.of,
        "network": _content(config["network"]),
        "normalize": config["normalize"],
    }
    if settings.checkpoint is None:
        recipe = {"augment": config["augment"], "fit": vars(settings.parent_fit)}
        identity |= {**recipe, "seed": settings.parent_seed}
    else:
        identity |= {"checkpoint": sha256_of(settings.checkpoint)}

    def make(folder: Path) -> Facts:
        pl.seed_everything(settings.parent_seed, verbose=False)
        parent = new_parent(settings)
        pixels, recipe = ensure_data(settings, store, pixels=True), settings.parent_fit
        data = PixelDataModule(
            pixels, settings.labels, recipe.batch_size, settings.parent_seed, augmentation(settings)
        )
        data.setup("fit")
        if settings.checkpoint is None:
            parent.learn_normalization(data.train[0])
            return _train(parent, data, settings, f"parent {config['name']}", folder)
        if not parent.adopt(read_state(settings.checkpoint), f"The checkpoint {settings.checkpoint}"):
            parent.learn_normalization(data.train[0])
        return _save(parent, [], folder)

    return store.fetch("parent", identity, make, needs=(WEIGHTS, HISTORY))


def _content(network: Mapping[str, Any]) -> dict[str, Any]:
    """What of a network's configuration decides its weights: of a file of weights, what is in it."""
    weights = network.get("weights")
    if not isinstance(weights, str) or not Path(weights).is_file():
        return dict(network)
    return {**network, "weights": sha256_of(Path(weights))}


def ensure_logits(settings: Settings, store: Store, table: DataTable, parent: Artifact) -> Artifact:
    """The parent's activations at its main stages, logits among them, for all rows of the table."""
    return _activations(settings, store, table, parent, None, ("logits",), Readout("auto"))


def ensure_activations(settings: Settings, store: Store, table: DataTable, parent: Artifact) -> Artifact:
    """The parent's activations at the branch point, for all rows of the table."""
    with torch.device("meta"):
        stages = kept_stages(settings, new_parent(settings).network)
    return _activations(settings, store, table, parent, stages, (settings.stage,), settings.readout)


def ensure_views(settings: Settings, store: Store, table: DataTable, parent: Artifact) -> Artifact:
    """The parent's activations at the branch point, for augmented views of the training images."""
    with torch.device("meta"):
        stages = kept_stages(settings, new_parent(settings).network)
    needed = (settings.stage,)
    return _activations(settings, store, table, parent, stages, needed, settings.readout, views=True)


def _activations(
    settings: Settings,
    store: Store,
    table: DataTable,
    parent: Artifact,
    stages: Sequence[str] | None,
    needed: Sequence[str],
    readout: Readout,
    *,
    views: bool = False,
) -> Artifact:
    identity = {
        "recipe": act.RECIPE,
        "data": table.artifact.key,
        "weights": parent.sha(WEIGHTS),
        "network": _content(settings.config["parent"]["network"]),
        "stages": stages,
        "readout": readout.kind,
        "precision": "float32",
    }
    if views:
        made = {"count": settings.views.count, "seed": settings.views.seed}
        identity["views"] = {**made, "augment": settings.config["views"]["augment"], "split": table.split_key}

    def compute(folder: Path) -> Facts:
        network = new_parent(settings)
        network.load_state_dict(load_file(parent.path / WEIGHTS))
        images = ensure_data(settings, store, pixels=True).images()
        where, device = "every stage" if stages is None else ", ".join(stages), settings.compute.device()
        if not views:
            log.info("Computing the activations of %s images at %s.", f"{len(images):,}", where)
            return act.extract(network, images, folder, device, stages, readout)
        rows, count = table.rows("train"), settings.views.count
        log.info("Computing the activations of %d views of %s images at %s.", count, f"{len(rows):,}", where)
        augment = view_augmentation(settings)
        return act.extract_views(
            network, images, rows, settings.views, augment, folder, device, stages, readout
        )

    return store.fetch("activations", identity, compute, needs=[f"{name}.safetensors" for name in needed])


def ensure_branch(settings: Settings, store: Store, table: DataTable, parent: Artifact) -> Artifact:
    """The trained branch's weights and history."""
    config = settings.config["branch"]
    ask = partial(ensure_activations, settings, store, table, parent)
    identity = {
        "recipe": BRANCH_RECIPE,
        "activations": ask().sha(f"{settings.stage}.safetensors"),
        "split": table.split_key,
        "classes": settings.classes,
        "network": config["network"],
        "fit": vars(settings.branch_fit),
        "seed": settings.branch_seed,
    }
    ask_views = partial(ensure_views, settings, store, table, parent) if settings.views.count else None
    if ask_views:
        identity["views"] = ask_views().sha(f"{settings.stage}.safetensors")

    def train(folder: Path) -> Facts:
        pl.seed_everything(settings.branch_seed, verbose=False)
        recipe = settings.branch_fit
        data = act.ActivationDataModule(
            ask,
            table,
            settings.classes,
            settings.stage,
            recipe.batch_size,
            settings.branch_seed,
            ask_views,
        )
        data.prepare_data()
        data.setup("fit")
        branch = new_branch(settings, data.train[0].shape[1])
        branch.learn_standardization(data.train[0])
        return _train(branch, data, settings, f"branch {settings.subset.name} at {settings.stage}", folder)

    return store.fetch("branch", identity, train, needs=(WEIGHTS, HISTORY))


def _train(module: Classifier, data: TensorDataModule, settings: Settings, title: str, folder: Path) -> Facts:
    """Fit, write weights and history, and return the facts that are worth recording."""
    log.info("Training the %s on %s images.", title, f"{len(data.train[1]):,}")
    return _save(module, fit(module, data, settings.compute, title), folder)


def _save(module: Classifier, history: History, folder: Path) -> Facts:
    save_file({name: tensor.contiguous() for name, tensor in module.state_dict().items()}, folder / WEIGHTS)
    (folder / HISTORY).write_text(json.dumps(history))
    parameters = sum(parameter.numel() for parameter in module.parameters())
    best = best_epoch(history, module.fit) if history else 0
    return {"parameters": parameters, "epochs": len(history), "best_epoch": best}


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
    weights = load_file(artifact.path / WEIGHTS)
    model = new_branch(settings, len(weights["standardize.mean"])).eval()
    model.load_state_dict(weights)
    labels = settings.labels
    columns = labels.columns(settings.classes)
    vectors, logits = act.read(activations, settings.stage), act.read(logits_artifact, "logits")
    branch, parent = Material({}, {}), Material({}, {})

    def ask(split: str, classes: Sequence[str]) -> tuple[Answers, Answers]:
        rows = table.rows(split, classes)
        targets = act.subset_targets(table, rows, settings.classes)
        foreign_targets = -1 - act.subset_targets(table, rows, foreign.classes)
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
        "environment": {
            "device": str(settings.compute.device()),
            "threads": torch.get_num_threads(),
            "versions": {
                name: version(name) for name in ("neural-branching", "torch", "pytorch-lightning", "numpy")
            },
        },
    }
