"""Branches trained at once are the branches that separate fits give."""

from dataclasses import replace

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor

from device import DEVICE, ON_CPU, TOGETHER
from neural_branching.data.tensor_data import TensorDataModule
from neural_branching.networks.mlp import MLP
from neural_branching.networks.standardize import Standardize
from neural_branching.networks.standardized_network import StandardizedNetwork
from neural_branching.training.classifier import Classifier
from neural_branching.training.compute import Compute
from neural_branching.training.fit import fit
from neural_branching.training.history import History
from neural_branching.training.recipe import Recipe
from neural_branching.training.stack import Member, fit_together

COMPUTE = Compute(DEVICE, threads=1, progress=False)
WIDTH, CLASSES = 6, 3
Rows = tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]


class Data(TensorDataModule):
    def __init__(self, rows: Rows, batch_size: int, seed: int) -> None:
        super().__init__(batch_size, seed)
        self.rows = rows

    def load(self) -> Rows:
        return self.rows


def rows_of(seed: int) -> Rows:
    draw = torch.Generator().manual_seed(seed)
    train, validation = (torch.randint(0, CLASSES, (n,), generator=draw) for n in (50, 20))
    train_x, validation_x = (
        torch.randn(len(y), WIDTH, generator=draw) + torch.nn.functional.one_hot(y, WIDTH)
        for y in (train, validation)
    )
    return (train_x, train), (validation_x, validation)


def new_branch(rows: Rows, seed: int, widths: tuple[int, ...], dropout: float) -> StandardizedNetwork:
    pl.seed_everything(seed, verbose=False)
    branch = StandardizedNetwork(Standardize((WIDTH,)), MLP((WIDTH,), CLASSES, widths, dropout))
    branch.standardize.learn(rows[0][0])
    return branch


def both(
    recipes: list[Recipe], widths: tuple[int, ...] = (5, 4), dropout: float = 0.5
) -> list[tuple[StandardizedNetwork, History, StandardizedNetwork, History | None]]:
    """Every recipe with a seed of its own on one of two data sets: alone, and in one stack."""
    alone, members = [], []
    sets = [rows_of(100), rows_of(200)]
    standardized: dict[int, Rows] = {}
    for seed, recipe in enumerate(recipes):
        which = seed % 2
        branch = new_branch(sets[which], seed, widths, dropout)
        data = Data(sets[which], recipe.batch_size, seed)
        alone.append((branch, fit(Classifier(branch, recipe), data, COMPUTE, "one")))
        branch = new_branch(sets[which], seed, widths, dropout)
        draws = torch.Generator(DEVICE)
        if ON_CPU:
            draws.set_state(torch.get_rng_state())
        else:
            draws.manual_seed(seed)
        if which not in standardized:
            train, validation = ((branch.standardize(x), y) for x, y in sets[which])
            standardized[which] = train, validation
        order = torch.Generator().manual_seed(seed)
        members.append(Member(branch, recipe, *standardized[which], order, draws))
    together = fit_together(members, COMPUTE, "all")
    return [
        (branch, history, member.branch, found)
        for (branch, history), member, found in zip(alone, members, together, strict=True)
    ]


def check_equal(
    branch: StandardizedNetwork, history: History, other: StandardizedNetwork, found: History | None
) -> None:
    assert found is not None
    assert len(history) == len(found)
    within = max(1e-5, TOGETHER)
    for mine, theirs in zip(history, found, strict=True):
        assert mine == pytest.approx(theirs, abs=within)
    for name, tensor in branch.state_dict().items():
        torch.testing.assert_close(tensor, other.state_dict()[name], atol=within, rtol=within)


USUAL = {"epochs": 6, "batch_size": 16, "lr": 0.01}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"optimizer": "adamw", "weight_decay": 0.1},
        {"schedule": "one_cycle", "keep": "last"},
        {"label_smoothing": 0.2, "monitor": "val/accuracy"},
        {"batch_size": 64, "weight_decay": 0.1},
    ],
)
@pytest.mark.parametrize("widths", [(), (5,), (5, 5)])
def test_stacked_branches_are_those_of_separate_fits(options: dict, widths: tuple[int, ...]) -> None:
    usual = {**USUAL, **options}
    recipes = [Recipe(**{**usual, "lr": lr}) for lr in (0.01, 0.03, 0.01)]
    for one in both(recipes, widths, dropout=0.5 if widths else 0.0):
        check_equal(*one)


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_every_branch_stops_when_it_would_alone(optimizer: str) -> None:
    paces = [(0.03, 0.0), (0.01, 0.3), (0.03, 0.3), (0.05, 0.0), (0.01, 0.3), (0.003, 0.0)]
    recipes = [
        Recipe(**{**USUAL, "epochs": 25, "lr": lr}, weight_decay=decay, patience=2, optimizer=optimizer)
        for lr, decay in paces
    ]
    found = both(recipes)
    assert len({len(history) for _, history, _, _ in found}) >= 3
    for one in found:
        check_equal(*one)


def test_a_branch_that_diverges_leaves_the_others_alone() -> None:
    recipes = [Recipe(**USUAL) for _ in range(3)]
    sets = rows_of(100)
    members = []
    for seed, recipe in enumerate(recipes):
        branch = new_branch(sets, seed, (5,), 0.0)
        train, validation = ((branch.standardize(x), y) for x, y in sets)
        orders = torch.Generator().manual_seed(seed), torch.Generator(DEVICE).manual_seed(seed)
        members.append(Member(branch, recipe, train, validation, *orders))
    bad = members[1].train[0].clone()
    bad[3] = float("nan")
    histories = fit_together(
        [members[0], replace(members[1], train=(bad, members[1].train[1])), members[2]], COMPUTE, "all"
    )
    assert histories[1] is None
    assert [len(history or []) for history in histories] == [6, 0, 6]
    for seed in (0, 2):
        branch = new_branch(sets, seed, (5,), 0.0)
        history = fit(Classifier(branch, recipes[seed]), Data(sets, 16, seed), COMPUTE, "one")
        check_equal(branch, history, members[seed].branch, histories[seed])
