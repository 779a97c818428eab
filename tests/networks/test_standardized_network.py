"""What answers standardises raw inputs, and takes weights from elsewhere with or without its statistics."""

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from neural_branching.data.inputs.image_inputs import IMAGENET_MEAN, IMAGENET_STD, ImageInputs
from neural_branching.errors import InputError
from neural_branching.networks.convnet import ConvNet
from neural_branching.networks.mlp import MLP
from neural_branching.networks.standardize import Standardize
from neural_branching.networks.standardized_network import StandardizedNetwork

IMAGE = (3, 8, 8)
PIXELS = torch.randint(0, 256, (20, *IMAGE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def parent(normalize: str = "pixel", widths: tuple[int, ...] = (5,)) -> StandardizedNetwork:
    return StandardizedNetwork(Standardize(*ImageInputs(8).statistics(normalize)), MLP(IMAGE, 3, widths))


def test_forward_standardises_raw_inputs_and_can_stop() -> None:
    torch.manual_seed(0)
    module = StandardizedNetwork(Standardize((3, 1, 1)), ConvNet(IMAGE, 5, width=8)).eval()
    module.standardize.learn(PIXELS)
    direct = module.network(module.standardize(PIXELS))
    assert torch.equal(module(PIXELS), direct)
    for name, output in module.walk(PIXELS, module.network.stage_names):
        assert torch.equal(module(PIXELS, until=name), output)
    assert not torch.equal(direct, module.network(PIXELS.float()))


def test_weights_of_a_parent_bring_their_statistics() -> None:
    theirs, mine = parent(), parent()
    theirs.standardize.learn(PIXELS)
    assert mine.adopt(theirs.state_dict(), "The file")
    assert torch.equal(mine.eval()(PIXELS), theirs.eval()(PIXELS))


def test_weights_of_the_bare_network_bring_none() -> None:
    theirs, mine = parent(), parent()
    before = mine.standardize.mean.clone()
    assert not mine.adopt(theirs.network.state_dict(), "The file")
    assert torch.equal(mine.standardize.mean, before)
    assert torch.equal(mine.network.eval()(PIXELS.float()), theirs.network.eval()(PIXELS.float()))


def test_a_wrapped_module_takes_its_own_names() -> None:
    torch.manual_seed(0)
    theirs, mine = (nn.Sequential(nn.Flatten(), nn.Linear(192, 3)) for _ in range(2))
    assert not StandardizedNetwork(Standardize((3, 1, 1)), mine).adopt(theirs.state_dict(), "The file")
    assert torch.equal(mine[1].weight, theirs[1].weight)


@pytest.mark.parametrize("bare", [False, True])
def test_weights_of_another_network_are_refused(bare: bool) -> None:
    theirs = parent(widths=(6,))
    state = theirs.network.state_dict() if bare else theirs.state_dict()
    with pytest.raises(
        InputError, match=r"^The file has '.*hidden1.*' of shape \(6, 192\), where .* \(5, 192\)"
    ):
        parent().adopt(state, "The file")


def test_statistics_of_another_kind_are_refused() -> None:
    with pytest.raises(
        InputError, match=r"has 'standardize\.mean' of shape \(3, 1, 1\), where the network needs"
    ):
        parent("pixel").adopt(parent("channel").state_dict(), "The file")


def test_imagenets_constants_are_those_of_torchvisions_weights() -> None:
    module = parent("imagenet")
    module.standardize.learn(PIXELS)
    found = module.standardize(PIXELS)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    expected = (PIXELS / 255 - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(torch.tensor(IMAGENET_MEAN) / 255, mean)
    torch.testing.assert_close(torch.tensor(IMAGENET_STD) / 255, std)


def test_another_normalization_is_refused() -> None:
    with pytest.raises(InputError, match=r"^normalize is 'image', .*channel, pixel, imagenet"):
        parent("image")
