"""Anyone's module: its submodules are branch points, whatever its control flow."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from neural_branching.artifacts.macs import cost
from neural_branching.errors import InputError
from neural_branching.networks.mlp import MLP
from neural_branching.networks.standardize import Standardize
from neural_branching.networks.standardized_network import StandardizedNetwork
from neural_branching.networks.wrapped import WrappedModule, as_network

IMAGE = (3, 4, 4)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Pair(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, x


class Fuse(nn.Module):
    """May be told to fail."""

    blown = False

    def forward(self, x: Tensor) -> Tensor:
        assert not self.blown, "a layer behind the branch point was run"
        return x


class Theirs(nn.Module):
    """Control flow that depends on the values, a shared layer, one never called, and one of two outputs."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Sequential(nn.Flatten(), nn.Linear(48, 6))
        self.twice = nn.Linear(6, 6)
        self.pair = Pair()
        self.fuse = Fuse()
        self.never = nn.Linear(6, 6)
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for _ in range(1 + int(x.sum() > -1e9) if not x.is_meta else 2):
            x = self.twice(x)
        x, _ = self.pair(x)
        return self.head(self.fuse(x))


def images() -> Tensor:
    return torch.randn(3, *IMAGE, generator=torch.Generator().manual_seed(1))


def test_submodules_are_stages() -> None:
    network = as_network(Theirs())
    assert isinstance(network, WrappedModule)
    names = ("stem", "stem.0", "stem.1", "twice", "pair", "fuse", "never", "head", "logits")
    assert network.stage_names == names
    assert network.main_stages == tuple(name for name in names if "." not in name)
    assert isinstance(network.bare, Theirs)
    assert not network.class_token


def test_a_network_that_names_its_stages_stays_itself() -> None:
    network = MLP(IMAGE, 4, (5,))
    assert as_network(network) is network
    assert network.bare is network


def test_a_stage_is_the_first_call_of_its_module() -> None:
    network, x = WrappedModule(Theirs()).eval(), images()
    module = network.module
    stem = module.stem(x)
    assert torch.equal(network(x, until="stem"), stem)
    assert torch.equal(network(x, until="stem.0"), x.flatten(1))
    assert torch.equal(network(x, until="twice"), module.twice(stem))
    assert torch.equal(network(x, until="head"), module(x))
    assert torch.equal(network(x), module(x))
    outputs = dict(network.walk(x, ("stem", "twice", "logits")))
    assert list(outputs) == ["stem", "twice", "logits"]
    assert torch.equal(outputs["twice"], module.twice(stem))
    assert torch.equal(outputs["logits"], module(x))


def test_later_layers_are_never_run() -> None:
    network, x = WrappedModule(Theirs()).eval(), images()
    expected = network(x, until="twice")
    network.module.fuse.blown = True
    assert torch.equal(network(x, until="twice"), expected)
    assert len(dict(network.walk(x, ("stem", "twice")))) == 2
    with pytest.raises(AssertionError, match="behind the branch point"):
        network(x)


def test_no_hook_is_left_behind_whatever_happens() -> None:
    network = WrappedModule(Theirs()).eval()
    network(images(), until="stem")
    with pytest.raises(InputError):
        network(images(), until="never")
    network.module.fuse.blown = True
    with pytest.raises(AssertionError):
        network(images(), until="head")
    assert not any(module._forward_hooks for module in network.modules())


def test_macs_are_those_of_the_path_that_is_run() -> None:
    parent = StandardizedNetwork(Standardize((3, 1, 1)), Theirs())
    assert cost(parent, torch.zeros(1, *IMAGE), "stem").macs == 48 * 6
    assert cost(parent, torch.zeros(1, *IMAGE), "twice").macs == 48 * 6 + 6 * 6
    assert cost(parent, torch.zeros(1, *IMAGE)).macs == 48 * 6 + 2 * 6 * 6 + 6 * 4


def test_a_module_that_is_never_called_is_refused() -> None:
    message = r"^The stage 'never' of Theirs is never called in a forward pass\.$"
    with pytest.raises(InputError, match=message):
        WrappedModule(Theirs())(images(), until="never")
    with pytest.raises(InputError, match=message):
        dict(WrappedModule(Theirs()).walk(images(), ("stem", "never")))


def test_a_module_that_returns_no_tensor_is_refused() -> None:
    with pytest.raises(
        InputError,
        match=r"^The stage 'pair' of Theirs returns a tuple of 0, 1: .* one tensor, such as pair:0\.$",
    ):
        WrappedModule(Theirs())(images(), until="pair")
    first, second = (WrappedModule(Theirs())(images(), until=f"pair:{number}") for number in (0, 1))
    assert first.shape == second.shape


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(InputError, match=r"^until is 'twise', .*did you mean 'twice'"):
        WrappedModule(Theirs())(images(), until="twise")


@torch.inference_mode()
def test_a_stage_is_the_same_alone_and_beside_others() -> None:
    network = WrappedModule(nn.Sequential(nn.Linear(4, 4), nn.ReLU(inplace=True), nn.Linear(4, 2)))
    x = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))
    together = dict(network.walk(x, ("0", "1", "logits")))
    assert together["0"].min() < 0
    for name, output in together.items():
        assert torch.equal(output, network(x, until=name)), name
