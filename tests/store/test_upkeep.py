"""What a store holds is listed, hashed again and pruned, and nothing that a run needs goes unasked."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from neural_branching import cli
from neural_branching.errors import InputError
from neural_branching.store.artifact_store import Store
from neural_branching.store.run_folders import write_jobs
from neural_branching.store.upkeep import contents, prune, references, verify
from tiny import glyphs, networks

TINY = [*glyphs(), *networks((16, 16)), "parent.fit.epochs=1", "branch.fit.epochs=2"]


def command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr("sys.argv", ["neural-branching", *arguments])
    cli.main()


def write(text: str):
    def build(folder: Path) -> dict:
        (folder / "file").write_text(text)
        return {}

    return build


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    """A store of three artifacts, of which a run refers to the first."""
    store = Store(tmp_path / "store")
    first, *_ = (store.fetch("thing", {"number": number}, write(f"{number}")) for number in range(3))
    run = tmp_path / "runs" / "one"
    run.mkdir(parents=True)
    (run / "results.json").write_text(json.dumps({"used": [f"thing/{first.key}"]}))
    return tmp_path


def keys(outputs: Path) -> set[str]:
    return {path.name for path in (outputs / "store" / "thing").iterdir()}


@pytest.mark.usefixtures("unillustrated")
def test_runs_refer_to_all_that_they_used(monkeypatch, tmp_path, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    command(monkeypatch, "train", "-m", *TINY, "subset=digits,upper")
    entries = contents(tmp_path / "outputs")
    runs = {(one.kind, one.runs) for one in entries}
    shared = {(kind, 2) for kind in ("reading", "data", "duplicates", "split", "parent", "activations")}
    assert runs == {*shared, ("branch", 1)}
    assert sum(one.kind == "branch" for one in entries) == 2
    assert sum(one.kind == "activations" for one in entries) == 1  # the parent's logits are in the same pass
    capsys.readouterr()
    command(monkeypatch, "store", "list")
    shown = capsys.readouterr().out
    assert "MLP; digit_0, digit_1, digit_2; seed 0" in shown
    assert f"{len(entries)} entries, " in shown


@pytest.mark.usefixtures("unillustrated")
def test_pruning_leaves_what_runs_need(monkeypatch, tmp_path) -> None:
    monkeypatch.chdir(tmp_path)
    train = ["train", *TINY, "subset=digits"]
    command(monkeypatch, *train)
    assert not prune(Path("outputs"))
    [run] = Path("outputs/runs").iterdir()
    before = json.loads((run / "results.json").read_text())
    shutil.rmtree(run)
    assert len(prune(Path("outputs"))) == len(before["used"])
    command(monkeypatch, *train)
    [again] = Path("outputs/runs").glob("*/results.json")
    after = json.loads(again.read_text())
    assert after["used"] == before["used"]
    assert after["nodes"] == before["nodes"]


def test_pruning_removes_leftovers_and_what_no_run_refers_to(outputs: Path) -> None:
    things = outputs / "store" / "thing"
    kept = next(iter(references(outputs)))[1]
    (things / ".building-abc-1234").mkdir()
    (things / ".building-abc-1234" / "file").write_text("half")
    aside = outputs / "store" / "aside"
    aside.mkdir()
    (aside / "thing-abc-5678").mkdir()
    curves = outputs / "training" / "parent_mlp-abc"
    curves.mkdir(parents=True)
    assert len(prune(outputs, really=False)) == 5
    assert "curves of a training" in {one.what for one in contents(outputs)}
    assert len(keys(outputs)) == 4
    assert {one.kind for one in prune(outputs)} == {"thing", "leftover"}
    assert keys(outputs) == {kept}
    assert not list(aside.iterdir())
    assert not list(curves.parent.iterdir())
    assert not prune(outputs)
    assert [one.runs for one in prune(outputs, everything=True)] == [1]
    assert not keys(outputs)


@pytest.mark.parametrize("what", ["a killed run", "a job that left nothing"])
def test_what_unfinished_runs_may_need_is_not_pruned(what: str, outputs: Path) -> None:
    if what == "a killed run":
        (outputs / "runs" / "two").mkdir()
        (outputs / "runs" / "two" / "config.yaml").touch()
    else:
        write_jobs(outputs / "sweeps" / "one", "train", 1)
    with pytest.raises(InputError, match=r"1 of the runs below .* are unfinished, such as .*: repeat them"):
        prune(outputs)
    assert len(keys(outputs)) == 3
    assert len(prune(outputs, everything=True)) == 3


def test_pruning_spares_strangers_and_unless_told_so_checkpoints(outputs: Path, capsys, monkeypatch) -> None:
    store = outputs / "store"
    notes = [store / "notes.txt", store / "thing" / "notes.txt", store / "thing" / "my_copy"]
    for path in notes[:2]:
        path.write_text("mine")
    notes[2].mkdir()
    (store / "checkpoints").mkdir()
    checkpoint = store / "checkpoints" / "parent-abc-cpu-1-2.ckpt"
    built = next(iter(keys(outputs) - {path.name for path in notes}))
    ended = store / "checkpoints" / f"thing-{built}-cpu-1-2.ckpt"
    ended.write_text("its artifact is there")
    (store / "locks" / "user-x.lock").touch()
    checkpoint.write_text("epoch 3")
    (store / "checkpoints" / "parent-abc-7.tmp").write_text("half")
    assert not any(problem for _, problem in verify(outputs))
    command(monkeypatch, "store", "list", str(outputs))
    assert capsys.readouterr().out.count("not of this store: left alone") == 3
    assert {one.kind for one in prune(outputs)} == {"thing", "leftover"}
    assert checkpoint.exists()
    assert not ended.exists()
    assert "checkpoint" in {one.kind for one in prune(outputs, everything=True)}
    assert not checkpoint.exists()
    assert all(path.exists() for path in notes)


def test_a_killed_prune_leaves_a_leftover_and_no_half_artifact(outputs: Path, monkeypatch) -> None:
    def killed(path: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("shutil.rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        prune(outputs)
    monkeypatch.undo()
    assert not any(problem for _, problem in verify(outputs))
    assert sum(one.kind == "leftover" for one in contents(outputs)) == 1
    for number in range(3):  # what it had begun to remove is built again
        Store(outputs / "store").fetch("thing", {"number": number}, write(f"{number}"))
    assert len(prune(outputs)) == 3


def edited(thing: Path, **changes: object) -> None:
    manifest = json.loads((thing / "manifest.json").read_text())
    (thing / "manifest.json").write_text(json.dumps({**manifest, **changes}))


DAMAGE = {
    "another fact": (
        lambda thing: edited(thing, facts={"parameters": 999}),
        "the checksum of its manifest does not match",
    ),
    "no files": (lambda thing: edited(thing, files=3), "does not match"),
    "a list for an identity": (lambda thing: edited(thing, identity=[]), "its manifest belongs to another"),
    "a flipped bit": (lambda thing: (thing / "file").write_text("X"), "the checksum of file does not match"),
    "a truncated file": (lambda thing: (thing / "file").write_text(""), "file has 0 bytes instead of 1"),
    "a lost file": (lambda thing: (thing / "file").unlink(), "cannot be read"),
    "a foreign file": (
        lambda thing: (thing / "stranger").touch(),
        "it holds stranger, which is no part of it",
    ),
    "a broken manifest": (lambda thing: (thing / "manifest.json").write_text("{"), "cannot be read"),
    "a lost manifest": (lambda thing: (thing / "manifest.json").unlink(), "cannot be read"),
    "another's manifest": (
        lambda thing: (thing / "manifest.json").write_text(
            next(one for one in thing.parent.iterdir() if one != thing).joinpath("manifest.json").read_text()
        ),
        "its manifest belongs to another artifact or version",
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_verify_names_every_damaged_artifact(damage: str, outputs: Path, monkeypatch, capsys) -> None:
    assert [problem for _, problem in verify(outputs)] == ["", "", ""]
    command(monkeypatch, "store", "verify", str(outputs))
    assert capsys.readouterr().out == "3 artifacts, all whole.\n"
    harm, words = DAMAGE[damage]
    victim = sorted((outputs / "store" / "thing").iterdir())[1]
    harm(victim)
    assert {one.name: words in problem for one, problem in verify(outputs) if problem} == {victim.name: True}
    with pytest.raises(SystemExit) as exit:
        command(monkeypatch, "store", "verify", str(outputs))
    assert exit.value.code == 1
    assert f"thing {victim.name}: " in capsys.readouterr().out
    assert len(contents(outputs)) == 3


KEY = "0123456789abcdef0123"
ODD = {
    "a link to a folder as an artifact": lambda store, out: (store / "thing" / KEY).symlink_to(out),
    "a link to a folder set aside": lambda store, out: (store / "aside" / "thing-x").symlink_to(out),
    "a link to nowhere as an artifact": lambda store, out: (store / "thing" / KEY).symlink_to("nowhere"),
    "a pipe as an artifact": lambda store, out: os.mkfifo(store / "thing" / KEY),
    "a file as an artifact": lambda store, out: (store / "thing" / KEY).touch(),
    "a link as a leftover": lambda store, out: (store / "thing" / ".building-x").symlink_to(out),
    "a pipe as a leftover": lambda store, out: os.mkfifo(store / "thing" / ".building-x"),
    "a pipe as a manifest": lambda store, out: ((store / "thing" / KEY).mkdir(), _pipe(store)),
    "a checkpoint of another name": lambda store, out: (store / "checkpoints" / "x.ckpt").touch(),
    "a folder as a checkpoint": lambda store, out: (store / "checkpoints" / "a-b-c.ckpt").mkdir(),
    "a folder as a lock": lambda store, out: (store / "locks" / "user-a-b-c.lock").mkdir(),
    "a pipe in the store": lambda store, out: os.mkfifo(store / "pipe"),
}


def _pipe(store: Path) -> None:
    os.mkfifo(store / "thing" / KEY / "manifest.json")


@pytest.mark.parametrize("odd", ODD)
def test_odd_things_in_a_store_stop_no_upkeep(odd: str, outputs: Path, tmp_path: Path) -> None:
    outside = tmp_path / "elsewhere"
    outside.mkdir()
    (outside / "photo.png").write_text("mine")
    for name in ("aside", "checkpoints", "locks"):
        (outputs / "store" / name).mkdir(exist_ok=True)
    ODD[odd](outputs / "store", outside)
    contents(outputs)
    list(verify(outputs))
    prune(outputs, everything=True)
    assert prune(outputs, everything=True) == []
    assert (outside / "photo.png").read_text() == "mine"


@pytest.mark.parametrize("text", ["", "[1]", '{"used": 3}', "[" * 100_000])
def test_what_unreadable_results_may_need_is_not_pruned(text: str, outputs: Path) -> None:
    (outputs / "runs" / "one" / "results.json").write_text(text)
    with pytest.raises(InputError, match=r"1 of the runs below .* are unfinished, such as runs/one"):
        prune(outputs)
    assert len(keys(outputs)) == 3


USER = """
import sys, time
from neural_branching.store.run_folders import write_jobs
from neural_branching.store.artifact_store import Store
store = Store(sys.argv[1])
store.fetch("thing", {"number": 0}, lambda folder: {})
print("here", flush=True)
time.sleep(60)
"""


def test_a_store_in_use_is_not_pruned_until_its_user_has_ended_or_died(outputs: Path) -> None:
    start = [sys.executable, "-c", USER, str(outputs / "store")]
    with subprocess.Popen(start, stdout=subprocess.PIPE, text=True) as user:
        assert user.stdout is not None
        assert user.stdout.readline() == "here\n"
        with pytest.raises(InputError, match=f"is in use by process {user.pid} on "):
            prune(outputs)
        assert len(keys(outputs)) == 3
        os.kill(user.pid, signal.SIGKILL)
    assert len(prune(outputs)) == 2
    assert not list((outputs / "store" / "locks").glob(f"user-*-{user.pid}-*"))


@pytest.mark.parametrize("action", ["list", "verify", "prune"])
def test_a_folder_without_a_store_is_named(action: str, tmp_path: Path, monkeypatch) -> None:
    with pytest.raises(SystemExit, match="has no store: name the folder that runs were given as outputs="):
        command(monkeypatch, "store", action, str(tmp_path))
    assert not list(tmp_path.iterdir())
