"""A trained network on disk: its weights and the history of its training."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from neural_branching.store.artifact_store import Artifact, Facts
from neural_branching.training.history import History, best_epoch
from neural_branching.training.recipe import Recipe

WEIGHTS, HISTORY = "weights.safetensors", "history.json"
EPOCHS = "epochs.safetensors"  # of recipes that keep every epoch


def save(
    network: nn.Module,
    folder: Path,
    trained: tuple[Recipe, History] | None = None,
    epochs: Sequence[Mapping[str, Tensor]] = (),
) -> Facts:
    """Write weights and history into a folder.

    Args:
        network: what is kept.
        folder: where to.
        trained: by which recipe, and how that went; None if it was not.
        epochs: the weights before the first epoch and after each, if they are kept; others' are left out.

    Returns:
        The facts that are worth recording.
    """
    state = network.state_dict()
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, folder / WEIGHTS)
    recipe, history = trained or (None, [])
    (folder / HISTORY).write_text(json.dumps(history), encoding="utf-8")
    if epochs:
        stacked = {name: torch.stack([one[name] for one in epochs]).contiguous() for name in state}
        save_file(stacked, folder / EPOCHS)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    best = best_epoch(history, recipe) if recipe else 0
    return {"parameters": parameters, "epochs": len(history), "best_epoch": best}


def load_epochs(artifact: Artifact) -> list[Mapping[str, Tensor]]:
    """The weights before the first epoch and after each; empty if they were not kept."""
    if EPOCHS not in artifact.manifest["files"]:
        return []
    stacked = load_file(artifact.path / EPOCHS)
    count = len(next(iter(stacked.values())))
    return [{name: tensor[epoch] for name, tensor in stacked.items()} for epoch in range(count)]
