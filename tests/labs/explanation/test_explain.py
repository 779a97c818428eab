"""The command as it is typed: a study, a sweep, refusals."""

import csv
from pathlib import Path

import pytest

from device import TRAINER
from neural_branching.cli import main
from neural_branching.files.reading import read_json
from neural_branching.labs.explanation.faithfulness import CONTROLS, JUDGES, MAPS
from tiny import glyphs

TINY = (
    *glyphs(3, size=16, train=20, test=8),
    *("subset=all", "parent.network.widths=[16]", "parent.fit.epochs=4", "autoencoder.network.width=4"),
    *("autoencoder.fit.epochs=1", "repeats=1", "examples=30", "energies=[0.01,0.1]"),
    *("trainer.progress=false", *TRAINER),
)
DRAW = "neural_branching.labs.explanation.explanation_report.draw"


def typed(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr("sys.argv", ["neural-branching", "explain", *arguments])
    main()


@pytest.mark.usefixtures("rendered")
def test_a_study_leaves_a_gate_comparisons_and_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed(monkeypatch, f"outputs={tmp_path}", *TINY)
    said = capsys.readouterr().out
    assert "Gate: accuracy" in said
    [file] = tmp_path.rglob("results.json")
    results = read_json(file)
    assert [*results["artifacts"]] == ["classifier 0", "classifier 1", "autoencoder 0"]
    gate, seed = results["gate"], results["seeds"]["0"]
    assert gate["passed"] == (gate["images"] - gate["reconstructions"] <= gate["allowed"])
    for judge in JUDGES:
        assert [*seed["curves"][judge]] == [*MAPS]
        whole = {curve[0] for curve in seed["curves"][judge].values()}
        assert whole == {seed["accuracy"][judge]["images"]}
    assert [(one["judge"], one["control"]) for one in results["comparisons"]] == [
        (judge, control) for judge in JUDGES for control in CONTROLS
    ]
    run = file.parent
    lines = (run / "faithfulness.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 2 + len(JUDGES) * len(CONTROLS) + 2
    assert len((run / "curves.csv").read_text().splitlines()) == 1 + len(JUDGES) * len(MAPS) * 3
    for name in ("maps", "faithfulness"):
        assert (run / f"{name}.png").stat().st_size > 1000
    monkeypatch.setattr(DRAW, lambda *_: {})
    typed(monkeypatch, "-m", f"outputs={tmp_path}", *TINY, "evidence=0.1,0")
    said = capsys.readouterr().out
    assert "2 studies, means over seeds" in said
    [table] = tmp_path.rglob("studies.csv")
    with table.open(encoding="utf-8", newline="") as stream:
        first, other = csv.DictReader(stream)
    assert first["area random"] != ""
    assert first["error"] == f"{seed['error']}"  # found again
    assert first["error"] != other["error"]


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["energies=[0,0.1]"], "energies is 0: it must be a number within (0, 1]"),
        (["energies=[0.1,1.5]"], "energies is 1.5: it must be a number within (0, 1]"),
        (["energies=[0.1,0.01]"], "energies is [0.1, 0.01]: they must increase"),
        (["energies=[]"], "energies is empty"),
        (["evidence=-1"], "evidence is -1"),
        (["autoencoder.network.branches=1"], "one branch holds the class evidence"),
        (
            ["autoencoder=variational", "autoencoder.network.latent=null"],
            "a variational autoencoder draws codes",
        ),
        (["parent.labels=none"], "it takes parent.checkpoint=null"),
        (["parent.fit=null"], "it takes parent.checkpoint=null"),
        (["parent.classes=others"], "parent.classes is not used here"),
        (["data.image_size=18"], "18 is no multiple of it"),
        (["repeats=0"], "repeats is 0"),
        (["splits=3"], "splits is unknown"),
    ],
)
def test_what_cannot_be_explained_is_refused_before_training(
    overrides: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit) as refused:
        typed(monkeypatch, f"outputs={tmp_path}", *TINY, *overrides)
    assert said in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1
    assert not list(tmp_path.rglob("parent/*"))
