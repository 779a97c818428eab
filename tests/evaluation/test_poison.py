"""Wrong labels of test images, end to end: all that is chosen and every score stay the same."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from composed import composed
from neural_branching import pipeline
from neural_branching.artifacts.trained_weights import WEIGHTS
from neural_branching.config.experiment import Experiment
from sweeps import only, record
from tiny import ClassFolders, networks, recipe

CLASSES = ("cat", "dog", "fox", "owl")
OPTIONS = (
    "data=image_folder",
    "data.image_size=8",
    *("data.split.train=0.4", "data.split.validation=0.2", "data.split.calibration=0.4"),
    *("subset=custom", "subset.classes=[cat,dog]"),
    *networks((16, 8)),
    *recipe(epochs=12, lr=1e-2, batch_size=16),
    "trainer.progress=false",
)
COMBINATIONS = {
    "temperature, certified": (
        *("score=temperature", "threshold=fixed_sequence", "threshold.target=0.9", "threshold.delta=0.4"),
    ),
    "knn, limit for foreign images": ("score=knn", "score.k=3", "threshold=false_accept"),
    "correctness, within a risk": ("score=correctness", "threshold=risk"),
}


@pytest.fixture(autouse=True)
def _process_restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for variable in ("PYTORCH_NVML_BASED_CUDA_CHECK", "PL_GLOBAL_SEED", "PL_SEED_WORKERS"):
        monkeypatch.setenv(variable, "0")
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def run(images: Path, outputs: Path, combination: tuple[str, ...]) -> pipeline.Run:
    config = composed("train", *OPTIONS, f"data.root={images}", f"outputs={outputs}", *combination)
    return pipeline.run(Experiment.from_config(config))


def mislay(folder: Path, every: int) -> None:
    """Move some images of each class into the folder of the next class, as many as come in."""
    moves = {
        file: folder / CLASSES[(label + 1) % len(CLASSES)] / f"{name}_{file.name}"
        for label, name in enumerate(CLASSES)
        for file in sorted((folder / name).iterdir())[::every]
    }
    for file, target in moves.items():
        file.rename(target)


def chosen(run: pipeline.Run) -> dict[str, Any]:
    """Everything that is learned or chosen on the way."""
    results = record(run.results)
    manifests = {
        name: json.loads((Path(results["artifacts"][name]["path"]) / "manifest.json").read_text())
        for name in ("parent", "branch")
    }
    return {
        **{name: results[name] for name in ("score", "threshold", "validation", "calibration")},
        "temperature": results["reliability"]["temperature"],
        "parent's threshold": only(run).thresholds[0].parent.choice,
        "parent's score": only(run).thresholds[0].parent.scorer.learned,
        "points": [(point.threshold, point.chosen) for point in only(run).operating_points],
        "histories": run.histories,
        "weights": {name: one["files"][WEIGHTS]["sha256"] for name, one in manifests.items()},
        "fits": [only(run).fits(side, "calibration") for side in ("known", "foreign")],
    }


def scores(run: pipeline.Run) -> dict[bytes, tuple[float, float]]:
    """Branch's and restricted parent's score of every test image, by its pixels."""
    images, found = run.table.examples(), {}
    for side in ("known", "foreign"):
        judged = [
            getattr(one, side)["test"]
            for one in (only(run).thresholds[0].branch, only(run).thresholds[0].parent)
        ]
        rows = getattr(only(run).thresholds[0].branch.answers, side)["test"].rows
        found |= {images[row].tobytes(): pair for row, *pair in zip(rows, *judged, strict=True)}
    return found


def test_labels_of_test_images_choose_nothing_from_images_to_results(
    class_folders: ClassFolders, tmp_path: Path
) -> None:
    images = class_folders(CLASSES, train=40, test=10)
    mislay(images / "train", every=5)  # no model is always right
    # Both sides start from nothing; later combinations find the models of the first.
    before = {name: run(images, tmp_path / "before", options) for name, options in COMBINATIONS.items()}
    mislay(images / "test", every=2)
    after = {name: run(images, tmp_path / "after", options) for name, options in COMBINATIONS.items()}
    for name in COMBINATIONS:
        clean, poisoned = before[name], after[name]
        np.testing.assert_equal(chosen(poisoned), chosen(clean), err_msg=name)
        assert scores(poisoned) == scores(clean), name
        assert len(scores(clean)) == 40
        assert record(poisoned.results)["test"]["accuracy"] < record(clean.results)["test"]["accuracy"]
        assert record(poisoned.results)["foreign"] != record(clean.results)["foreign"]
        assert record(poisoned.results)["test"]["n_accepted"] > 0
    assert record(before["temperature, certified"].results)["threshold"]["certificate"] is not None
    assert record(before["knn, limit for foreign images"].results)["threshold"]["examples"] == "foreign"
