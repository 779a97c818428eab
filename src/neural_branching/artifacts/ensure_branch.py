"""Activations and branches, found in the store or made: what a branch learns from, and the branch.

The activations of a branch are what grows from it learns from, so that both stand here together.
"""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from neural_branching.artifacts import activations as act
from neural_branching.artifacts.build_networks import (
    kept_stages,
    new_branch,
    outline,
    shared_stages,
    view_augmentation,
)
from neural_branching.artifacts.ensure_tokens import ensure_tokens
from neural_branching.artifacts.trained_weights import HISTORY, WEIGHTS
from neural_branching.artifacts.workspace import Workspace, load_parent
from neural_branching.config.branch_spec import BranchSpec
from neural_branching.networks.readout import Readout
from neural_branching.networks.standardized_network import StandardizedNetwork
from neural_branching.store.artifact_store import Artifact, Facts

if TYPE_CHECKING:
    from neural_branching.artifacts.activation_data import ActivationDataModule

log = logging.getLogger(__name__)

RECIPE = 2  # of a branch: raise it with every change of what training gives


def ensure_logits(workspace: Workspace) -> Artifact:
    """The parent's activations that jobs share, logits among them if there are any, for all rows."""
    needed = "logits" if workspace.parent.labels.names else None
    return _activations(workspace, shared_stages(workspace.parent), needed, Readout("auto"))


def ensure_activations(workspace: Workspace, branch: BranchSpec) -> Artifact:
    """The activations at a branch point, of the parent or the trunk, for all rows of the table."""
    if branch.trunk:
        return _of_trunk(workspace, branch.trunk, branch.stage, ensure_activations)
    stages = kept_stages(workspace.parent, branch)
    return _activations(workspace, stages, branch.stage, branch.readout)


def ensure_views(workspace: Workspace, branch: BranchSpec) -> Artifact:
    """The activations at a branch point, for augmented views of the training examples."""
    if branch.trunk:
        return _of_trunk(workspace, branch.trunk, branch.stage, ensure_views)
    stages = kept_stages(workspace.parent, branch)
    return _activations(workspace, stages, branch.stage, branch.readout, viewed=branch)


def _activations(
    workspace: Workspace,
    stages: Sequence[str] | None,
    needed: str | None,
    readout: Readout,
    *,
    viewed: BranchSpec | None = None,
) -> Artifact:
    """One pass of the parent, over all examples or over the views of the training examples of a branch."""
    spec, table, device = workspace.parent, workspace.table, workspace.compute.device()
    network = outline(spec).network
    identity = {
        "recipe": act.RECIPE,
        "data": table.artifact.key,
        "weights": workspace.weights.sha(WEIGHTS),
        "network": {**spec.content(), **network.resolved},
        "stages": stages,
        "readout": readout.kind,
        "precision": spec.kept.dtype,
    }
    if network.pass_recipe > 1:
        identity["pass_recipe"] = network.pass_recipe
    if silent := act.mean_tokens(outline(spec), spec.input.blank(), stages, readout):
        identity["mean_token"] = silent
    if viewed:
        identity["views"] = {**viewed.viewed, "split": table.split_key}

    def compute(folder: Path) -> Facts:
        parent, whole = load_parent(workspace), workspace.examples()
        examples, facts = whole.examples(), dict[str, Any]()
        if network.tokenizer:
            examples, facts["cut"] = ensure_tokens(workspace, network.tokenizer, whole)
        batch = workspace.compute.extraction_batch
        where = "every stage" if stages is None else ", ".join(stages)
        if not viewed:
            log.info("Computing the activations of %s examples at %s.", f"{len(examples):,}", where)
            made = act.extract(parent, examples, folder, device, stages, readout, batch, spec.kept.dtype)
            return {**made, **facts}
        rows, views = table.rows("train"), viewed.views
        count = f"{len(rows):,}"
        log.info("Computing the activations of %d views of %s examples at %s.", views.count, count, where)
        augment = view_augmentation(viewed)
        return act.extract_views(
            parent, examples, rows, views, augment, folder, device, stages, readout, batch, spec.kept.dtype
        )

    needs = act.files_of(needed) if needed else []
    return workspace.store.fetch("activations", identity, compute, needs=needs)


def _of_trunk(
    workspace: Workspace, trunk: BranchSpec, point: str, ensure: Callable[[Workspace, BranchSpec], Artifact]
) -> Artifact:
    """The outputs of a branch at its stages, for what it has itself as inputs."""
    inputs, branch = ensure(workspace, trunk), ensure_branch(workspace, trunk)
    identity = {
        "recipe": act.RECIPE,
        "inputs": act.checksum(inputs, trunk.stage),
        "weights": branch.sha(WEIGHTS),
        "network": trunk.network,
    }

    def compute(folder: Path) -> Facts:
        vectors = act.read(inputs, trunk.stage).numpy()
        log.info("Computing the activations of the branch %s.", trunk.name)
        return act.extract(load_branch(trunk, branch), vectors, folder, workspace.compute.device())

    return workspace.store.fetch("activations", identity, compute, needs=act.files_of(point))


def ensure_branch(workspace: Workspace, spec: BranchSpec) -> Artifact:
    """The trained branch's weights and history."""

    def train(folder: Path) -> Facts:
        # Lightning takes seconds to import, and what is found in the store needs none of it.
        import pytorch_lightning as pl

        from neural_branching.artifacts.train_and_save import train_and_save
        from neural_branching.training.classifier import Classifier

        pl.seed_everything(spec.seed, verbose=False)
        data = branch_data(workspace, spec)
        branch = new_branch(spec, data.train[0].shape[1])
        branch.standardize.learn(data.train[0])
        module = Classifier(branch, spec.recipe)
        title = f"branch {spec.name} at {spec.stage}"
        checkpoint = workspace.store.checkpoint("branch", identity)
        return train_and_save(module, data, workspace.compute, title, folder, checkpoint, branch)

    identity = branch_identity(workspace, spec)
    return workspace.store.fetch("branch", identity, train, needs=(WEIGHTS, HISTORY))


def branch_identity(workspace: Workspace, spec: BranchSpec) -> dict[str, Any]:
    """What decides a branch's weights; builds the activations if they are missing."""
    identity = {
        "recipe": RECIPE,
        "activations": act.checksum(ensure_activations(workspace, spec), spec.stage),
        "split": workspace.table.split_key,
        **spec.identity(),
    }
    if spec.views.count:
        identity["views"] = act.checksum(ensure_views(workspace, spec), spec.stage)
    return identity


def branch_data(workspace: Workspace, spec: BranchSpec) -> "ActivationDataModule":
    """The activations that a branch learns from and is validated on, loaded."""
    from neural_branching.artifacts.activation_data import ActivationDataModule  # Lightning, as above

    data = ActivationDataModule(
        partial(ensure_activations, workspace, spec),
        workspace.table,
        spec.groups,
        spec.stage,
        spec.recipe.batch_size,
        spec.seed,
        partial(ensure_views, workspace, spec) if spec.views.count else None,
        spec.examples_per_class,
    )
    data.prepare_data()
    data.setup("fit")
    if spec.random_labels:
        data.train = _shuffled(*data.train, spec.seed, 1 + spec.views.count)
        data.validation = _shuffled(*data.validation, spec.seed)
    return data


def _shuffled(x: Tensor, y: Tensor, seed: int, copies: int = 1) -> tuple[Tensor, Tensor]:
    """The same inputs with labels that say nothing about them, alike in all copies of an example."""
    generator = torch.Generator().manual_seed(seed)
    labels = y[: len(y) // copies]
    return x, labels[torch.randperm(len(labels), generator=generator)].repeat(copies)


def load_branch(spec: BranchSpec, artifact: Artifact) -> StandardizedNetwork:
    """A stored branch, in evaluation mode."""
    weights = load_file(artifact.path / WEIGHTS)
    branch = new_branch(spec, len(weights["standardize.mean"])).eval()
    branch.load_state_dict(weights)
    return branch
