"""One training, from a module with initial weights to files."""

import logging
from pathlib import Path

from torch import nn

from neural_branching.artifacts.trained_weights import save
from neural_branching.data.tensor_data import TensorDataModule
from neural_branching.store.artifact_store import Facts
from neural_branching.store.checkpoint import Checkpoint
from neural_branching.training.compute import Compute
from neural_branching.training.epoch_module import EpochModule
from neural_branching.training.fit import fit

log = logging.getLogger(__name__)


def train_and_save(
    module: EpochModule,
    data: TensorDataModule,
    compute: Compute,
    title: str,
    folder: Path,
    checkpoint: Checkpoint,
    kept: nn.Module,
) -> Facts:
    """Fit, write weights and history, and return the facts that are worth recording.

    Args:
        module: what is trained.
        data: what it learns from.
        compute: where.
        title: how it is called.
        folder: where its files go.
        checkpoint: what an interrupted training continues from.
        kept: the network in it that is written.
    """
    log.info("Training the %s on %s examples.", title, f"{len(data.train[1]):,}")
    history = fit(module, data, compute, title, checkpoint)
    return save(kept, folder, (module.recipe, history), module.epochs)
