"""Stages of a model's graph answer as in the model, and a pass goes on from any of them."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision.models import VisionTransformer, get_model

from neural_branching.errors import InputError
from neural_branching.labs.specialization.lesions import Lesion, lesion_effect, opened
from neural_branching.labs.specialization.traced_network import TracedNetwork, traced
from neural_branching.networks.network import Network
from neural_branching.networks.standardize import Standardize
from neural_branching.networks.standardized_network import StandardizedNetwork
from neural_branching.networks.torchvision_model import TorchvisionModel
from neural_branching.networks.vit import VisionTransformer as OwnTransformer
from neural_branching.networks.wrapped import WrappedModule
from neural_branching.training.classifier import Classifier

SIZE = 32
IMAGES = torch.rand(20, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
LABELS = np.arange(20) % 4


class Block(nn.Module):
    """A residual block of grouped convolutions, which works in place, and a concatenation of two branches."""

    def __init__(self, *, deaf: bool = False) -> None:
        super().__init__()
        self.first, self.grouped = nn.Conv2d(3, 12, 3, padding=1), nn.Conv2d(12, 12, 3, padding=1, groups=3)
        self.one, self.other = nn.Conv2d(12, 4, 1), nn.Conv2d(12, 8, 3, padding=1)
        self.relu, self.head = nn.ReLU(inplace=True), nn.Linear(12, 4)
        if deaf:
            self.head.weight.data[:, :4] = 0

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.first(x))
        y = self.grouped(x)
        y += x
        y = self.relu(y)
        joined = torch.cat([self.one(y), self.relu(self.other(y))], 1)
        logits: Tensor = self.head(self.relu(joined).mean((2, 3)))
        return logits


def built(name: str) -> Network:
    torch.manual_seed(0)
    if name == "own vit":
        return OwnTransformer((3, SIZE, SIZE), 4, patch=8, width=12, depth=2, heads=3)
    if name == "torchvision's vit":
        options = {"image_size": SIZE, "patch_size": 8, "num_layers": 2, "num_heads": 3, "hidden_dim": 12}
        model = VisionTransformer(**options, mlp_dim=24, num_classes=4)
        nn.init.normal_(model.heads.head.weight)  # which begins with zeros
        return WrappedModule(model)
    if name == "block":
        return WrappedModule(Block())
    if name == "googlenet":  # its own initialisation takes a minute
        return WrappedModule(get_model(name, weights=None, num_classes=4, init_weights=False))
    return TorchvisionModel((3, SIZE, SIZE), 4, name)


def classifier(network: Network) -> Classifier:
    return StandardizedNetwork(Standardize((3, 1, 1)), network).eval()


@pytest.mark.parametrize(
    ("name", "stage", "branches"),
    [
        ("squeezenet1_1", "features.3.cat", 2),
        ("googlenet", "inception5a.cat", 4),
        ("resnext50_32x4d", "layer4.1.conv2", 32),
        ("resnet18", "layer2.1.add", 2),
        ("block", "grouped", 3),
        ("block", "add", 2),
        ("block", "cat", 2),
        ("own vit", "block2.reshape", 3),
        ("own vit", "block1.add", 2),
        ("torchvision's vit", "encoder.layers.encoder_layer_1.self_attention.getitem", 3),
    ],
)
def test_a_stage_can_be_lesioned_in_any_model(name: str, stage: str, branches: int) -> None:
    network = built(name)
    whole, model = classifier(network), traced(classifier(network), IMAGES[:1])
    assert isinstance(model.network, TracedNetwork)
    with torch.inference_mode():
        expected = whole(IMAGES)
        assert torch.allclose(model(IMAGES), expected, atol=1e-5)
        [(output, rest)] = opened(model, IMAGES, stage)
        assert torch.allclose(rest(output), expected, atol=1e-5)
        assert torch.allclose(rest(output), expected, atol=1e-5)  # nothing was changed in place
        assert torch.equal(model(IMAGES, until=stage), output)
        partition = model.network.divided[stage].partition
        assert len(partition.branches) == branches
        assert output.shape[1] == len(partition.units)
        effect = lesion_effect(model, partition, IMAGES, LABELS, Lesion("zero", output), 3)
    assert list(effect.without) == list(partition.branches)


def test_a_lesion_is_what_zeroed_weights_do() -> None:
    network = built("block")
    model = traced(classifier(network), IMAGES[:1])
    zeroed = Block()
    zeroed.load_state_dict(network.bare.state_dict())
    with torch.inference_mode():
        [(output, rest)] = opened(model, IMAGES, "grouped")
        units = model.network.divided["grouped"].partition.branches["1"]
        found = rest(Lesion("zero", output)(output, units))
        zeroed.grouped.weight[units] = 0
        zeroed.grouped.bias[units] = 0
        assert torch.allclose(found, zeroed(IMAGES), atol=1e-6)
        # Of an addition, the branch beside the shortcut is what the whole convolution gives.
        [(output, rest)] = opened(model, IMAGES, "add")
        units = model.network.divided["add"].partition.branches["grouped"]
        found = rest(Lesion("zero", output)(output, units))
        zeroed.grouped.weight.zero_()
        zeroed.grouped.bias.zero_()
        assert torch.allclose(found, zeroed(IMAGES), atol=1e-6)


def test_a_lesion_that_changes_nothing_is_an_error() -> None:
    model = traced(classifier(WrappedModule(Block(deaf=True))), IMAGES[:1])
    [(output, _)] = opened(model, IMAGES, "cat")
    partition = model.network.divided["cat"].partition
    with pytest.raises(
        InputError, match="Without the branch 'one' of the stage 'cat' the network answers as"
    ):
        lesion_effect(model, partition, IMAGES, LABELS, Lesion("mean", output), 19)
