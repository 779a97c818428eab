"""Any parent through the whole flow: transformers, torchvision's models, others' modules and weights."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from composed import composed
from device import ELSEWHERE, TRAINER
from neural_branching import pipeline
from neural_branching.artifacts import train_and_save
from neural_branching.artifacts.build_networks import check_parent, new_parent
from neural_branching.config.experiment import Experiment
from neural_branching.errors import InputError
from neural_branching.report.run_report import print_run, write_run
from neural_branching.report.summary import summarize
from sweeps import only, record
from tiny import ORDINARY, glyphs, recipe

GLYPHS = (
    *glyphs(2, size=16, train=16, test=4),
    *recipe(epochs=1, lr=1e-3, keep="last"),
    *("branch.network.widths=[8]", "parent.augment=null", *TRAINER, "trainer.progress=false"),
    *ORDINARY,
)
MLP = ("parent.network.widths=[16,12]",)
VIT = ("parent=vit", "parent.network.width=8", "parent.network.depth=2", "parent.network.heads=2")
RESNET = ("parent=torchvision", "parent.model=resnet18")
DIGITS = ("digit_0", "digit_1", "digit_2")


@pytest.fixture(autouse=True)
def _process_restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for variable in ("PYTORCH_NVML_BASED_CUDA_CHECK", "PL_GLOBAL_SEED", "PL_SEED_WORKERS"):
        monkeypatch.setenv(variable, "0")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One store for all: what differs has keys of its own."""
    return tmp_path_factory.mktemp("parents") / "outputs"


def settings_of(outputs: Path, *overrides: str) -> Experiment:
    # A parent's group comes first: others change what it holds.
    ordered = sorted([*GLYPHS, *overrides], key=lambda override: not override.startswith("parent="))
    return Experiment.from_config(composed("train", *ordered, f"outputs={outputs}"))


def run(outputs: Path, *overrides: str) -> pipeline.Run:
    return pipeline.run(settings_of(outputs, *overrides), overrides)


def place(run: pipeline.Run, name: str) -> Path:
    return Path(run.results["artifacts"][name]["path"])


def vectors(run: pipeline.Run) -> torch.Tensor:
    stage = run.experiment.usual.branch.stage
    return load_file(place(run, "activations") / f"{stage}.safetensors")["activations"]


@torch.inference_mode()
def direct(run: pipeline.Run) -> torch.Tensor:
    """What a branch should see, by a pass of its own."""
    parent = new_parent(run.experiment.parent)
    parent.load_state_dict(load_file(place(run, "parent") / "weights.safetensors"))
    images = torch.from_numpy(np.array(run.table.examples()))
    token = parent.network.token_readout(run.experiment.usual.branch.stage)
    return run.experiment.usual.branch.readout(
        parent.eval()(images, until=run.experiment.usual.branch.stage), token
    )


def identity(run: pipeline.Run) -> dict[str, Any]:
    return json.loads((place(run, "activations") / "manifest.json").read_text())["identity"]


def check_direct(run: pipeline.Run) -> None:
    torch.testing.assert_close(vectors(run), direct(run), rtol=ELSEWHERE, atol=ELSEWHERE)


def test_a_transformer_is_branched_from_at_its_class_token_or_the_mean(outputs: Path) -> None:
    result = run(outputs, *VIT, "branch_point=block1")
    assert vectors(result).shape == (len(result.table), 8)
    check_direct(result)
    names = {file.stem for file in place(result, "activations").glob("*.safetensors")}
    assert names == {"patches", "block1", "block2", "norm", "logits"}
    assert record(result.results)["test"]["parent_restricted"] is not None
    other = run(outputs, *VIT, "branch_point=block1", "branch_point.readout=mean_token")
    assert record(other.results)["readout"] == "mean_token"
    assert not other.results["artifacts"]["parent"]["built"]
    assert other.results["artifacts"]["activations"]["built"]
    check_direct(other)
    assert not torch.equal(vectors(other), vectors(result))
    # The class token of the patches is the same for every image.
    first = run(outputs, *VIT, "branch_point=patches")
    assert (
        first.results["artifacts"]["activations"]["key"] == result.results["artifacts"]["activations"]["key"]
    )
    check_direct(first)
    assert (vectors(first).std(0) > 0).all()
    # Which is part of the key, and of no other parent's.
    assert identity(result)["mean_token"] == ["patches"]
    assert not {"mean_token"} & (identity(other).keys() | identity(run(outputs, *MLP)).keys())
    # The parent is the same, and so is what it answers.
    assert (
        record(other.results)["test"]["parent_restricted"]
        == record(result.results)["test"]["parent_restricted"]
    )


def test_a_model_of_torchvision_is_branched_from_at_any_node(outputs: Path) -> None:
    result = run(outputs, *RESNET, "branch_point.stage=layer1.1.relu_1")
    assert vectors(result).shape == (len(result.table), 64 * 4)
    torch.testing.assert_close(
        vectors(result), direct(result), rtol=max(1.3e-6, ELSEWHERE), atol=max(1e-5, ELSEWHERE)
    )
    inner = run(outputs, *RESNET, "branch_point.stage=layer2.0.relu", "branch_point.readout=pool1")
    assert not inner.results["artifacts"]["parent"]["built"]
    files = [file.name for file in place(inner, "activations").glob("*.safetensors")]
    assert files == ["layer2.0.relu.safetensors"]
    assert vectors(inner).shape == (len(inner.table), 128)
    assert inner.results["parent"]["name"] == "resnet18"


def test_weights_of_a_file_start_a_model_of_torchvision(outputs: Path, tmp_path: Path) -> None:
    spec, file = settings_of(outputs, *RESNET, "branch_point.stage=avgpool").parent, tmp_path / "weights.pt"
    torch.save(new_parent(spec).network.bare.state_dict(), file)
    spec = settings_of(outputs, *RESNET, "branch_point.stage=avgpool", f"parent.weights={file}").parent
    check_parent(spec)  # warnings are errors
    state = torch.load(file, weights_only=True)
    found = new_parent(spec).network.bare.state_dict()
    assert all(torch.equal(found[name], value) for name, value in state.items())


# Labels.


def test_a_coarse_parent_is_not_compared_with_its_branch(
    outputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = run(outputs, *MLP, "parent.labels=coarse")
    assert only(result).thresholds[0].parent is None
    assert record(result.results)["test"]["parent_restricted"] is None
    assert record(result.results)["foreign"]["parent_restricted"] is None
    parent = result.results["parent"]
    assert (parent["labels"], parent["logits"], parent["test_n"]) == ("coarse", 2, 20)
    logits = load_file(place(result, "activations") / "logits.safetensors")["activations"].numpy()
    rows = result.table.rows("test")
    coarse = np.array([0, 0, 0, 1, 1])[result.table.labels[rows]]
    assert parent["test_accuracy"] == np.mean(logits[rows].argmax(1) == coarse)

    write_run(result, tmp_path, draw_figures=True)
    with (tmp_path / "predictions.csv").open(newline="") as stream:
        lines = list(csv.DictReader(stream))
    assert lines
    assert {line["parent_prediction"] + line["parent_score"] for line in lines} == {""}
    assert all(line["prediction"] in DIGITS for line in lines)
    assert {file.stem for file in tmp_path.glob("*.png")} >= {"risk_coverage", "scores", "confusion"}
    assert record(json.loads((tmp_path / "results.json").read_text()))["test"]["parent_restricted"] is None
    capsys.readouterr()
    print_run(result, tmp_path)
    printed = capsys.readouterr().out
    assert "parent on all 2 superclasses of 5 classes" in printed
    assert "restricted" not in printed
    summarize(tmp_path)
    with (tmp_path / "summary.csv").open(newline="") as stream:
        [line] = csv.DictReader(stream)
    assert line["restricted_accuracy"] == line["restricted_aurc"] == ""
    assert float(line["test_accuracy"]) == record(result.results)["test"]["accuracy"]


def test_classes_can_be_kept_from_the_parent(outputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = spied(monkeypatch)
    result = run(outputs, *MLP, "parent.classes=others")
    table = result.table
    for split, (_, targets) in zip(("train", "validation"), seen["parent"], strict=True):
        assert len(targets) == len(table.rows(split, ("upper_O", "upper_I")))
        assert set(targets.tolist()) == {0, 1}
    assert record(result.results)["test"]["parent_restricted"] is None
    assert result.results["classes"] == list(DIGITS)
    assert (result.results["parent"]["classes"], result.results["parent"]["test_n"]) == (2, 8)


def spied(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What parent and branch are trained and validated on."""
    seen: dict[str, Any] = {}
    fit = train_and_save.fit

    def spy(module: Any, data: Any, compute: object, title: str, checkpoint: object) -> Any:
        seen[title.split()[0]] = data.train, data.validation
        return fit(module, data, compute, title, checkpoint)

    monkeypatch.setattr(train_and_save, "fit", spy)
    return seen


def test_parent_and_branch_can_learn_from_images_of_their_own(
    outputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = spied(monkeypatch)
    result = run(outputs, *MLP, "data.split.disjoint=true")
    assert result.results["examples"]["disjoint"]
    table, images = result.table, result.table.examples()
    parent, branch = table.rows("train", training_source="parent"), table.rows("train", DIGITS)
    assert not set(parent) & set(branch)
    np.testing.assert_array_equal(seen["parent"][0][0].numpy(), images[parent])
    assert torch.equal(seen["branch"][0][0], vectors(result)[branch])
    np.testing.assert_array_equal(seen["parent"][1][0].numpy(), images[table.rows("validation")])


# Weights from elsewhere.


def test_a_checkpoint_is_taken_and_never_trained(outputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = run(outputs, *MLP)
    file = place(first, "parent") / "weights.safetensors"
    seen = spied(monkeypatch)
    again = run(outputs, *MLP, f"parent.checkpoint={file}", "parent.fit.epochs=7", "branch.seed=1")
    assert "parent" not in seen
    assert again.histories["parent"] == []
    assert (again.results["parent"]["epochs"], again.results["parent"]["best_epoch"]) == (0, 0)
    assert again.results["parent"]["checkpoint"] == str(file)
    for name in ("validation_accuracy", "test_accuracy"):
        assert again.results["parent"][name] == first.results["parent"][name]
    # The same weights on the same images: the very activations of the first run.
    key = {result.results["artifacts"]["activations"]["key"] for result in (first, again)}
    assert len(key) == 1
    assert again.results["artifacts"]["parent"]["key"] != first.results["artifacts"]["parent"]["key"]


def test_weights_of_the_bare_network_take_their_statistics_from_the_images(
    outputs: Path, tmp_path: Path
) -> None:
    first = run(outputs, *MLP)
    weights = load_file(place(first, "parent") / "weights.safetensors")
    bare = {
        name.removeprefix("network."): value for name, value in weights.items() if name.startswith("network.")
    }
    torch.save({"state_dict": bare}, tmp_path / "bare.pt")
    again = run(outputs, *MLP, f"parent.checkpoint={tmp_path / 'bare.pt'}")
    found = load_file(place(again, "parent") / "weights.safetensors")
    assert found.keys() == weights.keys()
    assert all(torch.equal(found[name], value) for name, value in weights.items())


def test_a_checkpoint_that_does_not_fit_leaves_nothing(outputs: Path, tmp_path: Path) -> None:
    weights = new_parent(settings_of(outputs, *MLP).parent).state_dict()
    file = tmp_path / "weights.safetensors"
    save_file(weights, file)
    parents = outputs / "store" / "parent"
    before = set(parents.glob("*"))
    with pytest.raises(
        InputError, match=r"^The checkpoint .* has 'network\..*' of shape .*, where the network need"
    ):
        run(outputs, "parent.network.widths=[16,13]", f"parent.checkpoint={file}")
    file.write_bytes(file.read_bytes()[:-7])
    with pytest.raises(InputError, match=r"^The checkpoint .* cannot be read") as refused:
        run(outputs, *MLP, f"parent.checkpoint={file}")
    assert "\n" not in str(refused.value)
    assert set(parents.glob("*")) == before
    with pytest.raises(InputError, match=r"^parent\.checkpoint is '/nowhere\.pt': there is no such file\.$"):
        settings_of(outputs, *MLP, "parent.checkpoint=/nowhere.pt")


# Others' modules.

MODULE = """
from torch import nn

class Theirs(nn.Module):
    def __init__(self, num_classes, beside=0):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU())
        self.blocks = nn.ModuleList([nn.Linear(1024, 5)])
        if not beside:
            self.blocks = nn.Linear(1024, 5)
        self.head = nn.Linear(5, num_classes)

    def forward(self, x):
        x = self.stem(x).flatten(1)
        for block in self.blocks if isinstance(self.blocks, nn.ModuleList) else [self.blocks]:
            x = block(x)
        return self.head(x)

class Few(Theirs):
    def __init__(self):
        super().__init__(3)
"""


@pytest.fixture
def theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "module_for_parents.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    return "module_for_parents"


def network(target: str) -> tuple[str, str]:
    """Another network, with none of the options of the one that stood there."""
    return "~parent.network", f"+parent.network={{_target_:{target}}}"


def test_anyones_module_is_a_parent(theirs: str, outputs: Path) -> None:
    result = run(outputs, *network(f"{theirs}.Theirs"), "branch_point.stage=stem")
    assert vectors(result).shape == (len(result.table), 16)
    check_direct(result)


def test_modules_in_a_list_are_branch_points(theirs: str, outputs: Path) -> None:
    result = run(outputs, *network(f"{theirs}.Theirs,beside:1"), "branch_point.stage=blocks.0")
    assert vectors(result).shape == (len(result.table), 5)


def test_a_module_with_other_logits_is_refused(theirs: str, outputs: Path) -> None:
    experiment = settings_of(outputs, *network(f"{theirs}.Few"), "branch_point.stage=stem")
    with pytest.raises(
        InputError, match=r"^parent\.network gives an output of shape \(3,\) .* 5 logits, one"
    ):
        pipeline.check(experiment)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            (*RESNET, "branch_point.stage=layer1.1.relu_2"),
            r"^branch_point\.stage is 'layer1\.1\.relu_2'.*nearest of .*layer1\.1\.relu_1",
        ),
        (
            (*MLP, "branch_point.readout=pool2"),
            r"^branch_point\.readout is 'pool2', which needs feature maps",
        ),
        ((*VIT, "branch_point=norm", "branch_point.readout=class_token"), r"^branch_point\.readout .*tokens"),
        (
            (*VIT, "branch_point=patches", "branch_point.readout=class_token"),
            r"^branch_point\.readout is 'class_token', and no token of this stage stands for the input",
        ),
        (
            (*VIT, "parent.network.patch=5"),
            r"^parent\.network\.patch is 5, which does not divide images of 16",
        ),
        (("parent=torchvision", "parent.model=resnet19"), r"^parent\.network\.model is 'resnet19'.*resnet18"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_computed(
    overrides: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    experiment = settings_of(tmp_path / "outputs", *overrides)
    with pytest.raises(InputError, match=message):
        pipeline.run(experiment)
    assert not (tmp_path / "outputs").exists()
