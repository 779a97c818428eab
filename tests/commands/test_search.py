"""A search finds where to branch off, by numbers that no test image has a part in."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from neural_branching import cli
from neural_branching.config.build import conf_dir
from neural_branching.config.objectives import check_directions, checked
from neural_branching.errors import InputError
from neural_branching.report.search import undominated
from sweeps import record
from tiny import glyphs, networks

pytestmark = pytest.mark.thorough

TINY = [
    *glyphs(),
    *networks((16, 16), None),
    *("parent.fit.epochs=2", "branch.fit.epochs=3", "subset=digits"),
]


def command(monkeypatch: pytest.MonkeyPatch, folder: Path, *arguments: str) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setattr("sys.argv", ["neural-branching", *arguments])
    cli.main()


@given(arrays(float, st.tuples(st.integers(1, 12), st.integers(1, 3)), elements=st.integers(0, 3)))
def test_the_front_is_what_no_other_run_beats(losses: np.ndarray) -> None:
    def beats(one: np.ndarray, other: np.ndarray) -> bool:
        return all(a <= b for a, b in zip(one, other, strict=True)) and any(one < other)

    brute = [not any(beats(other, one) for other in losses) for one in losses]
    assert undominated(losses).tolist() == brute
    assert any(brute)


@pytest.mark.parametrize(
    ("objectives", "words"),
    [
        ("validation.aurc", "it must be null or a list"),
        (["test.accuracy"], "'test.accuracy', which is unknown: .*validation.accuracy"),
        (["validation.aurc", "validation.aurc"], "each can be named once"),
        ([3], "is 3, which is unknown"),
    ],
)
def test_only_numbers_without_test_images_can_be_optimised(objectives: object, words: str) -> None:
    with pytest.raises(InputError, match=words):
        checked(objectives)


def test_a_sweeper_goes_the_way_that_is_better() -> None:
    check_directions(["validation.aurc", "validation.coverage"], ["minimize", "maximize"])
    check_directions([], ["maximize"])  # validation accuracy
    with pytest.raises(
        InputError, match=r"hydra.sweeper.direction is \[maximize\].* it must be \[minimize\]"
    ):
        check_directions(["validation.aurc"], ["maximize"])


@pytest.mark.usefixtures("rendered")
def test_one_command_says_where_to_branch_off(monkeypatch, tmp_path, capsys) -> None:
    search = ["study", "search=pareto", *TINY, "hydra.sweeper.n_trials=3"]
    command(monkeypatch, tmp_path, *search)
    printed = capsys.readouterr().out
    assert "Pareto front of" in printed
    [sweep] = (tmp_path / "outputs" / "sweeps").iterdir()
    assert (sweep / "pareto.png").stat().st_size > 10_000
    assert "## Pareto front of" in (sweep / "summary.md").read_text()
    with (sweep / "summary.csv").open() as stream:
        rows = {row["run"]: row for row in csv.DictReader(stream)}
    assert len(rows) == 3
    results = {run: record(json.loads((sweep / run / "results.json").read_text())) for run in rows}
    found = {
        run: (one["validation"]["selective_accuracy"], -one["cost"]["macs"]["path"])
        for run, one in results.items()
    }
    assert {run: list(one["objectives"].values()) for run, one in results.items()} == {
        run: [accuracy, -macs] for run, (accuracy, macs) in found.items()
    }
    for run in (run for run, row in rows.items() if row["front"] == "1"):
        assert not any(all(np.greater_equal(one, found[run])) and one != found[run] for one in found.values())
    command(monkeypatch, tmp_path, *search)  # asks for the same branches
    assert "nothing, all was in the store" in capsys.readouterr().out


def test_a_search_by_one_objective_shows_the_best(monkeypatch, tmp_path, capsys) -> None:
    command(
        *(monkeypatch, tmp_path, "train", "-m", "search=aurc", *TINY, "branch_point=hidden1,hidden2"),
        "hydra.sweeper.n_trials=4",
    )
    printed = capsys.readouterr().out
    assert "minimize validation.aurc" in printed
    [file] = tmp_path.glob("outputs/sweeps/*/optimization_results.yaml")
    runs = [record(json.loads(one.read_text())) for one in file.parent.glob("*/results.json")]
    best = min(one["validation"]["aurc"] for one in runs)
    assert f"best_value: {best}" in file.read_text()
    assert not list(file.parent.glob("pareto.png"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["search=aurc", "branch_point=hidden1,hidden7"], "hidden7"),
        (["search=aurc", "branch_point.stage=choice(hidden1,nowhere)"], "nowhere"),
        (["search=aurc", "threshold.value=interval(0.5,1.5)"], "threshold.value is 1.5"),
        (["search=aurc", "objectives=[test.accuracy]"], "'test.accuracy', which is unknown"),
        (["search=aurc", "objectives=[validation.accuracy]"], r"it must be \[maximize\]"),
        (["hydra/sweeper=optuna", "branch_point=hidden1,hidden2"], r"it must be \[maximize\]"),
    ],
)
def test_a_search_that_cannot_work_starts_nothing(arguments, words, monkeypatch, tmp_path) -> None:
    with pytest.raises(SystemExit, match=words):
        command(monkeypatch, tmp_path, "train", "-m", *TINY, *arguments)
    assert not list(tmp_path.rglob("results.json"))


def test_a_trial_that_answers_nothing_is_left_out(monkeypatch, tmp_path, capsys) -> None:
    command(
        *(monkeypatch, tmp_path, "train", "search=aurc", *TINY, "hydra.sweeper.n_trials=4"),
        *("threshold.value=choice(0.1,1.0)", "objectives=[validation.selective_accuracy]"),
        *("hydra.sweeper.direction=[maximize]", "branch.network.widths=[8]", "branch.fit.lr=0.001"),
    )
    assert "maximize validation.selective_accuracy" in capsys.readouterr().out
    [sweep] = (tmp_path / "outputs" / "sweeps").iterdir()
    found = [json.loads(one.read_text())["objectives"] for one in sweep.glob("*/results.json")]
    assert len(found) == 4
    assert {None} < {one["validation.selective_accuracy"] for one in found}


def test_a_search_in_which_nothing_works_says_where_to_look(monkeypatch, tmp_path, capsys) -> None:
    with pytest.raises(ValueError, match="No trials are completed yet"):  # optuna's own
        command(
            *(monkeypatch, tmp_path, "train", "search=aurc", *TINY, "hydra.sweeper.n_trials=2"),
            *("branch.fit.lr=1e30", "branch.network.widths=choice([8],[16])"),
        )
    [sweep] = (tmp_path / "outputs" / "sweeps").iterdir()
    words = f"neural-branching report {sweep.relative_to(tmp_path)} shows what is there"
    assert words in capsys.readouterr().err


def test_another_threshold_keeps_its_own_target(tmp_path) -> None:
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        config = compose("train", ["search=pareto", "threshold=risk"])
        assert config.threshold == compose("train", ["threshold=risk"]).threshold
        assert compose("train", ["search=pareto"]).threshold.target == 0.8


def test_a_study_can_search_intervals(monkeypatch, tmp_path) -> None:
    command(
        *(monkeypatch, tmp_path, "study", "search=aurc", *TINY, "hydra.sweeper.n_trials=2"),
        "branch.fit.lr=interval(0.001,0.01)",
    )
    assert len(list(tmp_path.glob("outputs/sweeps/*/*/results.json"))) == 2
