"""Branches of one parent as they are typed: trained, compared, refused; and relations that are planted."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from neural_branching.cli import main
from neural_branching.errors import InputError
from neural_branching.labs.specialization.own_branches import OwnBranch, relate
from tiny import glyphs, networks, recipe

LETTERS = ("upper_O", "upper_I", "upper_Z", "lower_o", "lower_l", "lower_z", "digit_0", "digit_1")
SUBSETS = tuple(f"{LETTERS[i]},{LETTERS[i + 1]}" for i in range(0, 8, 2))
SETTINGS = (
    *glyphs(3, 3, size=12, train=40, test=20),
    *networks(),
    *recipe(epochs=4, lr=1e-2),
    *("threshold.value=0.6", "logger=none", "trainer.progress=false"),
)


def typed(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr("sys.argv", ["neural-branching", *arguments])
    main()


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own")
    subsets = ",".join(f"[{one}]" for one in SUBSETS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("neural_branching.report.summary.draw", lambda *_: {})
        own = (f"subset.classes={subsets}", "branch.seed=${hydra:job.num}")
        typed(patch, "train", "-m", f"outputs={folder}", *SETTINGS, "subset=custom", *own)
    return folder


@pytest.mark.usefixtures("rendered")
def test_branches_of_a_sweep_are_compared(
    outputs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    [sweep] = (outputs / "sweeps").iterdir()
    runs = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(sweep.rglob("results.json"))]
    assert [run["seeds"]["branch"] for run in runs] == [0, 1, 2, 3]
    typed(monkeypatch, "specialize", "--branches", str(sweep), "--permutations", "199")
    assert "4 branches of one parent" in capsys.readouterr().out
    header, *lines = csv.reader((sweep / "own_branches.csv").read_text(encoding="utf-8").splitlines())
    assert header == ["branch", "other", "cka", "cka_untrained", "parent_nearness", "accepted_of_the_other"]
    assert len(lines) == 4 * 3
    numbers = np.array([line[2:] for line in lines], dtype=np.float64)
    assert (numbers[:, [0, 1, 3]] >= 0).all()
    assert (numbers[:, [0, 1, 3]] <= 1).all()
    assert (numbers[:, 0] != numbers[:, 1]).all()
    assert (sweep / "own_branches.md").read_text(encoding="utf-8").count("\n") == 2 + 7
    assert (sweep / "own_branches.png").stat().st_size > 1000
    before = (sweep / "own_branches.md").read_text(encoding="utf-8")
    typed(
        monkeypatch,
        "specialize",
        "--branches",
        *map(str, sorted(sweep.glob("?_custom*"))),
        "--permutations",
        "199",
    )
    first = min(sweep.glob("?_custom*"))
    assert (first / "own_branches.md").read_text(encoding="utf-8") == before


@pytest.mark.usefixtures("rendered")
def test_two_branches_are_compared_as_far_as_two_can_be(
    outputs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = sorted(file.parent for file in outputs.rglob("results.json"))[:2]
    typed(monkeypatch, "specialize", "--branches", *map(str, runs), "--permutations", "199")
    said = " ".join(capsys.readouterr().out.split())
    assert "2 branches of one parent" in said
    assert "Predictions of false accepts take 4 branches." in said
    table = (runs[0] / "own_branches.md").read_text(encoding="utf-8").splitlines()
    assert len(table) == 2 + 2  # alike by chance, and before training
    first, *_, last = planted(related=True)  # which have no signal in common
    found = relate([first, last], 199, 99)
    assert found.random.p == 0.01
    assert found.training.p > 0.2  # there are four ways to take one for the other


def test_runs_that_do_not_belong_together_are_refused(
    outputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = next(iter(sorted(outputs.rglob("results.json")))).parent
    with pytest.raises(SystemExit, match="--branches: no run lies in"):
        typed(monkeypatch, "specialize", "--branches", str(tmp_path))
    with pytest.raises(SystemExit, match="--branches has a single branch: runs of two"):
        typed(monkeypatch, "specialize", "--branches", str(first))
    with pytest.raises(SystemExit, match="--branches does not go with --partitions"):
        typed(monkeypatch, "specialize", "--partitions", "--branches", str(first))


def planted(n: int = 8, *, related: bool) -> list[OwnBranch]:
    """Branches on a line; those that are near answer alike, and accept one another's class if that is so."""
    generator = np.random.default_rng(0)
    signals = generator.normal(size=(n + 2, 300))
    branches = []
    for number in range(n):
        own = np.repeat(signals[number : number + 3], 3, 0).T
        distances = [abs(number - other) for other in generator.permutation(n)] if not related else []
        branches.append(
            OwnBranch(
                name=f"b{number}",
                classes=(f"c{number}",),
                parent=("parent",),
                seed=number,
                trained=own + 0.1 * generator.normal(size=own.shape),
                untrained=np.repeat(signals[:3], 3, 0).T + 0.1 * generator.normal(size=own.shape),
                parent_means=generator.normal(size=4),
                false_accepts={
                    f"c{other}": (20 - 2 * (distances[other] if distances else abs(number - other)), 20)
                    for other in range(n)
                    if other != number
                },
            )
        )
    return branches


def test_a_planted_relation_is_found_whatever_the_parent_says() -> None:
    found = relate(planted(related=True), 199, 19)
    assert found.predictions["CKA"].p == 0.005
    assert found.predictions["CKA, beyond nearness at the parent"].p == 0.005
    assert found.predictions["CKA before training"].p > 0.05
    assert found.random.p == 0.05
    assert found.random.value < 0.5 < found.random.null_mean
    assert found.training.p <= 0.02  # the untrained are all alike
    assert found.untrained.min() > 0.9
    assert relate(planted(related=False), 199, 19).predictions["CKA"].p > 0.05


def test_branches_of_other_places_or_of_common_classes_are_refused() -> None:
    branches = planted(related=True)
    with pytest.raises(InputError, match="'b0' and 'b1' both know 'c0'"):
        relate([branches[0], replace(branches[1], classes=("c0",)), *branches[2:]], 19, 19)
    with pytest.raises(InputError, match="'b0' and 'b1' differ in data, parent, branch point or readout"):
        relate([branches[0], replace(branches[1], parent=("other",)), *branches[2:]], 19, 19)
