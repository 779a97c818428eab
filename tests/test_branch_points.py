"""Branch points of several stages, and what one pass of the parent keeps for them."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from composed import composed
from device import TRAINER
from neural_branching import cli, pipeline
from neural_branching.artifacts import activations as act
from neural_branching.artifacts.ensure_branch import branch_data
from neural_branching.artifacts.workspace import Workspace
from neural_branching.config.experiment import Experiment
from neural_branching.errors import InputError
from neural_branching.exported_program import export
from neural_branching.load_run import load
from neural_branching.networks.wrapped import WrappedModule
from sweeps import record
from tiny import ORDINARY, glyphs, recipe

TINY = (
    *glyphs(3, 3, size=16, train=16, test=6),
    *recipe(epochs=2, lr=1e-2, keep="last"),
    *("branch.network.widths=[8,6]", "parent.augment=null", "logger=none", "trainer.progress=false"),
    *TRAINER,
)
MLP = ("parent.network.widths=[16,12]",)
RESNET = ("parent=torchvision", "parent.model=resnet18")
# Branches of letters grow from two layers of the branch above, which sees two stages itself.
GROWN = (f"hierarchy.nodes.{name}.branch_point.stage=hidden1+hidden2" for name in ("upper", "lower"))
TREE = ("route", "hierarchy=glyphs_by_case", "router=gate", "branch_point.stage=hidden1+hidden2", *GROWN)
RUNS = {
    "listed": ("train", *ORDINARY, "branch_point.stage=[hidden1,hidden2]"),
    "joined": ("train", *ORDINARY, "branch_point.stage=hidden1+hidden2"),
    "tree": TREE,
    "half": ("train", *ORDINARY, "branch_point.stage=hidden1+hidden2", "activations.dtype=float16"),
}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("points") / "outputs"


def settings(outputs: Path, *overrides: str) -> Experiment:
    # A parent's group comes first: others change what it holds.
    ordered = sorted([*TINY, *ORDINARY, *overrides], key=lambda one: not one.startswith("parent="))
    return Experiment.from_config(composed("train", *ordered, f"outputs={outputs}"))


def run(outputs: Path, *overrides: str) -> pipeline.Run:
    return pipeline.run(settings(outputs, *overrides), overrides)


def kept(run: pipeline.Run, kind: str = "activations") -> Path:
    return Path(run.results["artifacts"][kind]["path"])


@pytest.fixture(scope="module")
def place(outputs: Path) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(outputs.parent)
        for name, (command, *own) in RUNS.items():
            typed = [command, *TINY, *MLP, *own, f"hydra.run.dir=outputs/runs/{name}"]
            patch.setattr("sys.argv", ["neural-branching", *typed])
            cli.main()
    return outputs / "runs"


def test_a_branch_sees_the_vectors_of_its_stages_one_after_another(outputs: Path) -> None:
    experiment = settings(outputs, *MLP, "branch_point.stage=hidden2+hidden1")
    result = pipeline.run(experiment, [])
    branch = experiment.usual.branch
    data = branch_data(Workspace.of(experiment, result.table), branch)
    x, y = data.select("test")
    rows = result.table.rows("test", branch.classes)
    for start, stage in ((0, "hidden2"), (12, "hidden1")):
        one = load_file(kept(result) / f"{stage}.safetensors")["activations"]
        assert torch.equal(x[:, start : start + one.shape[1]], one[torch.from_numpy(rows)])
    assert x.shape == (len(y), 28)
    assert record(result.results)["branch_point"] == "hidden2+hidden1"


def test_views_of_several_stages_follow_the_examples(outputs: Path) -> None:
    experiment = settings(outputs, *MLP, "branch_point.stage=hidden1+hidden2", "views.count=2")
    result = pipeline.run(experiment, [])
    branch = experiment.usual.branch
    data = branch_data(Workspace.of(experiment, result.table), branch)
    train = result.table.rows("train")
    mine = np.flatnonzero(np.isin(train, result.table.rows("train", branch.classes)))
    views = load_file(kept(result, "views") / "hidden2.safetensors")["activations"].unflatten(0, (2, -1))
    seen = data.train[0].unflatten(0, (3, -1))
    assert torch.equal(seen[1:, :, 16:], views[:, torch.from_numpy(mine)])


def test_shared_computation_counts_once(outputs: Path) -> None:
    both = run(outputs, *MLP, "branch_point.stage=hidden1+hidden2")
    deeper = run(outputs, *MLP, "branch_point.stage=hidden2")
    costs = [record(one.results)["cost"] for one in (both, deeper)]
    assert len({cost["macs"]["to_branch_point"] for cost in costs}) == 1
    assert len({cost["parameters"]["to_branch_point"] for cost in costs}) == 1
    assert costs[0]["macs"]["branch"] == costs[1]["macs"]["branch"] + 16 * 8


def test_a_list_is_the_same_branch_as_its_joined_name(place: Path) -> None:
    branches = [
        json.loads((place / name / "results.json").read_text())["artifacts"]["branch"]["key"]
        for name in ("listed", "joined")
    ]
    assert branches[0] == branches[1]


def test_folders_are_called_by_the_joined_name(outputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(outputs.parent)
    stages = "branch_point.stage=[hidden1,hidden2],hidden1+logits"
    monkeypatch.setattr("sys.argv", ["neural-branching", "train", "-m", *TINY, *MLP, *ORDINARY, stages])
    cli.main()
    [sweep] = (outputs / "sweeps").iterdir()
    folders = sorted(one.name for one in sweep.iterdir() if one.is_dir())
    assert folders == ["0_digits_hidden1+hidden2", "1_digits_hidden1+logits"]


def test_what_was_kept_with_few_digits_is_seen_so_by_new_examples(place: Path) -> None:
    predictor = load(place / "half")
    results = json.loads((place / "half" / "results.json").read_text())
    data, kept = (Path(results["artifacts"][one]["path"]) for one in ("data", "activations"))
    pixels = torch.from_numpy(np.load(data / "examples.npy"))
    [seen] = predictor.networks(pixels, predictor.stages)["vectors"].values()
    stored = [load_file(kept / f"{stage}.safetensors")["activations"] for stage in ("hidden1", "hidden2")]
    assert torch.equal(seen, torch.cat(stored, 1).float())


@pytest.mark.parametrize("name", ["joined", "tree"])
def test_runs_answer_new_images_and_are_programs(place: Path, name: str, tmp_path: Path) -> None:
    predictor = load(place / name)
    assert predictor.stages == ("hidden1", "hidden2")
    compared, difference = export(predictor, tmp_path / "program.pt2")
    assert compared > 0
    assert difference < 1e-4


def test_a_branch_grows_from_several_layers_of_a_branch(place: Path) -> None:
    predictor = load(place / "tree")
    networks = predictor.networks
    seen = networks(torch.from_numpy(predictor.examples), predictor.stages)["vectors"]
    assert {name: one.shape[1] for name, one in seen.items()} == {
        "digit": 28,
        "letter": 28,
        "upper": 14,
        "lower": 14,
    }
    trunk = networks.branches[list(networks.heads).index("letter")]
    inner = dict(trunk.walk(seen["letter"], ("hidden1", "hidden2")))
    assert torch.equal(seen["upper"], torch.cat([inner["hidden1"], inner["hidden2"]], 1))


def test_one_pass_keeps_the_stages_that_were_asked_for(outputs: Path) -> None:
    asked = "activations.stages=[layer2.0.relu,layer1.0.relu]"
    place = outputs.parent / "asked"
    first, second = (
        run(place, *RESNET, asked, f"branch_point.stage={stage}")
        for stage in ("layer1.0.relu", "layer1.0.relu+layer2.0.relu")
    )
    assert kept(first) == kept(second)
    assert {file.stem for file in kept(first).glob("*.safetensors")} == {
        "layer1.0.relu",
        "layer2.0.relu",
        "logits",
    }
    assert len([*(place / "store" / "activations").iterdir()]) == 1  # none for the parent's logits alone


def test_a_parent_without_logits_is_passed_once(outputs: Path) -> None:
    backbone = ("parent=timm", "parent.model=test_efficientnet", "parent.weights=null", "~parent.fit")
    backbone += ("+parent.fit=null", "parent.network.size=32", "parent.augment=null")
    place = outputs.parent / "without"
    run(place, *backbone, "branch_point.stage=blocks.1.0")
    [only] = (place / "store" / "activations").iterdir()
    assert [file.stem for file in only.glob("*.safetensors")] == ["blocks.1.0"]


def test_sixteen_bits_take_half_the_disk_and_round(outputs: Path) -> None:
    full, half = (run(outputs, *MLP, f"activations.dtype={dtype}") for dtype in ("float32", "float16"))
    one, other = (load_file(kept(some) / "hidden2.safetensors")["activations"] for some in (full, half))
    assert (one.dtype, other.dtype) == (torch.float32, torch.float16)
    assert torch.equal(one.half(), other)
    workspace = Workspace.of(half.experiment, half.table)
    x, _ = branch_data(workspace, half.experiment.usual.branch).select("test")
    assert x.dtype == torch.float32
    rows = half.table.rows("test", half.experiment.usual.branch.classes)
    assert torch.equal(x, other[torch.from_numpy(rows)].float())
    assert kept(full) != kept(half)
    bytes_kept = [record(some.results)["cost"]["cache_bytes"] for some in (full, half)]
    assert bytes_kept[1] < 0.6 * bytes_kept[0]


def test_what_sixteen_bits_cannot_hold_is_refused(outputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = settings(outputs, *MLP, "parent.seed=5", "activations.dtype=float16")
    monkeypatch.setattr(act.Readout, "__call__", lambda self, output, token, mask: output.flatten(1) * 1e6)
    with pytest.raises(
        InputError, match=r"^Activations of hidden1 come up to .* float16 holds at most 65,504"
    ):
        pipeline.run(experiment, [])


def test_rows_of_another_type_are_widened_some_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(act, "ROWS", 3)
    half = torch.randn(10, 4).half()
    rows = np.array([7, 1, 1, 9, 0, 3, 2])
    found = act.gather([([half, half.float()], rows)], tmp_path)
    assert torch.equal(found, half.float()[torch.from_numpy(rows)].repeat(1, 2))


def test_submodules_called_by_numbers_are_stages(outputs: Path) -> None:
    assert settings(outputs, *MLP, "branch_point.stage=1").usual.branch.stage == "1"


def test_elements_are_ordered_whatever_was_asked_first() -> None:
    network = WrappedModule(torch.nn.Sequential(torch.nn.Identity(), torch.nn.Linear(2, 3)))
    for asked in (("0:1", "0", "0:0"), ("0:0", "0:1", "0")):
        assert network.ordered({*asked}) == network.ordered(asked) == ("0", "0:0", "0:1")
    with pytest.raises(InputError, match=r"^stage is '0:a/b': a stage becomes the name of a file"):
        network.place("0:a/b")


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("branch_point.stage=hidden1+hidden1", r"^branch_point\.stage is 'hidden1\+hidden1': it must be"),
        ("branch_point.stage=hidden1+", r"^branch_point\.stage is 'hidden1\+': it must be a stage"),
        ("branch_point.stage=null", r"^branch_point\.stage is None: it must be a stage"),
        ("branch_point.stage=[]", r"^branch_point\.stage is \[\]: it must be a stage"),
        ("branch_point.stage=hidden1+hiden2", r"^branch_point\.stage is 'hiden2', which is unknown"),
        ("activations.stages=hidden1", r"^activations\.stages is 'hidden1': it must be null or a list"),
        ("activations.stages=[]", r"^activations\.stages is \[\]: it must be null or a list"),
        ("activations.stages=[hiden1]", r"^a stage in activations\.stages is 'hiden1', which is unknown"),
        ("activations.dtype=float8", r"^activations\.dtype is 'float8', which is unknown"),
        ("activations.other=1", "^activations has no option 'other'"),
    ],
)
def test_what_cannot_be_used_is_refused(outputs: Path, override: str, problem: str) -> None:
    typed = f"+{override}" if ".other" in override else override
    with pytest.raises(InputError, match=problem):
        pipeline.check(settings(outputs, *MLP, typed))
