"""What finished runs answer to new images: the same as when they were judged, and errors in a sentence."""

import csv
import errno
import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
import yaml
from PIL import Image
from torch import nn

from conftest import leave_out_pictures
from device import ON_GPU
from neural_branching import cli
from neural_branching.data.inputs.image_inputs import ImageInputs
from neural_branching.data.split import TEST
from neural_branching.errors import InputError
from neural_branching.evaluation.tree_acceptance import Acceptance
from neural_branching.exported_program import Program, export
from neural_branching.load_run import load
from neural_branching.networks.convnet import ConvNet
from neural_branching.networks.mlp import MLP
from neural_branching.networks.network import Network
from neural_branching.networks.readout import Readout
from neural_branching.networks.standardize import Standardize
from neural_branching.networks.standardized_network import StandardizedNetwork
from neural_branching.networks.torchvision_model import TorchvisionModel
from neural_branching.networks.vit import VisionTransformer
from neural_branching.networks.wrapped import as_network
from neural_branching.predictor import Head, Prediction, Predictor, Step
from neural_branching.report.answers_file import Writer
from neural_branching.routing.descent import FittedRouter, answers_of
from neural_branching.routing.hierarchy import ROOT, Node, Tree
from neural_branching.routing.routers import ROUTERS, ParentMass
from neural_branching.selection.scores.from_logits import (
    Energy,
    Margin,
    MaxLogit,
    MaxSoftmax,
    NegativeEntropy,
)
from neural_branching.selection.thresholds.plain import Fixed
from neural_branching.selection.thresholds.threshold import Choice
from sweeps import record
from tiny import glyphs, networks

TINY = [
    *glyphs(3, 3),
    *networks(),
    *("parent.fit.epochs=3", "branch.fit.epochs=3", "threshold=risk", "threshold.target=0.6"),
]
SYSTEM = "hierarchy=glyphs_by_case"
WRONG = Prediction("nonsense", ("nonsense",), 1.0, True, ())


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of a branch and of systems, and the test images as files, the row their name."""
    folder = tmp_path_factory.mktemp("predict")
    runs = {
        "branch": ["train", "subset=digits", "score=knn", "threshold=coverage", "threshold.target=0.7"],
        "soft": ["route", SYSTEM, "router=soft"],
        "gate": ["route", SYSTEM, "router=gate", "score=temperature"],
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        leave_out_pictures(patch)
        for name, arguments in runs.items():
            arguments = [*arguments[:1], *TINY, *arguments[1:], f"hydra.run.dir=outputs/runs/{name}"]
            patch.setattr("sys.argv", ["neural-branching", *arguments])
            cli.main()
    [data] = (folder / "outputs" / "store" / "data").iterdir()
    pixels = np.load(data / "examples.npy")
    (folder / "photos").mkdir()
    for row in np.flatnonzero(np.load(data / "given_split.npy") == TEST):
        Image.fromarray(pixels[row].transpose(1, 2, 0)).save(folder / "photos" / f"{row}.png")
    return folder


def images_of(place: Path, rows: list[int]) -> np.ndarray:
    [data] = (place / "outputs" / "store" / "data").iterdir()
    return np.load(data / "examples.npy")[rows]


def predict(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> object:
    monkeypatch.setattr("sys.argv", ["neural-branching", "predict", *map(str, arguments)])
    try:
        cli.main()
    except SystemExit as stop:
        return stop.code
    return None


def test_a_branch_answers_as_when_it_was_judged(place: Path) -> None:
    with (place / "outputs/runs/branch/predictions.csv").open() as stream:
        lines = [line for line in csv.DictReader(stream) if line["split"] == "test"]
    predictor = load(place / "outputs" / "runs" / "branch")
    assert predictor.classes == ("digit_0", "digit_1", "digit_2")
    answers = predictor.predict(images_of(place, [int(line["row"]) for line in lines]))
    accepted = 0
    for line, one in zip(lines, answers, strict=True):
        [step] = one.trace
        assert step.label == line["prediction"]
        assert step.score == pytest.approx(float(line["score"]), rel=1e-4)
        if abs(step.score - step.threshold) > 1e-4 * abs(step.threshold):
            assert one.accepted == bool(int(line["accepted"]))
            assert one.answer == (line["prediction"] if one.accepted else None)
        accepted += one.accepted
    assert 0 < accepted < len(lines)


@pytest.mark.parametrize("router", ["soft", "gate"])
def test_a_system_answers_as_when_it_was_judged(place: Path, router: str) -> None:
    with (place / "outputs" / "runs" / router / "trace.csv").open() as stream:
        lines = list(csv.DictReader(stream))
    predictor = load(place / "outputs" / "runs" / router)
    answers = predictor.predict(images_of(place, [int(line["row"]) for line in lines]))
    same = [(one.answer or "uncertain") == line["answer"] for line, one in zip(lines, answers, strict=True)]
    assert np.mean(same) > 0.98  # a score may differ from its threshold by a rounding error only
    for line, one in zip(lines, answers, strict=True):
        paths = line["path"].split(" > ")
        assert [step.label for step in one.trace] == paths[: len(one.trace)]
        assert one.path == tuple(step.label for step in one.trace if step.accepted)
        assert one.accepted == (len(one.path) == len(paths))
        expected = np.prod([step.probability for step in one.trace if step.accepted]) if one.path else 0
        assert one.confidence == pytest.approx(expected)


def test_files_of_a_folder_from_the_command_line(place: Path, monkeypatch, capsys, tmp_path: Path) -> None:
    run, photos = place / "outputs" / "runs" / "soft", place / "photos"
    assert predict(monkeypatch, run, photos, "--output", tmp_path / "a.csv", "--batch", 7) is None
    screen = capsys.readouterr().out
    assert "90 examples, the first 20" in screen
    assert predict(monkeypatch, run, photos, "--output", tmp_path / "a.jsonl") is None
    with (tmp_path / "a.csv").open() as stream:
        lines = list(csv.DictReader(stream))
    records = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert [line["file"] for line in lines] == [record["file"] for record in records]
    assert {Path(line["file"]).name for line in lines} == {file.name for file in photos.iterdir()}
    with (run / "trace.csv").open() as stream:
        judged = {f"{line['row']}.png": line["answer"] for line in csv.DictReader(stream)}
    for line, other in zip(lines, records, strict=True):
        assert line["answer"] == (other["answer"] or "")
        assert (line["answer"] or "uncertain") == judged[Path(line["file"]).name]
        assert line["accepted"] == str(int(other["accepted"]))
        assert (line["stopped_at"] == "") == other["accepted"]
        assert line["candidate"] == other["trace"][-1]["label"]
        assert float(line["score"]) == pytest.approx(other["trace"][-1]["score"], rel=1e-5)


def test_a_broken_image_does_not_stop_the_others(place: Path, monkeypatch, capsys, tmp_path: Path) -> None:
    good = sorted((place / "photos").iterdir())[0]
    (tmp_path / "torn.png").write_bytes(good.read_bytes()[:60])
    (tmp_path / "text.jpg").write_text("no image")
    shutil.copy(good, tmp_path / "whole.png")
    output = tmp_path / "a.csv"
    assert predict(monkeypatch, place / "outputs" / "runs" / "gate", tmp_path, "--output", output) == 1
    screen = capsys.readouterr().out
    assert "2 broken" in screen
    assert f"cannot be read: {tmp_path / 'torn.png'}" in screen
    with output.open() as stream:
        lines = {Path(line["file"]).name: line for line in csv.DictReader(stream)}
    assert set(lines) == {"torn.png", "text.jpg", "whole.png"}
    assert lines["torn.png"]["error"]
    assert not lines["whole.png"]["error"]


def test_runs_move_with_their_store(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "outputs", tmp_path / "elsewhere")
    image = images_of(place, [0])
    roots = place / "outputs", tmp_path / "elsewhere"
    here, there = (load(root / "runs" / "soft").predict(image) for root in roots)
    assert here == there


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["outputs/runs/soft", "nowhere.png"], "nowhere.png does not exist"),
        (["outputs/runs/soft", "outputs/runs"], "There is no image in outputs/runs"),
        (["outputs/runs", "photos"], "has no results.json of a finished run"),
        (["nowhere", "photos"], "has no results.json of a finished run"),
        (["outputs/runs/soft", "photos", "--output", "answers.txt"], "its name must end in .csv or .jsonl"),
        (["outputs/runs/soft", "photos", "--output", "no/answers.csv"], "cannot be written"),
        (["outputs/runs/soft", "photos", "--batch", "0"], "--batch is 0"),
        (["outputs/runs/soft", "photos", "--device", "toaster"], "--device is 'toaster'"),
    ],
)
def test_bad_input_is_a_sentence(place: Path, monkeypatch, arguments: list[str], sentence: str) -> None:
    monkeypatch.chdir(place)
    images = arguments[1] == "outputs/runs"
    if images:  # figures of runs are images too
        (place / "outputs/runs/empty").mkdir(exist_ok=True)
        arguments = [arguments[0], "outputs/runs/empty", *arguments[2:]]
        sentence = "There is no image in outputs/runs/empty"
    answer = str(predict(monkeypatch, *arguments))
    assert sentence in answer
    assert "\n" not in answer


def test_what_the_store_has_lost_is_named(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "outputs", tmp_path / "outputs")
    results = json.loads((tmp_path / "outputs/runs/soft/results.json").read_text())
    lost = Path(results["artifacts"]["branch upper"]["path"])
    for entry in results["artifacts"].values():
        entry["path"] = entry["path"].replace(str(place), str(tmp_path))
    (tmp_path / "outputs/runs/soft/results.json").write_text(json.dumps(results))
    shutil.rmtree(tmp_path / "outputs" / "store" / lost.parent.name / lost.name)
    with pytest.raises(InputError, match=rf"rests on .*{lost.name}, which is gone: repeat the run"):
        load(tmp_path / "outputs" / "runs" / "soft")


@pytest.mark.parametrize("artifacts", [{}, {"data": None}, [], None])
def test_results_that_rest_on_nothing_are_named(artifacts: object, place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "outputs" / "runs" / "soft", tmp_path / "soft")
    results = json.loads((tmp_path / "soft" / "results.json").read_text())
    (tmp_path / "soft" / "results.json").write_text(json.dumps(results | {"artifacts": artifacts}))
    with pytest.raises(InputError):
        load(tmp_path / "soft")


def test_what_a_model_wrote_does_not_steer_the_screen() -> None:
    writer, said = Writer(), "\x1b[31mred\nline"
    writer.answered("a", Prediction(said, (said,), 0.5, True, (Step("branch", said, 0.5, 0.5, 0.4, True),)))
    assert r"\x1b[31mred\nline" in writer.shown[0]
    assert all(cell.isprintable() for cell in writer.shown[0])


def test_pixels_of_another_shape_are_refused(place: Path) -> None:
    predictor = load(place / "outputs" / "runs" / "branch")
    with pytest.raises(InputError, match=r"shape \(1, 3, 8, 8\) .* of shape \(n, 3, 12, 12\)"):
        predictor.predict(np.zeros((1, 3, 8, 8), np.uint8))
    with pytest.raises(InputError, match="float32"):
        predictor.predict(np.zeros((1, 3, 12, 12), np.float32))
    assert predictor.predict(np.zeros((0, 3, 12, 12), np.uint8)) == []


@pytest.mark.parametrize(
    ("suffix", "run"),
    [
        ("pt2", "gate"),
        ("onnx", "soft"),
        pytest.param("pt2", "soft", marks=pytest.mark.slow),
        pytest.param("onnx", "gate", marks=pytest.mark.slow),
    ],
)
def test_a_system_is_one_program(
    place: Path, monkeypatch, capsys, tmp_path: Path, run: str, suffix: str
) -> None:
    file, folder = tmp_path / f"system.{suffix}", place / "outputs" / "runs" / run
    monkeypatch.setattr("sys.argv", ["neural-branching", "export", str(folder), str(file)])
    cli.main()
    assert re.search(r"answers (8\d|90) test examples as the run does", capsys.readouterr().out)
    assert [one.name for one in tmp_path.iterdir()] == [file.name]
    predictor = load(folder, "cpu")
    names = ("uncertain", "digit", "letter", "upper", "lower", *predictor.classes)
    images = predictor.examples[:7]  # another number than it was made with
    if suffix == "pt2":
        extra = {"answers.json": ""}
        program = torch.export.load(file, extra_files=extra).module()
        answers, confidences, accepted = (one.numpy() for one in program(torch.from_numpy(images)))
        assert json.loads(extra["answers.json"]) == list(names)
    else:
        session = onnxruntime.InferenceSession(str(file))
        answers, confidences, accepted = session.run(None, {"images": images})
        assert json.loads(session.get_modelmeta().custom_metadata_map["answers"]) == list(names)
    for index, one in enumerate(predictor.predict(images)):
        assert names[answers[index]] == (one.answer or "uncertain")
        assert confidences[index] == pytest.approx(one.confidence, abs=1e-5)
        assert accepted[index] == one.accepted


@pytest.mark.parametrize("kind", ["parent_mass", "soft", "max_confidence", "energy", "gate"])
def test_programs_route_as_routers_do(place: Path, kind: str) -> None:
    predictor = load(place / "outputs" / "runs" / "gate", "cpu")
    seen = predictor.node_outputs(torch.from_numpy(predictor.examples))
    known = replace(seen, labels=np.arange(len(seen)) % len(predictor.classes))
    predictor.router = FittedRouter.of(predictor.tree, ROUTERS[kind](), known)
    rule = Fixed(0.35)
    stop = Acceptance(MaxSoftmax(), MaxSoftmax().fit(None), Choice(0.35, 0), rule)
    predictor.acceptances = dict.fromkeys(predictor.tree.nodes, stop)
    answers, confidences, accepted = Program(predictor).eval()(torch.from_numpy(predictor.examples))
    names = answers_of(predictor.tree)
    found = predictor.predict(predictor.examples)
    assert len({one.answer for one in found}) > 2
    for index, one in enumerate(found):
        assert names[answers[index]] == (one.answer or "uncertain")
        assert confidences[index].item() == pytest.approx(one.confidence, abs=1e-5)
        assert accepted[index].item() == one.accepted


@pytest.mark.parametrize("score", [MaxSoftmax, Margin, NegativeEntropy, MaxLogit, Energy])
def test_scores_of_programs_are_the_scores(score: type) -> None:
    logits = np.random.default_rng(0).normal(size=(50, 4)) * 3
    found = score().fit(None).formula(torch.from_numpy(logits)).numpy()
    np.testing.assert_allclose(found, score().of(logits), rtol=1e-6, atol=1e-9)


def test_what_cannot_be_a_program_is_refused(place: Path, monkeypatch, tmp_path: Path) -> None:
    runs = place / "outputs" / "runs"

    def answer(*arguments: object) -> str:
        monkeypatch.setattr("sys.argv", ["neural-branching", "export", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        return str(stop.value)

    assert "score=knn needs more than logits and cannot" in answer(runs / "branch", tmp_path / "a.pt2")
    assert "The suffix of the file is '.zip'" in answer(runs / "soft", tmp_path / "a.zip")
    assert list(tmp_path.iterdir()) == []


def test_a_bound_answers_no_new_image(place: Path, tmp_path: Path) -> None:
    run = tmp_path / "outputs" / "runs" / "oracle"
    shutil.copytree(place / "outputs", tmp_path / "outputs")
    shutil.copytree(place / "outputs" / "runs" / "soft", run)
    config = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(config.replace("routers.Soft", "routers.Oracle"))
    with pytest.raises(InputError, match="router=oracle is a bound and answers no new example"):
        load(run)


def test_a_run_whose_recipe_has_changed_is_not_passed_off(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "outputs", tmp_path / "outputs")
    config = tmp_path / "outputs" / "runs" / "branch" / "config.yaml"
    config.write_text(config.read_text().replace("dropout: 0.5", "dropout: 0.25"))
    with pytest.raises(InputError, match=r"The \w+ \w+ cannot be taken from the store .*: it is not there"):
        load(tmp_path / "outputs" / "runs" / "branch")


def test_files_that_exist_outlive_a_mistake(place: Path, monkeypatch, tmp_path: Path) -> None:
    kept = tmp_path / "kept.csv"
    kept.write_text("mine")
    assert "has no results.json" in str(predict(monkeypatch, place, place / "photos", "--output", kept))
    assert kept.read_text() == "mine"
    run = place / "outputs" / "runs" / "soft"
    answer = predict(monkeypatch, run, place / "photos", "--output", run / "trace.csv")
    assert "is a file of a run, a sweep or a store: choose another name" in str(answer)
    copy = shutil.copytree(place / "outputs" / "runs" / "gate", tmp_path / "another")
    (tmp_path / "link.csv").symlink_to(copy / "trace.csv")
    (tmp_path / "folder.csv").mkdir()
    before = (copy / "trace.csv").read_bytes()
    for output in (copy / "trace.csv", tmp_path / "link.csv"):
        answer = predict(monkeypatch, run, place / "photos", "--output", output)
        assert "is a file of a run, a sweep or a store" in str(answer)
    answer = predict(monkeypatch, run, place / "photos", "--output", tmp_path / "folder.csv")
    assert "(it is there, and no file)" in str(answer)
    assert (copy / "trace.csv").read_bytes() == before


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
@pytest.mark.parametrize("killed", [False, True])
def test_answers_are_written_whole_or_not_at_all(
    killed: bool, suffix: str, place: Path, monkeypatch, tmp_path: Path
) -> None:
    output, run = tmp_path / f"answers.{suffix}", place / "outputs" / "runs" / "soft"
    output.write_text("old")

    def stop(self: Writer, file: Path, one: Prediction) -> None:
        real(self, file, one)
        if len(list(tmp_path.iterdir())) == 2 and sum(self.counts.values()) == 50:
            raise KeyboardInterrupt if killed else OSError(errno.ENOSPC, "No space left on device")

    real = Writer.answered
    monkeypatch.setattr(Writer, "answered", stop)
    answer = predict(monkeypatch, run, place / "photos", "--output", output)
    assert answer == (130 if killed else f"--output {output} cannot be written (No space left on device).")
    assert output.read_text() == "old"
    assert list(tmp_path.iterdir()) == [output]
    monkeypatch.undo()
    assert predict(monkeypatch, run, place / "photos", "--output", output) is None
    assert len(output.read_text().splitlines()) == 90 + (suffix == "csv")


NAMES = (b"=HYPERLINK(1).png", b"+1.png", b"-1.png", b"@a.png", b"caf\xe9.png", b"a,b.png")


def test_images_may_be_called_anything(place: Path, monkeypatch, capsys, tmp_path: Path) -> None:
    photo, folder = min((place / "photos").iterdir()), tmp_path / "photos"
    folder.mkdir()
    for name in NAMES:
        shutil.copy(photo, folder / os.fsdecode(name))
    monkeypatch.chdir(folder)
    run, files = place / "outputs" / "runs" / "soft", sorted(map(os.fsdecode, NAMES))
    for suffix in ("csv", "jsonl"):
        output = tmp_path / f"a.{suffix}"
        assert predict(monkeypatch, run, "--output", output, "--", *files) is None
    with (tmp_path / "a.csv").open(encoding="utf-8", newline="") as stream:
        written = [line["file"] for line in csv.DictReader(stream)]
    assert written == ["'+1.png", "'-1.png", "'=HYPERLINK(1).png", "'@a.png", "a,b.png", "caf\\udce9.png"]
    records = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert [record["file"] for record in records] == files
    assert "caf\\udce9.png" in capsys.readouterr().out


def test_a_program_that_answers_differently_is_not_written(place: Path, tmp_path: Path, monkeypatch) -> None:
    predictor = load(place / "outputs" / "runs" / "soft")
    monkeypatch.setattr(Predictor, "predict", lambda self, images: [WRONG] * len(images))
    with pytest.raises(
        InputError, match=r"example 0 with .* and the run with 'nonsense': nothing was written"
    ):
        export(predictor, tmp_path / "a.pt2")
    assert list(tmp_path.iterdir()) == []


def test_the_parent_runs_no_further_than_is_asked(place: Path) -> None:
    gate, soft = (load(place / "outputs" / "runs" / name) for name in ("gate", "soft"))
    assert "logits" in soft.stages
    assert "logits" not in gate.stages
    images = torch.from_numpy(gate.examples[:4])
    assert gate.node_outputs(images).activations[ROOT].shape == (4, 0)


def small_system(network: Network) -> Predictor:
    """One untrained branch below a parent with two classes."""
    branch = StandardizedNetwork(Standardize((2,)), MLP((2,), 2, [4]))
    groups, rule = (("a",), ("b",)), Fixed(0.0)
    stop = Acceptance(MaxSoftmax(), MaxSoftmax().fit(None), Choice(0.0, 0), rule)
    return Predictor(
        Tree("one", {ROOT: Node(ROOT, None, ("a", "b"), groups, leaf=True)}),
        StandardizedNetwork(Standardize((3, 1, 1)), network),
        {ROOT: Head(branch, "logits", Readout("flatten"))},
        {},
        None,
        FittedRouter(ParentMass(), {}),
        {ROOT: stop},
        ImageInputs(32),
        torch.device("cpu"),
        np.random.default_rng(0).integers(0, 256, (5, 3, 32, 32)).astype(np.uint8),
    )


class Own(nn.Module):
    """Anyone's module; ``sums`` makes what it does depend on its input, which no exporter can follow."""

    def __init__(self, *, sums: bool = False) -> None:
        super().__init__()
        self.sums, self.logits = sums, nn.Linear(3 * 32 * 32, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.logits(x.flatten(1) if not self.sums or x.sum() > 0 else -x.flatten(1))


@pytest.mark.parametrize(
    "network",
    [
        lambda: VisionTransformer((3, 32, 32), 2, patch=16, width=8, depth=1, heads=2),
        lambda: ConvNet((3, 32, 32), 2, width=2),
        lambda: TorchvisionModel((3, 32, 32), 2, "squeezenet1_1"),
        lambda: as_network(Own()),
    ],
    ids=["vit", "convnet", "torchvision", "custom"],
)
def test_every_kind_of_parent_is_exported(network: Callable[[], Network], tmp_path: Path) -> None:
    compared, difference = export(small_system(network()), tmp_path / "a.pt2")
    assert (compared, difference < 1e-5) == (5, True)


class Far(Own):
    """As on a GPU until it is moved."""

    near = False

    def _apply(self, *arguments: object) -> nn.Module:  # what moves a module, and all that it holds
        self.near = True
        return super()._apply(*arguments)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.near:
            raise RuntimeError("Tensor on device cuda:0 is not on the expected device cpu!")
        return super().forward(x)


def test_an_export_moves_a_copy_to_the_cpu_and_leaves_the_predictor_as_it_was(tmp_path: Path) -> None:
    predictor = small_system(as_network(module := Far()))
    module.near = False
    networks = [predictor.networks.parent, *predictor.networks.branches]
    assert export(predictor, tmp_path / "a.pt2")[0] == 5
    assert not module.near
    assert [predictor.networks.parent, *predictor.networks.branches] == networks
    assert all(parameter.requires_grad for one in networks for parameter in one.parameters())


@ON_GPU
def test_a_predictor_on_a_gpu_is_exported(place: Path, tmp_path: Path) -> None:
    predictor = load(place / "outputs" / "runs" / "soft", "cuda")
    assert export(predictor, tmp_path / "a.pt2")[0] > 0
    assert predictor.networks.parent.device.type == "cuda"


def test_what_an_exporter_cannot_follow_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^torch.export cannot write the run as one program \(.*\)\.$"):
        export(small_system(as_network(Own(sums=True))), tmp_path / "a.pt2")
    predictor = small_system(as_network(Own()))
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"a\.pt2 cannot be written \(File exists\)"):
        export(predictor, tmp_path / "file" / "a.pt2")
    always = predictor.predict(predictor.examples)[0].trace[0].score
    stop = predictor.acceptances[ROOT]
    predictor.acceptances = {ROOT: replace(stop, choice=Choice(always, 0))}
    predictor.examples = predictor.examples[:1]
    with pytest.raises(InputError, match="Each of 1 test examples lies within rounding of a threshold"):
        export(predictor, tmp_path / "a.pt2")
    assert [one.name for one in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    "target",
    [
        "os.mkdir",
        "neural_branching.commands.launch.os.mkdir",
        "neural_branching.nowhere.Thing",
        "torch.nn.Flatten",
    ],
)
def test_a_run_from_elsewhere_runs_no_code_of_its_own(target: str, place: Path, tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    shutil.copytree(place / "outputs", outputs)
    run = outputs / "runs" / "branch"
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["parent"]["augment"] = {"_target_": target, "path": str(tmp_path / "made")}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(InputError, match=rf"{target}.*(not of this package: add --trust|cannot be imported)"):
        load(run)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("command", ["predict", "export"])
@pytest.mark.parametrize("tag", ["!!pairs", "!!omap"])
def test_tuples_of_yaml_hide_no_code(
    tag: str, command: str, place: Path, monkeypatch, tmp_path: Path
) -> None:
    shutil.copytree(place / "outputs", tmp_path / "outputs")
    run, made = tmp_path / "outputs" / "runs" / "branch", tmp_path / "made"
    config = (run / "config.yaml").read_text()
    hostile = f"target: {tag} [x: {{_target_: os.mkdir, path: {made}}}]"
    (run / "config.yaml").write_text(config.replace("target: 0.7", hostile))
    assert hostile in (run / "config.yaml").read_text()
    last = place / "photos" if command == "predict" else tmp_path / "file.pt2"
    monkeypatch.setattr("sys.argv", ["neural-branching", command, str(run), str(last)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert "has the tag tag:yaml.org,2002" in str(stop.value.code)
    assert not made.exists()


@pytest.mark.parametrize("part", ["branch", "parent"])
def test_an_interpolation_makes_no_target(part: str, place: Path, tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    shutil.copytree(place / "outputs", outputs)
    run = outputs / "runs" / "branch"
    config = yaml.safe_load((run / "config.yaml").read_text())
    made = tmp_path / "made"
    config[part]["network"]["widths"] = [f"${{oc.create:{{_target_: os.mkdir, path: {made}}}}}"]
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(InputError, match="is an interpolation"):
        load(run)
    assert not made.exists()


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"branch": {"fit": {"epochs": 4}}}, r"The branch \w+ cannot be taken from the store"),
        ({"parent": {"seed": 9}}, r"The parent \w+ cannot be taken from the store"),
        ({"threshold": {"target": 0.2}}, r"threshold\.value is -0\.\d+ in the run's results\.json, and its"),
        (
            {"subset": {"superclass": None, "classes": ["digit_0", "digit_1"]}},
            "cannot be taken from the store",
        ),
    ],
)
def test_whatever_a_configuration_says_nothing_is_trained(
    options: dict, problem: str, place: Path, tmp_path: Path
) -> None:
    shutil.copytree(place / "outputs", tmp_path / "outputs")
    run = tmp_path / "outputs" / "runs" / "branch"
    config = yaml.safe_load((run / "config.yaml").read_text())
    (run / "config.yaml").write_text(yaml.safe_dump(merged(config, options)))
    before = sorted((tmp_path / "outputs" / "store").glob("[!l]*/*"))
    with pytest.raises(InputError, match=problem):
        load(run)
    assert sorted((tmp_path / "outputs" / "store").glob("[!l]*/*")) == before


def test_results_that_name_another_threshold_are_refused(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "outputs", tmp_path / "outputs")
    for run, change in (
        ("branch", lambda results: record(results)["threshold"].update(value=0.1)),
        ("branch", lambda results: results["artifacts"]["branch"].update(key="0" * 20)),
        (
            "soft",
            lambda results: record(results)["arrivals"]["digit"]["thresholds"]["back_off"].update(
                value=0.123
            ),
        ),
        ("soft", lambda results: results.update(classes=results["classes"][::-1])),
    ):
        file = tmp_path / "outputs" / "runs" / run / "results.json"
        kept = file.read_text()
        results = json.loads(kept)
        change(results)
        file.write_text(json.dumps(results))
        with pytest.raises(InputError, match=r"they do not belong together|which is gone"):
            load(file.parent)
        file.write_text(kept)


def merged(config: dict, changes: dict) -> dict:
    inner = {name: merged(config[name], value) for name, value in changes.items() if isinstance(value, dict)}
    return {**config, **changes, **inner}


def test_what_a_user_trusts_is_built(place: Path) -> None:
    assert load(place / "outputs" / "runs" / "branch", trust=True)
