"""What is kept on disk: activations beside a plain forward pass, images beside their files."""

import os
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from neural_branching.artifacts.activations import BATCH, extract
from neural_branching.data.batches import Batches
from neural_branching.networks.convnet import ConvNet
from neural_branching.networks.mlp import MLP
from neural_branching.networks.standardize import Standardize
from neural_branching.networks.standardized_network import StandardizedNetwork
from neural_branching.store.artifact_store import Store

pytestmark = pytest.mark.benchmark
SHORT = os.environ.get("BENCH") == "short"
IMAGES = 600 if SHORT else 17_000
IMAGE = (3, 32, 32)


@pytest.mark.parametrize("name", ["mlp", "convnet"])
def test_activation_cache(name: str, tmp_path, side_by_side) -> None:
    network = MLP(IMAGE, 6, widths=[1024, 512]) if name == "mlp" else ConvNet(IMAGE, 6)
    parent = StandardizedNetwork(Standardize((3, 1, 1)), network).eval()
    images = torch.randint(0, 256, (IMAGES, *IMAGE), dtype=torch.uint8)
    built = iter(range(1000))

    @torch.inference_mode()
    def forward() -> None:
        for batch in images.split(BATCH):
            parent(batch)

    def build() -> None:
        store, pixels, device = Store(tmp_path), images.numpy(), torch.device("cpu")
        store.fetch(
            "activations", {"build": next(built)}, lambda folder: extract(parent, pixels, folder, device)
        )

    side_by_side(
        f"activations of every stage of the {name}, {IMAGES:,} images, stored with checksums",
        "a plain forward pass",
        forward,
        build,
        # Ten caches at once would measure how fast the machine hands out memory for its file cache.
        lambda: shutil.rmtree(tmp_path / "activations"),
    )


def test_an_epoch_of_images(tmp_path: Path, side_by_side) -> None:
    """Normalised batches of the original parent's 2,100 images, from memory and from PNG files."""
    n = 64 if SHORT else 2100
    images = torch.randint(0, 256, (n, *IMAGE), dtype=torch.uint8)
    y = torch.arange(n) % 6
    for index, (image, label) in enumerate(zip(images.numpy(), y.tolist(), strict=True)):
        folder = tmp_path / str(label)
        folder.mkdir(exist_ok=True)
        Image.fromarray(image.transpose(1, 2, 0)).save(folder / f"{index}.png")
    steps = [transforms.ToTensor(), transforms.Normalize((0.5,) * 3, (0.25,) * 3)]
    loader = DataLoader(ImageFolder(tmp_path, transforms.Compose(steps)), 128, shuffle=True)
    standardize = Standardize((3, 1, 1))
    standardize.learn(images)
    batches = Batches(images, y, 128, torch.Generator().manual_seed(0))
    side_by_side(
        f"an epoch of {n:,} images 32 × 32, shuffled and normalised",
        "torchvision's ImageFolder in a DataLoader",
        lambda: [x for x, _ in loader],
        lambda: [standardize(x) for x, _ in batches],
    )
