"""Models of torchvision: their nodes are what a hook sees, the pass is cut off there, weights are checked."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torchvision import models

from neural_branching.artifacts.macs import cost
from neural_branching.errors import InputError
from neural_branching.networks.standardize import Standardize
from neural_branching.networks.standardized_network import StandardizedNetwork
from neural_branching.networks.torchvision_model import TorchvisionModel

IMAGE = (3, 32, 32)
LAYERS = ("layer1", "layer2", "layer3", "layer4")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def resnet(weights: str | None = None, classes: int = 4) -> TorchvisionModel:
    torch.manual_seed(0)
    return TorchvisionModel(IMAGE, classes, "resnet18", weights)


def images(n: int = 3, size: int = 32) -> Tensor:
    return torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(1))


def parent(model: str, size: int, classes: int) -> StandardizedNetwork:
    with torch.device("meta"):
        network = TorchvisionModel((3, size, size), classes, model)
        return StandardizedNetwork(Standardize((3, 1, 1)), network)


@torch.inference_mode()
def test_a_node_is_what_a_forward_hook_sees() -> None:
    network, x = resnet(), images()
    network.train()(x)  # running statistics other than the initial ones
    network.eval()
    seen: dict[str, Tensor] = {}
    modules = dict(network.model.named_modules())
    names = ("conv1", "maxpool", *LAYERS, "layer2.0.downsample.1", "avgpool", "fc")
    hooks = [
        modules[name].register_forward_hook(lambda _, __, output, name=name: seen.update({name: output}))
        for name in names
    ]
    logits = network.model(x)
    for hook in hooks:
        hook.remove()
    # The last node of a block is the non-linearity after its addition.
    nodes = {name: f"{name}.1.relu_1" if name in LAYERS else name for name in names}
    nodes["fc"] = "logits"
    assert torch.equal(network(x), logits)
    together = dict(network.walk(x, tuple(nodes.values())))
    for name, node in nodes.items():
        assert torch.equal(network(x, until=node), seen[name]), node
        assert torch.equal(together[node], seen[name]), node


@torch.inference_mode()
@pytest.mark.parametrize("model", ["resnet18", "densenet121"])
def test_a_stage_is_the_same_alone_and_beside_others(model: str) -> None:
    """Layers behind it work in place, and must not change what one pass keeps of it."""
    torch.manual_seed(0)
    network = TorchvisionModel(IMAGE, 4, model).eval()
    x = images()
    together = dict(network.walk(x, network.main_stages))
    for name in network.main_stages:
        assert torch.equal(together[name], network(x, until=name)), name


def test_nodes_are_named_in_order_and_the_last_is_the_logits() -> None:
    network = resnet()
    names = network.stage_names
    assert names[0] == "conv1"
    assert names[-1] == "logits"
    assert len(set(names)) == len(names)
    assert network.main_stages[-6:] == (*(f"{name}.1.relu_1" for name in LAYERS), "avgpool", "logits")
    assert set(network.main_stages) <= set(names)
    assert [name for name, _ in network.eval().walk(images(), names[:3])] == list(names[:3])
    assert not network.class_token


def test_training_a_full_pass_is_the_models_own() -> None:
    first, second = resnet().train(), resnet().train()
    assert torch.equal(first(images()), second.model(images()))
    states = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    assert all(torch.equal(mine, theirs) for mine, theirs in states)
    first.eval()(images(), until="conv1")
    assert not first.model.training


def test_the_pass_ends_at_the_node(monkeypatch: pytest.MonkeyPatch) -> None:
    network = resnet().eval()
    expected = network(images(), until="layer1.1.relu_1")  # which traces the whole graph, once
    for later in ("layer2", "layer3"):
        convolution = network.model.get_submodule(later)[0].conv1
        monkeypatch.setattr(convolution, "forward", lambda _: pytest.fail("ran beyond the node"))
    assert expected.shape == (3, 64, 8, 8)
    assert torch.equal(network(images(), until="layer1.1.relu_1"), expected)
    with pytest.raises(pytest.fail.Exception, match="ran beyond"):
        network(images())


def test_weights_that_change_are_seen_by_nodes_known_before() -> None:
    network = resnet().eval()
    before = network(images(), until="maxpool")
    other = resnet().eval()
    with torch.no_grad():
        other.model.conv1.weight.mul_(2)
    network.load_state_dict(other.state_dict())
    after = network(images(), until="maxpool")
    assert not torch.equal(before, after)
    assert torch.equal(after, other(images(), until="maxpool"))


def test_macs_and_parameters_of_published_models() -> None:
    resnet18, vit = parent("resnet18", 224, 1000), parent("vit_b_16", 224, 1000)
    assert cost(resnet18, torch.zeros(1, 3, 224, 224)).macs == 1_814_073_344
    assert cost(resnet18, torch.zeros(1, 3, 224, 224)).parameters == 11_689_512
    conv1 = 112 * 112 * 7 * 7 * 3 * 64
    assert cost(resnet18, torch.zeros(1, 3, 224, 224), "relu").macs == conv1 == 118_013_952
    assert cost(resnet18, torch.zeros(1, 3, 224, 224), "conv1").parameters == 7 * 7 * 3 * 64
    # Assertions on shapes must not keep the rest of the transformer alive.
    assert cost(vit, torch.zeros(1, 3, 224, 224), "conv_proj").macs == 196 * 16 * 16 * 3 * 768 == 115_605_504


def test_an_unknown_node_or_model_is_refused_with_the_nearest() -> None:
    with pytest.raises(InputError, match=r"^until is 'layer3\.1\.relu_2', .* nearest of .*layer3\.1\.relu_1"):
        resnet().eval()(images(), until="layer3.1.relu_2")
    with pytest.raises(InputError, match=r"^model is 'resnet19', which is unknown: the nearest .* resnet18"):
        TorchvisionModel(IMAGE, 4, "resnet19")


@cache
def transformer() -> TorchvisionModel:
    torch.manual_seed(0)
    return TorchvisionModel(IMAGE, 4, "vit_b_32").eval()


@torch.inference_mode()
def test_a_class_token_stands_for_the_image_once_it_has_seen_it() -> None:
    layer = "encoder.layers.encoder_layer_0"
    early, late = ("cat", "encoder.dropout", f"{layer}.ln"), (f"{layer}.add", f"{layer}.mlp", "encoder.ln")
    for name, output in transformer().walk(images(2, 224), (*early, *late)):
        assert transformer().has_class_token(name) == (name in late) == bool(output[:, 0].std(0).any())


def test_a_node_without_activations_of_images_is_refused() -> None:
    vit = transformer()
    with pytest.raises(InputError, match=r"'getattr' gives no activations of images: choose a node that"):
        vit(images(), until="getattr")


@pytest.mark.parametrize("kind", ["safetensors", "pt", "wrapped"])
def test_a_file_of_weights_is_taken(kind: str, tmp_path: Path) -> None:
    state = resnet().model.state_dict()
    file = tmp_path / ("weights.safetensors" if kind == "safetensors" else "weights.pt")
    if kind == "safetensors":
        save_file(state, file)
    else:
        torch.save(state if kind == "pt" else {"model": state, "epoch": 3}, file)
    torch.manual_seed(99)
    network = TorchvisionModel(IMAGE, 4, "resnet18", str(file))
    assert all(torch.equal(value, state[name]) for name, value in network.model.state_dict().items())


def test_another_number_of_classes_starts_the_last_layer_anew(tmp_path: Path) -> None:
    state, file = resnet(classes=7).model.state_dict(), tmp_path / "weights.pt"
    torch.save(state, file)
    taken, fresh = resnet(str(file)).model.state_dict(), resnet().model.state_dict()
    for name, value in taken.items():
        assert torch.equal(value, (fresh if name.startswith("fc.") else state)[name]), name


def test_weights_that_do_not_fit_are_refused_in_one_sentence(tmp_path: Path) -> None:
    state, file = resnet().model.state_dict(), tmp_path / "weights.pt"
    torch.save(state | {"conv1.weight": torch.zeros(64, 1, 7, 7)}, file)
    with pytest.raises(
        InputError,
        match=r"has 'conv1\.weight' of shape \(64, 1, 7, 7\), where the network needs \(64, 3, 7, 7\)",
    ):
        resnet(str(file))
    torch.save({name: value for name, value in state.items() if name != "bn1.bias"}, file)
    with pytest.raises(InputError, match=r"^weights=.* lacks 'bn1\.bias', which the network has"):
        resnet(str(file))
    torch.save(state, file)
    file.write_bytes(file.read_bytes()[:100_000])
    with pytest.raises(InputError, match=r"cannot be read \(.*\): it must be .* complete\.$") as refused:
        resnet(str(file))
    assert "\n" not in str(refused.value)


def test_unknown_weights_are_refused_with_those_that_there_are() -> None:
    with pytest.raises(InputError, match=r"^weights is 'IMAGENET', which is no file .*IMAGENET1K_V1"):
        resnet("IMAGENET")


def test_weights_that_cannot_be_downloaded_ask_for_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(models.ResNet18_Weights, "get_state_dict", offline)
    with pytest.raises(
        InputError, match=r"'DEFAULT', which cannot be downloaded \(no network\): give a file"
    ):
        resnet("DEFAULT")
