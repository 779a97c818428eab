"""Costs are the closed forms, and finding them out changes nothing."""

import pytest
import torch
from torch import Tensor, nn
from torch.utils import flop_counter

from neural_branching.artifacts import macs as cost_module
from neural_branching.artifacts.macs import cost, latency
from neural_branching.networks.convnet import ConvNet
from neural_branching.networks.mlp import MLP
from neural_branching.networks.standardize import Standardize
from neural_branching.networks.standardized_network import StandardizedNetwork
from neural_branching.networks.vit import VisionTransformer
from neural_branching.networks.wrapped import as_network
from neural_branching.training.recipe import Recipe

IMAGE, FIT = (3, 32, 32), Recipe(1, 1, 0.1)
BLANK = torch.zeros(1, *IMAGE)


def test_the_costs_of_a_perceptron_by_stage() -> None:
    parent = StandardizedNetwork(Standardize(IMAGE), MLP(IMAGE, 6, (1024, 512)))
    layers = {"hidden1": (3072, 1024), "hidden2": (1024, 512), "logits": (512, 6)}
    products = weights = 0
    for stage, (n, m) in layers.items():
        products, weights = products + n * m, weights + n * m + m
        assert cost(parent, BLANK, stage).macs == products
        assert cost(parent, BLANK, stage).parameters == weights
    assert cost(parent, BLANK).macs == 3_673_088
    assert cost(parent, BLANK).parameters == weights


def test_the_costs_of_a_branch() -> None:
    branch = StandardizedNetwork(Standardize((512,)), MLP((512,), 3, (256,)))
    assert cost(branch, torch.zeros(1, 512)).macs == 131_840
    assert cost(branch, torch.zeros(1, 512)).parameters == 131_840 + 256 + 3


def test_parameters_behind_the_branch_point_do_not_count() -> None:
    parent = StandardizedNetwork(Standardize((3, 1, 1)), ConvNet(IMAGE, 6))
    whole = sum(parameter.numel() for parameter in parent.parameters())
    assert cost(parent, BLANK).parameters == whole
    assert cost(parent, BLANK, "pool").parameters == whole - (128 * 6 + 6)
    assert cost(parent, BLANK, "stem").parameters == 3 * 9 * 16 + 2 * 16


@pytest.mark.parametrize("training", [False, True])
def test_nothing_is_changed(training: bool) -> None:
    parent = StandardizedNetwork(Standardize((3, 1, 1)), ConvNet(IMAGE, 6, 2)).train(training)
    before = {name: value.clone() for name, value in parent.state_dict().items()}
    cost(parent, BLANK)
    cost(parent, BLANK, "block1")
    assert parent.training == training
    assert all(torch.equal(value, before[name]) for name, value in parent.state_dict().items())
    assert all(parameter.grad is None for parameter in parent.parameters())
    assert {value.device.type for value in parent.state_dict().values()} == {"cpu"}


def test_costs_do_not_depend_on_whether_gradients_are_on() -> None:
    parent = StandardizedNetwork(Standardize((3, 1, 1)), ConvNet(IMAGE, 6, 2))
    assert parent.training
    with_gradients = cost(parent, BLANK).macs
    with torch.no_grad():
        assert cost(parent, BLANK).macs == with_gradients


def test_a_pass_takes_time() -> None:
    branch = StandardizedNetwork(Standardize((16,)), MLP((16,), 3, [8]))
    assert 0 < latency(branch.eval(), torch.zeros(1, 16)) < 10_000


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_attention_is_counted_by_versions_of_torch_that_do_not_know_it(
    device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {name: of for name, of in flop_counter.flop_registry.items() if "attention" not in str(name)}
    monkeypatch.setattr(cost_module, "flop_registry", known)
    with torch.device(device):
        network = VisionTransformer((3, 16, 16), 10, width=16, depth=3, heads=2)
        parent = StandardizedNetwork(Standardize((3, 1, 1)), network)
    tokens, width = 1 + 16, 16
    block = 12 * tokens * width * width + 2 * tokens * tokens * width
    assert cost(parent, torch.zeros(1, 3, 16, 16)).macs == 16 * 48 * width + 3 * block + width * 10


class Recurrent(nn.Module):
    """The last state of an LSTM over the rows of an image, which oneDNN computes in one operation."""

    def __init__(self) -> None:
        super().__init__()
        self.cells = nn.LSTM(8, 16, batch_first=True)
        self.head = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.cells(x[:, 0])[0][:, -1])
        return logits


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_recurrent_network_costs_the_same_computed_or_not(device: str) -> None:
    with torch.device(device):
        network = StandardizedNetwork(Standardize((1, 1, 1)), as_network(Recurrent()))
    enabled = torch._C._get_mkldnn_enabled()
    assert cost(network, torch.zeros(1, 1, 6, 8)).macs == 6 * 4 * 16 * (8 + 16) + 16 * 4
    assert torch._C._get_mkldnn_enabled() == enabled


class Product(nn.Module):
    """Something that multiplies a matrix and a vector, and then all that a network usually does."""

    def __init__(self) -> None:
        super().__init__()
        self.body = ConvNet((3, 8, 8), 4, 2)
        self.weight = nn.Parameter(torch.zeros(4))

    def forward(self, x: Tensor) -> Tensor:
        logits = self.body(x)
        return logits + torch.mv(logits, self.weight)[:, None]


def test_what_multiplies_and_is_not_counted_is_named(caplog: pytest.LogCaptureFixture) -> None:
    cost_module._say_uncounted.cache_clear()
    for network in (ConvNet((3, 8, 8), 4, 2), VisionTransformer((3, 8, 8), 4, width=8, depth=1, heads=2)):
        cost(StandardizedNetwork(Standardize((3, 1, 1)), network), torch.zeros(1, 3, 8, 8))
    assert caplog.messages == []
    parent = StandardizedNetwork(Standardize((3, 1, 1)), as_network(Product()))
    assert (
        cost(parent, torch.zeros(1, 3, 8, 8)).macs
        == cost(
            StandardizedNetwork(Standardize((3, 1, 1)), parent.network.bare.body), torch.zeros(1, 3, 8, 8)
        ).macs
    )
    cost(parent, torch.zeros(1, 3, 8, 8))
    assert caplog.messages == ["Multiply–accumulates of the operation aten.mv are not counted."]
