"""Data that repeats itself: every run says so, and what is right of the images that do not."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from numpy.typing import NDArray
from PIL import Image

from neural_branching import cli, pipeline
from neural_branching.config.build import conf_dir
from neural_branching.config.experiment import Experiment
from neural_branching.errors import InputError
from neural_branching.report.run_report import print_run, write_run
from neural_branching.report.summary import summarize
from neural_branching.report.summary_screen import print_summary
from sweeps import only, record
from tiny import GlyphRun, networks

PETS = ("cat", "dog", "emu")
TINY = (
    *("data=image_folder", "data.image_size=8", "subset=custom", "subset.classes=[cat,dog]"),
    *networks((8, 6), 4),
    *("parent.fit.epochs=1", "branch.fit.epochs=1", "trainer.progress=false"),
)
Folders = Callable[..., dict[str, NDArray[np.uint8]]]


def pictures(count: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)


def write(folder: Path, images: NDArray[np.uint8], name: str = "") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for index, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{name}{index}.png")


def run(tmp_path: Path, *overrides: str) -> pipeline.Run:
    outputs = tmp_path / "outputs"
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        config = compose(
            "train", [*TINY, f"data.root={tmp_path / 'images'}", f"outputs={outputs}", *overrides]
        )
    return pipeline.run(Experiment.from_config(config), overrides)


def shown(one: pipeline.Run, folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """What is printed of a run and of a summary of it, and in summary.md."""
    folder.mkdir()
    write_run(one, folder, draw_figures=False)
    capsys.readouterr()
    print_run(one, folder)
    summary = summarize(folder.parent)
    print_summary(summary)
    return capsys.readouterr().out + (folder.parent / "summary.md").read_text()


def test_ten_copies_of_six_images_across_the_splits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for label, name in enumerate(PETS):
        images = pictures(40, label)
        write(tmp_path / "images" / name, images)
        for copy in range(9):
            write(tmp_path / "images" / name, images[:2], f"copy{copy}_")
    found = run(tmp_path)
    block = found.results["duplicates"]
    assert block["exact"]["pairs"] == 6 * 45
    assert block["exact"]["examples"] == 60
    assert block["exact"]["examples_across_splits"] > 50
    assert block["exact"]["pairs_across_classes"] == block["near"]["pairs"] == 0
    test = found.table.rows("test", ("cat", "dog"))
    images = found.table.examples()
    learned = {image.tobytes() for image in images[found.table.rows("train")]}
    again = np.array([images[row].tobytes() in learned for row in test])
    assert again.sum() > 2
    assert block["test"]["n"] == len(test)
    assert block["test"]["train"] == {"examples": again.sum(), "exact": again.sum()}
    error = only(found).threshold_free.branch.answers.known["test"].error
    without = block["without"]
    assert without["n"] == (~again).sum()
    assert without["accuracy"] == pytest.approx(1 - error[~again].mean())
    low, high = without["intervals"]["accuracy"]
    assert low <= without["accuracy"] <= high
    listed = tmp_path / "outputs" / "store" / block["file"]
    with listed.open() as stream:
        assert len(list(csv.DictReader(stream))) == 54
    text = shown(found, tmp_path / "run", capsys)
    sentence = f"{again.sum()} of {len(test)} test examples have a duplicate among the training examples"
    assert text.count(sentence) == 3
    assert text.count(str(listed)) == 3


@pytest.mark.parametrize("rule", ["together", "drop"])
def test_copies_can_be_kept_together_or_dropped(tmp_path: Path, rule: str) -> None:
    for label, name in enumerate(PETS):
        images = pictures(40, label)
        write(tmp_path / "images" / name, images)
        write(tmp_path / "images" / name, images[:5, :, ::-1], "mirrored_")
    found = run(tmp_path, f"data.split.duplicates={rule}").results["duplicates"]
    assert found["split"] == rule
    assert found["near"]["examples_across_splits"] == 0
    assert found["near"]["pairs"] == (15 if rule == "together" else 0)
    assert found["left_out"] == (0 if rule == "together" else 15)
    assert found["test"]["train"]["examples"] == 0
    assert found["without"]["n"] == found["test"]["n"]
    writing = run(tmp_path, "data.source.mirror_keeps_class=false").results["duplicates"]
    assert writing["near"]["pairs"] == writing["exact"]["pairs"] == 0
    assert writing["file"] is None


def test_a_test_folder_that_is_a_copy_of_the_training_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for label, name in enumerate(PETS):
        for split in ("train", "test"):
            write(tmp_path / "images" / split / name, pictures(20, label))
    found = run(tmp_path)
    block = found.results["duplicates"]
    assert block["exact"]["pairs"] == block["exact"]["pairs_across_splits"] == 60
    counts = block["test"]
    assert [counts[split]["exact"] for split in ("train", "validation", "calibration")] == [28, 4, 8]
    assert block["without"]["n"] == 12
    text = shown(found, tmp_path / "run", capsys)
    assert "28 of 40 test examples have a duplicate among the training examples (28 exact)" in text
    with pytest.raises(InputError, match=r"The .* split has no example .* 20 of them left out as duplicates"):
        run(tmp_path, "data.split.duplicates=drop")


def test_nothing_is_left_if_all_of_test_was_learned(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for label, name in enumerate(PETS):
        images = pictures(20, label)
        write(tmp_path / "images" / "train" / name, images)
        write(tmp_path / "images" / "train" / name, images[[0] * 20], "copy")
        write(tmp_path / "images" / "test" / name, images[[0] * 3])
    found = run(tmp_path)
    block = found.results["duplicates"]
    assert block["test"]["train"] == {"examples": 6, "exact": 6}
    assert block["without"]["n"] == 0
    assert block["without"]["accuracy"] is block["without"]["aurc"] is None
    assert "6 of 6 test examples have a duplicate" in shown(found, tmp_path / "run", capsys)


def test_equal_images_in_two_classes(tmp_path: Path) -> None:
    for label, name in enumerate(PETS):
        write(tmp_path / "images" / name, pictures(30, label))
    write(tmp_path / "images" / "dog", pictures(4, 0), "cats")
    block = run(tmp_path).results["duplicates"]
    assert block["exact"]["pairs"] == block["exact"]["pairs_across_classes"] == 4
    assert block["exact"]["examples_across_classes"] == 8


def test_too_few_images_are_left_to_learn_from(tmp_path: Path) -> None:
    for label, name in enumerate(PETS):
        images = pictures(30, label)
        write(tmp_path / "images" / name, images)
        write(tmp_path / "images" / name, images[:10], "copy")
    overrides = ("branch.examples_per_class=22", "data.split.duplicates=drop")
    with pytest.raises(
        InputError, match=r"data\.split\.duplicates=drop a branch can learn from at most 1\d examples"
    ):
        run(tmp_path, *overrides)
    assert not (tmp_path / "outputs" / "store" / "parent").exists()


def test_data_without_duplicates_is_not_talked_about(
    glyph_run: GlyphRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = glyph_run()
    block, test = found.results["duplicates"], record(found.results)["test"]
    assert block["file"] is None
    assert block["mirrored"] is False
    assert block["without"]["n"] == test["n"]
    assert block["without"]["accuracy"] == test["accuracy"]
    assert block["without"]["aurc"] == test["aurc"]
    assert block["without"]["parent_restricted"]["accuracy"] == test["parent_restricted"]["accuracy"]
    text = shown(found, tmp_path / "run", capsys)
    assert "have a duplicate" not in text
    assert "without duplicates" not in text


def test_trees_say_it_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names = ("crab", "aquarium_fish", "shark", "sunflower", "poppy", "tulip")
    for label, name in enumerate(names):
        for split in ("train", "test"):
            write(tmp_path / "images" / split / name, pictures(20, label))
    arguments = ["route", "hierarchy=fish_and_flowers", "data/source=image_folder", "data.root=images"]
    tiny = [one for one in TINY if not one.startswith(("data=", "subset"))]
    monkeypatch.setattr("sys.argv", ["neural-branching", *arguments, "data=fish_and_flowers", *tiny])
    cli.main()
    [file] = Path("outputs/runs").glob("*/results.json")
    block = json.loads(file.read_text())["duplicates"]
    assert block["test"]["n"] == 120
    assert block["test"]["train"] == {"examples": 84, "exact": 84}
    assert block["without"]["n"] == 36
    assert 0 <= block["without"]["accuracy"] <= 1
    assert block["without"]["parent_alone"]["accuracy"] is not None
    assert "84 of 120 test examples have a duplicate" in capsys.readouterr().out
    monkeypatch.setattr("sys.argv", ["neural-branching", "report", "outputs"])
    cli.main()
    assert "84 of 120 test examples have a duplicate" in capsys.readouterr().out
    assert "84 of 120 test examples have a duplicate" in Path("outputs/routers.md").read_text()
