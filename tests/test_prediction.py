"""What finished runs answer to new images: the same as when they were judged, and errors in a sentence."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from neural_branching import cli
from neural_branching.errors import InputError
from neural_branching.prediction import load

TINY = [
    "data.classes=[digit_0,digit_1,digit_2,upper_O,upper_I,upper_Z,lower_o,lower_l,lower_z]",
    "data.superclasses={digit:[digit_0,digit_1,digit_2],upper:[upper_O,upper_I,upper_Z],"
    "lower:[lower_o,lower_l,lower_z]}",
    *("data.source.train_per_class=40", "data.source.test_per_class=10", "data.image_size=12"),
    *("parent.network.widths=[16,12]", "branch.network.widths=[8]"),
    *("parent.fit.epochs=3", "branch.fit.epochs=3", "trainer.accelerator=cpu", "trainer.threads=1"),
    *("threshold=risk", "threshold.target=0.6"),
]
SYSTEM = "hierarchy=glyphs_by_case"


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
        for name, arguments in runs.items():
            arguments = [*arguments[:1], *TINY, *arguments[1:], f"hydra.run.dir=outputs/runs/{name}"]
            patch.setattr("sys.argv", ["neural-branching", *arguments])
            cli.main()
    [data] = (folder / "outputs" / "store" / "data").iterdir()
    pixels = np.load(data / "images.npy")
    (folder / "photos").mkdir()
    for row in np.flatnonzero(np.load(data / "is_test.npy")):
        Image.fromarray(pixels[row].transpose(1, 2, 0)).save(folder / "photos" / f"{row}.png")
    return folder


def images_of(place: Path, rows: list[int]) -> np.ndarray:
    [data] = (place / "outputs" / "store" / "data").iterdir()
    return np.load(data / "images.npy")[rows]


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
        way = line["way"].split(" > ")
        assert [step.label for step in one.trace] == way[: len(one.trace)]
        assert one.path == tuple(step.label for step in one.trace if step.accepted)
        assert one.accepted == (len(one.path) == len(way))
        expected = np.prod([step.probability for step in one.trace if step.accepted]) if one.path else 0
        assert one.confidence == pytest.approx(expected)


def test_files_of_a_folder_from_the_command_line(place: Path, monkeypatch, capsys, tmp_path: Path) -> None:
    run, photos = place / "outputs" / "runs" / "soft", place / "photos"
    assert predict(monkeypatch, run, photos, "--output", tmp_path / "a.csv", "--batch", 7) is None
    screen = capsys.readouterr().out
    assert "90 images, the first 20" in screen
    assert predict(monkeypatch, run, photos, "--output", tmp_path / "a.jsonl") is None
    with (tmp_path / "a.csv").open() as stream:
        lines = list(csv.DictReader(stream))
    records = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert [line["file"] for line in lines] == [record["file"] for record in records]
    assert {Path(line["file"]).name for line in lines} == {file.name for file in photos.iterdir()}
    with (run / "trace.csv").open() as stream:
        judged = {f"{line['row']}.png": line["answer"] for line in csv.DictReader(stream)}
    for line, record in zip(lines, records, strict=True):
        assert line["answer"] == (record["answer"] or "")
        assert (line["answer"] or "uncertain") == judged[Path(line["file"]).name]
        assert line["accepted"] == str(int(record["accepted"]))
        assert (line["stopped_at"] == "") == record["accepted"]


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
        (["outputs/runs/soft", "nowhere.png"], "The image nowhere.png does not exist"),
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


def test_pixels_of_another_shape_are_refused(place: Path) -> None:
    predictor = load(place / "outputs" / "runs" / "branch")
    with pytest.raises(InputError, match=r"shape \(1, 3, 8, 8\) .* of shape \(n, 3, 12, 12\)"):
        predictor.predict(np.zeros((1, 3, 8, 8), np.uint8))
    with pytest.raises(InputError, match="float32"):
        predictor.predict(np.zeros((1, 3, 12, 12), np.float32))
    assert predictor.predict(np.zeros((0, 3, 12, 12), np.uint8)) == []
