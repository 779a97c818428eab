"""Options of ``report``: rows and columns of the summary are chosen, and files keep everything."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

from neural_branching import pipeline
from neural_branching.commands.report import main
from neural_branching.errors import InputError
from neural_branching.report.collect import Summary, collect
from neural_branching.report.metrics import METRICS
from neural_branching.report.results import write_results
from neural_branching.report.run_report import write_run
from neural_branching.report.summary_screen import corrected, print_summary
from neural_branching.report.view import View
from neural_branching.store.run_folders import write_jobs
from sweeps import record

# Subset and branch point → AURC.
AREAS = {
    ("digits", "hidden1"): 0.3,
    ("digits", "hidden2"): 0.1,
    ("upper", "hidden1"): 0.2,
    ("upper", "hidden2"): 0.4,
}


def with_numbers(run: pipeline.Run, subset: str, point: str, *thresholds: dict[str, Any]) -> pipeline.Run:
    [node] = run.results["nodes"].values()
    node = {**node, "branch_point": point, "thresholds": list(thresholds)}
    return dataclasses.replace(run, results={**run.results, "overrides": [], "nodes": {subset: node}})


@pytest.fixture
def sweep(run: pipeline.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four settings of known AURC."""
    monkeypatch.setattr("neural_branching.report.summary.draw", lambda _: {})
    monkeypatch.setenv("COLUMNS", "100")
    [threshold] = next(iter(run.results["nodes"].values()))["thresholds"]
    for job, ((subset, point), area) in enumerate(AREAS.items()):
        folder = tmp_path / f"{job}_{subset}_{point}"
        folder.mkdir()
        one = {**threshold, "test": {**threshold["test"], "aurc": area}}
        write_run(with_numbers(run, subset, point, one), folder, draw_figures=False)
    return tmp_path


def lines_of(text: str) -> list[list[str]]:
    """The rows of the printed tables, as far as they begin with a name of a subset or branch point."""
    return [line.split() for line in text.splitlines() if re.match(r"(digits|upper|hidden\d)  ", line)]


def report(capsys: pytest.CaptureFixture[str], folder: Path, *options: str) -> str:
    main([str(folder), *options])
    return capsys.readouterr().out


def test_rows_are_sorted_cut_and_counted(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = report(capsys, sweep, "--sort", "aurc", "--top", "3")
    assert [row[:2] for row in lines_of(text)] == [
        ["digits", "hidden2"],
        ["upper", "hidden1"],
        ["digits", "hidden1"],
    ]
    assert "4 runs, test examples, smallest AURC first: 3 of 4 lines" in text
    assert len((sweep / "summary.csv").read_text().splitlines()) == 1 + len(AREAS)


def test_only_runs_with_some_settings_are_shown(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = report(capsys, sweep, "--where", "subset=upper", "branch_point=hidden2", "--columns", "test_aurc")
    assert "Runs with subset=upper branch_point=hidden2: 1 of 4." in text
    assert "0.400" in text
    assert "digits" not in text
    assert len((sweep / "summary.csv").read_text().splitlines()) == 1 + len(AREAS)


def test_columns_are_those_that_are_named(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = report(capsys, sweep, "--columns", "path_macs,aurc")
    [header] = [line for line in text.splitlines() if line.startswith("subset")]
    assert header.split() == ["subset", "branch", "point", "AURC"]  # all have the same costs
    assert re.search(r"path macs [\d,]+$", text, re.MULTILINE)
    assert "ECE" not in text


def row(subset: str, stage: str, seed: int, accuracy: float, aurc: float | None, lr: str) -> dict[str, Any]:
    numbers = dict.fromkeys((metric.name for metric in METRICS), 0.5)
    numbers |= {"test_accuracy": accuracy, "test_aurc": aurc, "path_macs": 1234567}
    settings = {"data": "d", "parent": "p", "branch": "b", "score": "s", "threshold": "fixed 0.5"}
    return {
        **{"run": f"{subset}_{stage}_{seed}", "subset": subset, "branch_point": stage, **settings},
        **{"parent_seed": 0, "branch_seed": seed, "counter": None, "number": None, "numbers": accuracy},
        **{"branch.widths": "[64,32]" if seed else "[64]", "branch.lr": lr},
        **{"index": 0, "built": "", "repeats": "", "objectives": {}, "baselines": {}},
        **numbers,
        **{f"{name}_interval": (0.1, 0.9) if name == "test_accuracy" else None for name in numbers},
    }


@pytest.fixture
def summary(monkeypatch: pytest.MonkeyPatch) -> Summary:
    monkeypatch.setenv("COLUMNS", "200")
    rows = [
        *(row("fish", "block1", seed, 0.6 + 0.1 * seed, 0.3, "0.0013718126") for seed in (0, 1)),
        row("fish", "block2", 0, 0.9, 0.1, "0.1"),
        row("flowers", "block1", 0, 0.5, None, "0.1"),
        row("flowers", "block2", 0, 0.8, 0.2, "0.1"),
    ]
    return Summary(Path("sweep"), "train", rows, swept=["branch.widths", "branch.lr"])


def seen(capsys: pytest.CaptureFixture[str], summary: Summary, **options: Any) -> list[str]:
    """The lines of the table."""
    print_summary(summary, View(**options))
    _, title, *rest = capsys.readouterr().out.splitlines()
    return [title, *rest[: rest.index("")]]


def test_the_best_comes_first_and_what_has_no_number_last(
    summary: Summary, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = seen(capsys, summary, sort="accuracy", top=2, columns=["aurc", "test_n"])
    assert lines[0] == "5 runs, test examples, largest accuracy first: 2 of 5 lines"
    assert [line.split()[0] for line in lines[-2:]] == ["fish", "flowers"]
    lines = seen(capsys, summary, sort="aurc", columns=["accuracy"])
    assert [line.split()[-1].split("[")[0] for line in lines[-5:]][-1] == "0.900]"
    assert lines[-1].split()[0] == "flowers"
    assert "block1" in lines[-1]


def test_lines_average_over_what_else_differs(summary: Summary, capsys: pytest.CaptureFixture[str]) -> None:
    lines = seen(capsys, summary, by=["branch_point"], columns=["accuracy"])
    assert lines[1].split() == ["branch", "point", "runs", "accuracy"]
    assert [line.split() for line in lines[3:]] == [
        ["block1", "3", "0.600±0.100"],
        ["block2", "2", "0.850±0.071"],
    ]
    print_summary(summary, View(by=["branch_point"]))
    assert "over the runs of a line, which differ in more than seeds" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("where", "runs"),
    [
        (["subset=fish", "branch_point=block1,block2"], 3),
        (["branch.widths=[64,32]"], 1),  # a value with commas
        (["branch.lr=0.001372"], 2),  # as tables show it
        (["branch_seed=1"], 1),
        (["run=fish_block1_0"], 1),
    ],
)
def test_conditions_all_hold(
    summary: Summary, where: list[str], runs: int, capsys: pytest.CaptureFixture[str]
) -> None:
    print_summary(summary, View(where=where))
    assert f"Runs with {' '.join(where)}: {runs} of 5." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--sort", "aurk"], "--sort is 'aurk', which is unknown: the nearest of"),
        (["--by", "branchpoint"], "--by is 'branchpoint', which is unknown: did you mean 'branch_point'"),
        (["--by", "accuracy"], "--by is 'accuracy', which is unknown: allowed are data, parent, subset"),
        (["--columns", "aurc,acuracy"], "--columns is 'acuracy', which is unknown: did you mean 'accuracy'"),
        (
            ["--where", "subset=diggits"],
            "subset in --where is 'diggits', which is unknown: did you mean 'digits'",
        ),
        (["--where", "subset=upper", "branch_point=x"], "branch_point in --where is 'x', which is unknown"),
        (["--where", "subsett=digits"], "did you mean 'subset'"),
        (["--where", "digits"], "write COLUMN=VALUE"),
        (["--top", "0", "--sort", "aurc"], "--top is 0: it must be a whole number of at least 1."),
    ],
)
def test_what_is_not_there_is_one_sentence(sweep: Path, options: list[str], sentence: str) -> None:
    with pytest.raises(InputError, match=re.escape(sentence)):
        main([str(sweep), *options])


def test_the_best_of_each_subset_is_marked_with_its_correction(
    sweep: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = " ".join(report(capsys, sweep).split())
    assert text.count("*0.") == 2
    assert "*0.100" in text
    assert "*0.200" in text
    assert re.search(
        r"corrected for choosing \(Bonferroni\): digits 0\.100 .* of 2, upper 0\.200 .* of 2\.", text
    )


def test_a_correction_widens_the_more_the_more_were_compared() -> None:
    assert corrected(0.5, (0.4, 0.6), 1) == pytest.approx((0.4, 0.6))
    two, many = corrected(0.5, (0.4, 0.6), 2), corrected(0.5, (0.4, 0.6), 100)
    assert two == pytest.approx((0.5 - 0.1 * 2.2414 / 1.96, 0.5 + 0.1 * 2.2414 / 1.96), abs=1e-4)
    assert 0 < many[0] < two[0]
    assert corrected(0.01, (0.0, 0.99), 100) == (0.0, 1.0)


def test_what_no_threshold_changes_stands_once_per_model(
    run: pipeline.Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    one = record(run.results)
    [threshold] = next(iter(run.results["nodes"].values()))["thresholds"]
    several = [
        {**threshold, "threshold": {**one["threshold"], "rule": f"fixed 0.{digit}"}} for digit in (3, 6, 9)
    ]
    for point in ("hidden1", "hidden2"):
        (tmp_path / point).mkdir()
        write_run(with_numbers(run, "digits", point, *several), tmp_path / point, draw_figures=False)
    print_summary(collect(tmp_path))
    models, thresholds = capsys.readouterr().out.split("Their thresholds, test examples")
    assert "AURC" in models
    assert "selective" not in models
    assert len(re.findall(r"fixed 0\.\d", thresholds)) == 6
    assert "AURC" not in thresholds.split("*:")[0]
    assert "parent, all classes" in models


def test_jobs_without_results_are_one_line(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_jobs(sweep, "train", 44)
    for job in ("x", "y"):
        (sweep / job).mkdir()
        write_results(sweep / job, {"status": "failed", "error": {"message": "no room"}})
    text = report(capsys, sweep)
    assert "skipped 40 runs (4, 5, 6, 7, 8, …): has left nothing" in text
    assert "failed 2 runs (x, y): no room" in text
    assert "Without results: 42 of 46 runs." in text
