"""Every artifact of an experiment, found in the store or built: data, parent, activations, branch.

Every ``ensure_…`` asks the store and computes only what is missing. Keys chain through the
checksums of what they rest on, so that a parent with other weights brings other activations and
other branches; scores and thresholds enter no key at all.
"""

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
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
from neural_branching.compute import Compute
from neural_branching.config.branch import BranchSpec
from neural_branching.config.data import DataSpec
from neural_branching.config.experiment import Experiment
from neural_branching.config.parent import ParentSpec
from neural_branching.data.batches import TensorDataModule
from neural_branching.data.pixels import PixelDataModule
from neural_branching.data.table import DataTable, ensure_table
from neural_branching.errors import InputError
from neural_branching.models import (
    augmentation,
    kept_stages,
    new_branch,
    new_parent,
    outline,
    view_augmentation,
)
from neural_branching.networks.weights import fill, read_state
from neural_branching.parent import RECIPE as PARENT_RECIPE
from neural_branching.parent import Parent
from neural_branching.readout import Readout
from neural_branching.store import Artifact, Facts, Store, store_at
from neural_branching.training import History, best_epoch, fit

log = logging.getLogger(__name__)

WEIGHTS, HISTORY = "weights.safetensors", "history.json"


@dataclass(frozen=True)
class Workspace:
    """What the branches of an experiment grow from.

    Attributes:
        store: where artifacts are kept.
        data: the images, as they were asked for.
        table: the images.
        compute: where networks run.
        parent: the parent, as it was asked for.
        weights: its weights.
    """

    store: Store
    data: DataSpec
    table: DataTable
    compute: Compute
    parent: ParentSpec
    weights: Artifact

    @classmethod
    def of(cls, experiment: Experiment, table: DataTable) -> "Workspace":
        """Find or train the parent of an experiment."""
        store = store_of(experiment)
        data, compute, parent = experiment.data, experiment.compute, experiment.parent
        return cls(store, data, table, compute, parent, ensure_parent(store, data, table, compute, parent))

    def with_parent(self, parent: ParentSpec, start: Artifact | None = None) -> "Workspace":
        """The same with another parent, found or trained.

        Args:
            parent: the other parent.
            start: a parent of other labels, whose weights all but the last layer starts from.
        """
        weights = ensure_parent(self.store, self.data, self.table, self.compute, parent, start)
        return replace(self, parent=parent, weights=weights)


def store_of(experiment: Experiment) -> Store:
    """Where an experiment keeps its artifacts."""
    return store_at(experiment.outputs / "store")


def ensure_data(
    data: DataSpec,
    store: Store,
    *,
    pixels: bool = False,
    duplicates: bool = False,
    fingerprint: str | None = None,
) -> DataTable:
    """The table of images with its split.

    Args:
        data: the images.
        store: where artifacts are kept.
        pixels: whether the caller will read the images too.
        duplicates: whether the caller will ask for duplicates.
        fingerprint: key of the table that is expected; None for any.

    Raises:
        InputError: as ``ensure_table``; and if it is another table, since images have changed meanwhile.
    """
    table = ensure_table(
        store,
        data.name,
        data.source,
        data.classes,
        data.image_size,
        data.split,
        pixels=pixels,
        duplicates=duplicates,
    )
    if fingerprint not in (None, table.artifact.key):
        raise InputError(
            f"The images of data {data.name!r} have changed since this started: their fingerprint was "
            f"{fingerprint} and is {table.artifact.key}. Repeat the command, so that all of it sees the same."
        )
    return table


def check_images(table: DataTable, data: DataSpec, branch: BranchSpec) -> None:
    """Check that duplicates have left enough training images for ``images_per_class``.

    Raises:
        InputError: naming the first class of which there are too few.
    """
    if not (branch.images_per_class and data.split.moves_duplicates):
        return
    for name in branch.classes:
        images = len(table.rows("train", [name]))
        if images < branch.images_per_class:
            raise InputError(
                f"branch.images_per_class is {branch.images_per_class}: with data.split.duplicates="
                f"{data.split.duplicates} a branch can learn from at most {images} images of class {name!r}."
            )


def ensure_parent(
    store: Store,
    data: DataSpec,
    table: DataTable,
    compute: Compute,
    spec: ParentSpec,
    start: Artifact | None = None,
) -> Artifact:
    """The parent's weights and history.

    Args:
        store: where artifacts are kept.
        data: the images, as they were asked for.
        table: the images.
        compute: where it is trained.
        spec: the parent.
        start: a parent of other labels, whose weights all but the last layer starts from.
    """
    identity = {
        "recipe": PARENT_RECIPE,
        "data": table.artifact.key,
        "split": table.split_key,
        **spec.identity(),
    }
    if data.split.disjoint and spec.learner == "branch":
        identity |= {"learner": "branch"}
    if start:
        identity |= {"start": start.sha(WEIGHTS)}

    def make(folder: Path) -> Facts:
        pl.seed_everything(spec.seed, verbose=False)
        parent, checkpoint = new_parent(spec), store.checkpoint("parent", identity)
        pixels = PixelDataModule(
            ensure_data(data, store, pixels=True, fingerprint=table.artifact.key),
            spec.labels,
            spec.recipe.batch_size,
            spec.seed,
            augmentation(spec),
            learner=spec.learner,
            per_class=spec.images_per_class,
        )
        pixels.setup("fit")
        if spec.untrained:
            parent.learn_normalization(pixels.train[0])
            return save(parent, [], folder)
        if start:
            fill(parent, load_file(start.path / WEIGHTS), "The parent", other_classes=True)
            return _train(parent, pixels, compute, f"fine-tuned {spec.name}", folder, checkpoint)
        if spec.checkpoint is None:
            parent.learn_normalization(pixels.train[0])
            return _train(parent, pixels, compute, f"parent {spec.name}", folder, checkpoint)
        if not parent.adopt(read_state(spec.checkpoint), f"The checkpoint {spec.checkpoint}"):
            parent.learn_normalization(pixels.train[0])
        return save(parent, [], folder)

    return store.fetch("parent", identity, make, needs=(WEIGHTS, HISTORY))


def ensure_logits(workspace: Workspace) -> Artifact:
    """The parent's activations at its main stages, logits among them, for all rows of the table."""
    return _activations(workspace, None, ("logits",), Readout("auto"))


def ensure_activations(workspace: Workspace, branch: BranchSpec) -> Artifact:
    """The activations at a branch point, of the parent or the trunk, for all rows of the table."""
    if branch.trunk:
        return _of_trunk(workspace, branch.trunk, branch.stage, ensure_activations)
    stages = kept_stages(branch, outline(workspace.parent).network)
    return _activations(workspace, stages, (branch.stage,), branch.readout)


def ensure_views(workspace: Workspace, branch: BranchSpec) -> Artifact:
    """The activations at a branch point, for augmented views of the training images."""
    if branch.trunk:
        return _of_trunk(workspace, branch.trunk, branch.stage, ensure_views)
    stages = kept_stages(branch, outline(workspace.parent).network)
    return _activations(workspace, stages, (branch.stage,), branch.readout, viewed=branch)


def _activations(
    workspace: Workspace,
    stages: Sequence[str] | None,
    needed: Sequence[str],
    readout: Readout,
    *,
    viewed: BranchSpec | None = None,
) -> Artifact:
    """One pass of the parent, over all images or over the views of the training images of a branch."""
    spec, table, device = workspace.parent, workspace.table, workspace.compute.device()
    identity = {
        "recipe": act.RECIPE,
        "data": table.artifact.key,
        "weights": workspace.weights.sha(WEIGHTS),
        "network": spec.content(),
        "stages": stages,
        "readout": readout.kind,
        "precision": "float32",
    }
    if silent := act.mean_tokens(outline(spec), spec.in_shape, stages, readout):
        identity["mean_token"] = silent
    if viewed:
        views = viewed.views
        made = {"count": views.count, "seed": views.seed, "augment": views.augment}
        identity["views"] = {**made, "split": table.split_key}

    def compute(folder: Path) -> Facts:
        network, fingerprint = load_parent(workspace), table.artifact.key
        images = ensure_data(workspace.data, workspace.store, pixels=True, fingerprint=fingerprint).images()
        where = "every stage" if stages is None else ", ".join(stages)
        if not viewed:
            log.info("Computing the activations of %s images at %s.", f"{len(images):,}", where)
            return act.extract(network, images, folder, device, stages, readout)
        rows, views = table.rows("train"), viewed.views
        count = f"{len(rows):,}"
        log.info("Computing the activations of %d views of %s images at %s.", views.count, count, where)
        augment = view_augmentation(viewed)
        return act.extract_views(network, images, rows, views, augment, folder, device, stages, readout)

    needs = [f"{name}.safetensors" for name in needed]
    return workspace.store.fetch("activations", identity, compute, needs=needs)


def _of_trunk(
    workspace: Workspace, trunk: BranchSpec, stage: str, ensure: Callable[[Workspace, BranchSpec], Artifact]
) -> Artifact:
    """The outputs of a branch at its stages, for what it has itself as inputs."""
    inputs, branch = ensure(workspace, trunk), ensure_branch(workspace, trunk)
    identity = {
        "recipe": act.RECIPE,
        "inputs": inputs.sha(f"{trunk.stage}.safetensors"),
        "weights": branch.sha(WEIGHTS),
        "network": trunk.network,
    }

    def compute(folder: Path) -> Facts:
        vectors = act.read(inputs, trunk.stage).numpy()
        log.info("Computing the activations of the branch %s.", trunk.name)
        return act.extract(load_branch(trunk, branch), vectors, folder, workspace.compute.device())

    return workspace.store.fetch("activations", identity, compute, needs=[f"{stage}.safetensors"])


def ensure_branch(workspace: Workspace, spec: BranchSpec) -> Artifact:
    """The trained branch's weights and history."""

    def train(folder: Path) -> Facts:
        pl.seed_everything(spec.seed, verbose=False)
        data = branch_data(workspace, spec)
        branch = new_branch(spec, data.train[0].shape[1])
        branch.learn_standardization(data.train[0])
        title = f"branch {spec.name} at {spec.stage}"
        checkpoint = workspace.store.checkpoint("branch", identity)
        return _train(branch, data, workspace.compute, title, folder, checkpoint)

    identity = branch_identity(workspace, spec)
    return workspace.store.fetch("branch", identity, train, needs=(WEIGHTS, HISTORY))


def branch_identity(workspace: Workspace, spec: BranchSpec) -> dict[str, Any]:
    """What decides a branch's weights; builds the activations if they are missing."""
    inputs = f"{spec.stage}.safetensors"
    identity = {
        "recipe": BRANCH_RECIPE,
        "activations": ensure_activations(workspace, spec).sha(inputs),
        "split": workspace.table.split_key,
        **spec.identity(),
    }
    if spec.views.count:
        identity["views"] = ensure_views(workspace, spec).sha(inputs)
    return identity


def branch_data(workspace: Workspace, spec: BranchSpec) -> act.ActivationDataModule:
    """The activations that a branch learns from and is validated on, loaded."""
    data = act.ActivationDataModule(
        partial(ensure_activations, workspace, spec),
        workspace.table,
        spec.groups,
        spec.stage,
        spec.recipe.batch_size,
        spec.seed,
        partial(ensure_views, workspace, spec) if spec.views.count else None,
        spec.images_per_class,
    )
    data.prepare_data()
    data.setup("fit")
    if spec.random_labels:
        data.train = _shuffled(*data.train, spec.seed, 1 + spec.views.count)
        data.validation = _shuffled(*data.validation, spec.seed)
    return data


def _train(
    module: Classifier,
    data: TensorDataModule,
    compute: Compute,
    title: str,
    folder: Path,
    checkpoint: Checkpoint,
) -> Facts:
    """Fit, write weights and history, and return the facts that are worth recording."""
    log.info("Training the %s on %s images.", title, f"{len(data.train[1]):,}")
    return save(module, fit(module, data, compute, title, checkpoint), folder)


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


def load_branch(spec: BranchSpec, artifact: Artifact) -> Branch:
    """A stored branch, in evaluation mode."""
    weights = load_file(artifact.path / WEIGHTS)
    branch = new_branch(spec, len(weights["standardize.mean"])).eval()
    branch.load_state_dict(weights)
    return branch


def load_parent(workspace: Workspace) -> Parent:
    """The stored parent, in evaluation mode."""
    parent = new_parent(workspace.parent).eval()
    parent.load_state_dict(load_file(workspace.weights.path / WEIGHTS))
    return parent
