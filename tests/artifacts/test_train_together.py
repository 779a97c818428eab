"""Branches that a sweep or a system needs are trained at once, and nothing else about a run changes."""

import json
from pathlib import Path

import numpy as np
import pytest

from device import ON_GPU
from neural_branching import cli
from neural_branching.artifacts import activations
from neural_branching.artifacts import train_stack as stack_module
from neural_branching.store.artifact_store import Store
from sweeps import close
from tiny import glyphs, networks

pytestmark = [pytest.mark.usefixtures("unillustrated"), pytest.mark.thorough]

TINY = [
    *glyphs(3, 3),
    *networks((16, 16)),
    *("parent.fit.epochs=3", "branch.fit.epochs=6", "branch.fit.patience=2"),
]


def run(monkeypatch: pytest.MonkeyPatch, folder: Path, *arguments: str) -> list[dict]:
    """Results of every run, without what differs between any two runs."""
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr("sys.argv", ["neural-branching", *arguments])
    cli.main()
    files = sorted(folder.rglob("results.json"), key=lambda file: int(file.parent.name.split("_")[0]))
    return [json.loads(file.read_text()) for file in files]


def together(results: list[dict], name: str = "branch") -> list[int]:
    return [one["artifacts"][name]["built_together"] for one in results]


def test_a_sweep_gives_the_same_at_once_as_one_by_one(monkeypatch, capsys, tmp_path) -> None:
    sweep = [
        *("train", "-m", *TINY, "subset=digits,upper", "branch_point=hidden1,hidden2"),
        *("branch.seed=0,1", "threshold=coverage", "threshold.target=0.7"),
    ]
    stacked = run(monkeypatch, tmp_path / "stacked", *sweep)
    assert "Training 8 branches of one shape at once." in capsys.readouterr().out
    alone = run(monkeypatch, tmp_path / "alone", *sweep, "trainer.together=false")
    assert together(stacked) == [8] * 8
    assert together(alone) == [1] * 8
    # What was built belongs to the run that uses it first, as if it had built it.
    for runs in (stacked, alone):
        assert [one["artifacts"]["branch"]["built"] for one in runs] == [True] * 8
        assert sum(one["artifacts"]["parent"]["built"] for one in runs) == 1
    for mine, theirs in zip(stacked, alone, strict=True):
        assert mine["artifacts"]["branch"]["key"] == theirs["artifacts"]["branch"]["key"]
        for results in (mine, theirs):
            del results["artifacts"], results["overrides"], results["written"]
        assert close(mine, theirs, 1e-4)


def test_only_branches_of_one_shape_are_trained_at_once(monkeypatch, tmp_path) -> None:
    sweep = [
        "train",
        "-m",
        *TINY,
        "subset=digits,upper",
        "branch.network.widths=[8],[4]",
        "branch=mlp,linear",
    ]
    found = run(monkeypatch, tmp_path / "a", *sweep[:-2], "branch=mlp", "branch.network.widths=[8],[4]")
    assert together(found) == [2] * 4
    found = run(monkeypatch, tmp_path / "b", *sweep[:-2], "branch.network.widths=[8],[4]", "subset=digits")
    assert together(found) == [1] * 2


def test_learning_rates_and_decays_share_a_stack(monkeypatch, tmp_path) -> None:
    sweep = [
        "train",
        "-m",
        *TINY,
        "subset=digits",
        "branch.fit.lr=0.001,0.01",
        "branch.fit.weight_decay=0,0.1",
    ]
    assert together(run(monkeypatch, tmp_path / "a", *sweep)) == [4] * 4


def test_a_system_trains_its_branches_at_once(monkeypatch, tmp_path) -> None:
    [found] = run(monkeypatch, tmp_path / "a", "route", *TINY, "hydra.run.dir=outputs/runs/0_a")
    for name in ("digit", "upper", "lower"):
        assert together([found], f"branch {name}") == [3]
    assert together([found], "gate root") == [1]


def test_a_branch_that_grows_from_another_comes_after_it(monkeypatch, tmp_path) -> None:
    [found] = run(
        monkeypatch,
        tmp_path / "a",
        "route",
        *TINY,
        "hierarchy=glyphs_by_case",
        "hydra.run.dir=outputs/runs/0_a",
    )
    assert together([found], "branch upper") == [2]
    assert together([found], "branch digit") == [1]
    assert found["artifacts"]["branch upper"]["built"]


def test_what_is_in_the_store_is_not_trained_again(monkeypatch, capsys, tmp_path) -> None:
    sweep = ["train", "-m", *TINY, "subset=digits,upper", f"outputs={tmp_path}/outputs"]
    run(monkeypatch, tmp_path / "a", *sweep, "branch.seed=0")
    capsys.readouterr()
    run(monkeypatch, tmp_path / "b", *sweep, "branch.seed=0,1")
    assert "Training 2 branches of one shape at once." in capsys.readouterr().out


def test_a_diverging_branch_fails_alone(monkeypatch, capsys, tmp_path) -> None:
    sweep = ["train", "-m", *TINY, "subset=digits,upper", "branch.fit.lr=0.001,1e30"]
    with pytest.raises(SystemExit):
        run(monkeypatch, tmp_path / "a", *sweep)
    found = [json.loads(file.read_text()) for file in sorted(tmp_path.rglob("results.json"))]
    assert [one["status"] for one in found] == ["completed", "failed"] * 2
    assert "diverged" in found[1]["error"]["message"]
    assert together([found[0], found[2]]) == [2, 2]


def write(text: str):
    def build(folder: Path) -> dict:
        (folder / "file").write_text(text)
        return {}

    return build


def test_the_store_builds_what_is_missing_at_once(tmp_path) -> None:
    store, asked = Store(tmp_path), []

    def build(missing: list[int]) -> list:
        asked.append(missing)
        return [write(f"{place}") if place != 3 else None for place in missing]

    identities = [{"number": number} for number in (0, 1, 2, 3, 1)]
    store.fetch("thing", identities[0], write("0"))
    store.fetch_together("thing", identities, build, needs=("file",))
    assert asked == [[1, 2, 3]]  # neither what is there, nor the same twice
    for number in (1, 2):
        found = store.fetch("thing", {"number": number}, write("another"), needs=("file",))
        assert (found.path / "file").read_text() == str(number)
        assert found.provenance()["built_together"] == 2
    assert store.fetch("thing", {"number": 3}, write("alone")).built
    store.fetch_together("thing", identities, build, needs=("file",))
    assert len(asked) == 1


def test_what_is_built_ahead_is_claimed_by_the_run_that_uses_it(tmp_path) -> None:
    store = Store(tmp_path)
    with store.building_ahead():
        store.fetch_together("thing", [{"n": 1}, {"n": 2}], lambda missing: [write("a"), write("b")])
    first, second = (store.fetch("thing", {"n": n}, write("c")) for n in (1, 2))
    assert store.newly_built({"mine": first}) == {"mine": True}
    assert store.newly_built({"mine": second}) == {"mine": True}
    assert store.newly_built({"mine": second}) == {"mine": False}


@ON_GPU
def test_branches_are_trained_at_once_on_a_gpu(monkeypatch, tmp_path) -> None:
    sweep = ["train", "-m", *TINY, "subset=digits,upper,lower", "branch.seed=0,1"]
    found = run(monkeypatch, tmp_path / "a", *sweep)
    assert together(found) == [6] * 6
    assert found[0]["environment"]["device"].startswith("cuda")


def test_rows_that_memory_cannot_hold_are_mapped_and_give_the_same(monkeypatch, tmp_path) -> None:
    sweep = ["train", "-m", *TINY, "subset=digits,upper", "views.count=2", "branch.fit.patience=null"]
    held = run(monkeypatch, tmp_path / "held", *sweep, "trainer.together=false")
    for module in (activations, stack_module):
        monkeypatch.setattr(module, "fits_memory", lambda rows, width: False)
    gathered = []
    mapped = np.memmap
    monkeypatch.setattr(np, "memmap", lambda *given, **named: gathered.append(0) or mapped(*given, **named))
    small = run(monkeypatch, tmp_path / "small", *sweep)
    assert gathered
    assert together(small) == [1, 1]  # no stack either: each branch is trained alone
    for one, other in zip(held, small, strict=True):
        apart = {"artifacts": 0, "overrides": 0, "written": 0}
        assert close(*({**each, **apart} for each in (one, other)), 1e-4)
    names = {file.name for file in (tmp_path / "small" / "outputs" / "store" / "activations").iterdir()}
    assert not any(name.startswith("tmp") for name in names)


def test_a_stack_holds_what_fits_into_memory(monkeypatch, tmp_path) -> None:
    asked: list[int] = []

    def room(rows: int, width: int) -> bool:
        asked.append(rows)
        return rows <= 3 * asked[0]  # the first that is asked for are the rows of one branch

    monkeypatch.setattr(stack_module, "fits_memory", room)
    subsets = "subset.classes=[digit_0,digit_1,digit_2],[upper_O,upper_I,upper_Z],[lower_o,lower_l,lower_z]"
    more = f"{subsets},[digit_0,upper_O,lower_o]"
    found = run(monkeypatch, tmp_path / "some", "train", "-m", *TINY, "subset=custom", more)
    assert together(found) == [3, 3, 3, 1]
