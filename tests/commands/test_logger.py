"""``logger=…``: curves while something trains, by whatever logger, beside the same results."""

from pathlib import Path

import pytest

from neural_branching import cli
from neural_branching.report.results import read_results
from neural_branching.training.live_curves import LiveCurves
from tiny import ORDINARY, glyphs, networks

TINY = (*glyphs(), *networks(), *ORDINARY, "parent.fit.epochs=3", "branch.fit.epochs=3")

pytestmark = pytest.mark.usefixtures("unillustrated")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def train(monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    monkeypatch.setattr("sys.argv", ["neural-branching", "train", *words, *TINY])
    cli.main()


def events(folder: str) -> list[Path]:
    return list(Path(folder).rglob("events.out.tfevents.*"))


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is shown of each training when it ends, and none of a run yet."""
    seen: list[str] = []
    finish = LiveCurves.finish

    def look(curves: LiveCurves) -> None:
        seen.extend(file.parent.name.rpartition("-")[0] for file in curves.folder.iterdir())
        assert not events("outputs/runs")
        finish(curves)

    monkeypatch.setattr(LiveCurves, "finish", look)
    return seen


@pytest.mark.parametrize(("logger", "file"), [("tensorboard", "events.*"), ("csv", "metrics.csv")])
def test_a_run_takes_over_what_was_shown_while_it_trained(
    monkeypatch: pytest.MonkeyPatch, shown: list[str], logger: str, file: str
) -> None:
    train(monkeypatch, f"logger={logger}", "logger.seconds=0")
    assert shown == ["parent_mlp", "branch_digits_at_hidden2"]
    assert not Path("outputs/training").exists()
    [run] = Path("outputs/runs").iterdir()
    assert len(list(run.glob(file))) == 1


def test_a_sweep_shows_each_training_until_a_job_does(
    monkeypatch: pytest.MonkeyPatch, shown: list[str]
) -> None:
    train(monkeypatch, "-m", "parent.seed=0,1", "logger.seconds=0")
    assert shown.count("parent_mlp") == 2
    assert not Path("outputs/training").exists()
    assert len([file for file in events("outputs/sweeps") if file.parent.name == "threshold_0"]) == 2


def test_no_logger_changes_a_key_or_a_result(monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[Path] = []
    for words in (["logger.seconds=0"], ["logger=csv"], ["logger=none"]):
        train(monkeypatch, *words)
        # Folders of one second are in no order.
        [run] = set(Path("outputs/runs").iterdir()) - set(runs)
        runs.append(run)
    first, *others = map(read_results, runs)
    for other in others:
        assert not any(one["built"] for one in other["artifacts"].values())
        assert other["used"] == first["used"]
        assert other["nodes"] == first["nodes"]


def test_ctrl_c_leaves_nothing_half(monkeypatch: pytest.MonkeyPatch) -> None:
    show = LiveCurves.show

    def interrupted(curves: LiveCurves, history: list[dict[str, float]]) -> None:
        show(curves, history)
        assert events("outputs/training")
        raise KeyboardInterrupt

    monkeypatch.setattr(LiveCurves, "show", interrupted)
    with pytest.raises(SystemExit):
        train(monkeypatch, "logger.seconds=0")
    assert not Path("outputs/training").exists()
    assert not list(Path("outputs/runs").iterdir())


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("logger=tensorbord", "logger is 'tensorbord', which is unknown: did you mean 'tensorboard'?"),
        ("logger=5", "did you mean logger.seconds=5"),
        ("logger.seconds=-1", r"logger\.seconds is -1"),
    ],
)
def test_what_is_no_logger_is_refused(monkeypatch: pytest.MonkeyPatch, word: str, sentence: str) -> None:
    with pytest.raises(SystemExit, match=sentence):
        train(monkeypatch, word)
    assert not Path("outputs").exists()
