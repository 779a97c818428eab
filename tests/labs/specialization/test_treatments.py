"""Treatments do to networks what they say, and no more."""

from collections.abc import Callable
from itertools import combinations, product

import numpy as np
import pytest
import torch
from torch import Tensor

from device import DEVICE
from neural_branching.data.tensor_data import TensorDataModule
from neural_branching.errors import InputError
from neural_branching.labs.specialization.filter_features import chroma
from neural_branching.labs.specialization.treatments import (
    Decorrelation,
    Freeze,
    Plant,
    SparseGroups,
    StudyTreatment,
    Swap,
    opponent_filters,
    rearrange,
)
from neural_branching.networks.branched import BranchedNet
from neural_branching.networks.standardize import Standardize
from neural_branching.networks.standardized_network import StandardizedNetwork
from neural_branching.training.classifier import Classifier
from neural_branching.training.compute import Compute
from neural_branching.training.fit import fit
from neural_branching.training.recipe import Recipe

EPOCHS = 3


def branched(branches: object = 2, width: int = 16, **options: object) -> BranchedNet:
    torch.manual_seed(0)
    return BranchedNet((3, 8, 8), 3, width, branches, kernel=3, **options)  # type: ignore[arg-type]


class Colours(TensorDataModule):
    """Noise whose label is its strongest channel."""

    def __init__(self) -> None:
        super().__init__(20, seed=0)
        x = torch.randint(0, 256, (80, 3, 8, 8), generator=torch.Generator().manual_seed(0)).byte()
        y = x.float().mean((2, 3)).argmax(1)
        self.train = self.validation = (x, y)


def trained(treatment: StudyTreatment | None, network: BranchedNet | None = None) -> Classifier:
    recipe = Recipe(EPOCHS, 20, 0.01, optimizer="adamw", weight_decay=0.05, keep="every")
    model, data = StandardizedNetwork(Standardize((3, 1, 1)), network or branched()), Colours()
    parent = Classifier(model, recipe, treatment)
    parent.standardize.learn(data.train[0])
    fit(parent, data, Compute(DEVICE, progress=False), "toy")
    return parent


def first_layer(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in weights.items() if ".conv1." in name}


def test_a_frozen_layer_stays_as_it_was_and_the_others_learn() -> None:
    parent = trained(Freeze())
    for weights in parent.epochs:
        assert all(torch.equal(first_layer(parent.epochs[0])[n], w) for n, w in first_layer(weights).items())
    assert not torch.equal(*(one["network.stages.conv2.after.0.running_mean"] for one in parent.epochs[:2]))
    assert not torch.equal(*(one["network.stages.conv2.convolutions.0.weight"] for one in parent.epochs[:2]))


@pytest.mark.parametrize(
    ("branches", "order"),
    [
        (2, [8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15]),
        (4, [12, 13, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15]),
        ([3, 1], [12, 13, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 0, 1, 14, 15]),
    ],
)
def test_units_go_to_the_next_branch(branches: object, order: list[int]) -> None:
    assert Swap(2, 0.5).order(branched(branches)).tolist() == order


def test_a_network_whose_next_layer_follows_a_swap_computes_the_same() -> None:
    network, images = branched(join="conv2"), torch.rand(4, 3, 8, 8)
    with torch.no_grad():
        for tensor in (network.layer("conv1").norm.running_mean, network.layer("conv1").norm.bias):
            tensor.copy_(torch.randn(16))  # type: ignore[union-attr]
    before, order = network.eval()(images), Swap(2).order(network)
    rearrange(network, order)
    assert not torch.allclose(network(images), before, atol=1e-3)
    with torch.no_grad():
        for weight in network.layer("conv2").weights:
            weight.copy_(weight[:, order])
    assert torch.allclose(network(images), before, atol=1e-5)


def test_moments_move_with_their_weights() -> None:
    network = branched()
    optimizer = torch.optim.AdamW(network.parameters())
    network(torch.rand(4, 3, 8, 8)).sum().backward()
    optimizer.step()
    layer, order = network.layer("conv1"), Swap(2).order(network)
    of_filters = torch.cat([optimizer.state[one]["exp_avg"] for one in layer.weights])
    of_scales = optimizer.state[layer.norm.weight]["exp_avg_sq"].clone()
    rearrange(network, order, optimizer)
    moved = torch.cat([optimizer.state[one]["exp_avg"] for one in layer.weights])
    assert torch.equal(moved, of_filters[order])
    assert torch.equal(optimizer.state[layer.norm.weight]["exp_avg_sq"], of_scales[order])


def test_a_swap_happens_before_its_epoch() -> None:
    swapped, plain = trained(Swap(3)), trained(None)
    name = "network.stages.conv1.convolutions.0.weight"
    for epoch, same in enumerate((True, True, True, False)):
        assert torch.equal(swapped.epochs[epoch][name], plain.epochs[epoch][name]) == same
    assert isinstance(plain.network, BranchedNet)
    kernels = [
        torch.cat([one[name], one[name.replace("s.0", "s.1")]]).double().numpy() for one in plain.epochs
    ]
    found = Swap(3).measures(plain.network, kernels)
    assert found["η² of chroma before the swap"] != found["η² of chroma right after it"]
    assert found["η² of chroma at the end"] >= 0


def test_planted_units_see_colours_alone_and_stay() -> None:
    parent = trained(Plant(2))
    first = "network.stages.conv1.convolutions.0.weight"
    for weights in parent.epochs:
        assert torch.equal(weights[first][:2], parent.epochs[0][first][:2])
    assert not torch.equal(parent.epochs[0][first][2:], parent.epochs[1][first][2:])
    assert isinstance(parent.network, BranchedNet)
    colours = chroma(parent.network.filters().detach().double().numpy())
    assert colours[:2] == pytest.approx(1, abs=1e-6)
    norms = branched().filters().detach().flatten(1).norm(dim=1)
    assert float(parent.epochs[0][first][0].norm()) == pytest.approx(float(norms.median()), rel=0.1)
    kernels = parent.network.filters().detach().double().numpy()
    [lead] = Plant(2).measures(parent.network, [kernels]).values()
    assert lead == pytest.approx(colours[2:8].mean() - colours[8:].mean())


def test_planted_filters_differ() -> None:
    filters = opponent_filters(4, 5, 2.0)
    assert filters.flatten(1).norm(dim=1).tolist() == pytest.approx([2.0] * 4)
    assert len({tuple(one.flatten().tolist()) for one in filters}) == 4
    assert filters.sum(1).abs().max() < 1e-6


@pytest.mark.parametrize(("branches", "stage"), [(2, "pool"), ([2, 1, 1], "conv2")])
def test_penalties_are_their_formulas(branches: object, stage: str) -> None:
    network = branched(branches, width=16)
    outputs = dict(network.walk(torch.rand(10, 3, 8, 8), (stage,)))
    answers = outputs[stage].detach()
    pooled = (answers.mean((2, 3)) if answers.ndim == 4 else answers).double().numpy()
    units = [list(mine) for mine in network.branch_units()[stage].values()]
    live = [[unit for unit in mine if pooled[:, unit].std() > 0] for mine in units]
    squares = [
        np.corrcoef(pooled[:, i], pooled[:, j])[0, 1] ** 2
        for a, b in combinations(live, 2)
        for i, j in product(a, b)
    ]
    pairs = sum(len(a) * len(b) for a, b in combinations(units, 2))
    found = float(Decorrelation(2.0, stage).penalty(outputs, network).detach())
    assert found == pytest.approx(2 * sum(squares) / pairs, rel=1e-3)
    norms = [np.linalg.norm(pooled[:, mine], axis=1) / len(mine) ** 0.5 for mine in units]
    found = float(SparseGroups(0.5, stage).penalty(outputs, network).detach())
    assert found == pytest.approx(0.5 * np.sum(norms, 0).mean(), rel=1e-5)


def test_decorrelation_ends_where_branches_answer_alike_and_apart() -> None:
    one = torch.randn(200, 1)
    assert Decorrelation.term([one, -2 * one]) == pytest.approx(1, abs=1e-5)
    assert Decorrelation.term([one, torch.randn(200, 1)]) < 0.05
    silent = torch.zeros(200, 1, requires_grad=True)
    loss = Decorrelation.term([one, silent])
    loss.backward()
    assert loss == 0
    assert silent.grad is not None
    assert silent.grad.isfinite().all()
    nothing = torch.zeros(3, 2, requires_grad=True)
    SparseGroups.term([nothing, nothing]).backward()
    assert nothing.grad is not None
    assert nothing.grad.isfinite().all()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Swap(1), "epoch is 1: it must be a whole number of at least 2"),
        (lambda: Swap(3, 0.0), r"share is 0.0: it must be a number within \(0, 1\]"),
        (lambda: Plant(0), "units is 0"),
        (lambda: Decorrelation(-1.0, "pool"), "weight is -1.0"),
        (lambda: SparseGroups(0, "pool"), "weight is 0"),
        (lambda: Swap(4).check(branched(), EPOCHS), r"epoch is 4: parent\.fit\.epochs is 3"),
        (lambda: Plant(6).check(branched(), EPOCHS), "first branch has 8 units, of which 3 must be left"),
        (lambda: Decorrelation(1.0, "logits").check(branched(), EPOCHS), "allowed are conv1, conv2"),
        (lambda: SparseGroups(1.0, "conv2").check(branched(join="conv2"), EPOCHS), "stage is 'conv2'"),
        (
            lambda: Swap(2).check(BranchedNet((3, 8, 8), 3, 16, 2, kernel=[3, 5]), EPOCHS),
            "kernel is 3, 5: treatment=swap exchanges kernels of one size",
        ),
    ],
)
def test_what_cannot_be_done_is_refused(make: Callable[[], object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        make()


def test_what_can_be_done_is_not() -> None:
    Plant(5).check(branched(), EPOCHS)
    Swap(3).check(branched(), EPOCHS)
    Freeze().check(branched(), EPOCHS)
    SparseGroups(1.0, "conv1").check(branched(join="conv2"), EPOCHS)
    assert Plant(3).identity() == {"recipe": 1, "name": "plant", "units": 3}
    assert Swap(3).identity() == {"recipe": 1, "name": "swap", "epoch": 3, "share": 0.5}
