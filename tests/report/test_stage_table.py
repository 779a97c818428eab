"""The table of branch points: shapes, readouts and costs of every stage, without training."""

from pathlib import Path

import pytest

from composed import composed
from device import TRAINER
from neural_branching.config.experiment import Experiment
from neural_branching.report.stage_table import Stage, print_stages, stages

MODULE = """
from torch import nn

class Theirs(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU())
        self.blocks = nn.ModuleList([nn.Linear(1024, 5)])
        self.never = nn.Linear(2, 2)
        self.head = nn.Linear(5, num_classes)

    def forward(self, x):
        x = self.stem(x).flatten(1)
        for block in self.blocks:
            x = block(x)
        return self.head(x)
"""


def settings(tmp_path: Path, *overrides: str) -> Experiment:
    usual = f"outputs={tmp_path / 'outputs'}", "data.image_size=16", *TRAINER
    config = composed("train", *usual, *overrides)
    return Experiment.from_config(config)


def test_the_stages_of_a_perceptron(tmp_path: Path) -> None:
    size, classes = 3 * 16 * 16, len(settings(tmp_path).data.classes)
    found = stages(settings(tmp_path, "parent.network.widths=[8,5]"))
    costs = (size * 8, size * 8 + 40, size * 8 + 40 + 5 * classes)
    paths = [price + width * 256 + 256 * 10 for price, width in zip(costs, (8, 5, classes), strict=True)]
    assert found == [
        Stage("hidden1", (8,), "flatten", 8, costs[0], costs[0] + 8, paths[0]),
        Stage("hidden2", (5,), "flatten", 5, costs[1], costs[1] + 13, paths[1]),
        Stage("logits", (classes,), "flatten", classes, costs[2], costs[2] + 13 + classes, paths[2]),
    ]
    assert not (tmp_path / "outputs").exists()


def test_coarse_labels_give_other_logits(tmp_path: Path) -> None:
    known = settings(tmp_path)
    superclasses = len(known.config["data"]["superclasses"])
    found = stages(settings(tmp_path, "parent.network.widths=[8]", "parent.labels=coarse"))
    assert found[-1].shape == (superclasses,)
    assert superclasses < len(known.data.classes)


VIT = ("parent=vit", "parent.network.patch=4", "parent.network.width=8", "parent.network.depth=1")


def test_the_stages_of_a_transformer_are_read_at_its_class_token(tmp_path: Path) -> None:
    found = stages(settings(tmp_path, *VIT))
    assert [(stage.name, stage.shape, stage.readout, stage.width) for stage in found[:3]] == [
        ("patches", (17, 8), "mean_token", 8),
        ("block1", (17, 8), "class_token", 8),
        ("norm", (8,), "flatten", 8),
    ]


def test_the_nodes_of_a_model_of_torchvision(tmp_path: Path) -> None:
    config = settings(tmp_path, "parent=torchvision", "parent.model=resnet18", "data.image_size=32")
    found = {stage.name: stage for stage in stages(config)}
    assert list(found)[-3:] == ["layer4.1.relu_1", "avgpool", "logits"]
    layer1 = found["layer1.1.relu_1"]
    assert (layer1.shape, layer1.readout, layer1.width) == ((64, 8, 8), "pool2", 256)
    assert found["avgpool"].macs == found["layer4.1.relu_1"].macs
    costs = [stage.macs for stage in found.values()]
    assert costs == sorted(costs)


def test_all_lists_every_node(tmp_path: Path) -> None:
    config = settings(tmp_path, "parent=torchvision", "parent.model=alexnet", "data.image_size=64")
    main, every = stages(config), stages(config, every=True)
    assert {stage.name for stage in main} < {stage.name for stage in every}
    assert "features.0" in {stage.name for stage in every}


def test_what_is_never_called_is_no_branch_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "module_for_stages.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    config = settings(tmp_path, "~parent.network", "+parent.network={_target_:module_for_stages.Theirs}")
    found = {stage.name: stage.width for stage in stages(config, every=True)}
    classes = len(config.data.classes)
    widths = {"stem": 16, "stem.0": 16, "stem.1": 16, "blocks.0": 5, "head": classes, "logits": classes}
    assert found == widths
    assert [stage.name for stage in stages(config)] == ["stem", "head", "logits"]


def test_the_table_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = settings(tmp_path, *VIT)
    for every in (False, True):
        print_stages(config, stages(config, every=every), every=every)
        output = capsys.readouterr().out
        assert "Branch points of vit, images of 3 × 16 × 16" in output
        for part in ("17 × 8", "class_token", "MACs up to there", "patches"):
            assert part in output
        assert f"{16 * 48 * 8:,}" in output
        assert ("--all" in output) == (not every)


def test_paths_are_timed_one_image_at_a_time_and_in_batches(tmp_path: Path) -> None:
    found = stages(settings(tmp_path, "parent.network.widths=[8,5]"), timed=True)
    assert all(set(stage.latency) == {1, 256} for stage in found)
    assert all(milliseconds > 0 for stage in found for milliseconds in stage.latency.values())
