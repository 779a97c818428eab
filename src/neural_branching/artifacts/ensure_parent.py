"""The parent's weights, found in the store, trained, or taken from a checkpoint."""

from pathlib import Path
from typing import TYPE_CHECKING

from safetensors.torch import load_file

from neural_branching.artifacts.build_networks import (
    augmentation,
    exit_widths,
    new_parent,
    outline,
)
from neural_branching.artifacts.ensure_data import ensure_data
from neural_branching.artifacts.trained_weights import EPOCHS, HISTORY, WEIGHTS, save
from neural_branching.config.data_spec import DataSpec
from neural_branching.config.parent_spec import ParentSpec
from neural_branching.data.table import DataTable
from neural_branching.networks.weights import fill, read_state
from neural_branching.store.artifact_store import Artifact, Facts, Store
from neural_branching.training.compute import Compute
from neural_branching.training.treatment import Treatment

if TYPE_CHECKING:
    from neural_branching.data.training_examples import ExampleDataModule

RECIPE = 2  # of a parent: raise it with every change of what training gives


def ensure_parent(
    store: Store,
    data: DataSpec,
    table: DataTable,
    compute: Compute,
    spec: ParentSpec,
    start: Artifact | None = None,
    treatment: Treatment | None = None,
) -> Artifact:
    """The parent's weights and history.

    Args:
        store: where artifacts are kept.
        data: the examples, as they were asked for.
        table: the examples.
        compute: where it is trained.
        spec: the parent.
        start: a parent of other labels, whose weights all but the last layer starts from.
        treatment: what its training does besides following the recipe; None for nothing.
    """
    identity = {
        "recipe": RECIPE,
        "data": table.artifact.key,
        "split": table.split_key,
        **spec.identity(),
    }
    if data.split.disjoint and spec.training_source == "branch":
        identity |= {"training_source": "branch"}
    if resolved := outline(spec).network.resolved:
        identity |= {"resolved": resolved}
    if start:
        identity |= {"start": start.sha(WEIGHTS)}
    if treatment:
        identity |= {"treatment": treatment.identity()}

    def make(folder: Path) -> Facts:
        # Lightning takes seconds to import, and what is found in the store needs none of it.
        import pytorch_lightning as pl

        from neural_branching.artifacts.train_and_save import train_and_save
        from neural_branching.training.classifier import Classifier
        from neural_branching.training.deep_supervision import DeeplySupervised

        pl.seed_everything(spec.seed, verbose=False)
        parent = new_parent(spec)
        normalized = parent.standardize.constant
        if spec.checkpoint:
            normalized |= parent.adopt(read_state(spec.checkpoint), f"The checkpoint {spec.checkpoint}")
        if normalized and not spec.learns:
            return save(parent, folder)
        whole = ensure_data(data, store, content=True, fingerprint=table.artifact.key)
        examples = _training_examples(whole, spec)
        title = f"parent {spec.name}"
        if start:
            fill(parent, load_file(start.path / WEIGHTS), "The parent", other_classes=True)
            title = f"fine-tuned {spec.name}"
        else:
            parent.standardize.learn(examples.train[0])
        if not spec.learns:
            return save(parent, folder)
        assert spec.recipe
        module = Classifier(parent, spec.recipe, treatment)
        if spec.exits:
            labels = len(spec.labels.names)
            module = DeeplySupervised(parent, spec.recipe, spec.exits, exit_widths(spec), labels)
        checkpoint = store.checkpoint("parent", identity)
        return train_and_save(module, examples, compute, title, folder, checkpoint, parent)

    needs = [WEIGHTS, HISTORY]
    if spec.learns and spec.recipe and spec.recipe.keep == "every":
        needs.append(EPOCHS)
    return store.fetch("parent", identity, make, needs=needs)


def _training_examples(table: DataTable, spec: ParentSpec) -> "ExampleDataModule":
    """What a parent learns from, loaded."""
    from neural_branching.data.training_examples import ExampleDataModule  # Lightning, as above

    examples = ExampleDataModule(
        table,
        spec.labels,
        spec.recipe.batch_size if spec.recipe else 1,
        spec.seed,
        augmentation(spec),
        training_source=spec.training_source,
        per_class=spec.examples_per_class,
    )
    examples.setup("fit")
    return examples
