"""Vision models of transformers as parents: made on the spot, saved in folders as the hub has them."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor
from torch.nn import functional as F

from neural_branching.errors import InputError
from neural_branching.networks.huggingface_vision import HuggingFaceVision

IMAGE = (3, 32, 32)
TOKENS = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "image_size": 32,
    "patch_size": 8,
}
MAPS = {"hidden_sizes": [4, 4, 6, 6], "depths": [1, 1, 1, 1]}
MODELS: dict[str, dict[str, Any]] = {
    "ViT": TOKENS,
    "Dinov2": {one: TOKENS[one] for one in TOKENS if one != "intermediate_size"},
    "CLIPVision": TOKENS,
    "SiglipVision": TOKENS,
    "ResNet": {**MAPS, "embedding_size": 4, "layer_type": "basic"},
    "ConvNext": MAPS,
    "Swin": {"embed_dim": 8, "depths": [1, 1], "num_heads": [1, 1], "window_size": 4, "image_size": 32},
}
PROCESSOR = {
    "image_processor_type": "ViTImageProcessor",
    "size": {"height": 32, "width": 32},
    "image_mean": [0.5, 0.4, 0.3],
    "image_std": [0.2, 0.3, 0.4],
    "resample": 3,
}


def saved(folder: Path, kind: str, processor: dict[str, Any] | None = None, **options: Any) -> Any:
    """A model with random weights, written into a folder with its preprocessing."""
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**MODELS[kind], **options)
    model = transformers.AutoModel.from_config(config).eval()
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({**PROCESSOR, **(processor or {})}))
    return model


def pixels(n: int = 2) -> Tensor:
    return 255 * torch.rand(n, *IMAGE, generator=torch.Generator().manual_seed(1))


def standardised(x: Tensor) -> Tensor:
    mean, std = (torch.tensor(PROCESSOR[name]).view(3, 1, 1) for name in ("image_mean", "image_std"))
    return (x / 255 - mean) / std


@torch.inference_mode()
@pytest.mark.parametrize("kind", MODELS)
def test_stages_are_what_transformers_computes(kind: str, tmp_path: Path) -> None:
    theirs, network, x = saved(tmp_path, kind), HuggingFaceVision(IMAGE, 0, str(tmp_path)).eval(), pixels()
    output = theirs(pixel_values=standardised(x), output_hidden_states=True)
    pooled = output.last_hidden_state[:, 0] if kind == "ViT" else output.pooler_output.flatten(1)
    assert torch.allclose(network(x), pooled, atol=1e-5)
    *blocks, last = network.main_stages
    assert last == "output"
    found = dict(network.walk(x, blocks))
    assert len(blocks) == len(MODELS[kind].get("depths", [1, 1]))
    hidden = output.hidden_states[-len(blocks) :]
    for name, expected in zip(blocks, hidden, strict=True):
        assert torch.allclose(found[name], expected, atol=1e-5), name
        assert torch.equal(network(x, until=name), found[name])


def test_a_class_token_stands_for_the_image_behind_the_first_block(tmp_path: Path) -> None:
    for kind, token in (("ViT", "layers.0"), ("CLIPVision", "encoder.layers.0"), ("SiglipVision", None)):
        saved(tmp_path / kind, kind)
        assert HuggingFaceVision(IMAGE, 0, str(tmp_path / kind)).class_token == token, kind


@pytest.mark.parametrize(
    "processor",
    [
        {},
        {"do_normalize": False},
        {"image_processor_type": "SiglipImageProcessor", "resample": 2},
        {
            "image_processor_type": "CLIPImageProcessor",
            "image_mean": None,  # those of its class
            "image_std": None,
            "size": {"shortest_edge": 40},
            "crop_size": {"height": 32, "width": 32},
        },
        {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 28}},
    ],
)
def test_images_are_prepared_as_by_the_library(processor: dict[str, Any], tmp_path: Path) -> None:
    saved(tmp_path, "ViT")
    said = {name: one for name, one in {**PROCESSOR, **processor}.items() if one is not None}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(said))
    coarse = torch.rand(2, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    # Of middle brightness and smooth: they round, and cut off, between rows and columns.
    images = (60 + 130 * F.interpolate(coarse, (48, 48), mode="bilinear")).to(torch.uint8)
    theirs = transformers.AutoImageProcessor.from_pretrained(tmp_path)(list(images), return_tensors="pt")
    network = HuggingFaceVision((3, 48, 48), 0, str(tmp_path), crop=None)
    mine = network.preprocessing(images.float())
    assert mine.shape == theirs["pixel_values"].shape
    scale = 255 * min(network.preprocessing.values["std"])
    assert (mine - theirs["pixel_values"]).abs().max() < 1.5 / scale


@pytest.mark.parametrize(
    ("said", "names"),
    [
        ({"image_processor_type": "MobileViTImageProcessor"}, "do_flip_channel_order"),
        ({"image_processor_type": "EfficientNetImageProcessor", "rescale_offset": True}, "rescale_offset"),
        ({"rescale_factor": 1 / 127.5}, "rescale_factor"),
        ({"resample": 1}, "resample"),
    ],
)
def test_what_is_prepared_otherwise_is_refused(said: dict[str, Any], names: str, tmp_path: Path) -> None:
    saved(tmp_path, "ViT", said)
    with pytest.raises(InputError, match=f"prepared in a way that is not known here: .*{names}"):
        HuggingFaceVision(IMAGE, 0, str(tmp_path))


def test_files_of_the_hub_are_of_one_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    repository = tmp_path / "models--owner--name"
    (repository / "refs").mkdir(parents=True)
    resolved = []
    for commit in ("a" * 40, "b" * 40):
        saved(repository / "snapshots" / commit, "ViT")
        (repository / "refs" / "main").write_text(commit)
        resolved.append(HuggingFaceVision(IMAGE, 0, "owner/name").resolved)
    assert [one["revision"] for one in resolved] == ["a" * 40, "b" * 40]
    assert resolved[0]["config"] == resolved[1]["config"]


def test_preprocessing_comes_with_the_model(tmp_path: Path) -> None:
    centre = {
        "image_processor_type": "CLIPImageProcessor",
        "size": {"shortest_edge": 40},
        "crop_size": {"height": 32, "width": 32},
    }
    saved(tmp_path, "ViT", centre)
    whole, evaluated = (HuggingFaceVision(IMAGE, 0, str(tmp_path), crop=crop) for crop in (1.0, None))
    assert whole.preprocessing.values == {
        "size": 32,
        "crop": 1.0,
        "interpolation": "bicubic",
        "mean": PROCESSOR["image_mean"],
        "std": PROCESSOR["image_std"],
    }
    assert evaluated.preprocessing.crop == 0.8
    assert whole.resolved != evaluated.resolved


@torch.inference_mode()
def test_other_sizes_are_seen_by_resampled_positions(tmp_path: Path) -> None:
    theirs = saved(tmp_path, "ViT")
    network = HuggingFaceVision(IMAGE, 0, str(tmp_path), size=48).eval()
    seen = network.preprocessing(pixels())
    expected = theirs(pixel_values=seen, interpolate_pos_encoding=True).last_hidden_state[:, 0]
    assert torch.allclose(network(pixels()), expected, atol=1e-5)


def test_an_outline_reads_no_weights(tmp_path: Path) -> None:
    saved(tmp_path, "ViT")
    (tmp_path / "model.safetensors").unlink()
    with torch.device("meta"):
        network = HuggingFaceVision(IMAGE, 0, str(tmp_path))
        assert network(torch.zeros(1, *IMAGE)).shape == (1, 16)


def test_random_weights_need_no_file(tmp_path: Path) -> None:
    saved(tmp_path, "ViT")
    (tmp_path / "model.safetensors").unlink()
    assert HuggingFaceVision(IMAGE, 0, str(tmp_path), weights=None)(pixels()).shape == (2, 16)


def test_elements_of_what_a_submodule_returns_are_stages(tmp_path: Path) -> None:
    saved(tmp_path, "Swin")
    network = HuggingFaceVision(IMAGE, 0, str(tmp_path)).eval()
    found = dict(network.walk(pixels(), ("encoder.layers.0", "encoder.layers.0:1")))
    assert found["encoder.layers.0"].shape == (2, 16, 16)  # merged patches
    assert found["encoder.layers.0:1"].shape == (2, 16, 4, 4)  # the same as maps
    encoder = dict(network.walk(pixels(), ("encoder:last_hidden_state",)))
    assert encoder["encoder:last_hidden_state"].shape == (2, 16, 16)
    with pytest.raises(InputError, match=r"has no element '7': it returns a .* of last_hidden_state"):
        list(network.walk(pixels(), ("encoder:7",)))
    with pytest.raises(InputError, match=r"return one tensor, such as encoder:last_hidden_state\.$"):
        list(network.walk(pixels(), ("encoder",)))


def test_no_pickle_runs_code(tmp_path: Path) -> None:
    model = saved(tmp_path, "ViT")
    (tmp_path / "model.safetensors").unlink()
    touched = tmp_path / "touched"

    class Hostile:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (touched,)

    torch.save({**model.state_dict(), "hostile": Hostile()}, tmp_path / "pytorch_model.bin")
    with pytest.raises(InputError, match="cannot be loaded"):
        HuggingFaceVision(IMAGE, 0, str(tmp_path))
    assert not touched.exists()


def test_code_that_comes_with_a_model_does_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touched = tmp_path / "touched"
    own = {"model_type": "own", "auto_map": {"AutoConfig": "own.Own", "AutoModel": "own.Own"}}
    (tmp_path / "config.json").write_text(json.dumps(own))
    (tmp_path / "own.py").write_text(f"open({str(touched)!r}, 'w')\nclass Own: pass\n")
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("nobody is asked"))
    with pytest.raises(InputError, match="cannot be loaded"):
        HuggingFaceVision(IMAGE, 0, str(tmp_path))
    assert not touched.exists()


def _without_processor(folder: Path) -> None:
    (folder / "preprocessor_config.json").unlink()


def _empty(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()


def _of_another_size(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "hidden_size": 8}))


def _too_short(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))


def _of_text(folder: Path) -> None:
    transformers.BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1).save_pretrained(folder)


@pytest.mark.parametrize(
    ("spoil", "options", "problem"),
    [
        (_without_processor, {}, "which cannot be loaded: .*preprocessor_config"),
        (_empty, {}, "which cannot be loaded: .*config.json"),
        (_of_another_size, {}, "model is .*"),
        (_too_short, {}, r"whose file of weights lacks 'layers\.2\."),
        (_of_text, {}, "a BertModel, which takes no images"),
        (None, {"num_classes": 3}, "leave parent.labels at none"),
        (None, {"weights": "IMAGENET"}, "weights is 'IMAGENET': it must be null or pretrained"),
        (None, {"model": "/nowhere/at/all"}, "model is '/nowhere/at/all', which cannot be loaded"),
    ],
)
def test_what_cannot_be_used_is_refused(
    tmp_path: Path, spoil: Any, options: dict[str, Any], problem: str
) -> None:
    saved(tmp_path, "ViT")
    if spoil:
        spoil(tmp_path)
    with pytest.raises(InputError, match=problem):
        HuggingFaceVision(IMAGE, **{"num_classes": 0, "model": str(tmp_path), **options})


def test_the_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(InputError, match=r"transformers: pip install 'neural-branching\[hf\]'"):
        HuggingFaceVision(IMAGE, 0, "facebook/dinov2-small")
