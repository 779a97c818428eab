"""The command as it is typed: a parent that classifies, a sweep, refusals."""

import csv
from pathlib import Path

import pytest

from device import TRAINER
from neural_branching.cli import main
from neural_branching.files.reading import read_json
from neural_branching.labs.self_evaluation.confidences import WITH_BRANCH
from tiny import glyphs

TINY = (
    *glyphs(3, size=12, train=80, test=30),
    *("subset=all", "parent.network.widths=[16,12]", "parent.fit.epochs=6", "branch.fit.epochs=5"),
    *("repeats=2", "threshold=coverage", "threshold.target=0.6", "trainer.progress=false", *TRAINER),
)
DRAW = "neural_branching.labs.self_evaluation.self_evaluation_report.draw"
OWN = ["max softmax", "temperature", "features", "prior of the answer"]


def typed(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr("sys.argv", ["neural-branching", "judge", *arguments])
    main()


@pytest.mark.usefixtures("rendered")
def test_a_study_compares_branches_with_the_parents_own_confidence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed(monkeypatch, f"outputs={tmp_path}", *TINY)
    said = capsys.readouterr().out
    assert "Is mlp right? 2 splits of glyphs" in said
    assert "Right means that the parent's answer is right" in said
    [file] = tmp_path.rglob("results.json")
    results = read_json(file)
    assert results["stages"] == ["hidden1", "hidden2"]
    assert [*results["seeds"]] == ["0", "1"]
    seed = results["seeds"]["0"]
    # Half of the training examples are the parent's alone.
    assert seed["n"] == {"train": 6 * 30, "validation": 6 * 10, "calibration": 6 * 10, "test": 6 * 30}
    assert [*seed["without_branch"]] == OWN
    assert seed["own"] == OWN[0]
    for stage in results["stages"]:
        found = seed["stages"][stage]["confidences"]
        assert [*found] == [*WITH_BRANCH]
        for one in found.values():
            assert one["accuracy"] == seed["stages"][stage]["right"]["test"]
            low, high = one["intervals"]["failure_auroc"]
            assert low <= one["failure_auroc"] <= high
            difference = one["failure_auroc"] - seed["without_branch"][OWN[0]]["failure_auroc"]
            assert one["difference"]["failure_auroc"]["value"] == pytest.approx(difference)
    assert results["shifts"]["tests"] == 2 * (len(OWN) + 2 * len(WITH_BRANCH))
    run = file.parent
    with (run / "self_evaluation.csv").open(encoding="utf-8", newline="") as stream:
        assert len([*csv.DictReader(stream)]) == 2 * (len(OWN) + 2 * len(WITH_BRANCH))
    assert (
        (run / "self_evaluation.md").read_text(encoding="utf-8").startswith("| stage | confidence | AUROC |")
    )
    assert (run / "by_stage.png").stat().st_size > 1000
    assert [*run.glob("events*")]
    monkeypatch.setattr(DRAW, lambda *_: {})
    typed(monkeypatch, "-m", f"outputs={tmp_path}", *TINY, "threshold.target=0.6,0.3")
    assert "2 studies, means over seeds" in capsys.readouterr().out
    [table] = tmp_path.rglob("studies.csv")
    with table.open(encoding="utf-8", newline="") as stream:
        first, other = csv.DictReader(stream)
    assert first["own"] == other["own"]  # a threshold trains nothing
    assert first["branch coverage"] > other["branch coverage"]


def test_a_branch_may_say_whether_its_stage_agrees_with_the_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DRAW, lambda *_: {})
    typed(monkeypatch, f"outputs={tmp_path}", *TINY, "repeats=1", "target=agrees_with_final")
    [file] = tmp_path.rglob("results.json")
    [seed] = read_json(file)["seeds"].values()
    assert seed["without_branch"] == {}
    shares = set()
    for one in seed["stages"].values():
        assert [*one["confidences"]] == [*OWN, *WITH_BRANCH]
        shares.add(one["confidences"]["branch"]["accuracy"])
    assert len(shares) == 2  # each stage has a readout of its own
    assert {name for name in read_json(file)["artifacts"] if name.startswith("readout")} == {
        "readout hidden1 0",
        "readout hidden2 0",
    }


def test_a_threshold_of_one_value_fits_no_confidence_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = [one for one in TINY if not one.startswith("threshold")]
    with pytest.raises(SystemExit, match="threshold=fixed compares with one value"):
        typed(monkeypatch, f"outputs={tmp_path}", *others, "threshold=fixed")


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["data.split.disjoint=false"], "data.split.disjoint is false: the parent is right on nearly all"),
        (["stages=[hidden1,logits]"], "stages has 'logits', which is not before the parent's answer"),
        (["stages=[hidden3]"], "hidden3"),
        (["stages=[hidden1,hidden1]"], "different stages of the parent"),
        (["stages=hidden1"], "stages is 'hidden1': it must be null, or different stages"),
        (["parent.labels=none"], "gives no answers that could be right"),
        (["threshold=false_accept"], "takes foreign classes"),
        (["branch.examples_per_class=3"], "branch.examples_per_class is not used here"),
        (["repeats=0"], "repeats is 0"),
        (["generation.shots=[[a]]"], "generation.shots has ['a']: each must be [QUESTION, ANSWER]"),
        (["generation.branch_after=end"], "generation.branch_after"),
        (["target=mine"], "mine"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_training(
    overrides: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit) as refused:
        typed(monkeypatch, f"outputs={tmp_path}", *TINY, *overrides)
    assert said in str(refused.value)
    assert not list(tmp_path.rglob("parent/*"))
