"""The parent's weights, found in the store, trained, or taken from a checkpoint."""

from pathlib import Path

import pytorch_lightning as pl
from safetensors.torch import load_file

from neural_branching.artifacts.build_networks import (
    augmentation,
    new_parent,
)
from neural_branching.artifacts.ensure_data import ensure_data
from neural_branching.artifacts.trained_weights import HISTORY, WEIGHTS, save, train_and_save
from neural_branching.config.data_spec import DataSpec
from neural_branching.config.parent_spec import ParentSpec
from neural_branching.data.pixels import PixelDataModule
from neural_branching.data.table import DataTable
from neural_branching.networks.weights import fill, read_state
from neural_branching.store.artifact_store import Artifact, Facts, Store
from neural_branching.training.compute import Compute
from neural_branching.training.parent import RECIPE as PARENT_RECIPE


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
            return train_and_save(parent, pixels, compute, f"fine-tuned {spec.name}", folder, checkpoint)
        if spec.checkpoint is None:
            parent.learn_normalization(pixels.train[0])
            return train_and_save(parent, pixels, compute, f"parent {spec.name}", folder, checkpoint)
        if not parent.adopt(read_state(spec.checkpoint), f"The checkpoint {spec.checkpoint}"):
            parent.learn_normalization(pixels.train[0])
        return save(parent, [], folder)

    return store.fetch("parent", identity, make, needs=(WEIGHTS, HISTORY))
