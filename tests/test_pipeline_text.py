"""Runs on texts: a tiny language model, its branches, predictions, programs, and what is refused."""

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy.stats import t

from device import TRAINER
from neural_branching import cli
from neural_branching.exported_program import export
from neural_branching.load_run import load
from neural_branching.networks.huggingface_text import HuggingFaceText
from neural_branching.report.certificates import certify
from neural_branching.report.collect import collect
from neural_branching.report.paired import compare
from text_writing import rows, save_model, write_texts
from tiny import ORDINARY, recipe

FIT = tuple(one for one in recipe(epochs=8, lr=1e-2) if "parent" not in one)
SETTINGS = (*FIT, *ORDINARY, *TRAINER, "branch=linear", "logger=none", "trainer.progress=false")
DATA = ("data=text", "data.root=texts.jsonl", "parent.model=model")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("text")
    grouped = rows(100, groups=75)
    write_texts(folder, grouped).rename(folder / "grouped.jsonl")
    write_texts(folder)
    save_model(folder / "model")
    save_model(folder / "causal", "GPT2")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, own in {
            "short": ("parent.network.tokens=6",),
            "deep": ("branch_point.stage=encoder.layer.0+output",),
            "causal": ("parent.model=causal",),
            "groups": ("data.root=grouped.jsonl", "threshold=random_walk", "threshold.target=0.2"),
            "learned": ("data.root=grouped.jsonl", "score=correctness", "baselines=all"),
        }.items():
            typed = ["train", *DATA, *SETTINGS, *own, f"hydra.run.dir=outputs/runs/{name}"]
            patch.setattr("sys.argv", ["neural-branching", *typed])
            cli.main()
        yield folder


def results(place: Path, run: str) -> Any:
    return json.loads((place / "outputs" / "runs" / run / "results.json").read_text())


def artifact(place: Path, run: str, kind: str) -> Path:
    return place / "outputs" / "store" / kind / str(results(place, run)["artifacts"][kind]["key"])


@torch.inference_mode()
def test_activations_are_those_of_each_text_by_itself(place: Path) -> None:
    network = HuggingFaceText((9,), 0, str(place / "model")).eval()
    assert network.tokenizer
    kept = load_file(artifact(place, "deep", "activations") / "output.safetensors")["activations"]
    names = json.loads(next((place / "outputs" / "store" / "reading").glob("*/names.json")).read_text())
    texts = [row["text"] for row in rows()]
    for row in range(0, len(names), 10):
        ids = torch.from_numpy(network.tokenizer.encode([texts[int(names[row][1:-1])]])[0])
        torch.testing.assert_close(kept[row], network(ids.float()).mean(1)[0], atol=1e-5, rtol=1e-4)


def test_parents_share_the_table_and_its_split(place: Path) -> None:
    keys = {run: artifact(place, run, "data").name for run in ("short", "deep", "causal")}
    assert len(set(keys.values())) == 1
    tokens = {run: artifact(place, run, "activations").name for run in ("short", "deep", "causal")}
    assert len(set(tokens.values())) == 3
    assert len([*(place / "outputs" / "store" / "tokens").iterdir()]) >= 3


def test_cut_texts_are_counted(place: Path) -> None:
    long = sum(len(row["text"].split()) > 4 for row in rows())  # two of six tokens mark the ends
    assert results(place, "short")["examples"]["cut"] == long
    assert results(place, "deep")["examples"]["cut"] == 0


@pytest.mark.parametrize("run", ["short", "deep", "causal"])
def test_runs_answer_new_texts_and_are_programs(place: Path, run: str, tmp_path: Path) -> None:
    folder = place / "outputs" / "runs" / run
    with (folder / "predictions.csv").open() as stream:
        lines = [line for line in csv.DictReader(stream) if line["split"] == "test"]
    predictor = load(folder)
    content = np.load(artifact(place, run, "data") / "examples.npy")
    chosen = content[[int(line["row"]) for line in lines]]
    answers = predictor.predict(chosen)
    assert [one.trace[0].label for one in answers] == [line["prediction"] for line in lines]
    texts = [bytes(row).rstrip(b"\0").decode() for row in chosen]
    assert [one.trace[0].label for one in predictor.predict(texts)] == [line["prediction"] for line in lines]
    compared, difference = export(predictor, tmp_path / "branch.pt2")
    assert compared > 0
    assert difference < 1e-4


def predictions(place: Path, run: str, split: str) -> list[dict[str, str]]:
    with (place / "outputs" / "runs" / run / "predictions.csv").open() as stream:
        return [line for line in csv.DictReader(stream) if line["split"] == split]


@pytest.mark.parametrize("run", ["groups", "learned"])
def test_thresholds_are_fitted_on_one_row_of_each_group(place: Path, run: str) -> None:
    [node] = results(place, run)["nodes"].values()
    threshold, lines = node["thresholds"][0]["threshold"], predictions(place, run, "calibration")
    fitted = [line["group"] for line in lines if line["fits"] == "threshold"]
    learned = {line["group"] for line in lines if line["fits"] == "score"}
    assert len(fitted) == len(set(fitted)) == threshold["n"] < len(lines)
    assert threshold["unit"] == "groups"
    assert not learned & set(fitted)
    assert {line["group"] for line in lines} == learned | set(fitted)
    assert bool(learned) == (run == "learned")
    assert not {line["group"] for line in predictions(place, run, "test")} & (learned | set(fitted))
    found = node["exchangeability"]
    test = {line["group"] for line in predictions(place, run, "test")}
    assert found["units"] == len(fitted) + len(test)
    assert found["shifted"] == (found["p_value"] < 0.01)


def test_words_alone_are_a_baseline(place: Path) -> None:
    [node] = results(place, "learned")["nodes"].values()
    words = node["baselines"]["tf_idf"]
    assert words["accuracy"] > 0.6  # two words in three are of the class
    assert words["branch_lead"]["accuracy"]["difference"] == pytest.approx(
        node["baselines"]["branch"]["accuracy"] - words["accuracy"]
    )
    assert 0 < words["macs"] < 100


def test_what_is_short_or_certified_is_told_in_groups(place: Path) -> None:
    [node] = results(place, "groups")["nodes"].values()
    threshold = node["thresholds"][0]["threshold"]
    assert (threshold["certificate"] or {"n": threshold["n"]})["n"] == threshold["n"]
    if threshold["shortage"]:
        assert f"{threshold['n']} calibration groups" in threshold["shortage"]["sentence"]


def test_runs_with_groups_are_compared_and_certified_by_group(
    place: Path,
) -> None:
    pairs = compare(place / "outputs" / "runs", "run=groups", "run=learned")
    [accuracy] = [one for one in pairs[0].differences if one.metric == "accuracy"]
    assert accuracy.difference == 0  # one branch under two scores
    low, high = accuracy.interval
    test = predictions(place, "groups", "test")
    count = len({line["group"] for line in test})
    assert high == pytest.approx(-low)
    # Two imagined groups of mean size, Student's quantile of all groups.
    assert high == pytest.approx(t.ppf(0.975, count - 1) * 2**0.5 / count)
    rows_found = collect(place / "outputs" / "runs").completed
    certified, lost = certify(place / "outputs" / "runs", rows_found)
    assert not lost
    assert [one.alone.n for one in certified] == [
        len({line["group"] for line in predictions(place, "groups", "calibration")})
    ]


def test_files_of_texts_are_answered(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "lines.txt").write_text("play a puzzle\n\nmusic player\n")
    (tmp_path / "new" / "rows.csv").write_text("text\nserver proxy\n")
    typed = ["predict", "outputs/runs/deep", str(tmp_path / "new"), "--output", str(tmp_path / "answers.csv")]
    monkeypatch.setattr("sys.argv", ["neural-branching", *typed])
    cli.main()
    with (tmp_path / "answers.csv").open() as stream:
        found = [Path(next(iter(row.values()))).name for row in csv.DictReader(stream)]
    assert found == ["lines.txt[0]", "lines.txt[1]", "rows.csv[0]"]


def test_a_file_of_texts_becomes_a_configuration(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["neural-branching", "init", "data", str(place / "texts.jsonl")])
    cli.main()
    written = (tmp_path / "conf" / "data" / "texts.yaml").read_text()
    assert "120 texts of 3 classes" in written
    assert "- text\n" in written


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ((*DATA[:2], "parent=mlp"), r"parent\.normalize is 'pixel', which is unknown: .*none"),
        (("data=text", "data.root=texts.jsonl"), r"parent\.model must be given: add parent\.model=VALUE"),
        ((*DATA, "branch_point.readout=flatten"), r"readout is 'flatten', and texts have different numbers"),
        ((*DATA, "branch_point.readout=class_token"), r"no token of this stage stands for the input"),
        ((*DATA, "branch_point=hidden1"), r"branch_point\.stage is 'hidden1', which is unknown"),
        ((*DATA, "parent.network.tokens=999"), r"parent\.network\.tokens is 999: model takes 3 to 64"),
        ((*DATA, "parent.labels=fine"), r"gives no logits of the data's labels"),
        (("parent=huggingface_text", "parent.model=model"), r"takes texts, and the data are images\."),
        ((*DATA, "data.root=none.csv"), r"none\.csv does not exist: give a \.jsonl"),
    ],
)
def test_what_cannot_be_used_is_refused_before_anything_is_computed(
    typed: tuple[str, ...],
    message: str,
    place: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setattr("sys.argv", ["neural-branching", "train", *typed, f"outputs={tmp_path / 'out'}"])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert re.search(message, str(stop.value.code) + capsys.readouterr().err)
    assert not (tmp_path / "out" / "store").exists()
