"""Passes from which examples leave: what goes on is computed as if nobody had."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from neural_branching.errors import InputError
from neural_branching.networks.convnet import ConvNet
from neural_branching.networks.network import Network
from neural_branching.networks.timm_model import TimmModel
from neural_branching.networks.torchvision_model import TorchvisionModel
from neural_branching.networks.vit import VisionTransformer
from neural_branching.networks.wrapped import WrappedModule


class Looking(nn.Module):
    """Adds what came before its first layer to what comes out of its last."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(self.first(x))


class Pairs(nn.Module):
    """Its first layer returns two things."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.last = nn.LSTM(4, 5, batch_first=True), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.lstm(x)[0][:, -1])


def thinned(network: Network, x: Tensor, stages: tuple[str, ...]) -> dict[str, tuple[Tensor, Tensor]]:
    """Stage → rows that come there and their outputs; a third leaves at every stage."""
    found, rows = {}, torch.arange(len(x))

    def stays(stage: str, output: Tensor) -> Tensor:
        nonlocal rows
        found[stage] = rows, output.clone()
        going = torch.arange(len(rows)) % 3 != 0
        rows = rows[going]
        return going

    with torch.inference_mode():
        network.eval().walk_while(x, stages, stays)
    return found


@pytest.mark.parametrize(
    ("make", "shape", "stages"),
    [
        (lambda: ConvNet((3, 16, 16), 5, 4), (3, 16, 16), ("block1", "block3", "logits")),
        (lambda: VisionTransformer((3, 8, 8), 5, width=8, depth=2, heads=2), (3, 8, 8), ("block1", "norm")),
        (
            lambda: TimmModel((3, 32, 32), 0, "test_efficientnet"),
            (3, 32, 32),
            ("blocks.0", "blocks.1", "output"),
        ),
        (lambda: TorchvisionModel((3, 32, 32), 5, "resnet18"), (3, 32, 32), ("layer1.1.relu_1", "avgpool")),
        (
            lambda: TorchvisionModel((3, 64, 64), 5, "googlenet"),
            (3, 64, 64),
            ("inception3a.branch2.1.conv", "inception4a.cat", "logits"),
        ),
        (lambda: WrappedModule(Pairs()), (6, 4), ("lstm:0", "last")),
    ],
    ids=["staged", "tokens", "backbone", "graph", "graph with branches", "several things"],
)
def test_what_goes_on_is_as_if_nobody_had_left(
    make: Callable[[], Network], shape: tuple[int, ...], stages: tuple[str, ...]
) -> None:
    torch.manual_seed(0)
    network = make().eval()
    x = torch.rand(12, *shape) * 255
    with torch.inference_mode():
        whole = {name: output.clone() for name, output in network.walk(x, stages)}
    found = thinned(network, x, stages)
    assert list(found) == list(stages)
    assert [len(rows) for rows, _ in found.values()] == [12, 8, 5][: len(stages)]
    for stage, (rows, output) in found.items():
        torch.testing.assert_close(output, whole[stage][rows], rtol=1e-4, atol=1e-4)


def test_nothing_is_computed_behind_the_last_that_leaves() -> None:
    network, seen = ConvNet((3, 16, 16), 5, 4).eval(), []
    network.stages["block2"].register_forward_hook(lambda *_: seen.append(1))
    for gone in (WrappedModule(network), network):
        gone.walk_while(
            torch.rand(4, 3, 16, 16), _names(gone), lambda _, output: torch.zeros(len(output)) > 0
        )
    assert not seen


def test_nothing_of_a_graph_is_computed_behind_the_last_that_leaves() -> None:
    network, counts = TorchvisionModel((3, 32, 32), 5, "resnet18").eval(), []
    for name in ("layer2", "layer4"):
        conv = network.get_submodule(f"model.{name}.0.conv1")
        conv.register_forward_hook(lambda module, inputs, output: counts.append(len(output)))
    stages = ("layer1.1.relu_1", "layer3.1.relu_1", "logits")
    network.walk_while(torch.rand(4, 3, 32, 32), stages, lambda stage, output: _first(3, output))
    assert counts == [3, 3]
    network.walk_while(torch.rand(4, 3, 32, 32), stages, lambda stage, output: _first(0, output))
    assert counts == [3, 3]


def test_a_copy_of_a_graph_leaves_as_well() -> None:
    network = TorchvisionModel((3, 32, 32), 5, "resnet18").eval()
    stages, x = ("layer1.1.relu_1", "logits"), torch.rand(4, 3, 32, 32)
    first, copied = thinned(network, x, stages), thinned(copy.deepcopy(network), x, stages)
    assert list(copied) == list(stages)
    for stage, (rows, output) in first.items():
        torch.testing.assert_close((rows, output), copied[stage])


def test_graphs_that_look_back_at_the_number_of_images_are_not_passed_off() -> None:
    network = TorchvisionModel((3, 32, 32), 5, "shufflenet_v2_x0_5").eval()
    with pytest.raises(InputError, match=r"take getitem\w* from before it, which has no entry per image"):
        thinned(network, torch.rand(4, 3, 32, 32), ("stage2.0.transpose", "logits"))


def _first(count: int, output: Tensor) -> Tensor:
    return torch.arange(len(output)) < count


def _names(network: Network) -> tuple[str, ...]:
    return tuple(name for name in network.stage_names if name.endswith(("block1", "block3")))


class Backwards(nn.Module):
    """Registers its layers in another order than it calls them in."""

    def __init__(self) -> None:
        super().__init__()
        self.second, self.first = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x))


class Picky(Looking):
    """Says in its own way that it misses inputs."""

    def forward(self, x: Tensor) -> Tensor:
        first = self.first(x)
        if len(first) != len(x):
            raise ValueError("where are they?")
        return self.second(first)


def test_layers_that_run_in_another_order_are_not_passed_off() -> None:
    with pytest.raises(InputError, match="computed before stages that are registered before it"):
        thinned(WrappedModule(Backwards()), torch.rand(9, 4), ("second", "first"))


def test_whatever_a_module_says_of_missing_inputs_is_one_error() -> None:
    with pytest.raises(
        InputError, match=r"cannot go on with some of its inputs \(ValueError: where are they"
    ):
        thinned(WrappedModule(Picky()), torch.rand(9, 4), ("first", "logits"))


def test_layers_that_look_back_are_not_passed_off() -> None:
    network = WrappedModule(Looking())
    with pytest.raises(InputError, match="cannot go on with some of its inputs"):
        thinned(network, torch.rand(9, 4), ("first", "logits"))
    assert not network.module.first._forward_hooks
    # One row broadcasts against nine without an error of its own.
    with pytest.raises(InputError, match=r"returns shape \(9, 4\) for 1 inputs, after others have left"):
        network.walk_while(
            torch.rand(9, 4), ("first", "logits"), lambda _, output: torch.arange(len(output)) < 1
        )
