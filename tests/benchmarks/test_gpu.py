"""Training on a GPU beside the same steps, captured whole in a loop without Lightning, and beside products.

Without a GPU nothing is measured; BENCH=short then checks the loops for breakage on a CPU.
"""

import copy
import os
import time
from collections.abc import Callable, Iterator
from itertools import count, pairwise

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from neural_branching.artifacts.activations import extract
from neural_branching.artifacts.macs import cost
from neural_branching.artifacts.train_together import MEMBERS
from neural_branching.data.augment import Augmentation
from neural_branching.data.tensor_data import TensorDataModule
from neural_branching.networks.convnet import ConvNet
from neural_branching.networks.mlp import MLP
from neural_branching.networks.standardize import Standardize
from neural_branching.networks.standardized_network import StandardizedNetwork
from neural_branching.training import captured_step
from neural_branching.training.captured_step import Capturer, CudaGraphs
from neural_branching.training.classifier import Classifier
from neural_branching.training.compute import Compute
from neural_branching.training.fit import fit
from neural_branching.training.recipe import Recipe
from neural_branching.training.stack import Member, fit_together
from tape import Tape

SHORT, GPU = os.environ.get("BENCH") == "short", torch.cuda.is_available()
pytestmark = [
    pytest.mark.benchmark,
    pytest.mark.skipif(not (GPU or SHORT), reason="this machine has no CUDA device"),
]
DEVICE = torch.device("cuda" if GPU else "cpu")
COMPUTE = Compute(DEVICE.type, progress=False)
IMAGE, WIDTHS = (3, 32, 32), (512, 256, 3)
PAD, CUTOUT = 4, 8
# What trains does so for so many epochs of so many rows, none of which is left for a smaller batch.
EPOCHS, ROWS = (3, 64) if SHORT else (30, 1024)


@pytest.fixture(autouse=True)
def no_replay_was_refused(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Steps that ran as they are would be timed as replays otherwise."""
    yield
    assert not [one for one in caplog.get_records("call") if one.name == captured_step.__name__]


def capturer() -> Capturer:
    return CudaGraphs(DEVICE) if GPU else Tape()


def wait() -> None:
    if GPU:
        torch.cuda.synchronize()


def captured(step: Callable[[], Tensor], steps: int) -> Iterator[Tensor]:
    """Steps that write their inputs' memory themselves: three as they are, the others by a graph."""
    graphs = capturer()
    for _ in range(3):
        yield graphs.rehearse(step)
    replay, result = graphs.capture(step)
    for _ in range(steps - 3):
        replay()
        yield result


def floor(model: nn.Module, data: TensorDataModule, recipe: Recipe, augment: bool = False) -> None:
    """Data, order and augmentation on the device, the whole step captured; validation and best weights."""
    model.to(DEVICE).train()
    (x, y), (held_out, targets) = (
        tuple(one.to(DEVICE) for one in part) for part in (data.train, data.validation)
    )
    optimizer = torch.optim.Adam(
        model.parameters(), recipe.lr, weight_decay=recipe.weight_decay, fused=True, capturable=GPU
    )
    change, size, per_epoch = Augmentation(PAD, True, CUTOUT), recipe.batch_size, len(y) // recipe.batch_size
    order, place = torch.arange(len(y), device=DEVICE), torch.zeros((), dtype=torch.long, device=DEVICE)
    within, total = torch.arange(size, device=DEVICE), torch.zeros((), device=DEVICE)
    low, high = (torch.tensor(ends, device=DEVICE) for ends in ((-PAD, -PAD, 0, 0, 0), (9, 9, 2, 32, 32)))

    def step() -> Tensor:
        optimizer.zero_grad()
        rows = order.index_select(0, place * size + within)
        batch = x.index_select(0, rows)
        if augment:
            batch = change(batch, (torch.rand(size, 5, device=DEVICE) * high).floor() + low)
        loss = F.cross_entropy(model(batch), y.index_select(0, rows))
        loss.backward()
        optimizer.step()
        place.add_(1)
        total.add_(loss.detach())
        return total

    best, best_loss = copy.deepcopy(model.state_dict()), float("inf")
    for number, _ in enumerate(captured(step, recipe.epochs * per_epoch), start=1):
        if number % per_epoch:
            continue
        model.eval()
        with torch.inference_mode():
            logits = model(held_out)
            found = torch.stack(
                [F.cross_entropy(logits, targets), (logits.argmax(1) == targets).float().mean()]
            )
        model.train()
        loss = found.tolist()[0]
        if loss < best_loss:
            best, best_loss = copy.deepcopy(model.state_dict()), loss
        order.copy_(torch.randperm(len(y), device=DEVICE))
        place.zero_()
    model.load_state_dict(best)
    wait()


class Data(TensorDataModule):
    """Random rows."""

    def __init__(self, batch_size: int, n: int, shape: tuple[int, ...], classes: int, augment: bool) -> None:
        super().__init__(batch_size, 0, Augmentation(PAD, True, CUTOUT) if augment else None)
        draw = torch.Generator().manual_seed(0)
        for name, rows in (("train", n), ("validation", 150)):
            y = torch.randint(0, classes, (rows,), generator=draw)
            if len(shape) == 3:
                x = torch.randint(0, 256, (rows, *shape), dtype=torch.uint8, generator=draw)
            else:
                x = torch.randn(rows, *shape, generator=draw)
            setattr(self, name, (x, y))


def model(network: nn.Module, shape: tuple[int, ...]) -> StandardizedNetwork:
    return StandardizedNetwork(Standardize((3, 1, 1) if len(shape) == 3 else shape), network)


def seconds_of_products(operations: float) -> float:
    """The least time for so many multiply–accumulates in float32: as if all were one large product's."""
    side, seconds = 512 if SHORT else 8192, []
    one = torch.randn(side, side, device=DEVICE)
    for _ in range(3):
        wait()
        start = time.perf_counter()
        _ = one @ one
        wait()
        seconds.append(time.perf_counter() - start)
    return operations / side**3 * min(seconds)


@pytest.mark.parametrize(("width", "batch", "n"), [(16, 64, 2048), (32, 128, 45056), (32, 512, 45056)])
def test_a_parent(width: int, batch: int, n: int, side_by_side, record) -> None:
    batch, n, epochs = (8, 32, 2) if SHORT else (batch, n, 3)
    data = Data(batch, n, IMAGE, 100, augment=True)
    recipe = Recipe(epochs=epochs, batch_size=batch, lr=1e-3)

    def new() -> StandardizedNetwork:
        torch.manual_seed(0)
        return model(ConvNet(IMAGE, 100, width), IMAGE)

    what = f"the convnet of width {width}, batch {batch}, {epochs} epochs of {n:,} augmented images"
    ours = side_by_side(
        what,
        "the step captured whole, without Lightning",
        lambda: floor(new(), data, recipe, augment=True),
        lambda: fit(Classifier(new(), recipe), data, COMPUTE, "parent"),
        repeats=3,
        device=DEVICE,
    )
    macs = cost(new(), torch.zeros(1, *IMAGE, dtype=torch.uint8)).macs
    limit = seconds_of_products(3 * macs * n * epochs)  # what goes backwards costs two passes
    record(what, "products of as many operations", [limit] * len(ours), ours, DEVICE)


def test_a_branch(side_by_side) -> None:
    recipe = Recipe(epochs=EPOCHS, batch_size=32, lr=3e-4, weight_decay=1e-2)
    data = Data(32, ROWS, WIDTHS[:1], 3, augment=False)

    def new() -> StandardizedNetwork:
        torch.manual_seed(0)
        return model(MLP(WIDTHS[:1], 3, [WIDTHS[1]], 0.5), WIDTHS[:1])

    side_by_side(
        f"a branch {list(WIDTHS)}, batch 32, {EPOCHS} epochs of {ROWS:,} rows",
        "the step captured whole, without Lightning",
        lambda: floor(new(), data, recipe),
        lambda: fit(Classifier(new(), recipe), data, COMPUTE, "branch"),
        device=DEVICE,
    )


class Stack(nn.Module):
    """Perceptrons of one hidden layer side by side, on the same rows."""

    def __init__(self, networks: int) -> None:
        super().__init__()
        pairs = list(pairwise(WIDTHS))
        self.weights = nn.ParameterList(torch.randn(networks, *pair) / pair[0] ** 0.5 for pair in pairs)
        self.biases = nn.ParameterList(torch.zeros(networks, 1, pair[1]) for pair in pairs)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (b, classes, networks): the loss is the mean over all."""
        x = torch.baddbmm(self.biases[0], x.expand(len(self.biases[0]), -1, -1), self.weights[0]).relu()
        x = F.dropout(x, 0.5, self.training)
        return torch.baddbmm(self.biases[1], x, self.weights[1]).permute(1, 2, 0)


def together(networks: int, data: TensorDataModule, recipe: Recipe, compute: Compute) -> None:
    """Branches of a sweep, in stacks as it makes them."""
    size = MEMBERS["cuda"]
    for first in range(0, networks, size):
        members = []
        for seed in range(first, min(first + size, networks)):
            torch.manual_seed(seed)
            branch = model(MLP(WIDTHS[:1], 3, [WIDTHS[1]], 0.5), WIDTHS[:1])
            order, draws = torch.Generator().manual_seed(seed), torch.Generator(DEVICE).manual_seed(seed)
            members.append(Member(branch, recipe, data.train, data.validation, order, draws))
        fit_together(members, compute, "branches")


@pytest.mark.parametrize("networks", [2] if SHORT else [32, 128, 512, 2048])
def test_branches_at_once(networks: int, side_by_side) -> None:
    recipe = Recipe(epochs=EPOCHS, batch_size=32, lr=3e-4, weight_decay=1e-2)
    data = Data(32, ROWS, WIDTHS[:1], 3, augment=False)
    wide = copy.copy(data)
    wide.train, wide.validation = (
        (x, y[:, None].expand(-1, networks).contiguous()) for x, y in (data.train, data.validation)
    )
    side_by_side(
        f"{networks:,} branches {list(WIDTHS)} at once, batch 32, {EPOCHS} epochs of {ROWS:,} rows",
        "the step of a stack captured whole, without Lightning, on the same rows for all",
        lambda: floor(Stack(networks), wide, recipe),
        lambda: together(networks, data, recipe, COMPUTE),
        repeats=3,
        device=DEVICE,
    )


def test_branches_that_leave(side_by_side) -> None:
    """Of noise, they are done after some epochs, each at its own."""
    networks = 8 if SHORT else 128
    recipe = Recipe(epochs=EPOCHS, batch_size=32, lr=3e-4, patience=3)
    data = Data(32, ROWS, WIDTHS[:1], 3, augment=False)
    plain = Compute(DEVICE.type, progress=False, cuda_graphs=False)
    side_by_side(
        f"{networks} branches {list(WIDTHS)} at once, batch 32, {EPOCHS} epochs or patience 3",
        "the same without graphs",
        lambda: together(networks, data, recipe, plain),
        lambda: together(networks, data, recipe, COMPUTE),
        repeats=3,
        device=DEVICE,
    )


@pytest.mark.parametrize("name", ["mlp", "convnet"])
def test_activations(name: str, tmp_path, side_by_side) -> None:
    n, size = (64, 32) if SHORT else (17_000, 1000)
    network = MLP(IMAGE, 6, widths=[1024, 512]) if name == "mlp" else ConvNet(IMAGE, 6)
    parent = model(network, IMAGE).eval()
    images = torch.randint(0, 256, (n, *IMAGE), dtype=torch.uint8)
    pixels, folders = images.numpy(), count()

    @torch.no_grad()
    def forward() -> None:
        parent.to(DEVICE)
        everything, place = images.to(DEVICE), torch.zeros((), dtype=torch.long, device=DEVICE)
        within = torch.arange(size, device=DEVICE)

        def step() -> Tensor:
            logits: Tensor = parent(everything.index_select(0, place * size + within))
            place.add_(1).remainder_(n // size)
            return logits

        for _ in captured(step, n // size + 3):
            pass
        wait()

    def build() -> None:
        folder = tmp_path / str(next(folders))
        folder.mkdir()
        extract(parent, pixels, folder, DEVICE)

    side_by_side(
        f"activations of every stage of the {name}, {n:,} images",
        "a captured forward pass",
        forward,
        build,
        device=DEVICE,
    )
