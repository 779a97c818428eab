"""Lesions on a network whose answers are known."""

import numpy as np
import pytest
import torch
from torch import nn

from neural_branching.errors import InputError
from neural_branching.labs.specialization.lesions import Lesion, lesion_effect
from neural_branching.labs.specialization.partition import Partition
from neural_branching.networks.staged import StagedNetwork
from neural_branching.networks.standardize import Standardize
from neural_branching.networks.standardized_network import StandardizedNetwork
from neural_branching.networks.wrapped import WrappedModule
from neural_branching.training.classifier import Classifier

COPIES = 4
PARTITION = Partition.even("units", 2 * COPIES, 2)
GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(400, 2, generator=GENERATOR)
Y = (2 * (X[:, 0] > 0) + (X[:, 1] > 0)).long().numpy()


def two_halves(*, second: float = 1.0) -> Classifier:
    """Two signs make four classes; each branch has four copies of one of them."""
    units = nn.Linear(2, 2 * COPIES, bias=False)
    logits = nn.Linear(2 * COPIES, 4, bias=False)
    with torch.no_grad():
        units.weight.copy_(torch.eye(2).repeat_interleave(COPIES, 0))
        signs = torch.tensor([[-1.0, -1], [-1, 1], [1, -1], [1, 1]]) * torch.tensor([1.0, second])
        logits.weight.copy_(signs.repeat_interleave(COPIES, 1))
    return StandardizedNetwork(Standardize((2,)), StagedNetwork({"units": units, "logits": logits}))


@pytest.mark.parametrize("fill", ["mean", "zero", "noise"])
def test_a_lost_branch_costs_what_only_it_knows(fill: str) -> None:
    model = two_halves()
    with torch.inference_mode():
        training = model.eval()(X, until="units")
    effect = lesion_effect(model, PARTITION, X, Y, Lesion(fill, training), 99)
    assert effect.accuracy == pytest.approx(1, abs=0.01)
    for name, known in (("0", X[:, 1]), ("1", X[:, 0])):
        assert 0.35 < effect.without[name] < 0.65, known
    # A copy is left of each sign, but in one of 35 divisions; noise in the others drowns it at times.
    assert effect.accuracy_without_random > (0.55 if fill == "noise" else 0.8)
    assert effect.excess == pytest.approx(
        effect.accuracy_without_random - np.mean([*effect.without.values()])
    )
    assert effect.random.p <= 0.06
    assert effect.by_class[""] == pytest.approx(np.ones(4), abs=0.05)
    if fill != "noise":  # the other sign is still known: two classes of four stay right, whatever is guessed
        assert effect.by_class["0"].sum() == pytest.approx(2, abs=0.1)


def test_random_units_cost_no_more_than_random_units() -> None:
    model = two_halves()
    mixed = Partition.of("units", {"a": [0, 1, 4, 5], "b": [2, 3, 6, 7]}, 8)
    effect = lesion_effect(model, mixed, X, Y, Lesion("mean", model.eval()(X, until="units").detach()), 99)
    assert effect.excess < 0
    assert effect.random.p > 0.5


@pytest.mark.thorough
def test_lesions_of_units_that_no_branch_owns_are_found_no_more_often_than_by_chance() -> None:
    generator, small = np.random.default_rng(0), 0
    for seed in range(1000):
        units, logits = nn.Linear(6, 12), nn.Linear(12, 4)
        with torch.no_grad():
            for one in (*units.parameters(), *logits.parameters()):
                one.copy_(torch.from_numpy(generator.normal(size=tuple(one.shape))))
        network = StagedNetwork({"units": units, "logits": logits})
        model = StandardizedNetwork(Standardize((6,)), network).eval()
        x = torch.from_numpy(generator.normal(size=(200, 6))).float()
        with torch.inference_mode():
            labels, training = model(x).argmax(1).numpy(), model(x, until="units")
        effect = lesion_effect(
            model, Partition.even("units", 12, 2), x, labels, Lesion("mean", training), 39, seed
        )
        small += effect.random.p <= 0.05
    assert 0.03 <= small / 1000 <= 0.065  # accuracies tie now and then


def test_a_lesion_that_changes_nothing_is_an_error() -> None:
    model = two_halves(second=0)
    lesion = Lesion("mean", model.eval()(X, until="units").detach())
    with pytest.raises(
        InputError, match="Without the branch '1' of the stage 'units' the network answers as"
    ):
        lesion_effect(model, PARTITION, X, Y, lesion, 19)


def test_a_network_that_cannot_start_from_a_stage_is_refused() -> None:
    module = nn.Sequential(nn.Linear(2, 8), nn.Linear(8, 4))
    model = StandardizedNetwork(Standardize((2,)), WrappedModule(module))
    with pytest.raises(InputError, match="cannot start from the stage '0'"):
        lesion_effect(model, Partition.even("0", 8, 2), X, Y, Lesion("zero", torch.zeros(2, 8)), 19)


def test_only_the_chosen_units_change() -> None:
    training = torch.randn(50, 4, 3, 3, generator=GENERATOR)
    changed = Lesion("mean", training)(training, np.array([1, 3]))
    assert torch.equal(changed[:, [0, 2]], training[:, [0, 2]])
    assert torch.allclose(changed[:, 1], training[:, 1].mean().expand(50, 3, 3))
    noise = Lesion("noise", training, seed=1)
    assert torch.equal(noise(training, np.array([1])), noise(training, np.array([1])))
    assert not torch.equal(noise(training, np.array([1])), noise(training, np.array([1]), 1))
    assert torch.equal(Lesion("zero", training)(training, np.array([1]))[:, 1], torch.zeros(50, 3, 3))
