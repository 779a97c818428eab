"""The cache of activations beside a plain forward pass."""

import os
import shutil

import pytest
import torch

from neural_branching.activations import BATCH, extract
from neural_branching.fit import Fit
from neural_branching.networks.convnet import ConvNet
from neural_branching.networks.mlp import MLP
from neural_branching.parent import Parent
from neural_branching.store import Store

pytestmark = pytest.mark.benchmark
SHORT = os.environ.get("BENCH") == "short"
IMAGES = 600 if SHORT else 17_000
IMAGE = (3, 32, 32)


@pytest.mark.parametrize("name", ["mlp", "convnet"])
def test_activation_cache(name: str, tmp_path, side_by_side) -> None:
    network = MLP(IMAGE, 6, widths=[1024, 512]) if name == "mlp" else ConvNet(IMAGE, 6)
    parent = Parent(network, Fit(epochs=1, batch_size=1, lr=1e-3), IMAGE).eval()
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
