"""Branches, one and many, beside a plain PyTorch loop that does the same for one."""

import copy
import os

import pytest
import torch
from torch.nn import functional as F

from neural_branching.branch import Branch
from neural_branching.compute import Compute
from neural_branching.data.batches import TensorDataModule
from neural_branching.fit import Fit
from neural_branching.networks.mlp import MLP
from neural_branching.stack import Member, fit_together
from neural_branching.training import fit

pytestmark = pytest.mark.benchmark
SHORT = os.environ.get("BENCH") == "short"
EPOCHS = 3 if SHORT else 30
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


def new_branch(batch_size: int, width: int, hidden: int) -> Branch:
    torch.manual_seed(0)
    recipe = Fit(epochs=EPOCHS, batch_size=batch_size, lr=3e-4, weight_decay=1e-2)
    return Branch(MLP((width,), 3, widths=[hidden], dropout=0.5), recipe, width)


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
def test_one_branch(batch_size: int, side_by_side) -> None:
    data = Vectors(batch_size, 512)
    side_by_side(
        f"a branch [512, 256, 3], batch {batch_size}, {EPOCHS} epochs",
        "a raw PyTorch loop with validation and best weights",
        lambda: raw_fit(new_branch(batch_size, 512, 256), data),
        lambda: fit(new_branch(batch_size, 512, 256), data, COMPUTE, "branch"),
    )


@pytest.mark.parametrize(("width", "hidden"), [(64, 32), (512, 256)])
@pytest.mark.parametrize("count", [8, 32])
def test_branches_at_once(width: int, hidden: int, count: int, side_by_side, one_thread) -> None:
    data = Vectors(32, width)

    def together() -> None:
        members = []
        for seed in range(count):
            draws = torch.Generator().manual_seed(seed), torch.Generator().manual_seed(seed)
            members.append(Member(new_branch(32, width, hidden), data.train, data.validation, *draws))
        fit_together(members, COMPUTE, "branches")

    side_by_side(
        f"{count} branches [{width}, {hidden}, 3] at once, batch 32, {EPOCHS} epochs",
        "one of them in a raw PyTorch loop",
        lambda: raw_fit(new_branch(32, width, hidden), data),
        together,
    )
