"""A finished study as a judge of new files: as the study rated it, as one program, and what is refused."""

import csv
import json
import math
import re
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
import yaml
from PIL import Image

from device import TRAINER
from neural_branching.cli import main
from neural_branching.data.split import TEST
from neural_branching.errors import InputError
from neural_branching.files.reading import read_json
from neural_branching.labs.self_evaluation.answer_judge import probability
from neural_branching.load_run import find, load
from tiny import glyphs

TINY = (
    *glyphs(3, size=12, train=80, test=30),
    *("subset=all", "parent.network.widths=[16,12]", "parent.fit.epochs=25", "branch.fit.epochs=5"),
    *("repeats=1", "threshold=coverage", "threshold.target=0.6", "trainer.progress=false", *TRAINER),
    "logger=none",
)
RUNS = {
    "right": (),
    "alike": ("target=agrees_with_final", "stages=[hidden1]"),
    "never": ("threshold=random_walk", "threshold.target=0.001", "stages=[hidden2]", "branch=mlp"),
}


def typed(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr("sys.argv", ["neural-branching", *map(str, arguments)])
    main()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Studies of one parent, in outputs/runs."""
    folder = tmp_path_factory.mktemp("judge")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("neural_branching.labs.self_evaluation.self_evaluation_report.draw", lambda *_: {})
        for name, own in RUNS.items():
            typed(patch, "judge", *TINY, *own, f"hydra.run.dir=outputs/runs/{name}")
    return folder


def run(place: Path, name: str) -> Path:
    return place / "outputs" / "runs" / name


def images_and_classes(place: Path) -> tuple[np.ndarray, list[str]]:
    """Images of the test split, and their classes."""
    [data] = (place / "outputs" / "store" / "data").iterdir()
    classes = yaml.safe_load((run(place, "right") / "config.yaml").read_text())["data"]["classes"]
    rows = np.flatnonzero(np.load(data / "given_split.npy") == TEST)
    return np.load(data / "examples.npy")[rows], [classes[one] for one in np.load(data / "labels.npy")[rows]]


def rated(place: Path, name: str) -> tuple[str, dict]:
    """What decides in a study, and how it was rated on test."""
    [seed] = read_json(run(place, name) / "results.json")["seeds"].values()
    stage, confidence = seed["judge"]["stage"], seed["judge"]["confidence"]
    told = [one["validation"] for one in seed["stages"].values()]
    assert seed["stages"][stage]["validation"][confidence] == max(max(one.values()) for one in told)
    return f"{confidence} at {stage}", seed["stages"][stage]["confidences"][confidence]


def test_a_judge_answers_as_its_study_rated_it(place: Path) -> None:
    images, classes = images_and_classes(place)
    name, found = rated(place, "right")
    answers = load(run(place, "right")).predict(images)
    right = np.array([one.answer == label for one, label in zip(answers, classes, strict=True)])
    accepted = np.array([one.accepted for one in answers])
    assert right.mean() == pytest.approx(found["accuracy"])
    assert accepted.mean() == pytest.approx(found["coverage"], abs=1 / 150)
    assert right[accepted].mean() == pytest.approx(found["selective_accuracy"], abs=0.02)
    sure = np.array([one.confidence for one in answers])
    pairs = sure[right][:, None] - sure[~right][None]
    assert np.mean((pairs > 0) + 0.5 * (pairs == 0)) == pytest.approx(found["failure_auroc"], abs=1e-6)
    for one in answers:
        [step] = one.trace
        assert (step.node, step.label, step.score) == (name, one.answer, one.confidence)
        assert one.path == ((one.answer,) if one.accepted else ())
        assert one.accepted == (step.score >= step.threshold)


def test_a_readout_is_asked_without_the_rest_of_its_parent(place: Path) -> None:
    images, _ = images_and_classes(place)
    judge = load(run(place, "alike"))
    assert judge.stages == ("hidden1",)
    final = [one.answer for one in load(run(place, "right")).predict(images)]
    answers = judge.predict(images)
    agrees = np.array([one.answer == said for one, said in zip(answers, final, strict=True)])
    assert agrees.mean() == pytest.approx(rated(place, "alike")[1]["accuracy"])


def test_what_is_not_certifiable_accepts_nothing_and_says_how_sure_it_is(place: Path) -> None:
    answers = load(run(place, "never")).predict(images_and_classes(place)[0][:5])
    assert not any(one.accepted for one in answers)
    assert all(0 < one.confidence < 1 and math.isinf(one.trace[0].threshold) for one in answers)
    assert load(run(place, "never")).predict(images_and_classes(place)[0][:0]) == []


def test_files_are_answered_as_typed(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    images, _ = images_and_classes(place)
    images = images[::20]
    for row, pixels in enumerate(images):
        Image.fromarray(pixels.transpose(1, 2, 0)).save(tmp_path / f"{row}.png")
    output = tmp_path / "answers.csv"
    typed(monkeypatch, "predict", run(place, "right"), tmp_path, "--output", output)
    expected = load(run(place, "right")).predict(images)
    said = capsys.readouterr().out
    assert re.search(rf"{sum(one.accepted for one in expected)} accepted", said)
    assert re.search(r"[1-8] not accepted", said)
    with output.open(encoding="utf-8", newline="") as stream:
        for line, one in zip(csv.DictReader(stream), expected, strict=True):
            assert (line["answer"], line["candidate"]) == (one.answer, one.answer)
            assert float(line["confidence"]) == pytest.approx(one.confidence, rel=1e-4)
            assert line["accepted"] == str(int(one.accepted))
            assert line["stopped_at"] == ("" if one.accepted else one.trace[0].node)


@pytest.mark.parametrize(("name", "suffix"), [("right", "onnx"), ("alike", "pt2")])
def test_a_judge_is_one_program(
    name: str, suffix: str, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, images = tmp_path / f"judge.{suffix}", images_and_classes(place)[0][:7]
    typed(monkeypatch, "export", run(place, name), file)
    judge = load(run(place, name), "cpu")
    if suffix == "pt2":
        extra = {"answers.json": ""}
        program = torch.export.load(file, extra_files=extra).module()
        index, sure, accepted = (one.numpy() for one in program(torch.from_numpy(images)))
        assert json.loads(extra["answers.json"]) == ["uncertain", *judge.answers[1:]]
    else:
        session = onnxruntime.InferenceSession(str(file))
        index, sure, accepted = session.run(["answer", "confidence", "accepted"], {"images": images})
    expected = judge.predict(images)
    assert [judge.answers[one] for one in index] == [one.answer for one in expected]
    np.testing.assert_allclose(sure, [one.confidence for one in expected], atol=1e-5)
    assert accepted.tolist() == [one.accepted for one in expected]


def test_probabilities_are_of_any_log_odds() -> None:
    odds = np.array([-1000.0, -1.0, 0.0, 1000.0])
    expected = [0, 1 / (1 + math.e), 0.5, 1]
    np.testing.assert_allclose(probability(odds), expected, atol=1e-12)
    np.testing.assert_allclose(probability(torch.from_numpy(odds)).numpy(), expected, atol=1e-12)


def test_what_a_study_cannot_be_loaded_as(place: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="name a folder that train, route or cascade made"):
        find(run(place, "right"))
    with pytest.raises(InputError, match=r"The threshold is '1': the run has 0 \(coverage 0.6\)"):
        load(run(place, "right"), threshold="1")
    other = place / "outputs" / "runs" / "other"
    other.mkdir()
    for file in ("config.yaml", "results.json"):
        (other / file).write_text((run(place, "right") / file).read_text(encoding="utf-8"), encoding="utf-8")
    text = (other / "config.yaml").read_text(encoding="utf-8")
    (other / "config.yaml").write_text(text.replace("target: 0.6", "target: 0.3"), encoding="utf-8")
    with pytest.raises(InputError, match="they do not belong together, so repeat the run"):
        load(other)
    (other / "config.yaml").write_text(text.replace("lr: ", "lr: 1"), encoding="utf-8")
    with pytest.raises(InputError, match="cannot be taken from the store"):
        load(other)
    results = json.loads((other / "results.json").read_text(encoding="utf-8"))
    [seed] = results["seeds"].values()
    seed["judge"]["stage"] = "hidden3"
    (other / "results.json").write_text(json.dumps(results), encoding="utf-8")
    with pytest.raises(InputError, match="name a folder that train, route, cascade or judge made"):
        load(other)
    # Another line of the table than validation prefers.
    seed["judge"] = min(
        (
            {"stage": stage, "confidence": name}
            for stage, at in seed["stages"].items()
            for name in at["validation"]
        ),
        key=lambda one: seed["stages"][one["stage"]]["validation"][one["confidence"]],
    )
    (other / "results.json").write_text(json.dumps(results), encoding="utf-8")
    with pytest.raises(InputError, match="name a folder that train, route, cascade or judge made"):
        load(other)
    del seed["judge"]
    (other / "results.json").write_text(json.dumps(results), encoding="utf-8")
    with pytest.raises(InputError, match="name a folder that train, route, cascade or judge made"):
        load(other)
    with pytest.raises(InputError, match="train, route, cascade or judge made"):
        load(tmp_path)
