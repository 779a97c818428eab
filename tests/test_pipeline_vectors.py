"""Runs on activations that somebody else computed: branches, trees, predictions, programs, reports."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir

from composed import composed
from device import TRAINER
from neural_branching import cli, pipeline
from neural_branching.artifacts import activations as act
from neural_branching.config.build import conf_dir
from neural_branching.config.experiment import Experiment
from neural_branching.data import table as table_module
from neural_branching.errors import InputError
from neural_branching.exported_program import export
from neural_branching.load_run import load
from neural_branching.report.results import records
from tiny import GLYPHS, ORDINARY, GlyphRun, recipe
from vector_writing import examples, write

if TYPE_CHECKING:
    from neural_branching.pipeline import Run

PETS = ("ant", "bee", "cat", "dog")
HIERARCHY = """\
_target_: neural_branching.routing.hierarchy.Hierarchy
name: pets
nodes:
  insects: {classes: [ant, bee]}
  mammals: {classes: [cat, dog], branch_point: {stage: layer10}}
"""
FIT = tuple(one for one in recipe(epochs=8, lr=1e-2) if "parent" not in one)
SETTINGS = (*FIT, *ORDINARY, *TRAINER, "branch.network.widths=[8]", "trainer.progress=false")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conf" / "hierarchy").mkdir(parents=True)
    (tmp_path / "conf" / "hierarchy" / "pets.yaml").write_text(HIERARCHY)
    write(tmp_path / "with", "safetensors", examples(), PETS)
    write(tmp_path / "without", "npy", examples(logits=False), PETS)
    return tmp_path


WITH, WITHOUT = "data.root=with/vectors.safetensors", "data.root=without/arrays"


def command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> object:
    monkeypatch.setattr("sys.argv", ["neural-branching", *arguments])
    try:
        cli.main()
    except SystemExit as stop:
        return stop.code
    return None


def train(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Any:
    assert command(monkeypatch, "train", "data=vectors", *SETTINGS, *arguments) is None
    [file] = Path("outputs/runs").glob("*/results.json")
    return json.loads(file.read_text()), file.parent


def route(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> object:
    tree = ("--config-dir", "conf", "data=vectors", "hierarchy=pets")
    return command(monkeypatch, "route", *tree, *SETTINGS, *arguments)


def experiment(*overrides: str) -> Experiment:
    return Experiment.from_config(composed("train", *TRAINER, *overrides))


def test_a_branch_of_all_classes_at_the_first_stage(
    place: Path, monkeypatch: pytest.MonkeyPatch, unillustrated: None
) -> None:
    results, folder = train(monkeypatch, WITH, "baselines=all")
    [(name, node)] = results["nodes"].items()
    assert (name, node["branch_point"], node["classes"]) == ("all", "layer2", list(PETS))
    record = records(results)[0]
    assert record["test"]["accuracy"] > 0.6
    # The given logits are those of an almost perfect parent.
    assert results["parent"]["test_accuracy"] == record["test"]["parent_restricted"]["accuracy"] > 0.8
    macs = node["cost"]["macs"]
    assert (macs["to_branch_point"], macs["parent"], macs["path"]) == (0, 0, 6 * 8 + 8 * 4)
    apply = {name for name, one in node["baselines"].items() if one}
    assert apply == {"branch", "restricted", "linear_probe", "knn", "random_labels"}
    assert results["precision"].keys() == {"branch"}
    assert folder.name.endswith("_all_first")


def test_without_logits_what_needs_them_is_left_out(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], unillustrated: None
) -> None:
    results, folder = train(monkeypatch, WITHOUT, "branch_point.stage=layer10", "baselines=all")
    assert "the parent gives no logits: what needs them is left out" in capsys.readouterr().out
    assert results["parent"]["test_accuracy"] is None
    record = records(results)[0]
    assert record["branch_point"] == "layer10"
    assert record["test"]["parent_restricted"] is None
    assert record["baselines"]["restricted"] is None
    with (folder / "predictions.csv").open() as stream:
        assert {line["parent_prediction"] for line in csv.DictReader(stream)} == {""}
    assert command(monkeypatch, "report", str(folder)) is None
    assert command(monkeypatch, "store", "verify", "outputs") is None


@pytest.mark.parametrize("file", [WITH, WITHOUT])
def test_a_tree_with_a_gate(
    file: str, place: Path, monkeypatch: pytest.MonkeyPatch, unillustrated: None
) -> None:
    assert route(monkeypatch, file, "router=gate") is None
    [found] = Path("outputs/runs").glob("*/results.json")
    results = json.loads(found.read_text())
    free = {"max_confidence", "energy", "gate", "oracle", "random"}
    assert set(results["routers"]) == (free if file == WITHOUT else free | {"parent_mass", "soft"})
    assert (results["parent_alone"] is None) == (file == WITHOUT)
    assert results["nodes"]["mammals"]["branch_point"] == "layer10"
    assert command(monkeypatch, "report", str(found.parent)) is None
    files = [str(place / "with" / "vectors.safetensors"), "--output", "answers.csv"]
    assert command(monkeypatch, "predict", str(found.parent), *files) is None
    with Path("answers.csv").open() as stream:
        answers = list(csv.DictReader(stream))
    assert answers[7]["file"].endswith("vectors.safetensors[7]")
    given = [(PETS[row // 30], line["answer"]) for row, line in enumerate(answers) if line["accepted"] == "1"]
    assert len(given) > 10
    assert np.mean([label == answer for label, answer in given]) > 0.6


def test_what_asks_for_logits_is_refused_before_anything_is_computed(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "router=parent_mass asks the parent" in str(route(monkeypatch, WITHOUT))
    given = ("router=gate", "score=knn")
    assert "needs the parent's logits, and it gives none" in str(route(monkeypatch, WITHOUT, *given))
    assert not list(Path().glob("outputs/store/*/"))


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        ((WITHOUT, "parent.labels=fine"), r"parent\.labels is 'fine', and parent\.network gives no logits"),
        ((WITHOUT, "views.count=2"), r"views\.augment cannot change vectors of 11"),
        ((WITHOUT, "branch_point.stage=layer3"), r"branch_point\.stage is 'layer3'.*layer2, layer10"),
        (
            (WITHOUT, "parent=convnet", "parent.normalize=element"),
            r"parent\.network cannot take vectors of 11",
        ),
        ((WITHOUT, "parent=convnet"), r"parent\.normalize is 'channel', .*none, element"),
        ((WITHOUT, "parent.fit.lr=1"), "fit"),
    ],
)
def test_what_vectors_are_not_made_for(overrides: tuple[str, ...], sentence: str, place: Path) -> None:
    with pytest.raises(Exception, match=sentence):
        pipeline.check(experiment("data=vectors", *overrides))


def test_images_have_no_given_activations(place: Path) -> None:
    with pytest.raises(InputError, match=r"these data have none: choose data=vectors, or another parent"):
        pipeline.check(experiment("parent=identity", "parent.normalize=channel", "parent.labels=fine"))


def test_a_parent_can_be_trained_on_vectors(
    place: Path, monkeypatch: pytest.MonkeyPatch, unillustrated: None
) -> None:
    own = ("parent=mlp", "parent.network.widths=[12,8]", "parent.normalize=element", "parent.fit.epochs=1")
    results, _ = train(monkeypatch, WITH, *own, "branch_point.stage=hidden2")
    assert results["parent"]["epochs"] == 1
    assert results["parent"]["logits"] == 4
    assert records(results)[0]["branch_point"] == "hidden2"


@pytest.mark.parametrize("suffix", [".pt2", ".onnx"])
def test_a_program_takes_vectors(
    suffix: str, place: Path, monkeypatch: pytest.MonkeyPatch, unillustrated: None
) -> None:
    if suffix == ".onnx":
        pytest.importorskip("onnxscript")
    _, folder = train(monkeypatch, WITHOUT)
    predictor = load(folder, "cpu")
    compared, difference = export(predictor, place / f"program{suffix}")
    assert compared > 10
    assert difference < 1e-5
    vectors = torch.randn(3, 11)
    assert len(predictor.predict(vectors)) == 3
    for wrong in (vectors.double(), vectors[:, :5]):
        with pytest.raises(InputError, match=r"vectors have shape .*: give float32 of shape \(n, 11\)"):
            predictor.predict(wrong)
    if suffix == ".pt2":
        answer, _, _ = torch.export.load(place / "program.pt2").module()(vectors)
        expected = [one.answer for one in predictor.predict(vectors)]
        assert [([None, *PETS])[index] for index in answer] == expected


def test_another_file_needs_the_same_stages(
    place: Path, monkeypatch: pytest.MonkeyPatch, unillustrated: None
) -> None:
    _, folder = train(monkeypatch, WITHOUT)
    other = {"layer2": np.zeros((2, 6), np.float32), "labels": np.zeros(2, np.int64)}
    file = write(place / "other", "safetensors", other)
    assert "a run on vectors of layer2 (6), layer10 (5)" in str(
        command(monkeypatch, "predict", str(folder), str(file))
    )
    bare = {name: array for name, array in examples(per_class=2).items() if name != "labels"}
    bare["layer2"][1, 0] = np.nan
    file = write(place / "bare", "safetensors", bare)
    assert command(monkeypatch, "predict", str(folder), str(file), "--output", "answers.jsonl") == 1
    lines = [json.loads(line) for line in Path("answers.jsonl").read_text().splitlines()]
    assert [one["error"] for one in lines if "error" in one] == ["it holds nan or infinity"]
    assert len(lines) == 8


def exported(run: "Run", folder: Path) -> Path:
    """The activations of a run of images as a file of vectors, in the order of its rows."""
    table, store = run.table, run.experiment.outputs / "store"
    [kept] = {Path(run.results["artifacts"]["activations"]["path"])}
    assert kept.is_relative_to(store)
    columns: dict[str, Any] = {}
    for file in kept.glob("*.safetensors"):
        with act.safe_open(file, framework="np") as stream:
            columns[file.stem] = stream.get_tensor("activations")
    return write(
        folder, "safetensors", {**columns, "labels": table.labels, "splits": table.split}, table.classes
    )


def test_numbers_are_those_of_the_images_that_the_vectors_are_of(
    glyph_run: GlyphRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = glyph_run(*ORDINARY)
    file = exported(images, tmp_path)
    # Rows are ordered by content, which is another: keep those of the images.
    monkeypatch.setattr(table_module, "_ordered", lambda examples: examples)
    branch: Callable[[str], str] = "++branch.fit.{}".format
    recipe_of = vars(images.experiment.usual.branch.recipe)
    upper = ",".join(GLYPHS["upper"][:2])
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        config = compose(
            "train",
            [
                *(
                    "data=vectors",
                    f"data.root={file}",
                    f"outputs={tmp_path / 'outputs'}",
                    *ORDINARY,
                    *TRAINER,
                ),
                f"++data.superclasses={{digit:[{','.join(GLYPHS['digit'])}],upper:[{upper}]}}",
                *("subset=digits", "branch_point.stage=hidden2", "branch.network.widths=[8]"),
                *(f"{branch(name)}={'null' if one is None else one}" for name, one in recipe_of.items()),
                "trainer.progress=false",
            ],
        )
    vectors = pipeline.run(Experiment.from_config(config))
    mine, theirs = (one.results["nodes"]["digits"] for one in (vectors, images))
    for block in ("branch", "score", "reliability", "thresholds"):
        assert mine[block] == theirs[block]
    for name in ("validation_accuracy", "test_accuracy", "test_n"):
        assert vectors.results["parent"][name] == images.results["parent"][name]
