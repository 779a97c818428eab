"""The command line as a user types it, on glyphs small enough for seconds."""

import csv
import errno
import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from PIL import Image

from neural_branching import cli
from neural_branching.config.build import conf_dir
from neural_branching.report.results import records
from sweeps import record
from tiny import glyphs, networks

AUGMENT = "parent.augment={_target_:neural_branching.data.augment.Augmentation,pad:-1}"
TINY = [
    *glyphs(train=24, test=6),
    *networks(branch=None),
    *("parent.fit.epochs=2", "branch.fit.epochs=2"),
]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    # Hydra's handler writes to this test's captured output, which ends here.
    root.handlers[:], root.level = handlers, level


def run(monkeypatch, *arguments):
    """Run the command in this process; its exit status and message."""
    monkeypatch.setattr(sys, "argv", ["neural-branching", *arguments])
    try:
        cli.main()
    except SystemExit as stop:
        return stop.code
    return 0


WITHOUT_TORCH = """
import io, json, sys, time
from contextlib import redirect_stderr, redirect_stdout
start = time.perf_counter()
answers = []
for arguments in json.loads(sys.argv[1]):
    from neural_branching.cli import main
    said, code = io.StringIO(), 0
    sys.argv = ["neural-branching", *arguments]
    with redirect_stdout(said), redirect_stderr(said):
        try:
            main()
        except SystemExit as stop:
            code = stop.code
    text = said.getvalue() + (code if isinstance(code, str) else "")
    answers.append([text, bool(code), "torch" in sys.modules, time.perf_counter() - start])
    start = time.perf_counter()
print(json.dumps(answers))
"""


def without_torch(*commands):
    """Run commands in one process of its own, which must not import torch.

    Returns:
        What each said, whether it failed, and seconds; those of the first with its imports.
    """
    program = [sys.executable, "-c", WITHOUT_TORCH, json.dumps(commands)]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)
    assert not any(torch for _, _, torch, _ in answers)
    return [(said, failed, seconds) for said, failed, _, seconds in answers]


@pytest.fixture(scope="module")
def moment():
    """Seconds that a process takes to import Hydra and numpy on this machine, now: machines differ."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import hydra, numpy, scipy.special, yaml"], check=True)
    return time.perf_counter() - start


def results(folder="outputs"):
    files = sorted(Path(folder).rglob("results.json"), key=lambda file: file.stat().st_mtime)
    return [json.loads(file.read_text()) for file in files]


def test_a_run_leaves_its_files_and_prints_a_table(monkeypatch, capsys):
    assert run(monkeypatch, "train", *TINY) == 0
    [result] = results()
    assert result["status"] == "completed"
    # The checks before a run read the data: the run says that it was built, not found.
    assert all(entry["built"] for entry in result["artifacts"].values())
    [folder] = Path("outputs/runs").iterdir()
    names = {file.name for file in folder.iterdir()}
    assert names >= {"results.json", "config.yaml", "curve.csv", "predictions.csv", "risk_coverage.png"}
    output = capsys.readouterr().out
    assert "parent restricted" in output
    assert f"{record(result)['test']['accuracy']:.3f}" in output


def test_sixteen_settings_train_one_parent_and_four_branches_and_nothing_the_second_time(monkeypatch, capsys):
    sweep = [
        "train",
        "-m",
        *TINY,
        "subset=digits,upper",
        "branch_point=hidden1,hidden2",
        "threshold.value=0.3,0.4,0.5,0.6",
    ]
    composed, load = [], ConfigLoaderImpl.load_sweep_config
    monkeypatch.setattr(
        ConfigLoaderImpl, "load_sweep_config", lambda *given: composed.append(given) or load(*given)
    )
    assert run(monkeypatch, *sweep) == 0
    assert len(composed) == 4  # Hydra has composed no job just to check it
    built = [part for result in results() for part, entry in result["artifacts"].items() if entry["built"]]
    assert len(results()) == 4
    assert sum(len(records(result)) for result in results()) == 16
    assert [built.count(part) for part in ("parent", "activations", "branch")] == [1, 1, 4]
    assert "1 parent, 1 activations, 4 branch" in capsys.readouterr().out
    assert run(monkeypatch, *sweep) == 0
    again = results()[4:]
    assert len(again) == 4
    assert not any(entry["built"] for result in again for entry in result["artifacts"].values())
    [first, second] = sorted(Path("outputs/sweeps").iterdir())
    assert {"summary.csv", "summary.md", "risk_coverage.png", "accuracy.png", "aurc.png"} <= {
        file.name for file in second.iterdir()
    }
    columns = ["threshold", "test_accuracy", "test_aurc", "test_coverage"]
    rows = [
        list(csv.DictReader((sweep / "summary.csv").read_text().splitlines())) for sweep in (first, second)
    ]
    assert [[row[column] for column in columns] for row in rows[0]] == [
        [row[column] for column in columns] for row in rows[1]
    ]


@pytest.mark.thorough
@pytest.mark.usefixtures("unillustrated")
def test_all_scores_are_compared_by_one_command_and_one_branch(monkeypatch, capsys):
    assert run(monkeypatch, "train", "-m", *TINY, "score=glob(*)", "threshold=coverage") == 0
    scores = sorted(file.stem for file in (conf_dir() / "score").glob("*.yaml"))
    assert sorted(record(result)["score"]["kind"] for result in results()) == scores
    built = [part for result in results() for part, entry in result["artifacts"].items() if entry["built"]]
    assert sorted(built) == ["activations", "branch", "data", "parent"]
    capsys.readouterr()
    [sweep] = Path("outputs/sweeps").iterdir()
    assert run(monkeypatch, "report", str(sweep), "--compare", "score=margin", "score=energy") == 0
    printed = capsys.readouterr().out
    assert "A: score=margin" in printed
    assert "1 pairs of runs" in printed
    assert (sweep / "comparison.csv").is_file()
    message = run(monkeypatch, "report", str(sweep), "--compare", "score=margin", "score=enery")
    assert "score in 'score=enery' is 'enery', which is unknown: did you mean 'energy'?" in message


def test_a_threshold_that_cannot_be_certified_says_what_it_would_take(monkeypatch, capsys):
    assert run(monkeypatch, "train", *TINY, "threshold=random_walk", "threshold.target=0.001") == 0
    [result] = results()
    threshold = record(result)["threshold"]
    assert threshold["reject_all"]
    assert threshold["value"] is None
    assert threshold["certificate"] is None
    printed = " ".join(capsys.readouterr().out.split())
    assert "threshold none: accepts nothing" in printed
    assert "not certifiable" in printed
    assert "at least 2302 accepted calibration examples without an error" in printed  # ln .1 / ln .999


@pytest.mark.usefixtures("unillustrated")
def test_calibration_images_are_planned_from_a_run(monkeypatch, capsys):
    assert run(monkeypatch, "train", *TINY) == 0
    capsys.readouterr()
    assert (
        run(monkeypatch, "simulate", "outputs", "--target", "0.5", "--examples", "20", "80", "--draws", "5")
        == 0
    )
    printed = capsys.readouterr().out
    assert "random_walk" in printed
    assert "n = 80" in printed
    assert Path("outputs/simulation.png").is_file()
    assert "target is 2.0" in run(monkeypatch, "simulate", "outputs", "--target", "2")


@pytest.mark.usefixtures("unillustrated")
def test_runs_started_in_the_same_second_get_folders_of_their_own(monkeypatch):
    for _ in range(3):
        assert run(monkeypatch, "train", *TINY) == 0
    assert len(list(Path("outputs/runs").iterdir())) == 3


@pytest.mark.usefixtures("unillustrated")
def test_a_job_that_fails_while_running_does_not_stop_the_others(monkeypatch, capsys):
    # A learning rate no one can survive is only found out while training.
    assert run(monkeypatch, "train", "-m", *TINY, "branch.fit.lr=1e30,1e-3") == 1
    assert [result["status"] for result in results()] == ["failed", "completed"]
    assert "diverged" in results()[0]["error"]["message"]
    assert "diverged" in capsys.readouterr().out
    [sweep] = Path("outputs/sweeps").iterdir()
    assert "diverged" in (sweep / "summary.md").read_text()


def test_a_single_run_that_fails_ends_with_its_sentence_and_no_traceback(monkeypatch, capsys):
    assert "diverged" in str(run(monkeypatch, "train", *TINY, "branch.fit.lr=1e30"))
    [result] = results()
    assert result["status"] == "failed"
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["threshold.value=0.5,1.5"], "threshold.value is 1.5"),
        (["threshold.value=0.5,nan"], "threshold.value is nan"),
        (["branch_point=hidden1,block1"], "branch_point.stage is 'block1'"),
        (["subset=digits,fish"], "a class of subset 'fish' is 'crab'"),
        (["branch.fit.epochs=2,0"], "branch.fit.epochs is 0"),
        (["branch_point=hidden1,hidden9"], "branch_point is 'hidden9', which is unknown: did you mean"),
    ],
)
def test_an_invalid_value_anywhere_in_a_sweep_starts_nothing(monkeypatch, overrides, sentence):
    message = run(monkeypatch, "train", "-m", *TINY, *overrides)
    assert sentence in str(message)
    assert not list(Path("outputs").rglob("results.json"))
    assert not Path("outputs/store/parent").exists()


MISTAKES = (
    (["threshold.value=abc"], "threshold.value is 'abc': it must be a finite number."),
    (["threshold.value=-0.1"], "threshold.value is -0.1"),
    (["threshold=coverage", "threshold.target=0"], "threshold.target is 0"),
    (["subset=custom", "subset.classes=[digit_0,digit_x]"], "did you mean 'digit_"),
    (["subset=custom", "subset.classes=[digit_0]"], "a branch needs at least two"),
    (["subset=custom", "subset.classes=[]"], "a branch needs at least two"),
    (["subset=custom"], "subset.classes must be given"),
    (["subset=superclass", "subset.superclass=digits"], "did you mean 'digit'?"),
    (["data.split.train=0.9"], "data.split.train + validation + calibration is 1.15"),
    (["data.classes=[digit_0,digit_77]"], "a class in data.classes is 'digit_77'"),
    (["data=image_folder", "data.root=nowhere"], "does not exist"),
    (["+trainer.epochs=3"], "trainer has no option 'epochs'"),
    (["+parent.colour=red"], "parent has no option 'colour'"),
    (["parent.fit.optimizer=adma"], "did you mean 'adam'?"),
    (["branch_pont=hidden1"], "branch_pont is unknown: did you mean branch_point?"),
    (["subset=fishes"], "subset is 'fishes', which is unknown: did you mean 'fish'?"),
)


def test_errors_of_torch_free_parts_come_in_a_moment_and_leave_nothing(moment):
    answers = without_torch(*(["train", *overrides] for overrides, _ in MISTAKES))
    for (_, sentence), (said, failed, seconds) in zip(MISTAKES, answers, strict=True):
        assert failed
        assert sentence in said
        assert "Traceback" not in said
        # About 0.8 s and 2 moments on an idle machine; torch alone takes longer than 4.
        assert seconds < max(4, 4 * moment)
    assert not Path("outputs").exists()


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["branch_point=pool"], "'pool', which is unknown: allowed are hidden1, hidden2, logits."),
        (["parent.network._target_=neural_branching.nothing"], "parent.network._target_ is"),
        (["+parent.network.depth=3"], "parent.network has no option 'depth'"),
        (["branch.network.dropout=1"], "branch.network.dropout is 1"),
        ([AUGMENT], "parent.augment.pad is -1"),
        (["data.split.validation=0.001", "data.split.train=0.874"], "The validation split has no example"),
    ],
)  # fmt: skip
def test_errors_that_need_a_network_or_the_data_come_before_any_training(monkeypatch, overrides, sentence):
    assert sentence in str(run(monkeypatch, "train", *TINY, *overrides))
    assert not Path("outputs/runs").exists()
    assert not Path("outputs/store/parent").exists()


@pytest.mark.usefixtures("unillustrated")
@pytest.mark.parametrize("sweep", [False, True])
def test_ctrl_c_leaves_nothing_half_written_and_the_command_works_again(monkeypatch, sweep):
    several = ["-m", "subset=digits,upper"] if sweep else []
    endless = [*several, *TINY, "parent.fit.epochs=1000000"]
    command = [sys.executable, "-m", "neural_branching", "train", *endless]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # A shell starts what runs in the background with the signal ignored, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 120
    while not list(Path("outputs").glob("store/parent/.building-*")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    pressed = time.monotonic()
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert time.monotonic() - pressed < 10  # two on a machine that does nothing else
    assert "Traceback" not in output
    assert output.strip().endswith("Interrupted: the same command continues with what is finished.")
    assert not list(Path("outputs/store/parent").iterdir())
    assert not [result for result in results() if result["status"] == "completed"]
    assert run(monkeypatch, "train", *TINY) == 0


def test_a_summary_that_cannot_be_written_leaves_the_jobs(monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("neural_branching.report.summary.write_table", full)
    said = str(run(monkeypatch, "train", "-m", *TINY, "subset=digits"))
    assert (
        "cannot be written (No space left on device): free some space and type neural-branching report"
        in said
    )
    assert [one["status"] for one in results()] == ["completed"]


def test_outputs_that_cannot_be_written(monkeypatch):
    Path("a_file").write_text("")
    assert "is not a writable folder" in str(run(monkeypatch, "train", *TINY, "outputs=a_file/outputs"))


def test_help_and_what_cannot_be_read_need_no_torch():
    Path("empty").mkdir()
    commands = (["--help"], ["train", "--help"], ["tarin"], ["report", "empty"], ["report", "nowhere"])
    answers = without_torch(*commands)
    assert [failed for _, failed, _ in answers] == [False, False, True, True, True]
    words = (
        "train",
        "parent.network.widths=[1024, 512]\n      units of the hidden layers.",
        "did you mean 'train'?",
        "has no results.json",
        "does not exist",
    )
    for expected, (said, *_) in zip(words, answers, strict=True):
        assert expected in said


def test_report_gives_the_summary_of_any_folder(monkeypatch, capsys):
    assert run(monkeypatch, "train", *TINY) == 0
    assert run(monkeypatch, "train", *TINY, "subset=upper") == 0
    assert run(monkeypatch, "report", "outputs") == 0
    assert "2 runs" in capsys.readouterr().out
    assert Path("outputs/summary.csv").is_file()
    assert Path("outputs/accuracy.png").is_file()


def test_stages_lists_branch_points_without_training(monkeypatch, capsys):
    assert run(monkeypatch, "stages", "parent=convnet", "parent.network.width=2") == 0
    printed = capsys.readouterr().out
    lines = printed.partition("──\n")[2].split("\n\n")[0].splitlines()
    assert [line.split()[0] for line in lines] == ["stem", "block1", "block2", "block3", "pool", "logits"]
    assert not Path("outputs").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["parent=torchvision", "parent.model=resnet81"], "parent.network.model is 'resnet81'"),
        (["parent=mpl"], "parent is 'mpl', which is unknown: did you mean 'mlp'?"),
        (["parent.model=resnet18"], "parent.model is unknown: parent has"),
    ],
)
def test_stages_answers_a_mistake_in_a_sentence(monkeypatch, arguments, message):
    assert message in str(run(monkeypatch, "stages", *arguments))


@pytest.mark.usefixtures("rendered")
def test_a_study_runs_every_main_stage_from_one_pass(monkeypatch, capsys):
    assert run(monkeypatch, "study", *TINY, "subset=digits,upper") == 0
    found = results()
    assert sorted((one["subset"], one["branch_point"]) for one in map(record, found)) == [
        (subset, stage) for subset in ("digits", "upper") for stage in ("hidden1", "hidden2", "logits")
    ]
    assert sum(one["artifacts"]["activations"]["built"] for one in found) == 1
    [figure] = Path("outputs/sweeps").rglob("depth.png")
    assert figure.stat().st_size > 10_000


def test_a_study_of_an_unknown_subset_starts_nothing(monkeypatch):
    assert "subset is 'nope', which is unknown" in str(run(monkeypatch, "study", "subset=nope"))
    assert not Path("outputs").exists()


@pytest.mark.parametrize("command", ["train", "study"])
def test_a_checkpoint_that_is_torn_starts_nothing(monkeypatch, command):
    Path("torn.safetensors").write_bytes(b"\x40\x00")
    answer = str(run(monkeypatch, command, *TINY, "parent.checkpoint=torn.safetensors"))
    assert "torn.safetensors cannot be read" in answer
    assert "\n" not in answer
    assert not Path("outputs").exists()


def test_images_that_a_network_cannot_take_are_a_sentence(monkeypatch):
    arguments = ["parent=torchvision", "parent.model=inception_v3", "branch_point.stage=logits"]
    answer = str(run(monkeypatch, "train", *[one for one in TINY if "parent.network" not in one], *arguments))
    assert answer.startswith("parent.network cannot take images of 3 × 12 × 12: ")
    assert "\n" not in answer


@pytest.mark.usefixtures("unillustrated")
def test_a_run_of_several_thresholds_answers_by_the_one_that_is_named(monkeypatch, capsys, tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    for index in range(4):
        Image.fromarray(np.full((12, 12, 3), 60 * index, np.uint8)).save(images / f"{index}.png")
    place = "hydra.sweep.dir=outputs/ours"
    assert run(monkeypatch, "train", "-m", *TINY, place, "threshold.value=0.0,1.0") == 0
    [file] = Path("outputs/ours").rglob("results.json")
    answers = str(run(monkeypatch, "predict", str(file.parent), str(images)))
    assert answers == (
        "The threshold is not given: the run has 0 (fixed 0), 1 (fixed 1); name one by its number or its "
        "rule (--threshold)."
    )
    assert "The threshold is '2'" in str(
        run(monkeypatch, "predict", str(file.parent), str(images), "--threshold", "2")
    )
    for threshold, accepted in (("0", "1"), ("fixed 1", "0")):
        command = [
            "predict",
            str(file.parent),
            str(images),
            "--threshold",
            threshold,
            "--output",
            "answers.csv",
        ]
        assert run(monkeypatch, *command) == 0
        with Path("answers.csv").open() as stream:
            assert {line["accepted"] for line in csv.DictReader(stream)} == {accepted}


@pytest.mark.usefixtures("unillustrated")
def test_groups_of_ones_own_sweep_their_thresholds_too(monkeypatch, tmp_path):
    groups = tmp_path / "groups" / "threshold"
    groups.mkdir(parents=True)
    text = "_target_: neural_branching.selection.thresholds.plain.Coverage\ntarget: 0.9\n"
    (groups / "mine.yaml").write_text(text)
    own = ["threshold=mine", "threshold.target=0.3,0.6"]
    for place in (["--config-dir", str(groups.parent)], [f"hydra.searchpath=[file://{groups.parent}]"]):
        assert run(monkeypatch, "train", "-m", *place, *TINY, *own) == 0
    found = [[one["threshold"]["rule"] for one in records(result)] for result in results()]
    assert found == [["coverage 0.3", "coverage 0.6"]] * 2
