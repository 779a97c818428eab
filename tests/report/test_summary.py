"""Many runs together: every run has a row, every other folder a reason, only seeds are averaged."""

import copy
import csv
import dataclasses
import json
import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from omegaconf import OmegaConf
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import pictures
from neural_branching import pipeline
from neural_branching.errors import InputError
from neural_branching.report import comparison
from neural_branching.report.cells import Cell
from neural_branching.report.collect import Summary, cell, collect
from neural_branching.report.figures.risk_coverage_curves import Line
from neural_branching.report.metrics import METRICS, SHOWN
from neural_branching.report.results import read_results, records, write_results
from neural_branching.report.run_report import write_run
from neural_branching.report.summary import summarize
from neural_branching.report.summary_screen import print_ending, print_summary
from neural_branching.report.tables import markdown
from neural_branching.store.run_folders import write_jobs
from sweeps import adopt, record

pytestmark = pytest.mark.usefixtures("rendered")

COMPLETED = ["0_digits_hidden2", "2_upper_hidden2", "10_digits_hidden1"]
STRANGE = {
    "foreign": '{"accuracy": 0.9}',
    "list": "[1, 2]",
    "torn": '{"schema_version": 4, "status": "comp',
    "older": '{"schema_version": 1, "status": "completed"}',
}


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as stream:
        return list(csv.DictReader(stream))


def changed(run: pipeline.Run, **values: Any) -> pipeline.Run:
    """The run under other settings, as far as the summary knows them."""
    return dataclasses.replace(run, results=placed(run.results, {"overrides": [], **values}))


def placed(results: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """Results with other values of their record, each where results.json has it."""
    [(subset, node)], rest = results["nodes"].items(), dict(values)
    [threshold] = node["thresholds"]
    subset = rest.pop("subset", subset)
    threshold = threshold | {name: rest.pop(name) for name in threshold.keys() & rest.keys()}
    node = node | {name: rest.pop(name) for name in node.keys() & rest.keys()}
    return {**results, **rest, "nodes": {subset: {**node, "thresholds": [threshold]}}}


def with_key(run: pipeline.Run, key: str, **values: Any) -> pipeline.Run:
    """The run as if another branch had been trained."""
    artifacts = {**run.results["artifacts"], "branch": {**run.results["artifacts"]["branch"], "key": key}}
    return changed(run, artifacts=artifacts, **values)


def on_test(run: pipeline.Run, **values: Any) -> dict[str, Any]:
    return {**record(run.results)["test"], **values}


def write_all(runs: dict[str, pipeline.Run], folder: Path) -> Path:
    for name, each in runs.items():
        (folder / name).mkdir(parents=True)
        write_run(each, folder / name, draw_figures=False)
    return folder


@pytest.fixture(scope="module")
def written(run: pipeline.Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Completed runs, a failed one, an unfinished one, and files of others; and the summary of them."""
    folder = tmp_path_factory.mktemp("sweep")
    settings = ({}, {"subset": "upper"}, {"branch_point": "hidden1"})
    runs = {name: changed(run, **values) for name, values in zip(COMPLETED, settings, strict=True)}
    write_all(runs, folder)
    (folder / "3_failed").mkdir()
    error = {"type": "InputError", "message": "no room"}
    write_results(folder / "3_failed", {"status": "failed", "error": error})
    (folder / "4_unfinished").mkdir()
    (folder / "4_unfinished" / "config.yaml").write_text("seed: 0\n")
    for name, text in STRANGE.items():
        (folder / name).mkdir()
        (folder / name / "results.json").write_text(text)
    with pictures.rendering():
        summarize(folder)
    return folder


@pytest.fixture
def sweep(written: Path, tmp_path: Path) -> Path:
    """The same for the test to change."""
    return Path(shutil.copytree(written, tmp_path / "sweep"))


@pytest.fixture
def _without_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where only the tables matter: drawing takes most of a summary's time."""
    monkeypatch.setattr("neural_branching.report.summary.draw", lambda _: {})


# What there is.


def test_a_summary_has_a_row_for_every_run_and_a_reason_for_every_other(
    written: Path, run: pipeline.Run
) -> None:
    summary = collect(written)
    assert [row["run"] for row in summary.completed] == COMPLETED
    assert summary.failed == [{"run": "3_failed", "status": "failed", "error": "no room"}]
    assert set(summary.unread) == {"4_unfinished", *STRANGE}
    assert "unfinished" in summary.unread["4_unfinished"]
    assert "schema_version 1" in summary.unread["older"]
    for name in ("foreign", "list", "torn"):
        assert "not a results file" in summary.unread[name]

    table = rows(written / "summary.csv")
    assert [row["run"] for row in table] == [*COMPLETED, "3_failed"]
    test = record(run.results)["test"]
    expected = {
        "status": "completed",
        "data": "glyphs",
        "parent": "mlp",
        "subset": "digits",
        "branch_point": "hidden1",
        "branch": "mlp",
        "score": "max_softmax",
        "threshold": "coverage 0.6",
        "parent_seed": "0",
        "branch_seed": "0",
        "threshold_value": str(record(run.results)["threshold"]["value"]),
        "threshold_n": "120",
        "validation_accuracy": str(record(run.results)["validation"]["accuracy"]),
        "test_n": "60",
        "test_accuracy": str(test["accuracy"]),
        "test_accuracy_low": str(test["intervals"]["accuracy"][0]),
        "test_accuracy_high": str(test["intervals"]["accuracy"][1]),
        "test_aurc": str(test["aurc"]),
        "test_coverage": str(test["coverage"]),
        "test_n_accepted": str(test["n_accepted"]),
        "test_selective_accuracy": str(test["selective_accuracy"]),
        "temperature": str(record(run.results)["reliability"]["temperature"]),
        "test_ece": str(record(run.results)["reliability"]["before"]["ece"]),
        "test_ece_scaled": str(record(run.results)["reliability"]["after"]["ece"]),
        "false_accept_rate": str(record(run.results)["foreign"]["false_accept_rate"]),
        "false_accept_rate_high": str(record(run.results)["foreign"]["intervals"]["false_accept_rate"][1]),
        "restricted_accuracy": str(test["parent_restricted"]["accuracy"]),
        "restricted_accuracy_low": str(test["parent_restricted"]["intervals"]["accuracy"][0]),
        "restricted_aurc": str(test["parent_restricted"]["aurc"]),
        "parent_test_accuracy": str(run.results["parent"]["test_accuracy"]),
        "parent_test_accuracy_low": "",
        "certified_bound": "",
        "built": "data parent activations branch",
        "error": "",
    }
    assert table[2].items() >= {**expected, "run": "10_digits_hidden1"}.items()
    assert table[1].items() >= {**expected, "subset": "upper", "branch_point": "hidden2"}.items()
    assert {name: value for name, value in table[3].items() if value} == summary.failed[0]


@pytest.mark.usefixtures("_without_figures")
def test_jobs_that_left_nothing_are_named(sweep: Path) -> None:
    write_jobs(sweep, "train", 100)
    write_jobs(sweep / "routes", "route", 100)
    unread = summarize(sweep).unread
    assert unread["99"] == "has left nothing: not started yet, or died at once"
    assert not unread.keys() & {"0", "2", "3", "4", "10", "routes/0"}


@pytest.mark.usefixtures("_without_figures")
def test_a_run_that_is_there_twice_counts_once_and_that_is_said(
    sweep: Path, run: pipeline.Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert collect(sweep).repeated() == []
    write_all({"5_again": run, "6_again": changed(run, test=on_test(run, accuracy=0.125))}, sweep)
    summary = summarize(sweep)
    assert len(summary.settings()) == 3
    first, second = summary.repeated()
    assert first == "Of runs with the same settings and seeds the last counts: 2 left out."
    assert second == f"Other numbers than the run that counts: {COMPLETED[0]}, 5_again."
    print_summary(summary)
    assert first in capsys.readouterr().out
    assert second in (sweep / "summary.md").read_text()


def test_every_metric_has_columns_and_their_intervals_surround_it(written: Path, run: pipeline.Run) -> None:
    row = rows(written / "summary.csv")[0]
    surrounded = 0
    for metric in METRICS:
        value = metric.of(record(run.results))
        assert row[metric.name] == ("" if value is None else str(value)), metric.name
        low, high = row[f"{metric.name}_low"], row[f"{metric.name}_high"]
        assert (low, high) == ("", "") or float(low) <= value <= float(high)
        surrounded += bool(low)
    assert surrounded >= 10


def test_the_markdown_has_every_setting_and_names_what_has_no_results(
    written: Path, run: pipeline.Run
) -> None:
    text = (written / "summary.md").read_text()
    assert text == markdown(collect(written))
    accuracy = record(run.results)["test"]["accuracy"]
    low, high = record(run.results)["test"]["intervals"]["accuracy"]
    for setting in ("digits | hidden2", "upper | hidden2", "digits | hidden1"):
        [line] = [line for line in text.splitlines() if line.startswith(f"| {setting} | coverage 0.6 |")]
        assert f"| {accuracy:.3f} [{low:.3f}, {high:.3f}] |" in line
    assert "| 3_failed | failed: no room |" in text
    for name in ("4_unfinished", *STRANGE):
        assert f"\n| {name} | " in text
    assert "AURC: one point per distinct score" in text
    assert "seeds" not in text.split("\n\n")[1]
    assert "## Runs" not in text  # the settings are the runs
    for table in text.split("\n\n"):
        assert len({line.count("|") for line in table.splitlines()}) == 1, table


def test_the_summary_is_printed_with_what_was_skipped(
    written: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    print_summary(collect(written))
    text = capsys.readouterr().out
    assert "3 runs" in text
    assert "failed 3_failed: no room" in text
    assert "skipped 4_unfinished: unfinished: still running, or killed" in text
    assert "skipped foreign" in text
    assert "3 data, 3 parent, 3 activations, 3 branch" in text
    assert str(written) in text
    assert "Certificates" not in text


def test_the_summary_draws_comparisons(written: Path) -> None:
    assert {file.name for file in written.glob("*.png")} == {
        "risk_coverage.png",
        "accuracy.png",
        "aurc.png",
        "depth.png",
    }
    assert {file.stem for file in written.glob("*.svg")} == {file.stem for file in written.glob("*.png")}
    for file in written.glob("*.png"):
        with Image.open(file) as example:
            assert len(np.unique(np.asarray(example.convert("L")))) > 20
            assert min(example.size) > 150


def test_figures_can_be_shown_in_tensorboard(sweep: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = {name: Figure(figsize=(1, 1)) for name in ("risk_coverage", "accuracy", "aurc")}
    monkeypatch.setattr("neural_branching.report.summary.draw", lambda _: small)
    summarize(sweep, events=True)
    events = EventAccumulator(str(sweep))
    events.Reload()
    assert set(events.Tags()["images"]) == {"test/risk_coverage", "test/accuracy", "test/aurc"}


@pytest.mark.usefixtures("_without_figures")
def test_summarising_again_changes_nothing(sweep: Path) -> None:
    def again() -> tuple[object, ...]:
        return summarize(sweep), *((sweep / name).read_bytes() for name in ("summary.csv", "summary.md"))

    assert again() == again()


@pytest.mark.usefixtures("_without_figures")
def test_a_threshold_that_accepts_nothing_is_summarised_too(silent: Path, tmp_path: Path) -> None:
    place = Path(shutil.copytree(silent, tmp_path / "1"))
    [row] = summarize(place).completed
    assert row["test_selective_accuracy"] is None
    assert row["test_selective_accuracy_interval"] is None
    assert row["threshold_value"] is None
    assert row["run"] == "."
    assert "–" in (place / "summary.md").read_text()


def test_a_setting_that_answers_nothing_has_a_curve_without_a_mark(silent: Path) -> None:
    [axes] = comparison.draw(collect(silent))["risk_coverage"].axes
    [line] = axes.lines
    assert len(line.get_xdata()) == 100


def test_a_run_without_foreign_classes_is_summarised_too(run: pipeline.Run, tmp_path: Path) -> None:
    summary = collect(write_all({"0": changed(run, foreign=None)}, tmp_path))
    assert summary.unread == {}
    assert summary.completed[0]["false_accept_rate"] is None
    [setting] = summary.settings()
    assert str(setting["false_accept_rate"]) == "–"


def test_only_failed_runs_make_a_table_without_figures(tmp_path: Path) -> None:
    write_results(tmp_path, {"status": "failed", "error": {"message": "no room"}})
    summary = summarize(tmp_path)
    assert summary.completed == []
    assert not list(tmp_path.glob("*.png"))
    assert "## Settings" not in (tmp_path / "summary.md").read_text()


def test_folders_without_runs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no results\.json"):
        summarize(tmp_path)
    with pytest.raises(InputError, match="does not exist"):
        summarize(tmp_path / "nothing")
    (tmp_path / "results.json").write_text("{}")
    with pytest.raises(InputError, match="is not a folder"):
        summarize(tmp_path / "results.json")
    with pytest.raises(InputError, match=r"has no results\.json of a run"):
        summarize(tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {"results.json"}


# Data.


def on_data(run: pipeline.Run, key: str, **values: Any) -> pipeline.Run:
    """The run as if it had seen other examples."""
    artifacts = {**run.results["artifacts"], "data": {**run.results["artifacts"]["data"], "key": key}}
    return changed(run, artifacts=artifacts, **values)


@pytest.mark.usefixtures("_without_figures")
def test_runs_on_different_data_of_one_name_are_named_and_kept_apart(
    run: pipeline.Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seeds = [{"split": 0, "parent": seed, "branch": seed} for seed in range(3)]
    runs = {str(seed): on_data(run, "a" * 20, seeds=one) for seed, one in enumerate(seeds[:2])}
    runs["2"] = on_data(run, "b" * 20, seeds=seeds[2])
    runs["3"] = on_data(run, "b" * 20, subset="upper")  # another setting, and yet no other data
    summary = summarize(write_all(runs, tmp_path))
    assert sorted((setting["seeds"], setting["fingerprint"]) for setting in summary.settings()) == [
        (1, "b" * 8),
        (1, "b" * 8),
        (2, "a" * 8),
    ]
    [sentence] = summary.mixed
    assert "'glyphs' are not the same in all runs" in sentence
    assert "aaaaaaaa (2): 0, 1; bbbbbbbb (2): 2, 3" in sentence
    print_summary(summary)
    assert sentence in capsys.readouterr().out
    assert sentence in (tmp_path / "summary.md").read_text()


@pytest.mark.usefixtures("_without_figures")
def test_data_that_was_chosen_differently_is_no_surprise(run: pipeline.Run, tmp_path: Path) -> None:
    runs = {
        str(size): on_data(run, f"{size}" * 10, overrides=[f"data.image_size={size}"]) for size in (16, 32)
    }
    summary = summarize(write_all(runs, tmp_path))
    assert summary.swept == ["data.image_size"]
    assert summary.mixed == []


# Which of two runs is the later one.


def numbered(run: Path, counter: str | None, number: int | None) -> None:
    results = json.loads((run / "results.json").read_text())
    results["written"] |= {"counter": counter, "number": number}
    (run / "results.json").write_text(json.dumps(results))


@pytest.mark.parametrize("first", ["2030-01-01", "2020-01-01"])
@pytest.mark.usefixtures("_without_figures")
def test_the_later_of_two_runs_counts_whatever_the_clock_said(
    first: str, run: pipeline.Run, tmp_path: Path
) -> None:
    write_all({first: run}, tmp_path)
    write_all({"2025-01-01": changed(run, test=on_test(run, accuracy=0.125))}, tmp_path)
    summary = collect(tmp_path)
    assert [row["run"] for row in summary.counted()] == ["2025-01-01"]
    assert f"Other numbers than the run that counts: {first}." in summary.repeated()
    assert len(summary.repeated()) == 2


@pytest.mark.parametrize("order", [(None, None), ("another", 5), ("one", 1)])
def test_an_order_that_cannot_be_known_is_said(
    order: tuple[str | None, int | None], run: pipeline.Run, tmp_path: Path
) -> None:
    write_all({"0": run, "1": changed(run, test=on_test(run, accuracy=0.125))}, tmp_path)
    numbered(tmp_path / "0", "one", 1)
    numbered(tmp_path / "1", *order)
    assert any("cannot be known: 0." in sentence for sentence in collect(tmp_path).repeated())


# Several thresholds in one run.

BOTH = ("coverage 0.6", "coverage 0.3")


@pytest.fixture(scope="module")
def several(glyph_run: Callable[..., pipeline.Run]) -> pipeline.Run:
    rule = "_target_:neural_branching.selection.thresholds.plain.Coverage"
    return glyph_run(
        f"thresholds=[{{{rule},target:0.6}},{{{rule},target:0.3}}]",
        "objectives=[validation.selective_accuracy,validation.coverage]",
    )


@pytest.mark.usefixtures("_without_figures")
def test_each_threshold_of_a_run_has_a_row_with_its_own_numbers(
    several: pipeline.Run, run: pipeline.Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = summarize(write_all({"0": several}, tmp_path))
    print_summary(summary)
    assert "1 run, test examples" in capsys.readouterr().out
    table = rows(tmp_path / "summary.csv")
    assert [(row["run"], row["threshold"]) for row in table] == [("0", rule) for rule in BOTH]
    alone = record(run.results)
    for found, row in zip(records(several.results), table, strict=True):
        for metric in METRICS:
            value = metric.of(found)
            assert row[metric.name] == ("" if value is None else str(value)), metric.name
    for block in ("threshold", "validation", "calibration", "test", "foreign"):
        assert records(several.results)[0][block] == alone[block]
    assert table[0]["test_accuracy"] == table[1]["test_accuracy"]
    assert float(table[0]["test_coverage"]) > float(table[1]["test_coverage"])
    assert [bool(row["built"]) for row in table[1:]] == [False]
    assert [row["objectives"] for row in summary.completed] == [
        {f"validation.{name}": found["validation"][name] for name in ("selective_accuracy", "coverage")}
        for found in records(several.results)
    ]


@pytest.mark.usefixtures("_without_figures")
def test_a_run_of_several_thresholds_is_named_once(several: pipeline.Run, tmp_path: Path) -> None:
    again = dataclasses.replace(several, results=copy.deepcopy(several.results))
    for found in records(again.results):
        found["test"]["accuracy"] = 0.125
    summary = collect(write_all({"0": several, "1": again}, tmp_path))
    assert summary.runs == 2
    assert len(summary.counted()) == 2
    assert summary.repeated() == [
        "Of runs with the same settings and seeds the last counts: 1 left out.",
        "Other numbers than the run that counts: 0.",
    ]
    numbered(tmp_path / "0", None, None)
    assert "cannot be known: 0. Repeat" in collect(tmp_path).repeated()[2]
    other = dataclasses.replace(several, results=copy.deepcopy(several.results))
    other.results["artifacts"]["data"]["key"] = "b" * 20
    [sentence] = collect(write_all({"2": other}, tmp_path)).mixed
    assert " (2): 0, 1; bbbbbbbb (1): 2." in sentence


# Damage.


def node_of(results: dict[str, Any]) -> dict[str, Any]:
    """What results say of their only node."""
    [node] = results["nodes"].values()
    return node


ODD = {
    "text for a number": lambda results: record(results)["test"].update(accuracy="high"),
    "a list for a number": lambda results: record(results)["test"].update(aurc=[1]),
    "a number for an interval": lambda results: record(results)["test"]["intervals"].update(accuracy=3),
    "text in an interval": lambda results: record(results)["test"]["intervals"].update(accuracy=["a", "b"]),
    "a list for a mapping": lambda results: results.update(seeds=[1, 2]),
    "text for seeds": lambda results: results["seeds"].update(parent="one"),
    "a number for a name": lambda results: node_of(results).update(branch_point=3),
    "a mapping for a name": lambda results: results.update(data={"name": "glyphs"}),
    "text for overrides": lambda results: results.update(overrides="seed=1"),
    "numbers for overrides": lambda results: results.update(overrides=[1]),
    "a list for baselines": lambda results: node_of(results).update(baselines=[1]),
    "text in baselines": lambda results: node_of(results).update(baselines={"knn": {"accuracy": "good"}}),
    "text for objectives": lambda results: results.update(objectives={"validation.aurc": "small"}),
    "a number for what is published": lambda results: node_of(results).update(published=3),
    "text that is published": lambda results: node_of(results).update(
        published={"source": "x", "accuracy": "y"}
    ),
    "an endless number": lambda results: record(results)["test"].update(accuracy=10**400),
    "text for delta": lambda results: record(results)["threshold"].update(settings={"delta": "x"}),
    "a list for nodes": lambda results: results.update(nodes=[1]),
    "no node": lambda results: results.update(nodes={}),
    "text for thresholds": lambda results: node_of(results).update(thresholds="one"),
    "no threshold": lambda results: node_of(results).update(thresholds=[]),
    "a list of artifacts": lambda results: results.update(artifacts=[1]),
}


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.usefixtures("_without_figures")
def test_one_odd_value_takes_no_report_down(odd: str, sweep: Path) -> None:
    file = sweep / COMPLETED[1] / "results.json"
    results = json.loads(file.read_text())
    ODD[odd](results)
    file.write_text(json.dumps(results))
    summary = summarize(sweep)
    print_summary(summary)
    assert [row["run"] for row in summary.completed] == [COMPLETED[0], COMPLETED[2]]
    assert str(file) in summary.unread[COMPLETED[1]]


HOSTILE = {
    "100,000 levels": "[" * 100_000 + "]" * 100_000,
    "100,000 mappings": '{"a":' * 100_000 + "1" + "}" * 100_000,
    "a hundred levels": '{"schema_version": 4, "status": ' + "[" * 100 + "]" * 100 + "}",
    "huge": '{"a": "' + "a" * (1 << 26) + '"}',
    "no UTF-8": b"\xff\xfe{}",
    "nan": '{"schema_version": NaN}',
    "a number": "3",
    "a number of 5000 digits": '{"schema_version": ' + "1" * 5000 + "}",
}


@pytest.mark.parametrize("name", ["results.json", "jobs.json"])
@pytest.mark.parametrize("hostile", HOSTILE)
@pytest.mark.usefixtures("_without_figures")
def test_one_hostile_file_takes_no_report_down(hostile: str, name: str, sweep: Path) -> None:
    file = sweep / COMPLETED[1] / name
    content = HOSTILE[hostile]
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    summary = summarize(sweep)
    left = [COMPLETED[0], COMPLETED[2]] if name == "results.json" else COMPLETED
    assert [row["run"] for row in summary.completed] == left
    unread = COMPLETED[1] if name == "results.json" else f"{COMPLETED[1]}/{name}"
    assert str(file) in summary.unread[unread]


@pytest.mark.usefixtures("_without_figures")
def test_what_is_no_file_is_not_waited_for(sweep: Path) -> None:
    file = sweep / COMPLETED[1] / "results.json"
    file.unlink()
    os.mkfifo(file)
    assert "it is no regular file" in summarize(sweep).unread[COMPLETED[1]]


@pytest.mark.parametrize("name", ["predictions.csv", "curve.csv", "thresholds.csv"])
@pytest.mark.usefixtures("_without_figures")
def test_files_of_another_run_are_not_taken_for_a_runs_own(name: str, sweep: Path) -> None:
    shutil.copy(sweep / COMPLETED[0] / "config.yaml", sweep / COMPLETED[1] / name)
    summary = summarize(sweep)
    assert [row["run"] for row in summary.completed] == [COMPLETED[0], COMPLETED[2]]
    assert "is not the file that was written with results.json beside it" in summary.unread[COMPLETED[1]]


@pytest.mark.parametrize(
    "text",
    [
        '{"schema_version": 4}',
        '{"schema_version": 4, "status": "completed"}',
        '{"schema_version": 4, "status": 3}',
    ],
)
def test_a_foreign_file_that_looks_like_ours_is_skipped(text: str, sweep: Path) -> None:
    (sweep / "foreign" / "results.json").write_text(text)
    summary = collect(sweep)
    assert "foreign" in {*summary.unread, *(row["run"] for row in summary.failed)}
    assert len(summary.completed) == 3


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "damaged",
        "threshold,n_accepted,coverage,selective_risk\n",
        "threshold,n_accepted,coverage,selective_risk\n0.5,60,1.0,0.2\n0.6,3",
    ],
    ids=["lost", "empty", "text", "no lines", "torn"],
)
def test_a_damaged_curve_does_not_stop_the_others(text: str | None, sweep: Path) -> None:
    file = sweep / "2_upper_hidden2" / "curve.csv"
    file.unlink() if text is None else file.write_text(text)
    drawn = comparison.draw(collect(sweep))
    assert drawn.keys() == {"risk_coverage", "accuracy", "aurc", "depth"}
    names = [entry.get_text() for entry in drawn["risk_coverage"].axes[0].get_legend().get_texts()]
    assert names == ["digits · hidden2", "digits · hidden1"]


def test_a_single_run_that_lost_its_curve_is_summarised(run: pipeline.Run, tmp_path: Path) -> None:
    write_all({"0": run}, tmp_path)
    (tmp_path / "0" / "curve.csv").unlink()
    assert len(summarize(tmp_path).completed) == 1
    assert (tmp_path / "accuracy.png").exists()


@pytest.mark.parametrize(
    "damage",
    [
        {"artifacts": {"parent": 3}},
        {"test": {}},
        {"threshold": {}},
        {"reliability": None},
        {"score": "max_softmax"},
        {"status": "failed", "error": "x"},
        {"schema_version": 7},
    ],
    ids=lambda damage: next(iter(damage)),
)
@pytest.mark.usefixtures("_without_figures")
def test_a_damaged_run_does_not_take_the_others_with_it(damage: dict[str, Any], sweep: Path) -> None:
    file = sweep / COMPLETED[1] / "results.json"
    file.write_text(json.dumps(placed(json.loads(file.read_text()), damage)))
    summary = summarize(sweep)
    assert [row["run"] for row in summary.completed] == [COMPLETED[0], COMPLETED[2]]
    assert COMPLETED[1] in summary.unread


@pytest.mark.parametrize("text", [None, "", "damaged", "- 1\n", "a: [", "threshold:\n"])
@pytest.mark.usefixtures("_without_figures")
def test_a_damaged_configuration_does_not_stop_the_summary(
    text: str | None, silent_run: pipeline.Run, tmp_path: Path
) -> None:
    write_all({"0": with_key(silent_run, "aaa"), "1": with_key(silent_run, "bbb")}, tmp_path)
    file = tmp_path / "1" / "config.yaml"
    file.unlink() if text is None else file.write_text(text)
    summary = summarize(tmp_path)
    assert [row["run"] for row in summary.completed] == ["0", "1"]
    assert [(one.row["run"], one.compared) for one in summary.certificates] == [("0", 2)]
    assert list(summary.uncertified) == ["1"]


# Seeds and settings.


@pytest.mark.usefixtures("_without_figures")
def test_seeds_of_one_setting_are_aggregated(run: pipeline.Run, tmp_path: Path) -> None:
    accuracies = (0.5, 0.7, 0.75)
    runs = {
        str(seed): changed(
            run,
            seeds={"split": 0, "parent": seed, "branch": seed},
            test=on_test(run, accuracy=accuracy, selective_accuracy=0.9 if seed else math.nan),
            overrides=[f"seed={seed}"],
        )
        for seed, accuracy in enumerate(accuracies)
    }
    runs["again"] = runs["2"]  # repeated, not one more seed
    summary = summarize(write_all(runs, tmp_path))
    [setting] = summary.settings()
    assert setting["seeds"] == 3
    spread = setting["test_accuracy"]
    assert (spread.mean, spread.deviation) == pytest.approx((np.mean(accuracies), np.std(accuracies, ddof=1)))
    # Of the three seeds' intervals over the same examples, which are one and the same here.
    low, high = record(run.results)["test"]["intervals"]["accuracy"]
    assert spread.interval == pytest.approx((low, high))
    answered = setting["test_selective_accuracy"]  # of the seeds that have one
    assert (answered.mean, answered.deviation) == pytest.approx((0.9, 0))
    assert setting["test_aurc"].deviation == pytest.approx(0)
    assert len(rows(tmp_path / "summary.csv")) == 4
    text = (tmp_path / "summary.md").read_text()
    assert f"| 0.650±0.132 [{low:.3f}, {high:.3f}] |" in text
    assert "±: standard deviation over seeds" in text
    assert "[ ]: 95 % interval over test examples" in text
    assert "| seeds |" in text
    singles = text.split("## Runs")[1]
    assert [line.split(" | ")[0] for line in singles.splitlines() if "hidden2" in line] == [
        "| again", "| 0", "| 1", "| 2",
    ]  # fmt: skip
    assert f"| 0.700 [{low:.3f}, {high:.3f}] |" in singles


def test_a_single_run_has_no_deviation_but_an_interval(folder: Path) -> None:
    [setting] = collect(folder).settings()
    results = record(read_results(folder))
    test = results["test"]
    assert setting["seeds"] == 1
    assert setting["test_accuracy"] == Cell(test["accuracy"], None, tuple(test["intervals"]["accuracy"]))
    for name, numbers in (("test_ece", "before"), ("test_ece_scaled", "after")):
        numbers = results["reliability"][numbers]
        assert setting[name] == Cell(numbers["ece"])  # without an interval
        assert setting[f"{name}_floor"] == Cell(numbers["if_calibrated"]["ece"]["mean"])
    assert setting["temperature"].interval is None
    assert "±" not in str(setting["test_accuracy"])
    assert "[" in str(setting["test_accuracy"])


def test_a_cell_leaves_out_what_seeds_lack() -> None:
    assert cell([None]) == cell([None, None]) == Cell(None)
    assert cell([0.5], [(0.4, 0.6)]) == Cell(0.5, None, (0.4, 0.6))
    assert cell([0.5, None], [(0.4, 0.6), None]) == Cell(0.5, None, (0.4, 0.6))
    assert cell([0.25, None, 0.75]) == Cell(0.5, pytest.approx(0.125**0.5))
    ends = pytest.approx((0.4, 0.65))
    assert cell([0.25, 0.75], [(0.1, 0.4), (0.7, 0.9)]) == Cell(0.5, pytest.approx(0.125**0.5), ends)
    assert cell([0.25, 0.75], [(0.1, 0.4), None]) == Cell(0.5, pytest.approx(0.125**0.5))


@pytest.mark.usefixtures("_without_figures")
def test_other_swept_options_get_a_column(run: pipeline.Run, tmp_path: Path) -> None:
    overrides = (["branch.fit.lr=0.1", "+x=1"], ["branch.fit.lr=0.2", "+x=1"], ["seed=0", "+x=1"])
    runs = {str(job): changed(run, overrides=typed) for job, typed in enumerate(overrides)}
    summary = summarize(write_all(runs, tmp_path))
    assert summary.swept == ["branch.fit.lr"]  # not x, which is the same everywhere
    assert [row["branch.fit.lr"] for row in rows(tmp_path / "summary.csv")] == ["0.1", "0.2", "default"]
    assert [setting["seeds"] for setting in summary.settings()] == [1, 1, 1]
    assert "| threshold | branch.fit.lr | accuracy |" in (tmp_path / "summary.md").read_text()


def test_swept_values_in_brackets_are_printed_as_they_are(
    run: pipeline.Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    overrides = (["data.classes=[a,b]"], ["data.classes=[/b]"])
    runs = {str(job): changed(run, overrides=typed) for job, typed in enumerate(overrides)}
    print_summary(collect(write_all(runs, tmp_path)))
    text = capsys.readouterr().out
    assert "[a,b]" in text
    assert "[/b]" in text


def test_scores_have_a_column_only_if_they_differ(run: pipeline.Run, tmp_path: Path) -> None:
    other = changed(run, score={**record(run.results)["score"], "name": "margin"})
    summary = collect(write_all({"0": changed(run), "1": other}, tmp_path))
    assert [setting["score"] for setting in summary.settings()] == ["max_softmax", "margin"]
    assert "| subset | branch point | score | threshold | accuracy |" in markdown(summary)
    assert "| digits | hidden2 | margin | coverage 0.6 |" in markdown(summary)
    (tmp_path / "1" / "results.json").unlink()
    assert "score" not in markdown(collect(tmp_path)).split("\n\n")[1]


@pytest.mark.usefixtures("_without_figures")
def test_published_figures_stand_beside_the_runs(run: pipeline.Run, tmp_path: Path) -> None:
    published = {"source": "a paper", "accuracy": 0.7533, "coverage": 0.833, "selective_accuracy": 0.8}
    summarize(write_all({"0": changed(run, published=published)}, tmp_path))
    lines = (tmp_path / "summary.md").read_text().splitlines()
    [line] = [line for line in lines if "a paper" in line]
    header = [heading.strip() for heading in lines[2].split("|")[1:-1]]
    shown = dict(zip(header, (entry.strip() for entry in line.split("|")[1:-1]), strict=True))
    known = {"subset": "digits", "branch point": "", "threshold": "a paper"}
    known |= {"accuracy": "0.753", "coverage": "0.833", "selective accuracy": "0.800"}
    assert shown == {**{str(metric.heading): "–" for metric in SHOWN}, **known}


def test_experiments_that_share_every_name_stay_apart(run: pipeline.Run, tmp_path: Path) -> None:
    runs = {
        name: with_key(run, key, overrides=[f"experiment={experiment}"])
        for name, experiment, key in (("0_a", "first", "aaa"), ("1_b", "second", "bbb"))
    }
    summary = collect(write_all(runs, tmp_path))
    assert summary.swept == ["experiment"]
    assert [setting["experiment"] for setting in summary.settings()] == ["first", "second"]


def test_runs_whose_configurations_differ_unseen_are_told_apart_by_them(
    run: pipeline.Run, tmp_path: Path
) -> None:
    write_all({"0_a": with_key(run, "aaa"), "1_b": with_key(run, "bbb")}, tmp_path)
    for name, epochs in (("0_a", 3), ("1_b", 4)):
        config = OmegaConf.load(tmp_path / name / "config.yaml")
        config.parent.fit.epochs = epochs
        OmegaConf.save(config, tmp_path / name / "config.yaml")
    assert collect(tmp_path).swept == ["parent.fit.epochs"]


# Figures that compare.

OTHERS = [
    {"parent": {"name": "convnet"}},
    {"data": "cifar100"},
    {"branch": {"name": "linear"}},
    {"score": {"name": "margin"}},
    {"overrides": ["branch.fit.lr=0.1"]},
]
SEEDS = [{"seeds": {"parent": 1}}, {"seeds": {"branch": 1}}]

Captured = tuple[dict[str, Line], dict[str, dict[str, dict[str, Cell]]], str]


@pytest.fixture
def capture(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], Captured]:
    """What a folder's comparison draws: lines, values by label of their metric, and the band's name."""

    def captured(folder: Path) -> Captured:
        lines: dict[str, Line] = {}
        compared: dict[str, dict[str, dict[str, Cell]]] = {}
        bands: list[str] = []
        with monkeypatch.context() as patch:
            patch.setattr(
                comparison,
                "risk_coverage",
                lambda drawn, title, band: (lines.update(drawn), bands.append(band)),
            )
            patch.setattr(
                comparison,
                "trends",
                lambda panels, *_: compared.update(
                    {panel.label: {group[1]: line for group, line in panel.lines.items()} for panel in panels}
                ),
            )
            comparison.draw(collect(folder))
        return lines, compared, bands[0]

    return captured


def two_runs(run: pipeline.Run, change: dict[str, Any], folder: Path) -> Path:
    [(name, value)] = change.items()
    other = {**record(run.results)[name], **value} if isinstance(value, dict) else value
    return write_all(
        {"0": changed(run), "1": changed(run, **{name: other, "test": on_test(run, accuracy=0.125)})}, folder
    )


@pytest.mark.parametrize("change", OTHERS, ids=str)
def test_every_setting_has_a_curve_and_values_of_its_own(
    change: dict[str, Any], run: pipeline.Run, tmp_path: Path, capture: Callable[[Path], Captured]
) -> None:
    lines, compared, band = capture(two_runs(run, change, tmp_path))
    assert len(lines) == 2
    assert all(line.band is None for line in lines.values())
    assert band == ""
    groups = list(compared["test accuracy"].values())
    assert [line["hidden2"].mean for line in groups] == [record(run.results)["test"]["accuracy"], 0.125]
    assert groups[0]["hidden2"].interval == tuple(record(run.results)["test"]["intervals"]["accuracy"])


@pytest.mark.parametrize("change", SEEDS, ids=str)
def test_seeds_are_averaged_in_the_comparison(
    change: dict[str, Any], run: pipeline.Run, tmp_path: Path, capture: Callable[[Path], Captured]
) -> None:
    lines, compared, band = capture(two_runs(run, change, tmp_path))
    assert list(lines) == ["digits · hidden2"]
    assert lines["digits · hidden2"].band is not None
    assert "standard deviation" in band
    accuracy, aurc = (record(run.results)["test"][name] for name in ("accuracy", "aurc"))
    both = cell([accuracy, 0.125])
    found = compared["test accuracy"]["digits"]["hidden2"]
    assert (found.mean, found.deviation) == (both.mean, both.deviation)
    found = compared["test AURC (smaller is better)"]["digits"]["hidden2"]
    assert (found.mean, found.deviation) == (pytest.approx(aurc), 0)


def test_two_swept_settings_have_a_heat_map(run: pipeline.Run, tmp_path: Path) -> None:
    areas = {("0.01", "0"): 0.1, ("0.01", "0.5"): 0.2, ("0.0013718126", "0"): 0.3}
    runs = {
        str(place): changed(
            run, overrides=[f"branch.fit.lr={lr}", f"branch.dropout={dropout}"], test=on_test(run, aurc=area)
        )
        for place, ((lr, dropout), area) in enumerate(areas.items())
    }
    drawn = comparison.draw(collect(write_all(runs, tmp_path)))
    assert drawn.keys() == {"risk_coverage", "accuracy", "aurc", "heat_maps"}
    [axes] = drawn["heat_maps"].axes
    shown = {tuple(map(round, text.get_position())): text.get_text() for text in axes.texts}
    assert shown == {(0, 0): "0.300", (0, 1): "0.100", (1, 1): "0.200"}  # and nothing where nothing was run
    assert [text.get_text() for text in axes.get_yticklabels()] == ["0.001372", "0.01"]
    names = [text.get_text() for text in drawn["accuracy"].axes[0].get_legend().get_texts()]
    assert names == [
        "digits · lr 0.01 · dropout 0",
        "digits · lr 0.01 · dropout 0.5",
        "digits · lr 0.001372 · dropout 0",
    ]


def test_values_of_a_threshold_have_a_figure(several: pipeline.Run, tmp_path: Path) -> None:
    drawn = comparison.draw(collect(write_all({"0": several}, tmp_path)))
    assert drawn.keys() == {"risk_coverage", "accuracy", "aurc", "by_threshold", "pareto"}
    found = records(several.results)[::-1]  # from 0.3 to 0.6
    for axes, name in zip(drawn["by_threshold"].axes, ("coverage", "selective_accuracy"), strict=True):
        [line] = axes.containers
        assert line[0].get_xdata().tolist() == [0.3, 0.6]
        assert line[0].get_ydata().tolist() == pytest.approx([one["test"][name] for one in found])
        ends = np.array(line[2][0].get_segments())[:, :, 1]
        assert ends == pytest.approx(np.array([one["test"]["intervals"][name] for one in found]))
        assert axes.get_xlabel() == "threshold: coverage"


def with_rule(run: pipeline.Run, rule: str, coverage: float, accuracy: float, seed: int = 0) -> pipeline.Run:
    """The run as if this rule had answered so much, so well."""
    return changed(
        run,
        seeds={"split": 0, "parent": 0, "branch": seed},
        threshold={**record(run.results)["threshold"], "rule": rule},
        test=on_test(run, coverage=coverage, selective_accuracy=accuracy),
    )


def test_thresholds_change_no_curve_but_mark_it(
    run: pipeline.Run, tmp_path: Path, capture: Callable[[Path], Captured]
) -> None:
    runs = {
        "0": with_rule(run, "coverage 0.6", 0.6, 0.8),
        "1": with_rule(run, "risk 0.1", 0.25, 0.9),
        "2": with_rule(run, "sgr 0.001", 0.0, math.nan),
    }
    summary_folder = write_all(runs, tmp_path)
    lines, compared, band = capture(summary_folder)
    [line] = lines.values()
    assert line.points == {"coverage 0.6": (0.6, 0.8), "risk 0.1": (0.25, 0.9)}  # sgr answers nothing
    assert line.band is None
    assert band == ""
    [[line]] = [one.values() for one in compared["test accuracy"].values()]
    assert line.mean == record(run.results)["test"]["accuracy"]
    assert len(collect(summary_folder).settings()) == 3


def test_every_rule_marks_the_mean_of_its_own_seeds(
    run: pipeline.Run, tmp_path: Path, capture: Callable[[Path], Captured]
) -> None:
    answered = {
        ("coverage 0.6", 0): (0.5, 0.7), ("coverage 0.6", 1): (0.7, 0.8),
        ("risk 0.1", 0): (0.2, 0.9), ("risk 0.1", 1): (0.0, math.nan),
    }  # fmt: skip
    runs = {
        f"{index}": with_rule(run, rule, *point, seed)
        for index, ((rule, seed), point) in enumerate(answered.items())
    }
    runs["elsewhere"] = changed(with_rule(run, "risk 0.1", 1.0, 0.1), branch_point="hidden1")
    lines, _, _ = capture(write_all(runs, tmp_path))
    assert lines["digits · hidden2"].points == {
        "coverage 0.6": pytest.approx((0.6, 0.75)), "risk 0.1": pytest.approx((0.2, 0.9)),
    }  # fmt: skip
    assert lines["digits · hidden1"].points == {"risk 0.1": (1.0, 0.1)}


def test_a_band_ends_at_one(run: pipeline.Run, tmp_path: Path, capture: Callable[[Path], Captured]) -> None:
    write_all({str(seed): with_rule(run, "coverage 0.6", 0.6, 0.8, seed) for seed in (0, 1)}, tmp_path)
    for seed, risk in enumerate((0.0, 0.2)):
        text = f"threshold,n_accepted,coverage,selective_risk\n0.1,4,1.0,{risk}\n"
        adopt(tmp_path / str(seed), "curve.csv", text)
    [line] = capture(tmp_path)[0].values()
    low, high = map(np.asarray, line.band)
    assert low == pytest.approx(0.9 - np.std([1, 0.8], ddof=1))
    assert (high == 1).all()


def test_the_curve_of_several_seeds_is_their_mean_with_their_standard_deviation(
    run: pipeline.Run, tmp_path: Path, capture: Callable[[Path], Captured]
) -> None:
    risks = ((0.4, 0.1), (0.2, 0.1), (0.3, 0.25))
    accepted = ((0.5, 0.7), (0.6, 0.9), (0.0, math.nan))
    runs = {
        str(seed): changed(
            run,
            seeds={"split": 0, "parent": 0, "branch": seed},
            test=on_test(run, coverage=coverage, selective_accuracy=accuracy),
        )
        for seed, (coverage, accuracy) in enumerate(accepted)
    }
    write_all(runs, tmp_path)
    for seed, (everything, half) in enumerate(risks):
        text = f"threshold,n_accepted,coverage,selective_risk\n0.1,4,1.0,{everything}\n0.2,2,0.5,{half}\n"
        adopt(tmp_path / str(seed), "curve.csv", text)
    [line] = capture(tmp_path)[0].values()
    assert np.asarray(line.coverage).tolist() == pytest.approx([level / 100 for level in range(100, 0, -1)])
    mean, (low, high) = np.asarray(line.selective_accuracy), map(np.asarray, line.band)
    for place in (0, 1, 50, 99):  # continued below the smallest coverage
        values = (0.9, 0.9, 0.75) if place else (0.6, 0.8, 0.7)
        assert mean[place] == pytest.approx(np.mean(values))
        assert high[place] - mean[place] == pytest.approx(np.std(values, ddof=1))
        assert mean[place] - low[place] == pytest.approx(np.std(values, ddof=1))
    assert line.points == {"coverage 0.6": pytest.approx((0.55, 0.8))}  # of the seeds that answer anything


def test_several_seeds_are_drawn_with_their_band(run: pipeline.Run, tmp_path: Path) -> None:
    figure = comparison.draw(collect(two_runs(run, SEEDS[1], tmp_path)))["risk_coverage"]
    [axes] = figure.axes
    assert len(axes.collections) == 1
    curve, mark = axes.lines
    assert curve.get_ydata()[0] == pytest.approx(record(run.results)["test"]["accuracy"])
    assert mark.get_ydata()[0] == pytest.approx(record(run.results)["test"]["selective_accuracy"])
    assert "standard deviation" in axes.get_legend().get_title().get_text()


def test_runs_without_results_for_one_reason_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    summary = Summary(Path("sweep"), "train", unread={f"{index}_a": "unfinished" for index in range(7)})
    print_ending(summary)
    text = capsys.readouterr().out
    assert "skipped 7 runs (0_a, 1_a, 2_a, 3_a, 4_a, …): unfinished\n" in text
    assert "Without results: 7 of 7 runs." in text


def test_a_sweep_says_which_scores_have_shifted_all_runs_counted(tmp_path: Path) -> None:
    def tested(*p: float) -> list[str]:
        runs = [
            {"run": f"run{n}", "branch_key": f"{n}", "score": "margin", "shift": one}
            for n, one in enumerate(p)
        ]
        return Summary(tmp_path, "train", completed=runs).shifted()

    assert tested(0.0001) == []  # its own report says so
    assert tested(0.3, 0.009) == ["Calibration and test scores differ in 0 of 2 tests (level .01, Holm)."]
    assert tested(0.3, 0.0001) == [
        "Calibration and test scores differ in 1 of 2 tests (level .01, Holm): nothing is promised of run1."
    ]
