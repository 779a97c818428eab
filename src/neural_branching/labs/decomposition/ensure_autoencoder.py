"""The autoencoders of a study: which there are, and their weights, found in the store or trained."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytorch_lightning as pl
import torch
from safetensors.torch import load_file

from neural_branching.artifacts.ensure_data import ensure_data
from neural_branching.artifacts.train_and_save import train_and_save
from neural_branching.artifacts.trained_weights import EPOCHS, HISTORY, WEIGHTS
from neural_branching.config.build import build
from neural_branching.config.data_spec import DataSpec
from neural_branching.data.labels import Labels
from neural_branching.data.table import DataTable
from neural_branching.data.training_examples import ExampleDataModule
from neural_branching.labs.decomposition.autoencoder import Autoencoder, PartsLoss
from neural_branching.labs.decomposition.branched_autoencoder import BranchedAutoencoder
from neural_branching.labs.decomposition.decomposition_spec import AutoencoderSpec
from neural_branching.store.artifact_store import Artifact, Facts, Store
from neural_branching.training.compute import Compute
from neural_branching.training.recipe import Recipe

RECIPE = 1  # raise it with every change of what training gives
TRAINED = ("branched", "separate", "unbranched")


def new_autoencoder(spec: AutoencoderSpec, shape: Sequence[int]) -> Autoencoder:
    """An autoencoder with initial weights, drawn from torch's generator.

    Args:
        spec: what it is.
        shape: of an image.

    Raises:
        InputError: if an option of the network cannot be used.
    """
    network = build(
        spec.network,
        "autoencoder.network",
        BranchedAutoencoder,
        trusted=False,
        in_shape=shape,
        variational=spec.beta > 0,
    )
    return Autoencoder(network, spec.recipe, noise=spec.noise, beta=spec.beta, separate=spec.separate)


def parameters_of(spec: AutoencoderSpec, shape: Sequence[int]) -> int:
    """Number of parameters of all branches.

    Raises:
        InputError: as ``new_autoencoder``.
    """
    with torch.device("meta"):
        return sum(one.numel() for one in new_autoencoder(spec, shape).parameters())


def fitted(spec: AutoencoderSpec, shape: Sequence[int], parameters: int) -> AutoencoderSpec:
    """The same of the width with which it comes nearest to a number of parameters."""
    width = 1
    while parameters_of(spec.with_network(width=width), shape) < parameters:
        width += 1
    return min(
        (spec.with_network(width=one) for one in (max(1, width - 1), width)),
        key=lambda one: abs(parameters_of(one, shape) - parameters),
    )


def roles_of(spec: AutoencoderSpec, shape: Sequence[int]) -> dict[str, AutoencoderSpec]:
    """The branched one, its branches trained alone, one branch of as many parameters and as long a code."""
    latent = spec.network.get("latent", 32)
    whole = spec.with_network(branches=1, latent=latent and spec.branches * int(latent))
    recipe = spec.recipe
    if recipe.keep == "every":  # nobody looks at its epochs
        recipe = Recipe(**{**vars(recipe), "keep": "last"})
    unbranched = fitted(whole, shape, parameters_of(spec, shape))
    every = (spec, replace(spec, separate=True), replace(unbranched, recipe=recipe))
    return dict(zip(TRAINED, every, strict=True))


def ensure_autoencoder(
    store: Store,
    data: DataSpec,
    table: DataTable,
    compute: Compute,
    spec: AutoencoderSpec,
    classes: Sequence[str],
    parts_loss: PartsLoss | None = None,
) -> Artifact:
    """The weights and history of an autoencoder.

    Args:
        store: where artifacts are kept.
        data: the examples, as they were asked for.
        table: the examples.
        compute: where it is trained.
        spec: the autoencoder.
        classes: those that it reconstructs.
        parts_loss: what its branches are trained for besides; None for nothing.
    """
    identity = {
        "recipe": RECIPE,
        "data": table.artifact.key,
        "split": table.split_key,
        "classes": list(classes),
        **spec.identity(),
    }
    if parts_loss:
        identity |= {"parts_loss": parts_loss.identity()}

    def make(folder: Path) -> Facts:
        module = untrained(spec, data, table, classes, store)
        module.parts_loss = parts_loss
        whole = ensure_data(data, store, content=True, fingerprint=table.artifact.key)
        examples = _examples(whole, data, spec, classes)
        title = f"autoencoder {spec.name}{' (separate branches)' if spec.separate else ''}"
        return train_and_save(
            module, examples, compute, title, folder, store.checkpoint("autoencoder", identity), module
        )

    needs = [WEIGHTS, HISTORY, *([EPOCHS] if spec.recipe.keep == "every" else [])]
    return store.fetch("autoencoder", identity, make, needs=needs)


def untrained(
    spec: AutoencoderSpec, data: DataSpec, table: DataTable, classes: Sequence[str], store: Store
) -> Autoencoder:
    """The autoencoder that training starts from, which knows the mean and deviation of training images."""
    whole = ensure_data(data, store, content=True, fingerprint=table.artifact.key)
    pl.seed_everything(spec.seed, verbose=False)
    module = new_autoencoder(spec, data.input.shape)
    module.standardize.learn(_examples(whole, data, spec, classes).train[0])
    return module


def load_autoencoder(spec: AutoencoderSpec, shape: Sequence[int], weights: Artifact) -> Autoencoder:
    """A stored autoencoder, in evaluation mode."""
    module = new_autoencoder(spec, shape).eval()
    module.load_state_dict(load_file(weights.path / WEIGHTS))
    return module


def _examples(
    table: DataTable, data: DataSpec, spec: AutoencoderSpec, classes: Sequence[str]
) -> ExampleDataModule:
    labels = Labels("fine", list(classes), data.classes, classes, data.superclasses)
    examples = ExampleDataModule(table, labels, spec.recipe.batch_size, spec.seed)
    examples.setup("fit")
    return examples
