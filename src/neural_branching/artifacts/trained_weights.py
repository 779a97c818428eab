"""A trained network on disk: its weights and the history of its training."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from neural_branching.data.batches import TensorDataModule
from neural_branching.store.artifact_store import Artifact, Facts
from neural_branching.store.checkpoint import Checkpoint
from neural_branching.training.compute import Compute
from neural_branching.training.epoch_module import EpochModule
from neural_branching.training.fit import History, best_epoch, fit

log = logging.getLogger(__name__)

WEIGHTS, HISTORY = "weights.safetensors", "history.json"
EPOCHS = "epochs.safetensors"  # of recipes that keep every epoch


def train_and_save(
    module: EpochModule,
    data: TensorDataModule,
    compute: Compute,
    title: str,
    folder: Path,
    checkpoint: Checkpoint,
    kept: EpochModule | None = None,
) -> Facts:
    """Recipe, write weights and history, and return the facts that are worth recording.

    Args:
        module: what is trained.
        data: what it learns from.
        compute: where.
        title: how it is called.
        folder: where its files go.
        checkpoint: what an interrupted training continues from.
        kept: the part of it that is written; None for all.
    """
    log.info("Training the %s on %s examples.", title, f"{len(data.train[1]):,}")
    history = fit(module, data, compute, title, checkpoint)
    if kept is None:
        return save(module, history, folder)
    names = kept.state_dict().keys()
    kept.epochs = [{name: one[name] for name in names} for one in module.epochs]
    return save(kept, history, folder)


def save(module: EpochModule, history: History, folder: Path) -> Facts:
    """Write weights and history into a folder; returns the facts that are worth recording."""
    save_file({name: tensor.contiguous() for name, tensor in module.state_dict().items()}, folder / WEIGHTS)
    (folder / HISTORY).write_text(json.dumps(history), encoding="utf-8")
    if module.epochs:
        stacked = {
            name: torch.stack([one[name] for one in module.epochs]).contiguous() for name in module.epochs[0]
        }
        save_file(stacked, folder / EPOCHS)
    parameters = sum(parameter.numel() for parameter in module.parameters())
    best = best_epoch(history, module.recipe) if history else 0
    return {"parameters": parameters, "epochs": len(history), "best_epoch": best}


def load_epochs(artifact: Artifact) -> list[Mapping[str, Tensor]]:
    """The weights before the first epoch and after each; empty if they were not kept."""
    if EPOCHS not in artifact.manifest["files"]:
        return []
    stacked = load_file(artifact.path / EPOCHS)
    count = len(next(iter(stacked.values())))
    return [{name: tensor[epoch] for name, tensor in stacked.items()} for epoch in range(count)]
