"""Parents that somebody else trained through the whole flow: no labels, no training, own preprocessing."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file

from device import TRAINER
from neural_branching import cli
from neural_branching.exported_program import export
from neural_branching.load_run import load
from neural_branching.networks.preprocessing import Preprocessing
from neural_branching.networks.readout import Readout
from neural_branching.networks.timm_model import TimmModel
from tiny import ORDINARY, glyphs, recipe

BACKBONE = ("parent=timm", "parent.model=test_efficientnet", "parent.weights=null", "parent.network.size=32")
TINY = (
    *glyphs(3, 3, size=16, train=16, test=6),
    *(one for one in recipe(epochs=2, lr=1e-2) if one.startswith("++branch")),
    *("branch.network.widths=[8]", "logger=none", "trainer.progress=false", *TRAINER),
)
TRANSFORMER = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "image_size": 16,
    "patch_size": 8,
}
RUNS = {
    "output": ("train", *ORDINARY),
    "block": ("train", *ORDINARY, "branch_point.stage=blocks.1", "baselines=all"),
    "larger": ("train", *ORDINARY, "parent.network.size=48"),
    "tree": ("route", "hierarchy=glyphs_by_case", "router=gate"),
}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pretrained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, (command, *own) in RUNS.items():
            typed = [command, *BACKBONE, *TINY, *own, f"hydra.run.dir=outputs/runs/{name}"]
            patch.setattr("sys.argv", ["neural-branching", *typed])
            cli.main()
        typed = [*described(folder / "model"), *TINY, *ORDINARY, "branch_point.stage=layers.0+output"]
        patch.setattr("sys.argv", ["neural-branching", "train", *typed, "hydra.run.dir=outputs/runs/hf"])
        cli.main()
    return folder


def described(folder: Path) -> tuple[str, str]:
    """A vision transformer of Hugging Face, written into a folder, as the parent."""
    torch.manual_seed(0)
    transformers.ViTModel(transformers.ViTConfig(**TRANSFORMER)).save_pretrained(folder)
    processor = {
        "image_processor_type": "ViTImageProcessor",
        "size": {"height": 16, "width": 16},
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return "parent=huggingface", f"parent.model={folder}"


def artifact(place: Path, run: str, kind: str) -> Path:
    found = json.loads((place / "outputs" / "runs" / run / "results.json").read_text())["artifacts"][kind]
    return Path(place / "outputs" / "store" / kind / found["key"])


@torch.inference_mode()
def test_activations_are_those_of_the_model_by_itself(place: Path) -> None:
    pixels = torch.from_numpy(np.load(artifact(place, "block", "data") / "examples.npy")[:20]).float()
    torch.manual_seed(0)
    network = TimmModel((3, 16, 16), 0, "test_efficientnet", size=32).eval()
    weights = load_file(artifact(place, "block", "parent") / "weights.safetensors")
    state = {name.removeprefix("network.module."): one for name, one in weights.items() if "module." in name}
    network.bare.load_state_dict(state)
    values = network.preprocessing.values
    seen = Preprocessing(32, values["mean"], values["std"])(pixels)
    kept = artifact(place, "block", "activations")
    for stage, theirs in {
        "blocks.1": Readout("pool2")(
            network.bare.blocks[:2](network.bare.bn1(network.bare.conv_stem(seen))), None
        ),
        "output": network.bare(seen),
    }.items():
        mine = load_file(kept / f"{stage}.safetensors")["activations"][:20]
        assert torch.allclose(mine, theirs, atol=1e-4), stage


def test_the_size_that_the_network_sees_is_part_of_the_key(place: Path) -> None:
    keys = {run: artifact(place, run, "activations").name for run in ("output", "block", "larger")}
    assert keys["output"] == keys["block"]  # kept from one pass
    assert keys["output"] != keys["larger"]
    identity = json.loads((artifact(place, "larger", "activations") / "manifest.json").read_text())[
        "identity"
    ]
    assert identity["network"]["preprocessing"]["size"] == 48


def test_what_needs_logits_of_the_parent_is_left_out(place: Path) -> None:
    results = json.loads((place / "outputs" / "runs" / "block" / "results.json").read_text())
    assert results["parent"]["test_accuracy"] is None
    [node] = results["nodes"].values()
    assert "linear_probe" in node["baselines"]
    assert node["baselines"].get("restricted") is None


@pytest.mark.parametrize("run", ["output", "block", "hf"])
def test_runs_answer_new_images_and_are_programs(place: Path, run: str, tmp_path: Path) -> None:
    folder = place / "outputs" / "runs" / run
    with (folder / "predictions.csv").open() as stream:
        lines = [line for line in csv.DictReader(stream) if line["split"] == "test"]
    predictor = load(folder)
    pixels = np.load(artifact(place, run, "data") / "examples.npy")
    answers = predictor.predict(pixels[[int(line["row"]) for line in lines]])
    assert [one.trace[0].label for one in answers] == [line["prediction"] for line in lines]
    compared, difference = export(predictor, tmp_path / "branch.pt2")
    assert compared > 0
    assert difference < 1e-4


def test_a_folder_is_known_by_its_content(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    (place / "model").rename(place / "moved")
    try:
        typed = ["train", "parent=huggingface", f"parent.model={place / 'moved'}", *TINY, *ORDINARY]
        typed += ["branch_point.stage=layers.0+output", "hydra.run.dir=outputs/runs/moved"]
        monkeypatch.setattr("sys.argv", ["neural-branching", *typed])
        cli.main()
    finally:
        (place / "moved").rename(place / "model")
    assert all(artifact(place, "hf", kind) == artifact(place, "moved", kind) for kind in ("parent", "branch"))


def test_an_untrained_backbone_stands_beside_a_pretrained_one(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    typed = ["train", "parent=huggingface", f"parent.model={place / 'model'}", *TINY, *ORDINARY]
    typed += ["baselines=[random_parent,scratch]", "hydra.run.dir=outputs/runs/beside"]
    monkeypatch.setattr("sys.argv", ["neural-branching", *typed])
    cli.main()
    results = json.loads((place / "outputs" / "runs" / "beside" / "results.json").read_text())
    [node] = results["nodes"].values()
    assert node["baselines"]["random_parent"]["trained_parameters"] > 0
    assert node["baselines"]["scratch"] is None  # there is no recipe


def test_a_tree_routes_by_gates(place: Path) -> None:
    results = json.loads((place / "outputs" / "runs" / "tree" / "results.json").read_text())
    assert results["router"] == "gate"
    assert results["nodes"].keys() == {"root", "digit", "letter", "upper", "lower"}


def test_a_router_that_asks_the_parent_is_refused(place: Path, monkeypatch) -> None:
    monkeypatch.chdir(place)
    typed = ["route", *BACKBONE, *TINY, "hierarchy=glyphs_by_case", "router=parent_mass"]
    monkeypatch.setattr("sys.argv", ["neural-branching", *typed])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert "router=parent_mass asks the parent which node an example belongs to" in str(stop.value.code)


def test_a_standardisation_before_the_models_own_is_refused(place: Path, monkeypatch) -> None:
    monkeypatch.chdir(place)
    typed = ["train", *BACKBONE, *TINY, *ORDINARY, "parent.normalize=imagenet"]
    monkeypatch.setattr("sys.argv", ["neural-branching", *typed])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert "parent.normalize is 'imagenet', and the model standardises" in str(stop.value.code)


def test_a_pretrained_backbone_is_fine_tuned_with_a_classifier_of_its_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    torch.save(TimmModel((3, 16, 16), 0, "test_efficientnet", size=32).bare.state_dict(), "weights.pth")
    parent = (*BACKBONE[:2], f"parent.weights={tmp_path / 'weights.pth'}", BACKBONE[3])
    own = ("parent.labels=fine", "+fit@parent.fit=default", "parent.fit.epochs=1", "parent.fit.batch_size=8")
    typed = [
        *parent,
        *own,
        "branch_point.stage=blocks.1",
        *TINY,
        *ORDINARY,
        "hydra.run.dir=outputs/runs/tuned",
    ]
    monkeypatch.setattr("sys.argv", ["neural-branching", "train", *typed])
    cli.main()
    results = json.loads((tmp_path / "outputs" / "runs" / "tuned" / "results.json").read_text())
    assert 0 <= results["parent"]["test_accuracy"] <= 1
    assert results["artifacts"]["parent"]["built"]
