"""The whole flow: what is built, what is found again, and what must never happen."""

import copy
import csv
import dataclasses
import json
import logging
import math
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from composed import composed
from device import ELSEWHERE
from neural_branching import pipeline
from neural_branching.artifacts import activations as act
from neural_branching.artifacts import ensure_parent, train_and_save
from neural_branching.artifacts.build_networks import new_parent
from neural_branching.artifacts.ensure_branch import ensure_activations
from neural_branching.artifacts.trained_weights import HISTORY, WEIGHTS
from neural_branching.artifacts.workspace import Workspace
from neural_branching.config.branch_spec import BranchSpec
from neural_branching.config.experiment import Experiment
from neural_branching.data.table import DataTable
from neural_branching.errors import InputError
from neural_branching.networks.standardized_network import StandardizedNetwork
from neural_branching.report.results import write_predictions
from neural_branching.store.artifact_store import Artifact, key_of
from sweeps import only, record
from tiny import glyphs, networks, recipe

EVERYTHING = {"data", "parent", "activations", "branch"}
SMALL = (*networks(), *recipe(epochs=2, lr=1e-3), "trainer.progress=false")
GLYPHS = (*SMALL, *glyphs(2, size=16, train=24, test=6))


@pytest.fixture(autouse=True)
def _process_restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for variable in ("PYTORCH_NVML_BASED_CUDA_CHECK", "PL_GLOBAL_SEED", "PL_SEED_WORKERS"):
        monkeypatch.setenv(variable, "0")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def settings_of(outputs: Path, *overrides: str, base: tuple[str, ...] = GLYPHS) -> Experiment:
    return Experiment.from_config(composed("train", *base, f"outputs={outputs}", *overrides))


def run(outputs: Path, *overrides: str, base: tuple[str, ...] = GLYPHS) -> pipeline.Run:
    return pipeline.run(settings_of(outputs, *overrides, base=base))


def built(run: pipeline.Run) -> set[str]:
    return {name for name, artifact in run.results["artifacts"].items() if artifact["built"]}


def numbers(run: pipeline.Run) -> dict[str, Any]:
    """Everything but what was built where, and in how many seconds; nan as null, to be equal to itself."""
    results = {name: value for name, value in run.results.items() if name != "artifacts"}
    return json.loads(json.dumps(results), parse_constant=lambda _: None)


def artifact_folder(run: pipeline.Run, name: str) -> Path:
    return Path(run.results["artifacts"][name]["path"])


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> pipeline.Run:
    before = torch.get_num_threads()
    result = run(tmp_path_factory.mktemp("first") / "outputs")
    torch.set_num_threads(before)
    return result


@pytest.fixture
def warm(first: pipeline.Run, tmp_path: Path) -> Path:
    """An outputs folder of the test's own that holds what the first run built."""
    return Path(shutil.copytree(first.experiment.outputs, tmp_path / "outputs"))


# What is built, and what is found again.


def test_a_first_run_builds_everything_and_a_second_nothing(first: pipeline.Run, warm: Path) -> None:
    assert built(first) == EVERYTHING
    second = run(warm)
    assert built(second) == set()
    assert numbers(second) == numbers(first)
    assert second.histories == first.histories
    for name in EVERYTHING:
        mine, theirs = first.results["artifacts"][name], second.results["artifacts"][name]
        assert mine["key"] == theirs["key"]
        assert artifact_folder(second, name) == warm / "store" / name / mine["key"]
        assert mine["build_seconds"] == theirs["build_seconds"]


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["threshold.value=0.2"], set()),
        (["threshold=coverage"], set()),
        (["threshold=risk", "threshold.target=0.3"], set()),
        (["published={digits:{source:paper,accuracy:0.5}}"], set()),
        (["subset.name=numerals"], set()),
        (["subset=custom", "subset.classes=[digit_2,digit_0,digit_1]"], set()),
        (["branch_point=hidden1"], {"branch"}),
        (["branch_point=logits"], {"branch"}),
        (["subset=upper"], {"branch"}),
        (["subset=custom", "subset.classes=[digit_0,upper_O]"], {"branch"}),
        (["branch.seed=1"], {"branch"}),
        (["branch.fit.lr=0.01"], {"branch"}),
        (["branch=linear"], {"branch"}),
        (["parent.seed=1"], {"parent", "activations", "branch"}),
        (["seed=1"], {"parent", "activations", "branch"}),
        (["parent.fit.lr=0.01"], {"parent", "activations", "branch"}),
        (["parent.normalize=channel"], {"parent", "activations", "branch"}),
        (["data.split.seed=1"], {"parent", "activations", "branch"}),
        (["data.split.train=0.5", "data.split.calibration=0.375"], {"parent", "activations", "branch"}),
        (["data.source.seed=1"], EVERYTHING),
        (["data.image_size=12"], EVERYTHING),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_only_what_a_change_touches_is_built(warm: Path, overrides: list[str], expected: set[str]) -> None:
    changed = run(warm, *overrides)
    assert built(changed) == expected
    assert built(run(warm, *overrides)) == set()  # and is then found


def test_a_threshold_changes_only_what_depends_on_it(first: pipeline.Run, warm: Path) -> None:
    other = run(warm, "threshold.value=0.3")
    assert record(other.results)["threshold"]["value"] == 0.3
    for split in ("validation", "calibration", "test"):
        for name in ("n", "accuracy", "aurc"):
            assert record(other.results)[split][name] == record(first.results)[split][name]
    assert record(other.results)["test"]["coverage"] > record(first.results)["test"]["coverage"]


class Keys:
    """A store that only notes what it is asked for."""

    def __init__(self) -> None:
        self.key = ""

    def fetch(self, kind: str, identity: dict, build: object, *, needs: tuple[str, ...] = ()) -> Any:
        self.key = key_of(kind, identity)
        raise KeyError(kind)


def key(ensure: Callable[..., Artifact], workspace: Workspace, branch: BranchSpec) -> str:
    keys = Keys()
    with pytest.raises(KeyError):
        ensure(dataclasses.replace(workspace, store=keys), branch)
    return keys.key


def workspace_of(run: pipeline.Run) -> Workspace:
    return Workspace.of(run.experiment, run.table)


def test_every_part_of_the_activations_key_matters(
    first: pipeline.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, branch = workspace_of(first), first.experiment.usual.branch
    table, weights, parent = workspace.table, workspace.weights, workspace.parent
    known = key(ensure_activations, workspace, branch)
    assert known == first.results["artifacts"]["activations"]["key"]

    other_data = dataclasses.replace(table, artifact=dataclasses.replace(table.artifact, key="0" * 20))
    manifest = json.loads(json.dumps(weights.manifest))
    manifest["files"][WEIGHTS]["sha256"] = "0" * 64
    other_network = dataclasses.replace(parent, network={**parent.network, "dropout": 0.1})
    others = (
        {"table": other_data},
        {"weights": dataclasses.replace(weights, manifest=manifest)},
        {"parent": other_network},
    )
    keys = {known}
    for other in others:
        keys.add(key(ensure_activations, dataclasses.replace(workspace, **other), branch))
    # What is computed does not depend on these: rows are selected later.
    for overrides in (["branch_point=hidden1"], ["subset=upper"], ["branch.seed=3"], ["threshold.value=0"]):
        another = settings_of(first.experiment.outputs, *overrides).usual.branch
        assert key(ensure_activations, workspace, another) == known
    monkeypatch.setattr(act, "RECIPE", act.RECIPE + 1)
    keys.add(key(ensure_activations, workspace, branch))
    assert len(keys) == 5


@pytest.mark.parametrize("name", ["parent", "activations"])
def test_a_new_recipe_rebuilds_its_kind(name: str, warm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module, attribute = (act, "RECIPE") if name == "activations" else (ensure_parent, "RECIPE")
    monkeypatch.setattr(module, attribute, getattr(module, attribute) + 1)
    # The rebuilt files have the same content, so that what stands on them is still valid.
    assert built(run(warm)) == {name}


@pytest.mark.parametrize("kind", ["parent", "branch"])
@pytest.mark.parametrize(
    "change",
    [
        {"epochs": 3}, {"batch_size": 7}, {"lr": 0.5}, {"optimizer": "adamw"}, {"weight_decay": 0.5},
        {"schedule": "one_cycle"}, {"pct_start": 0.5}, {"label_smoothing": 0.5}, {"patience": 3},
        {"keep": "last"}, {"monitor": "none"}, {"precision": "bf16-mixed"}, {"matmul_precision": "medium"},
    ],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
def test_every_part_of_a_recipe_is_in_the_key(kind: str, change: dict, first: pipeline.Run) -> None:
    spec = first.experiment.parent if kind == "parent" else first.experiment.usual.branch
    [(name, value)] = change.items()
    recipe = copy.copy(spec.recipe)
    assert getattr(recipe, name) != value
    setattr(recipe, name, value)
    changed = dataclasses.replace(spec, recipe=recipe)
    assert changed != spec
    assert changed.identity() != spec.identity()


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("parent", WEIGHTS),
        ("parent", HISTORY),
        ("activations", "hidden2.safetensors"),
        ("activations", "logits.safetensors"),
        ("branch", WEIGHTS),
        ("data", "labels.npy"),
    ],
)
def test_a_damaged_file_is_set_aside_and_rebuilt(
    name: str, file: str, first: pipeline.Run, warm: Path, caplog: pytest.LogCaptureFixture
) -> None:
    damaged = warm / "store" / name / first.results["artifacts"][name]["key"] / file
    content = bytearray(damaged.read_bytes())
    content[-3] ^= 0x40
    damaged.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        again = run(warm)
    assert built(again) == {name}
    assert numbers(again) == numbers(first)
    assert f"stored {name} " in caplog.text
    assert "damaged" in caplog.text
    [aside] = (warm / "store" / "aside").iterdir()
    assert (aside / file).read_bytes() == content


@pytest.mark.parametrize("name", ["parent", "branch"])
def test_an_artifact_without_its_file_is_rebuilt(name: str, first: pipeline.Run, warm: Path) -> None:
    (warm / "store" / name / first.results["artifacts"][name]["key"] / WEIGHTS).unlink()
    again = run(warm)
    assert built(again) == {name}
    assert numbers(again) == numbers(first)


# A result depends on nothing but its settings.


def test_a_branch_does_not_depend_on_whether_its_parent_was_built_or_found(
    first: pipeline.Run, warm: Path, tmp_path: Path
) -> None:
    after, alone = run(warm, "branch_point=hidden1"), run(tmp_path / "alone", "branch_point=hidden1")
    assert built(after) == {"branch"}
    assert built(alone) == EVERYTHING
    assert numbers(after) == numbers(alone)
    assert after.histories == alone.histories


def test_results_do_not_depend_on_the_global_random_state(first: pipeline.Run, tmp_path: Path) -> None:
    torch.manual_seed(99)
    np.random.seed(99)
    random.seed(99)
    again = run(tmp_path)
    assert built(again) == EVERYTHING
    assert numbers(again) == numbers(first)


def test_seeds_do_change_the_results(first: pipeline.Run, warm: Path) -> None:
    branch, parent = run(warm, "branch.seed=1"), run(warm, "parent.seed=1")
    assert branch.histories["parent"] == first.histories["parent"]
    assert branch.histories["branch"] != first.histories["branch"]
    assert parent.histories["parent"] != first.histories["parent"]
    assert branch.results["seeds"] == {"split": 0, "parent": 0, "branch": 1}


# Defects of the original program.


def test_activations_are_those_of_an_undisturbed_parent_after_its_non_linearity(first: pipeline.Run) -> None:
    parent = new_parent(first.experiment.parent)
    assert parent.network.stages["hidden2"][0].p > 0  # there is dropout to be left out
    parent.load_state_dict(load_file(artifact_folder(first, "parent") / WEIGHTS))
    images = torch.from_numpy(np.array(first.table.examples()))
    outputs = dict(parent.eval().walk(images, parent.network.stage_names))
    for stage, output in outputs.items():
        stored = load_file(artifact_folder(first, "activations") / f"{stage}.safetensors")["activations"]
        torch.testing.assert_close(stored, output, rtol=ELSEWHERE, atol=ELSEWHERE)
        assert bool((stored < 0).any()) == (stage == "logits")


def test_the_best_weights_are_truly_restored(warm: Path) -> None:
    # Rates so high that the last epoch is not the best.
    result = run(
        warm,
        *("parent.fit.epochs=10", "parent.fit.lr=0.2", "branch.fit.epochs=12", "branch.fit.lr=0.2"),
    )
    for name in ("parent", "branch"):
        losses = [entry["val/loss"] for entry in result.histories[name]]
        assert record(result.results)[name]["best_epoch"] == losses.index(min(losses)) + 1 < len(losses)
    best = {
        name: result.histories[name][record(result.results)[name]["best_epoch"] - 1]
        for name in result.histories
    }
    assert record(result.results)["validation"]["loss"] == pytest.approx(
        best["branch"]["val/loss"], rel=max(1e-5, ELSEWHERE)
    )
    assert record(result.results)["validation"]["accuracy"] == pytest.approx(best["branch"]["val/accuracy"])
    assert result.results["parent"]["validation_accuracy"] == pytest.approx(best["parent"]["val/accuracy"])


def test_held_out_images_train_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {}

    def spy(module: Any, data: Any, compute: object, title: str, checkpoint: object) -> Any:
        seen[title.split()[0]] = data.train, data.validation
        return fit(module, data, compute, title, checkpoint)

    fit = train_and_save.fit
    monkeypatch.setattr(train_and_save, "fit", spy)
    result = run(tmp_path)
    table, classes = result.table, result.experiment.tree.classes
    images, hidden = table.examples(), act.read(_activations(result), "hidden2")
    for split, ((pixels, labels), (vectors, targets)) in zip(
        ("train", "validation"), zip(*seen.values(), strict=True), strict=True
    ):
        rows, own = table.rows(split), table.rows(split, classes)
        np.testing.assert_array_equal(pixels.numpy(), images[rows])
        np.testing.assert_array_equal(labels.numpy(), table.labels[rows])
        assert torch.equal(vectors, hidden[own])
        assert [classes[target] for target in targets] == [table.classes[table.labels[row]] for row in own]
    trained = {image.numpy().tobytes() for image in seen["parent"][0][0]}
    for split in ("validation", "calibration", "test"):
        judged = only(result).thresholds[0].branch.answers.known[split].rows
        np.testing.assert_array_equal(judged, table.rows(split, classes))
        assert not trained & {images[row].tobytes() for row in judged}


def _activations(run: pipeline.Run) -> Artifact:
    return ensure_activations(workspace_of(run), run.experiment.usual.branch)


# Images of one's own.

FOLDERS = ("noisy_b", "dark", "noisy_a")  # in another order than the alphabet's


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Dark images, which are easy, and two classes of noise, which nobody can tell apart."""
    rng = np.random.default_rng(0)
    root = tmp_path / "photos"
    for split, count in (("train", 20), ("test", 6)):
        for name in FOLDERS:
            folder = root / split / name
            folder.mkdir(parents=True)
            for index in range(count):
                pixels = rng.integers(0, 30 if name == "dark" else 256, (8, 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{index}.png")
    return root


def photo_run(photos: Path, outputs: Path, *overrides: str) -> pipeline.Run:
    base = (
        *SMALL,
        *("data=image_folder", f"data.root={photos}", f"data.classes=[{','.join(FOLDERS)}]"),
        *(
            "data.image_size=8",
            "data.split.train=0.5",
            "data.split.validation=0.2",
            "data.split.calibration=0.3",
        ),
        *("subset=custom", "subset.classes=[noisy_a,dark]"),
        *("parent.fit.lr=0.01", "parent.fit.epochs=10", "branch.fit.lr=0.01", "branch.fit.epochs=20"),
    )
    return run(outputs, *overrides, base=base)


def _only_shapes(method: Callable[..., Any]) -> Callable[..., Any]:
    """What networks may do without an image: be checked with a blank one, or see vectors."""

    def checked(self: StandardizedNetwork, x: torch.Tensor, *rest: Any, **options: Any) -> Any:
        assert not x.count_nonzero() or x.ndim == 2, "ran the parent"
        return method(self, x, *rest, **options)

    return checked


def test_a_branch_trains_with_the_images_gone(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs = tmp_path / "outputs"
    before = photo_run(photos, outputs)
    assert built(before) == EVERYTHING
    untouched = Path(shutil.copytree(outputs, tmp_path / "untouched"))
    beside = photo_run(photos, untouched, "branch.seed=1", "branch_point=hidden1")

    shutil.rmtree(photos)
    (artifact_folder(before, "data") / "examples.npy").unlink()
    monkeypatch.setattr(Image, "open", lambda *_: pytest.fail("opened an image"))
    monkeypatch.setattr(DataTable, "examples", lambda self: pytest.fail("read a pixel"))
    for name in ("forward", "walk"):
        monkeypatch.setattr(StandardizedNetwork, name, _only_shapes(getattr(StandardizedNetwork, name)))
    without = photo_run(photos, outputs, "branch.seed=1", "branch_point=hidden1")
    assert built(without) == built(beside) == {"branch"}
    assert numbers(without) == numbers(beside)
    assert numbers(photo_run(photos, outputs)) == numbers(before)


def test_pixels_that_are_needed_and_gone_are_asked_for(photos: Path, tmp_path: Path) -> None:
    result = photo_run(photos, tmp_path / "outputs")
    shutil.rmtree(photos)
    assert built(photo_run(photos, tmp_path / "outputs", "parent.seed=1")) >= {"parent"}  # from the store
    (artifact_folder(result, "data") / "examples.npy").unlink()
    with pytest.raises(InputError, match="does not exist"):
        photo_run(photos, tmp_path / "outputs", "parent.seed=2")


@pytest.mark.parametrize("subset", ["[noisy_a,dark]", "[dark,noisy_b]", "[noisy_a,noisy_b,dark]"])
def test_names_stay_with_their_classes(subset: str, photos: Path, tmp_path: Path) -> None:
    result = photo_run(photos, tmp_path / "outputs", f"subset.classes={subset}", "threshold.value=0.1")
    classes = result.results["classes"]
    assert classes == [name for name in FOLDERS if name in subset]  # the order of the data
    test = record(result.results)["test"]
    assert test["per_class"]["dark"] | {"n": 6, "accuracy": 1} == test["per_class"]["dark"]
    table = test["confusion"]
    assert table["rows"] == classes
    dark = classes.index("dark")
    for row, counts in zip(table["rows"], table["counts"], strict=True):
        assert sum(counts) == 6
        assert counts[table["columns"].index("dark")] == (6 if row == "dark" else 0)
    if len(classes) == 3:
        assert test["accuracy"] < 1  # noise is not to be told from noise
    write_predictions(tmp_path, only(result), result.table.names)
    with (tmp_path / "predictions.csv").open() as stream:
        lines = list(csv.DictReader(stream))
    for line in lines:
        row = int(line["row"])
        assert line["label"] == FOLDERS[result.table.labels[row]]
        assert (result.table.examples()[row].max() < 30) == (line["label"] == "dark")
        logits = [float(line[f"logit_{name}"]) for name in classes]
        assert line["prediction"] == classes[int(np.argmax(logits))]
        if line["split"] == "test":
            assert (line["prediction"] == "dark") == (line["label"] == "dark")
            assert (int(np.argmax(logits)) == dark) == (line["label"] == "dark")


@pytest.mark.parametrize("rule", ["threshold.value=0.9", "threshold=coverage", "threshold=risk"])
def test_labels_of_test_images_move_nothing_but_the_test_numbers(
    rule: str, photos: Path, tmp_path: Path
) -> None:
    overrides = ["subset.classes=[noisy_a,noisy_b,dark]", rule]
    before = photo_run(photos, tmp_path / "before", *overrides)
    names = {"dark": "noisy_a", "noisy_a": "noisy_b", "noisy_b": "dark"}
    for name in names:
        (photos / "test" / name).rename(photos / "test" / f"was_{name}")
    for name, other in names.items():
        (photos / "test" / f"was_{name}").rename(photos / "test" / other)
    after = photo_run(photos, tmp_path / "after", *overrides)
    for part in ("threshold", "validation", "calibration"):
        assert record(after.results)[part] == record(before.results)[part]
    assert after.histories == before.histories
    assert record(after.results)["test"]["accuracy"] != record(before.results)["test"]["accuracy"]
    assert record(after.results)["test"]["per_class"]["noisy_a"]["accuracy"] == 0  # they are all dark now


def test_a_fixed_threshold_is_used_as_given_and_a_fitted_one_comes_from_calibration(
    first: pipeline.Run, warm: Path
) -> None:
    assert record(first.results)["threshold"]["value"] == 0.96
    result = run(warm, "threshold=coverage", "threshold.target=0.5")
    scores = np.sort(only(result).thresholds[0].branch.known["calibration"])[::-1]
    assert record(result.results)["threshold"]["value"] == scores[math.ceil(len(scores) / 2) - 1]
    assert (
        record(result.results)["threshold"] | {"split": "calibration", "n": 9}
        == record(result.results)["threshold"]
    )


def test_the_parent_is_judged_by_its_logits_of_the_subset(warm: Path) -> None:
    result = run(warm, "subset=custom", "subset.classes=[upper_I,digit_1]")
    assert result.results["classes"] == ["digit_1", "upper_I"]
    logits = load_file(artifact_folder(result, "activations") / "logits.safetensors")["activations"].numpy()
    rows = [row for row in result.table.rows("test") if result.table.labels[row] in (1, 4)]
    picked = np.array([[1, 4][int(logits[row, 4] > logits[row, 1])] for row in rows])
    restricted = record(result.results)["test"]["parent_restricted"]
    assert restricted["n"] == len(rows) == 12
    assert restricted["accuracy"] == np.mean(picked == result.table.labels[rows])
    np.testing.assert_array_equal(
        only(result).thresholds[0].parent.answers.known["test"].logits, logits[np.ix_(rows, [1, 4])]
    )
    everyone = result.table.rows("test")
    whole = np.mean(logits[everyone].argmax(1) == result.table.labels[everyone])
    assert result.results["parent"]["test_accuracy"] == whole
    assert result.results["parent"]["test_n"] == 30


# What is refused, and when.


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["branch_point.stage=hiden2"], r"branch_point\.stage is 'hiden2'.*did you mean 'hidden2'"),
        (["branch_point=stem"], r"branch_point\.stage is 'stem'.*hidden1, hidden2, logits"),
        (["parent.network.widths=[0]"], r"parent\.network\.widths"),
        (["branch.network.dropout=2"], r"branch\.network\.dropout"),
        (["+branch.network.depth=2"], r"branch\.network has no option 'depth'"),
    ],
)
def test_what_cannot_be_used_is_refused_before_anything_is_computed(
    overrides: list[str], message: str, tmp_path: Path
) -> None:
    experiment = settings_of(tmp_path / "outputs", *overrides)
    with pytest.raises(InputError, match=message):
        pipeline.run(experiment)
    assert not (tmp_path / "outputs").exists()


def test_a_diverging_parent_leaves_nothing_in_the_store(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Training the parent mlp diverged"):
        run(tmp_path, "parent.fit.lr=1e30")
    assert list((tmp_path / "store" / "parent").iterdir()) == []


# The shape of a convolutional parent.


def test_a_convolutional_parent_with_augmentation_runs_at_every_stage(tmp_path: Path) -> None:
    base = [override for override in GLYPHS if "parent.network" not in override]
    # A multiple of 8: on processors with AVX2 and no AVX-512, torch 2.15 corrupts memory with other numbers
    # of channels in the backward pass of a convolution.
    base += ["parent=convnet", "parent.network.width=8", "parent.fit.epochs=3"]
    for stage in ("stem", "block2", "pool"):
        result = run(tmp_path, f"branch_point={stage}", base=tuple(base))
        assert built(result) == (EVERYTHING if stage == "stem" else {"branch"})
        width = load_file(artifact_folder(result, "branch") / WEIGHTS)["standardize.mean"].shape
        assert width == ({"stem": 32, "block2": 128, "pool": 64}[stage],)
