"""Activations of a model that another program runs: one matrix per layer, and a branch on each."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

import neural_branching as nb


@torch.inference_mode()
def dump(
    model: nn.Module, layers: Sequence[str], batches: Iterable[tuple[Tensor, Sequence[str]]], folder: Path
) -> None:
    """Write ``LAYER.npy`` (rows, length) of every layer, and the classes of the rows in ``labels.npy``."""
    kept: dict[str, list[Tensor]] = {layer: [] for layer in layers}
    classes: list[str] = []
    for layer in layers:
        # Copied, since a later layer may work in place.
        model.get_submodule(layer).register_forward_hook(
            lambda _, __, output, layer=layer: kept[layer].append(output.flatten(1).cpu().clone())
        )
    model.eval()
    for inputs, names in batches:
        model(inputs)
        classes += names
    folder.mkdir()
    for layer, vectors in kept.items():
        np.save(folder / f"{layer}.npy", torch.cat(vectors).numpy())
    np.save(folder / "labels.npy", np.array(classes))


if __name__ == "__main__":
    digits = load_digits()
    images = torch.from_numpy(digits.images).float()[:, None] / 16
    names = [f"digit_{label}" for label in digits.target]
    somebody_elses = nn.Sequential(
        nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU(inplace=True)
    )
    dump(
        somebody_elses,
        ["1", "2"],
        ((images[start : start + 256], names[start : start + 256]) for start in range(0, len(images), 256)),
        Path("activations"),
    )
    for layer in ("1", "2"):
        experiment = nb.Experiment(
            data=nb.sources.Vectors("activations"),
            parent=nb.parents.Identity(),
            branches=nb.Branch(
                ["digit_1", "digit_7", "digit_9"], at=layer, kind="linear", fit={"epochs": 10}
            ),
        )
        results = experiment.run("outputs").results
        print(layer, results["nodes"]["custom"]["thresholds"][0]["test"]["accuracy"])
