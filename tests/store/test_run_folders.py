"""A sweep sees one data set, and what stands in a run's folder is of one run."""

import csv
import json
import logging
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from neural_branching import cli, load_run, pipeline
from neural_branching.errors import InputError
from neural_branching.report.collect import collect
from neural_branching.store.run_folders import begin, checksums, missing_jobs, planned_data, write_jobs
from tiny import glyphs, networks

pytestmark = pytest.mark.thorough

TINY = [*glyphs(train=24, test=6), *networks(branch=None), "parent.fit.epochs=2", "branch.fit.epochs=2"]
ClassFolders = Callable[..., Path]
PLAIN = pytest.mark.usefixtures("unillustrated")


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Any:
    """Run the command in this process; its exit status or message."""
    monkeypatch.setattr(sys, "argv", ["neural-branching", *arguments])
    try:
        cli.main()
    except SystemExit as stop:
        return stop.code
    return 0


# One data set.


def of_images(images: Path, classes: str = "cat,dog") -> list[str]:
    """What the smallest run over class folders is told."""
    return [
        *("data=image_folder", f"data.root={images}", "data.image_size=8"),
        *("subset=custom", "subset.name=pair", f"subset.classes=[{classes}]"),
        *("parent.network.widths=[8]", "branch_point=hidden1", "branch.network.widths=[4]"),
        *("parent.fit.epochs=1", "branch.fit.epochs=1", "trainer.accelerator=cpu", "trainer.threads=1"),
    ]


def three_jobs(images: Path) -> list[str]:
    """A sweep that trains one branch."""
    return ["train", "-m", *of_images(images), "baseline_epochs=1,2,3"]


def rewrite(images: Path) -> None:
    """Another picture in the place of one of the images."""
    file = min(images.rglob("*.png"))
    Image.fromarray(np.full((9, 9, 3), 255, np.uint8)).save(file)


def statuses(sweep: Path) -> list[str]:
    return [json.loads(file.read_text())["status"] for file in sorted(sweep.glob("*/results.json"))]


@PLAIN
def test_a_job_that_finds_other_images_than_its_sweep_fails(
    monkeypatch: pytest.MonkeyPatch, class_folders: ClassFolders, capsys: pytest.CaptureFixture[str]
) -> None:
    images, real = class_folders(("cat", "dog", "fox"), 20), pipeline.run

    def rewriting(*arguments: Any) -> pipeline.Run:
        done = real(*arguments)
        rewrite(images)
        return done

    monkeypatch.setattr(pipeline, "run", rewriting)
    assert run(monkeypatch, *three_jobs(images)) == 1
    [sweep] = Path("outputs/sweeps").iterdir()
    assert statuses(sweep) == ["completed", "failed", "failed"]
    failed = json.loads((sweep / "1_pair_hidden1" / "results.json").read_text())["error"]
    assert "have changed since this started: their fingerprint was" in failed["message"]
    assert "\n" not in failed["message"]
    assert "Without results: 2 of 3 runs." in capsys.readouterr().out
    # What was not noted is not trained on either.
    assert len(list(Path("outputs/store/parent").iterdir())) == 1


JOBLIB = """
import sys
from pathlib import Path
from neural_branching import cli
from neural_branching.commands import callbacks
from test_run_folders import rewrite
real = callbacks.write_jobs
def note(*arguments):
    real(*arguments)
    rewrite(Path(sys.argv[0]))
callbacks.write_jobs = note
sys.argv = ["neural-branching", *sys.argv[2:]]
cli.main()
"""


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["joblib", "submitit_local"])
def test_jobs_in_other_processes_know_the_images_of_their_sweep(
    launcher: str, class_folders: ClassFolders
) -> None:
    import subprocess

    images = class_folders(("cat", "dog", "fox"), 20)
    program = JOBLIB.replace("sys.argv[0]", repr(str(images))).replace("sys.argv[2:]", "sys.argv[1:]")
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", program, *three_jobs(images), f"hydra/launcher={launcher}"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
        check=False,
    )
    assert done.returncode == 1, done.stderr
    [sweep] = Path("outputs/sweeps").iterdir()
    assert statuses(sweep) == ["failed"] * 3
    assert "have changed since this started" in (sweep / "summary.md").read_text()


def test_no_network_is_built_from_images_that_are_not_its_own(
    monkeypatch: pytest.MonkeyPatch, class_folders: ClassFolders
) -> None:
    images = class_folders(("cat", "dog", "fox"), 20)
    real = pipeline.Workspace.of

    def rewriting(*arguments: Any) -> Any:
        rewrite(images)
        return real(*arguments)

    monkeypatch.setattr(pipeline.Workspace, "of", rewriting)
    assert "have changed since this started" in str(run(monkeypatch, "train", *of_images(images)))
    assert not list(Path("outputs/store").glob("parent/*"))


@pytest.mark.parametrize("text", ["", "[1]", '{"command": "train", "jobs": "many"}', "[" * 100_000])
def test_a_plan_that_cannot_be_read_is_named(text: str, tmp_path: Path) -> None:
    write_jobs(tmp_path / "sweep", "train", 2, {"a": "b"})
    assert [path.name for path in missing_jobs(tmp_path)] == ["0", "1"]
    assert planned_data(tmp_path / "sweep", {}) is None
    file = tmp_path / "sweep" / "jobs.json"
    file.write_text(text)
    assert list(missing_jobs(tmp_path)) == [file]
    assert str(file) in missing_jobs(tmp_path)[file]
    with pytest.raises(InputError, match=r"jobs\.json"):
        planned_data(tmp_path / "sweep", {})


# One folder.

PLACE = "hydra.run.dir=outputs/runs/mine"


@pytest.fixture
def mine(monkeypatch: pytest.MonkeyPatch, unillustrated: None) -> Path:
    """The folder of a finished run, and a file of its user in it."""
    assert run(monkeypatch, "train", *TINY, PLACE) == 0
    folder = Path("outputs/runs/mine")
    (folder / "notes.txt").write_text("mine")
    return folder


def test_a_run_that_is_killed_leaves_no_results_of_an_earlier_one(
    mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        os._exit(9)

    child = os.fork()
    if not child:
        monkeypatch.setattr("neural_branching.report.run_report.write_events", killed)
        run(monkeypatch, "train", *TINY, PLACE, "threshold.value=0.99")
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert (mine / "predictions.csv").exists()
    assert not (mine / "results.json").exists()
    with pytest.raises(InputError, match="unfinished"):
        collect(mine)
    with pytest.raises(InputError, match=r"has no results\.json of a finished run"):
        load_run.load(mine)
    assert run(monkeypatch, "train", *TINY, PLACE) == 0
    assert len(collect(mine).completed) == 1


def names(folder: Path) -> set[str]:
    return {file.relative_to(folder).as_posix() for file in folder.rglob("*.*")}


def test_nothing_of_an_earlier_run_stays_beside_a_later_one(
    mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (mine / "scod_curve.csv").exists()
    everything = "subset.classes=[digit_0,digit_1,digit_2,upper_O,upper_I,upper_Z]"
    assert run(monkeypatch, "train", *TINY, PLACE, "subset=custom", everything) == 0
    files = set(json.loads((mine / "results.json").read_text())["written"]["files"])
    assert names(mine) == files | {"results.json", "notes.txt"}
    assert not (mine / "scod_curve.csv").exists()


def test_events_of_a_run_that_was_killed_are_not_shown_with_those_of_the_next(
    mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = set(mine.rglob("events.out.tfevents.*"))
    stranger = mine / "events.out.tfevents.1.elsewhere.2.0"
    stranger.write_bytes(min(before).read_bytes())
    (mine / "results.json").unlink()  # as if killed before it was written
    assert run(monkeypatch, "train", *TINY, PLACE, "threshold.value=0.99") == 0
    events = set(mine.rglob("events.out.tfevents.*"))
    assert before
    assert not before & events
    named = json.loads((mine / "results.json").read_text())["written"]["files"]
    assert {name for name in names(mine) if "tfevents" in name} - {stranger.name} == {
        name for name in named if "tfevents" in name
    }
    assert stranger in events


# One sweep.

SWEPT = "hydra.sweep.dir=outputs/sweeps/ours"


def test_jobs_of_an_earlier_sweep_are_not_those_of_a_later_one(monkeypatch: pytest.MonkeyPatch) -> None:
    wide = ("subset=digits,upper", "baseline_epochs=1,2", "baselines=[restricted]")
    assert run(monkeypatch, "train", "-m", *TINY, SWEPT, "branch_point=hidden1,hidden2", *wide) == 0
    sweep = Path("outputs/sweeps/ours")
    assert len(collect(sweep).completed) == 8
    killed, old = sweep / "7_upper_hidden2", set(sweep.iterdir())
    (killed / "results.json").unlink()
    (sweep / "notes.txt").write_text("mine")
    (sweep / "0_digits_hidden1" / "notes.txt").write_text("mine")
    assert run(monkeypatch, "train", "-m", *TINY, SWEPT, "subset=upper", "baseline_epochs=3,4") == 0
    assert {row["run"] for row in collect(sweep).completed} == {"0_upper_hidden2", "1_upper_hidden2"}
    assert not collect(sweep).unread
    of_now = {
        "multirun.yaml",
        "jobs.json",
        "summary.csv",
        "summary.md",
        *(f"{name}.{end}" for name in ("risk_coverage", "accuracy", "aurc") for end in ("png", "svg")),
    }
    assert {file.name for file in old if file.exists() and file.is_file()} == of_now
    assert (sweep / "notes.txt").exists()
    assert (sweep / "0_digits_hidden1" / "notes.txt").exists()


def test_a_sweep_clears_no_folder_where_none_has_been(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = mine.rename(mine.parent / "5_other")
    place = f"hydra.sweep.dir={mine.parent}"
    for _ in range(2):
        assert run(monkeypatch, "train", "-m", *TINY, place, "baseline_epochs=1,2") == 0
        assert len(list(mine.parent.glob("*_digits_*/results.json"))) == 2
        assert (other / "results.json").exists()
        (mine.parent / "jobs.json").unlink()


def test_only_what_a_run_has_written_is_cleared(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    for name in ("own.csv", "edited.csv", "foreign.csv"):
        (folder / name).write_text(name)
    files = checksums(folder, ["own.csv", "edited.csv"]) | {"../outside.csv": "0", "gone.csv": "0"}
    (tmp_path / "outside.csv").write_text("outside")
    (folder / "edited.csv").write_text("by its user")
    (folder / "results.json").write_text(json.dumps({"written": {"files": files}}))
    begin(folder)
    assert {file.name for file in folder.iterdir()} == {"edited.csv", "foreign.csv"}
    assert (tmp_path / "outside.csv").exists()
    (folder / "results.json").write_text("[" * 100_000)
    begin(folder)
    assert not (folder / "results.json").exists()


@PLAIN
def test_printing_is_no_part_of_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("neural_branching.report.run_report.print_run", full)
    assert "cannot be printed" in str(run(monkeypatch, "train", *TINY, PLACE))
    assert json.loads(Path("outputs/runs/mine/results.json").read_text())["status"] == "completed"


# Names.


NAMES = ("$\\foo$", "=1+1", "@SUM(A1)", "-2+3", "+a", "'=quoted", "café", "b b")


def test_a_class_may_be_called_anything(monkeypatch: pytest.MonkeyPatch, class_folders: ClassFolders) -> None:
    images = class_folders([f"class {number}" for number in range(len(NAMES))], 20)
    for number, name in enumerate(NAMES):
        (images / f"class {number}").rename(images / name)
    classes = ",".join("'{}'".format(name.replace("'", "\\'")) for name in NAMES)
    assert run(monkeypatch, "train", *of_images(images, classes), PLACE) == 0
    with Path("outputs/runs/mine/predictions.csv").open(newline="", encoding="utf-8") as stream:
        lines = list(csv.DictReader(stream))
    labels = {line["label"] for line in lines}
    assert len(labels) == len(NAMES)
    assert not any(label.startswith(("=", "+", "-", "@")) for label in labels)
    assert all(float(line["score"]) > 0 for line in lines)
    [row] = collect(Path("outputs/runs")).completed
    # Read back, the classes are the run's own: no image is taken for a foreign one.
    from neural_branching.report.predictions_file import read_predictions

    results = json.loads(Path("outputs/runs/mine/results.json").read_text())
    assert set(results["classes"]) == set(NAMES)
    predictions = read_predictions(Path("outputs/runs/mine"), results["classes"])
    assert not predictions.foreign.any()
    test = predictions.of("test")
    assert 1 - test.error.mean() == pytest.approx(row["test_accuracy"])


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("${x}", "A class is called '${x}', which configurations take for an interpolation: rename it."),
        (b"caf\xe9".decode("utf-8", "surrogateescape"), "caf\\udce9 is not called in UTF-8: rename it."),
    ],
)
def test_a_class_that_nothing_can_name_is_a_sentence(
    name: str, problem: str, monkeypatch: pytest.MonkeyPatch, class_folders: ClassFolders
) -> None:
    images = class_folders(("a", "b", "c"), 20)
    (images / "a").rename(images / name)
    assert problem in str(run(monkeypatch, "train", *of_images(images, "b,c"), PLACE))
    assert not Path("outputs/runs").exists()


def test_a_name_that_no_folder_can_have_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = str(run(monkeypatch, "train", *TINY, f"subset.name={'a' * 300}"))
    assert "has 300 bytes: at most 100 can name a folder" in answer
    assert not Path("outputs").exists()


def test_a_folder_that_no_disk_can_have_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = str(run(monkeypatch, "train", *TINY, f"hydra.run.dir={'a' * 300}"))
    assert "File name too long" in answer
    assert "\n" not in answer


# A checkout that is not installed.


@PLAIN
def test_a_checkout_needs_no_metadata(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from neural_branching import __version__
    from neural_branching.store import versions

    real = versions.version

    def missing(package: str) -> str:
        if package == "neural-branching":
            raise versions.PackageNotFoundError(package)
        return real(package)

    monkeypatch.setattr(versions, "version", missing)
    versions.version_of.cache_clear()
    try:
        assert run(monkeypatch, "train", "-m", *TINY, "subset=digits,upper") == 0
    finally:
        versions.version_of.cache_clear()
    found = [json.loads(file.read_text()) for file in Path("outputs/sweeps").rglob("results.json")]
    assert {one["environment"]["versions"]["neural-branching"] for one in found} == {__version__}
    assert "Built by these runs: 1 data" in capsys.readouterr().out
    assert versions.version_of("a-package-that-nobody-has") == "unknown"


@PLAIN
def test_a_sweep_whose_jobs_failed_does_not_say_that_nothing_was_to_be_done(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(pipeline, "run", broken)
    assert run(monkeypatch, "train", "-m", *TINY, "subset=digits,upper") == 1
    said = capsys.readouterr().out
    assert "all was in the store" not in said
    assert "Without results: 2 of 2 runs." in said


@pytest.fixture
def _unwritable(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a disk that is read-only, for root too."""
    real = Path.open

    def refuse(path: Path, mode: str = "r", *rest: Any, **named: Any) -> Any:
        if "w" in mode:
            raise OSError(30, "Read-only file system", str(path))
        return real(path, mode, *rest, **named)

    monkeypatch.setattr(Path, "open", refuse)


@pytest.mark.usefixtures("_unwritable")
def test_what_cannot_be_summarised_on_disk_is_shown(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    answer = str(run(monkeypatch, "report", str(copy)))
    assert answer == f"{copy / 'summary.csv'} cannot be read or written (Read-only file system)."
    assert "1 run, test examples" in capsys.readouterr().out
