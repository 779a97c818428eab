"""The walk-through of the documentation, command by command, on ten class folders of noise in colours."""

import csv
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conftest import leave_out_pictures
from device import TRAINER
from neural_branching import cli
from test_docs import DOCS, FENCE

CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
FAST = [
    *("data.image_size=8", "parent.network.width=4", "branch.network.widths=[8]", *TRAINER),
    *("parent.fit.epochs=2", "branch.fit.epochs=2", "parent.augment=null", "parent.fit.precision=32-true"),
    "data.split={train:0.6,validation:0.2,calibration:0.2}",
]


def test_the_walk_through_runs_as_it_stands(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for label, name in enumerate(CLASSES):
        for split, count in (("train", 20), ("test", 6)):
            (tmp_path / "photos" / split / name).mkdir(parents=True)
            for index in range(count):
                pixels = rng.integers(0, 60, (8, 8, 3)) + 18 * np.array([label, 10 - label, label % 3])
                image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
                image.save(tmp_path / "photos" / split / name / f"{name}_{index}.png")
    page, said = (DOCS / "walk_through.md").read_text(encoding="utf-8"), []
    with pytest.MonkeyPatch.context() as without:
        leave_out_pictures(without)
        for language, code in FENCE.findall(page):
            if language == "yaml" and code.startswith("superclasses:"):
                settings = Path("conf/data/photos.yaml")
                kept = re.sub(
                    r"^superclasses: null.*\n#  NAME.*\n", code, settings.read_text(), flags=re.MULTILINE
                )
                assert code in kept
                settings.write_text(kept)
            elif language == "yaml":
                Path("conf/hierarchy").mkdir()
                Path("conf/hierarchy/photos.yaml").write_text(code)
            elif not language:
                words = shlex.split(code)[1:]
                made = {kind: sorted(Path("outputs", kind).glob("*")) for kind in ("runs", "sweeps")}
                for kind, folders in made.items():
                    words = [
                        word.replace(f"outputs/{kind}/NAME", str(folders and folders[-1])) for word in words
                    ]
                if words[0] in ("stages", "study", "route"):
                    words += FAST
                monkeypatch.setattr("sys.argv", ["neural-branching", *words])
                cli.main()
                said.append((words[0], capsys.readouterr().out))
    outputs = dict(said)
    assert list(outputs) == ["init", "stages", "study", "report", "route", "predict"]
    assert "10 classes, 260 images" in outputs["init"]
    assert "reused data, parent" in outputs["route"]
    assert "mistakes.png" in outputs["report"]
    job = next(Path("outputs/sweeps").rglob("results.json")).parent
    assert not (job / "confusion.png").exists()  # as in every job of a sweep
    monkeypatch.setattr("sys.argv", ["neural-branching", "report", str(job), "--figures"])
    cli.main()
    assert (job / "confusion.png").exists()
    with Path("answers.csv").open() as stream:
        lines = list(csv.DictReader(stream))
    assert len(lines) == 60
    assert all(line["candidate"] in {*CLASSES, "animals", "vehicles"} and line["score"] for line in lines)
    predictions = next(Path("outputs/sweeps").rglob("predictions.csv"))
    with predictions.open() as stream:
        examples = {line["example"] for line in csv.DictReader(stream)}
    assert "test/cat/cat_3.png" in examples
