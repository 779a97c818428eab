"""Branches and parents beside a plain PyTorch loop, and beside Lightning as one would first write it."""

import copy
import os
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from neural_branching.data.tensor_data import TensorDataModule
from neural_branching.networks.convnet import ConvNet
from neural_branching.networks.mlp import MLP
from neural_branching.networks.standardize import Standardize
from neural_branching.networks.standardized_network import StandardizedNetwork
from neural_branching.training.classifier import Classifier
from neural_branching.training.compute import Compute
from neural_branching.training.fit import fit
from neural_branching.training.recipe import Recipe
from neural_branching.training.stack import Member, fit_together

pytestmark = pytest.mark.benchmark
SHORT = os.environ.get("BENCH") == "short"
EPOCHS = 3 if SHORT else 30
IMAGE = (3, 32, 32)
COMPUTE = Compute(accelerator="cpu", progress=False)


class Vectors(TensorDataModule):
    """Random activations of the original branch's size: 1050 for training, 150 for validation."""

    def __init__(self, batch_size: int, width: int) -> None:
        super().__init__(batch_size, seed=0)
        draw = torch.Generator().manual_seed(0)
        self.train, self.validation = (
            (torch.randn(n, width, generator=draw), torch.randint(0, 3, (n,), generator=draw))
            for n in (1050, 150)
        )


def new_branch(batch_size: int, width: int, hidden: int) -> Classifier:
    torch.manual_seed(0)
    recipe = Recipe(epochs=EPOCHS, batch_size=batch_size, lr=3e-4, weight_decay=1e-2)
    return Classifier(
        StandardizedNetwork(Standardize((width,)), MLP((width,), 3, widths=[hidden], dropout=0.5)), recipe
    )


def raw_fit(branch: Classifier, data: TensorDataModule) -> None:
    """A plain PyTorch loop that does the same: validation every epoch, best weights restored."""
    optimizer = torch.optim.Adam(
        branch.parameters(), branch.recipe.lr, weight_decay=branch.recipe.weight_decay, fused=True
    )
    (x, y), (x_validation, y_validation) = data.train, data.validation
    best, best_loss = copy.deepcopy(branch.state_dict()), float("inf")
    for _ in range(branch.recipe.epochs):
        branch.train()
        total = torch.zeros(())
        for rows in torch.randperm(len(y)).split(branch.recipe.batch_size):
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
def test_one_branch(batch_size: int, side_by_side) -> None:
    data = Vectors(batch_size, 512)
    side_by_side(
        f"a branch [512, 256, 3], batch {batch_size}, {EPOCHS} epochs",
        "a raw PyTorch loop with validation and best weights",
        lambda: raw_fit(new_branch(batch_size, 512, 256), data),
        lambda: fit(new_branch(batch_size, 512, 256), data, COMPUTE, "branch"),
    )


class Straightforward(pl.LightningModule):
    """The same branch as the first page of Lightning's manual would have it."""

    def __init__(self, branch: Classifier) -> None:
        super().__init__()
        self.branch = branch

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        x, y = batch
        loss = F.cross_entropy(self.branch(x), y)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:
        x, y = batch
        logits = self.branch(x)
        self.log("val_loss", F.cross_entropy(logits, y))
        self.log("val_accuracy", (logits.argmax(1) == y).float().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        recipe = self.branch.recipe
        return torch.optim.Adam(self.branch.parameters(), recipe.lr, weight_decay=recipe.weight_decay)


def _hushed(action: Callable[[], None]) -> Callable[[], None]:
    """The action with what it prints kept from the screen."""

    def run() -> None:
        with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            action()

    return run


@pytest.mark.filterwarnings("ignore")  # Lightning has much to say of such a trainer
@pytest.mark.parametrize(("batch_size", "hidden"), [(32, 256), (32, 32)])
def test_one_branch_beside_lightning(batch_size: int, hidden: int, tmp_path: Path, side_by_side) -> None:
    width = 2 * hidden
    data = Vectors(batch_size, width)

    def plain() -> None:
        trainer = pl.Trainer(
            max_epochs=EPOCHS,
            accelerator="cpu",
            default_root_dir=tmp_path,
            callbacks=[
                ModelCheckpoint(monitor="val_loss"),
                EarlyStopping("val_loss", patience=EPOCHS),
            ],
        )
        train = DataLoader(TensorDataset(*data.train), batch_size, shuffle=True)
        validation = DataLoader(TensorDataset(*data.validation), batch_size)
        trainer.fit(Straightforward(new_branch(batch_size, width, hidden)), train, validation)

    def ours() -> None:
        fit(new_branch(batch_size, width, hidden), data, Compute(accelerator="cpu"), "branch")

    side_by_side(
        f"a branch [{width}, {hidden}, 3], batch {batch_size}, {EPOCHS} epochs, progress shown",
        "Lightning's defaults with DataLoaders over TensorDatasets, ModelCheckpoint and EarlyStopping",
        _hushed(plain),
        _hushed(ours),
        repeats=5,
    )


class Images(TensorDataModule):
    """Random images of the original parent's data: 2100 for training, 300 for validation."""

    def __init__(self) -> None:
        super().__init__(128, seed=0)
        draw = torch.Generator().manual_seed(0)
        self.train, self.validation = (
            (
                torch.randint(0, 256, (n, *IMAGE), dtype=torch.uint8, generator=draw),
                torch.randint(0, 6, (n,), generator=draw),
            )
            for n in ((256, 64) if SHORT else (2100, 300))
        )


@pytest.mark.parametrize("name", ["mlp", "convnet"])
def test_a_parent(name: str, side_by_side) -> None:
    data, epochs = Images(), 1 if SHORT or name == "convnet" else 5

    def new_parent() -> Classifier:
        torch.manual_seed(0)
        network = MLP(IMAGE, 6, widths=[1024, 512]) if name == "mlp" else ConvNet(IMAGE, 6)
        parent = Classifier(
            StandardizedNetwork(Standardize((3, 1, 1)), network),
            Recipe(epochs=epochs, batch_size=128, lr=1e-3),
        )
        parent.standardize.learn(data.train[0])
        return parent

    side_by_side(
        f"the {name} parent, batch 128, {epochs} epochs of 2,100 images",
        "a raw PyTorch loop with validation and best weights",
        lambda: raw_fit(new_parent(), data),
        lambda: fit(new_parent(), data, COMPUTE, "parent"),
        repeats=5,
    )


@pytest.mark.parametrize("name", ["mlp", "convnet"])
def test_an_epoch_from_the_cache(name: str, side_by_side) -> None:
    """Branch training over the parent's activations of three classes, kept or computed every time."""
    stage, hidden = ("hidden2", 256) if name == "mlp" else ("pool", 64)
    network = MLP(IMAGE, 6, widths=[1024, 512]) if name == "mlp" else ConvNet(IMAGE, 6)
    parent = StandardizedNetwork(Standardize((3, 1, 1)), network).eval().requires_grad_(False)
    n = 128 if SHORT else 1050
    images = torch.randint(0, 256, (n, *IMAGE), dtype=torch.uint8)
    y = torch.randint(0, 3, (n,))
    with torch.no_grad():
        vectors = parent(images, until=stage).flatten(1)
    branch = new_branch(32, vectors.shape[1], hidden)
    optimizer = torch.optim.Adam(branch.parameters(), 1e-3, fused=True)

    def epoch(x: Tensor, see: Callable[[Tensor], Tensor]) -> None:
        for rows in torch.randperm(n).split(32):
            optimizer.zero_grad()
            F.cross_entropy(branch(see(x[rows])), y[rows]).backward()
            optimizer.step()

    @torch.no_grad()
    def through_parent(x: Tensor) -> Tensor:
        return parent(x, until=stage).flatten(1)

    side_by_side(
        f"an epoch of a branch over kept activations of the {name} at {stage}, {n:,} images",
        "the same through the frozen parent",
        lambda: epoch(images, through_parent),
        lambda: epoch(vectors, lambda x: x),
    )


@pytest.mark.parametrize(("width", "hidden"), [(64, 32), (512, 256)])
@pytest.mark.parametrize("count", [8, 32])
def test_branches_at_once(width: int, hidden: int, count: int, side_by_side, one_thread) -> None:
    data = Vectors(32, width)

    def together() -> None:
        members = []
        for seed in range(count):
            draws = torch.Generator().manual_seed(seed), torch.Generator().manual_seed(seed)
            one = new_branch(32, width, hidden)
            branch = StandardizedNetwork(one.standardize, one.network)
            members.append(Member(branch, one.recipe, data.train, data.validation, *draws))
        fit_together(members, COMPUTE, "branches")

    side_by_side(
        f"{count} branches [{width}, {hidden}, 3] at once, batch 32, {EPOCHS} epochs",
        "one of them in a raw PyTorch loop",
        lambda: raw_fit(new_branch(32, width, hidden), data),
        together,
    )
