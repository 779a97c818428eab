"""Every artifact of a run, found in the store or built: data, parent, activations, branch.

Every ``ensure_…`` asks the store and computes only what is missing. Keys chain through the
checksums of what they rest on, so that a parent with other weights brings other activations and
other branches; scores and thresholds enter no key at all.
"""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from neural_branching import activations as act
from neural_branching.branch import RECIPE as BRANCH_RECIPE
from neural_branching.branch import Branch
from neural_branching.checkpoint import Checkpoint
from neural_branching.classifier import Classifier
from neural_branching.data.batches import TensorDataModule
from neural_branching.data.pixels import PixelDataModule
from neural_branching.data.table import DataTable, ensure_table
from neural_branching.errors import InputError
from neural_branching.models import (
    augmentation,
    image_shape,
    kept_stages,
    new_branch,
    new_parent,
    view_augmentation,
)
from neural_branching.networks.weights import fill, read_state
from neural_branching.parent import RECIPE as PARENT_RECIPE
from neural_branching.parent import Parent
from neural_branching.readout import Readout
from neural_branching.settings import Settings
from neural_branching.store import Artifact, Facts, Store, sha256_of
from neural_branching.training import History, best_epoch, fit

log = logging.getLogger(__name__)

WEIGHTS, HISTORY = "weights.safetensors", "history.json"


def ensure_data(
    settings: Settings,
    store: Store,
    *,
    pixels: bool = False,
    duplicates: bool = False,
    fingerprint: str | None = None,
) -> DataTable:
    """The table of images with its split.

    Args:
        settings: the run's settings.
        store: where artifacts are kept.
        pixels: whether the caller will read the images too.
        duplicates: whether the caller will ask for duplicates.
        fingerprint: key of the table that is expected; None for any.

    Raises:
        InputError: as ``ensure_table``; if it is another table, since images have changed meanwhile; and if
            duplicates left too few images for ``images_per_class``.
    """
    name = settings.config["data"]["name"]
    table = ensure_table(
        store,
        name,
        settings.source,
        settings.known,
        settings.image_size,
        settings.split,
        pixels=pixels,
        duplicates=duplicates,
    )
    if fingerprint not in (None, table.artifact.key):
        raise InputError(
            f"The images of data {name!r} have changed since this started: their fingerprint was "
            f"{fingerprint} and is {table.artifact.key}. Repeat the command, so that all of it sees the same."
        )
    if settings.images_per_class and settings.split.moves_duplicates:
        for name in settings.classes:
            images = len(table.rows("train", [name]))
            if images < settings.images_per_class:
                raise InputError(
                    f"branch.images_per_class is {settings.images_per_class}: with data.split.duplicates="
                    f"{settings.split.duplicates} a branch can learn from at most {images} images of class "
                    f"{name!r}."
                )
    return table


def ensure_parent(
    settings: Settings, store: Store, table: DataTable, start: Artifact | None = None
) -> Artifact:
    """The parent's weights and history.

    Args:
        settings: the run's settings.
        store: where artifacts are kept.
        table: the images.
        start: a parent of other labels, whose weights all but the last layer starts from.
    """
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
    if settings.untrained:
        identity |= {"untrained": True}
    per_class = settings.images_per_class if settings.learner == "branch" else None
    if per_class:
        identity |= {"images_per_class": per_class}
    if settings.split.disjoint and settings.learner == "branch":
        identity |= {"learner": "branch"}
    if start:
        identity |= {"start": start.sha(WEIGHTS)}

    def make(folder: Path) -> Facts:
        pl.seed_everything(settings.parent_seed, verbose=False)
        parent, checkpoint = new_parent(settings), store.checkpoint("parent", identity)
        pixels = ensure_data(settings, store, pixels=True, fingerprint=table.artifact.key)
        recipe = settings.parent_fit
        data = PixelDataModule(
            pixels,
            settings.labels,
            recipe.batch_size,
            settings.parent_seed,
            augmentation(settings),
            learner=settings.learner,
            per_class=per_class,
        )
        data.setup("fit")
        if settings.untrained:
            parent.learn_normalization(data.train[0])
            return save(parent, [], folder)
        if start:
            fill(parent, load_file(start.path / WEIGHTS), "The parent", other_classes=True)
            return _train(parent, data, settings, f"fine-tuned {config['name']}", folder, checkpoint)
        if settings.checkpoint is None:
            parent.learn_normalization(data.train[0])
            return _train(parent, data, settings, f"parent {config['name']}", folder, checkpoint)
        if not parent.adopt(read_state(settings.checkpoint), f"The checkpoint {settings.checkpoint}"):
            parent.learn_normalization(data.train[0])
        return save(parent, [], folder)

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
    """The activations at the branch point, of the parent or the trunk, for all rows of the table."""
    if settings.trunk:
        return _of_trunk(settings.trunk, settings.stage, store, table, parent, ensure_activations)
    stages = kept_stages(settings, _outline(settings).network)
    return _activations(settings, store, table, parent, stages, (settings.stage,), settings.readout)


def ensure_views(settings: Settings, store: Store, table: DataTable, parent: Artifact) -> Artifact:
    """The activations at the branch point, for augmented views of the training images."""
    if settings.trunk:
        return _of_trunk(settings.trunk, settings.stage, store, table, parent, ensure_views)
    stages = kept_stages(settings, _outline(settings).network)
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
    if silent := act.mean_tokens(_outline(settings), image_shape(settings), stages, readout):
        identity["mean_token"] = silent
    if views:
        made = {"count": settings.views.count, "seed": settings.views.seed}
        identity["views"] = {**made, "augment": settings.config["views"]["augment"], "split": table.split_key}

    def compute(folder: Path) -> Facts:
        network = load_parent(settings, parent)
        images = ensure_data(settings, store, pixels=True, fingerprint=table.artifact.key).images()
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


@dataclass(frozen=True)
class _Named:
    """Settings that are compared by their name."""

    name: str
    settings: Settings = field(compare=False)


def _outline(settings: Settings) -> Parent:
    """The parent without weights."""
    return _outline_of(_Named(settings.but_threshold, settings))


@lru_cache(maxsize=16)  # the runs of a sweep of thresholds ask for the same
def _outline_of(named: _Named) -> Parent:
    with torch.device("meta"):
        return new_parent(named.settings)


def _of_trunk(
    trunk: Settings,
    stage: str,
    store: Store,
    table: DataTable,
    parent: Artifact,
    ensure: Callable[[Settings, Store, DataTable, Artifact], Artifact],
) -> Artifact:
    """The outputs of a branch at its stages, for what it has itself as inputs."""
    inputs = ensure(trunk, store, table, parent)
    branch = ensure_branch(trunk, store, table, parent)
    identity = {
        "recipe": act.RECIPE,
        "inputs": inputs.sha(f"{trunk.stage}.safetensors"),
        "weights": branch.sha(WEIGHTS),
        "network": trunk.config["branch"]["network"],
    }

    def compute(folder: Path) -> Facts:
        vectors = act.read(inputs, trunk.stage).numpy()
        log.info("Computing the activations of the branch %s.", trunk.subset.name)
        return act.extract(load_branch(trunk, branch), vectors, folder, trunk.compute.device())

    return store.fetch("activations", identity, compute, needs=[f"{stage}.safetensors"])


def ensure_branch(settings: Settings, store: Store, table: DataTable, parent: Artifact) -> Artifact:
    """The trained branch's weights and history."""

    def train(folder: Path) -> Facts:
        pl.seed_everything(settings.branch_seed, verbose=False)
        data = branch_data(settings, store, table, parent)
        branch = new_branch(settings, data.train[0].shape[1])
        branch.learn_standardization(data.train[0])
        title = f"branch {settings.subset.name} at {settings.stage}"
        return _train(branch, data, settings, title, folder, store.checkpoint("branch", identity))

    identity = branch_identity(settings, store, table, parent)
    return store.fetch("branch", identity, train, needs=(WEIGHTS, HISTORY))


def branch_identity(settings: Settings, store: Store, table: DataTable, parent: Artifact) -> dict[str, Any]:
    """What decides a branch's weights; builds the activations if they are missing."""
    inputs = f"{settings.stage}.safetensors"
    identity = {
        "recipe": BRANCH_RECIPE,
        "activations": ensure_activations(settings, store, table, parent).sha(inputs),
        "split": table.split_key,
        "classes": settings.classes if len(settings.groups) == len(settings.classes) else settings.groups,
        "network": settings.config["branch"]["network"],
        "fit": vars(settings.branch_fit),
        "seed": settings.branch_seed,
    }
    if settings.random_labels:
        identity["random_labels"] = True
    if settings.images_per_class:
        identity["images_per_class"] = settings.images_per_class
    if settings.views.count:
        identity["views"] = ensure_views(settings, store, table, parent).sha(inputs)
    return identity


def branch_data(
    settings: Settings, store: Store, table: DataTable, parent: Artifact
) -> act.ActivationDataModule:
    """The activations that a branch learns from and is validated on, loaded."""
    data = act.ActivationDataModule(
        partial(ensure_activations, settings, store, table, parent),
        table,
        settings.groups,
        settings.stage,
        settings.branch_fit.batch_size,
        settings.branch_seed,
        partial(ensure_views, settings, store, table, parent) if settings.views.count else None,
        settings.images_per_class,
    )
    data.prepare_data()
    data.setup("fit")
    if settings.random_labels:
        data.train = _shuffled(*data.train, settings.branch_seed, 1 + settings.views.count)
        data.validation = _shuffled(*data.validation, settings.branch_seed)
    return data


def _train(
    module: Classifier,
    data: TensorDataModule,
    settings: Settings,
    title: str,
    folder: Path,
    checkpoint: Checkpoint,
) -> Facts:
    """Fit, write weights and history, and return the facts that are worth recording."""
    log.info("Training the %s on %s images.", title, f"{len(data.train[1]):,}")
    return save(module, fit(module, data, settings.compute, title, checkpoint), folder)


def save(module: Classifier, history: History, folder: Path) -> Facts:
    """Write weights and history into a folder; returns the facts that are worth recording."""
    save_file({name: tensor.contiguous() for name, tensor in module.state_dict().items()}, folder / WEIGHTS)
    (folder / HISTORY).write_text(json.dumps(history), encoding="utf-8")
    parameters = sum(parameter.numel() for parameter in module.parameters())
    best = best_epoch(history, module.fit) if history else 0
    return {"parameters": parameters, "epochs": len(history), "best_epoch": best}


def _shuffled(x: Tensor, y: Tensor, seed: int, copies: int = 1) -> tuple[Tensor, Tensor]:
    """The same inputs with labels that say nothing about them, alike in all copies of an image."""
    generator = torch.Generator().manual_seed(seed)
    images = y[: len(y) // copies]
    return x, images[torch.randperm(len(images), generator=generator)].repeat(copies)


def load_branch(settings: Settings, artifact: Artifact) -> Branch:
    """A stored branch, in evaluation mode."""
    weights = load_file(artifact.path / WEIGHTS)
    branch = new_branch(settings, len(weights["standardize.mean"])).eval()
    branch.load_state_dict(weights)
    return branch


def load_parent(settings: Settings, artifact: Artifact) -> Parent:
    """A stored parent, in evaluation mode."""
    parent = new_parent(settings).eval()
    parent.load_state_dict(load_file(artifact.path / WEIGHTS))
    return parent
