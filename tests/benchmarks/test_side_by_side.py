"""Our way beside the plain way, interleaved in one process: `make bench` prints the ratios.

Times are medians over interleaved repeats on synthetic data of the original experiment's size. No
limit is asserted: machines are shared and noisy, and the ratio is what to read. Set BENCH=short to
check for breakage only.
"""

import copy
import importlib.util
import os
import shutil
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from sklearn.metrics import precision_recall_curve
from torch.nn import functional as F
from torchmetrics.functional.classification import binary_precision_recall_curve

from neural_branching.activations import BATCH, extract
from neural_branching.branch import Branch
from neural_branching.compute import Compute
from neural_branching.data.batches import TensorDataModule
from neural_branching.data.files import decoded
from neural_branching.evaluation.stops import Stop
from neural_branching.fit import Fit
from neural_branching.networks.convnet import ConvNet
from neural_branching.networks.mlp import MLP
from neural_branching.parent import Parent
from neural_branching.prediction import Head, Predictor
from neural_branching.readout import Readout
from neural_branching.routing.descent import Guide
from neural_branching.routing.hierarchy import ROOT, Node, Tree
from neural_branching.routing.routers import ParentMass
from neural_branching.selection import risk_coverage_curve
from neural_branching.selection.scores.outputs import MaxSoftmax
from neural_branching.selection.thresholds.base import HeldOut
from neural_branching.selection.thresholds.plain import Fixed
from neural_branching.store import Store
from neural_branching.training import fit

pytestmark = pytest.mark.benchmark
SHORT = os.environ.get("BENCH") == "short"
REPEATS = 2 if SHORT else 9
EPOCHS = 3 if SHORT else 30
IMAGES = 600 if SHORT else 17_000
IMAGE = (3, 32, 32)
NO_IMAGES = HeldOut(np.empty(0), np.empty(0, bool), np.empty(0), np.empty(0, bool), np.empty(0))


def side_by_side(
    title: str,
    plain: Callable[[], object],
    ours: Callable[[], object],
    clean_up: Callable[[], object] = lambda: None,
) -> None:
    """Time both in turns after one unmeasured round, clean up untimed, print medians and the ratio."""
    seconds: dict[str, list[float]] = {"plain": [], "ours": []}
    for repeat in range(REPEATS + 1):
        for name, action in (("plain", plain), ("ours", ours)):
            start = time.perf_counter()
            action()
            if repeat:
                seconds[name].append(time.perf_counter() - start)
        clean_up()
    ratios = [mine / base for mine, base in zip(seconds["ours"], seconds["plain"], strict=True)]
    table = Table(title=f"{title} ({torch.get_num_threads()} threads, {REPEATS} interleaved repeats)")
    for heading in ("plain [ms]", "ours [ms]", "ratio, median", "ratio, range"):
        table.add_column(heading, justify="right")
    table.add_row(
        *(f"{1000 * statistics.median(values):.2f}" for values in seconds.values()),
        f"{statistics.median(ratios):.2f}",
        f"{min(ratios):.2f}–{max(ratios):.2f}",
    )
    Console(width=110).print(table)


class Vectors(TensorDataModule):
    """Random activations of the original branch's size: 1050 for training, 150 for validation."""

    def __init__(self, batch_size: int, width: int = 512) -> None:
        super().__init__(batch_size, seed=0)
        draw = torch.Generator().manual_seed(0)
        self.train, self.validation = (
            (torch.randn(n, width, generator=draw), torch.randint(0, 3, (n,), generator=draw))
            for n in (1050, 150)
        )


def new_branch(batch_size: int) -> Branch:
    torch.manual_seed(0)
    recipe = Fit(epochs=EPOCHS, batch_size=batch_size, lr=3e-4, weight_decay=1e-2)
    return Branch(MLP((512,), 3, widths=[256], dropout=0.5), recipe, 512)


def raw_fit(branch: Branch, data: Vectors) -> None:
    """A plain PyTorch loop that does the same: validation every epoch, best weights restored."""
    optimizer = torch.optim.Adam(
        branch.parameters(), branch.fit.lr, weight_decay=branch.fit.weight_decay, fused=True
    )
    (x, y), (x_validation, y_validation) = data.train, data.validation
    best, best_loss = copy.deepcopy(branch.state_dict()), float("inf")
    for _ in range(branch.fit.epochs):
        branch.train()
        total = torch.zeros(())
        for rows in torch.randperm(len(y)).split(branch.fit.batch_size):
            optimizer.zero_grad()
            loss = F.cross_entropy(branch(x[rows]), y[rows])
            loss.backward()
            optimizer.step()
            total += loss.detach() * len(rows)
        branch.eval()
        with torch.inference_mode():
            logits = branch(x_validation)
            validation_loss = F.cross_entropy(logits, y_validation).item()
            (logits.argmax(1) == y_validation).float().mean().item()
        if validation_loss < best_loss:
            best, best_loss = copy.deepcopy(branch.state_dict()), validation_loss
    branch.load_state_dict(best)


@pytest.mark.parametrize("batch_size", [32, 128])
def test_branch_fit(batch_size: int) -> None:
    # The trainer switches this off for itself; the plain loop shall not pay for it either.
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "0"
    data, compute = Vectors(batch_size), Compute(accelerator="cpu", progress=False)
    side_by_side(
        f"branch [512, 256, 3], {EPOCHS} epochs, batch {batch_size}: raw PyTorch loop | this package",
        lambda: raw_fit(new_branch(batch_size), data),
        lambda: fit(new_branch(batch_size), data, compute, "branch"),
    )


@pytest.mark.parametrize("name", ["mlp", "convnet"])
def test_activation_cache(name: str, tmp_path) -> None:
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
        f"{name}, {IMAGES:,} images: plain forward pass | all stages into the store, checksummed and synced",
        forward,
        build,
        # Ten caches at once would measure how fast the machine hands out memory for its file cache.
        lambda: shutil.rmtree(tmp_path / "activations"),
    )


def peers() -> dict[str, Callable[[np.ndarray, np.ndarray], object]]:
    """Curves of the same information in well-known libraries: precision is selective accuracy."""
    found: dict[str, Callable[[np.ndarray, np.ndarray], object]] = {
        "scikit-learn's precision_recall_curve": lambda score, error: precision_recall_curve(~error, score),
        "torchmetrics' binary_precision_recall_curve": lambda score, error: binary_precision_recall_curve(
            torch.from_numpy(score), torch.from_numpy(~error).long()
        ),
    }
    if importlib.util.find_spec("torch_uncertainty"):
        from torch_uncertainty.metrics.classification import AURC

        def area(score: np.ndarray, error: np.ndarray) -> object:
            metric = AURC()
            probabilities = torch.from_numpy(np.column_stack([1 - score, score]))
            metric.update(probabilities, torch.from_numpy(~error).long())
            return metric.compute()

        found["torch-uncertainty's AURC"] = area
    return found


@pytest.mark.parametrize("peer", peers())
def test_risk_coverage_curve(peer: str) -> None:
    generator = np.random.default_rng(0)
    score = generator.uniform(0.5, 1, 50_000)
    error, thresholds = generator.random(50_000) > score, np.linspace(0.5, 1, 1000)
    precision, _, at = precision_recall_curve(~error, score)
    curve = risk_coverage_curve(score, error)
    np.testing.assert_array_equal(at, curve.threshold)
    np.testing.assert_allclose(precision[:-1], 1 - curve.selective_risk, atol=1e-12)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    side_by_side(
        f"50,000 samples: {peer}, curve only | our curve, its area and 1000 thresholds",
        lambda: peers()[peer](score, error),
        lambda: (risk_coverage_curve(score, error).at(thresholds), curve.aurc()),
    )
    torch.set_num_threads(before)


def test_answers_of_a_system(tmp_path: Path) -> None:
    """Images through parent, two branches, router and thresholds, beside the parent alone.

    Once images in memory, once PNG files that are decoded while others are answered.
    """
    groups = (("a", "b", "c"), ("d", "e", "f"))
    nodes = {ROOT: Node(ROOT, None, ("first", "second"), groups, leaf=False)}
    for name, group in zip(("first", "second"), groups, strict=True):
        nodes[name] = Node(name, ROOT, group, tuple((one,) for one in group), leaf=True)
    recipe = Fit(1, 1, 0.1)
    parent = Parent(ConvNet(IMAGE, 6), recipe, IMAGE).eval()
    heads = {
        name: Head(Branch(MLP((128,), 3, [256]), recipe, 128), "pool", Readout("auto"))
        for name in ("first", "second")
    }
    rule, router = Fixed(0.5), ParentMass()
    stop = Stop(MaxSoftmax(), MaxSoftmax().fit(None), rule.fit(NO_IMAGES), rule)
    predictor = Predictor(
        Tree("two", nodes),
        parent,
        heads,
        {},
        [[0, 1, 2], [3, 4, 5]],
        Guide(router, {ROOT: router.weigh}),
        dict.fromkeys(nodes, stop),
        32,
        torch.device("cpu"),
        np.empty((0, *IMAGE), np.uint8),
    )
    count = 512 if SHORT else 10_000
    images = torch.randint(0, 256, (count, *IMAGE), dtype=torch.uint8)

    @torch.inference_mode()
    def plain() -> None:
        for batch in images.split(256):
            parent(batch)

    side_by_side(
        f"{count:,} images through a system of two branches beside the parent's forward pass",
        plain,
        lambda: [predictor.predict(batch) for batch in images.split(256)],
    )
    files = [tmp_path / f"{index}.png" for index in range(count)]
    for file, image in zip(files, images.numpy(), strict=True):
        Image.fromarray(image.transpose(1, 2, 0)).save(file)
    side_by_side(
        f"{count:,} image files through the same system beside the parent's forward pass over decoded ones",
        plain,
        lambda: [predictor.predict(batch) for _, batch, _ in decoded(files, 32, 256)],
    )
