"""What a run and a sweep leave behind: files that agree with each other, and say what is missing."""

import csv
import dataclasses
import io
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from matplotlib.figure import Figure
from omegaconf import OmegaConf
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2

from neural_branching import pipeline
from neural_branching.config import conf_dir
from neural_branching.errors import InputError
from neural_branching.report import figures
from neural_branching.report.collect import collect
from neural_branching.report.results import read_results, write_results
from neural_branching.report.run import number, print_run, provenance, write_run
from neural_branching.report.summary import summarize
from neural_branching.report.tables import print_summary
from neural_branching.settings import Settings

# Spelled out, so that other defaults would not change what is tested here.
RECIPE = (
    *("epochs=8", "batch_size=32", "lr=3e-3", "optimizer=adam", "weight_decay=0", "schedule=constant"),
    *("label_smoothing=0", "keep=best", "monitor=val/loss", "patience=null"),
)
OPTIONS = (
    "data.image_size=16",
    "data.source.train_per_class=40",
    "data.source.test_per_class=20",
    "data.classes=[digit_0,digit_1,digit_2,upper_O,upper_I]",
    "data.superclasses={digit:[digit_0,digit_1,digit_2],upper:[upper_O,upper_I]}",
    "parent.network.widths=[16,12]",
    "branch.network.widths=[8]",
    *(f"++{part}.fit.{option}" for part in ("parent", "branch") for option in RECIPE),
    "trainer.accelerator=cpu",
    "trainer.threads=1",
    "trainer.progress=false",
    "threshold=coverage",
    "threshold.target=0.6",
)


class Never:
    """A rule that certifies nothing."""

    kind, promise = "never", "answers nothing"

    def __str__(self) -> str:
        return self.kind

    def fit(self, score: object, error: object) -> float:
        return math.inf


@pytest.fixture(scope="module", autouse=True)
def _process_restored() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for variable in ("PYTORCH_NVML_BASED_CUDA_CHECK", "PL_GLOBAL_SEED", "PL_SEED_WORKERS"):
            patch.setenv(variable, "0")
        before = torch.get_num_threads()
        yield
        torch.set_num_threads(before)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> pipeline.Run:
    outputs = tmp_path_factory.mktemp("report") / "outputs"
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return pipeline.run(Settings.from_config(compose("train", [*OPTIONS, f"outputs={outputs}"])))


@pytest.fixture(scope="module")
def folder(run: pipeline.Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an ordinary run."""
    folder = tmp_path_factory.mktemp("ordinary")
    write_run(run, folder, draw=True)
    return folder


@pytest.fixture(scope="module")
def silent(run: pipeline.Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run whose threshold accepts nothing."""
    folder = tmp_path_factory.mktemp("silent")
    write_run(pipeline.run(dataclasses.replace(run.settings, threshold=Never())), folder, draw=True)
    return folder


def rows(file: Path) -> list[dict[str, str]]:
    with file.open() as stream:
        return list(csv.DictReader(stream))


def is_a_picture(image: Image.Image) -> bool:
    """Whether something is drawn: of some size, many colours, and not all paper."""
    pixels = np.asarray(image.convert("RGB"))
    colours = len(np.unique(pixels.reshape(-1, 3), axis=0))
    return min(pixels.shape[:2]) > 150 and colours > 50 and (pixels == 255).all(2).mean() < 0.98


# One run.


def test_results_have_every_key(folder: Path, run: pipeline.Run) -> None:
    results = json.loads((folder / "results.json").read_text())
    assert results == read_results(folder)
    assert results["schema_version"] == 1
    assert results["status"] == "completed"
    assert results["subset"] == "digits"
    assert results["classes"] == ["digit_0", "digit_1", "digit_2"]
    assert results["branch_point"] == "hidden2"
    assert {"kind", "value"} <= results["threshold"].keys()
    judged = {"n", "accuracy", "n_accepted", "coverage", "selective_accuracy", "aurc"}
    for name in ("validation", "calibration", "test"):
        assert judged <= results[name].keys()
    assert "loss" in results["validation"]
    assert {"accuracy", "aurc", "coverage", "selective_accuracy"} <= results["test"][
        "parent_restricted"
    ].keys()
    assert 0 <= results["parent"]["test_accuracy"] <= 1
    assert results["artifacts"].keys() == {"data", "parent", "activations", "branch"}
    for entry in results["artifacts"].values():
        assert entry.keys() >= {"key", "path", "built", "seconds"}
        assert Path(entry["path"]).name == entry["key"]
        assert entry["built"] is True
        assert entry["seconds"] > 0
    assert results["test"]["n"] == 60
    assert 0 < results["test"]["n_accepted"] < 60


def test_a_run_leaves_these_files(folder: Path, run: pipeline.Run, tmp_path: Path) -> None:
    files = {"results.json", "config.yaml", "curve.csv", "predictions.csv"}
    drawn = {file.name for file in folder.iterdir() if not file.name.startswith("events.")}
    assert drawn == files | {"risk_coverage.png", "confusion.png"}
    write_run(run, tmp_path, draw=False)
    assert {file.name for file in tmp_path.iterdir() if not file.name.startswith("events.")} == files
    for name in files - {"results.json"}:
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


def test_numbers_that_are_none_become_null(tmp_path: Path, silent: Path) -> None:
    values = {"a": math.nan, "b": [math.inf, 1.5, -math.inf], "c": {"d": (np.float64("nan"), 2)}, "e": "nan"}
    write_results(tmp_path, values)
    read = json.loads((tmp_path / "results.json").read_text(), parse_constant=pytest.fail)
    assert read == {
        "schema_version": 1, "a": None, "b": [None, 1.5, None], "c": {"d": [None, 2]}, "e": "nan",
    }  # fmt: skip
    results = json.loads((silent / "results.json").read_text(), parse_constant=pytest.fail)
    assert results["threshold"]["value"] is None
    assert results["threshold"]["reject_all"] is True
    assert results["test"]["selective_accuracy"] is None
    assert results["test"]["parent_restricted"]["selective_accuracy"] is None
    assert results["test"]["coverage"] == 0
    assert results["test"]["accuracy"] is not None


@pytest.mark.parametrize("which", ["folder", "silent"])
def test_predictions_reproduce_the_results(which: str, request: pytest.FixtureRequest) -> None:
    place = request.getfixturevalue(which)
    results = read_results(place)
    threshold = math.inf if results["threshold"]["value"] is None else results["threshold"]["value"]
    lines = rows(place / "predictions.csv")
    for split in ("validation", "calibration", "test"):
        mine = [line for line in lines if line["split"] == split]
        right = [line["label"] == line["prediction"] for line in mine]
        accepted = [float(line["score"]) >= threshold for line in mine]
        assert accepted == [line["accepted"] == "1" for line in mine]
        assert len(mine) == results[split]["n"]
        assert sum(right) / len(mine) == results[split]["accuracy"]
        assert sum(accepted) == results[split]["n_accepted"]
        assert sum(accepted) / len(mine) == results[split]["coverage"]
        if any(accepted):
            both = sum(r and a for r, a in zip(right, accepted, strict=True))
            assert both / sum(accepted) == results[split]["selective_accuracy"]
        else:
            assert results[split]["selective_accuracy"] is None
    parents = [line["label"] == line["parent_prediction"] for line in lines if line["split"] == "test"]
    assert sum(parents) / len(parents) == results["test"]["parent_restricted"]["accuracy"]


def test_predictions_carry_scores_and_logits_of_rows(folder: Path, run: pipeline.Run) -> None:
    lines = rows(folder / "predictions.csv")
    assert len({line["row"] for line in lines}) == len(lines)
    for line in lines:
        logits = np.array([float(line[f"logit_{name}"]) for name in run.settings.classes])
        probabilities = np.exp(logits) / np.exp(logits).sum()
        assert line["prediction"] == run.settings.classes[probabilities.argmax()]
        assert float(line["score"]) == pytest.approx(probabilities.max(), rel=1e-4)
        assert line["label"] == run.table.classes[run.table.labels[int(line["row"])]]


def test_the_curve_reproduces_aurc_and_the_point_at_the_threshold(folder: Path) -> None:
    points = [{name: float(value) for name, value in line.items()} for line in rows(folder / "curve.csv")]
    assert points[0]["coverage"] == 1
    coverage = [point["coverage"] for point in points] + [0.0]
    risk = [point["selective_risk"] for point in points] + [points[-1]["selective_risk"]]
    area = sum((coverage[i] - coverage[i + 1]) * (risk[i] + risk[i + 1]) / 2 for i in range(len(points)))
    test = read_results(folder)["test"]
    assert area == pytest.approx(test["aurc"], abs=1e-12)
    threshold = read_results(folder)["threshold"]["value"]
    at = next(point for point in points if point["threshold"] >= threshold)
    assert at["n_accepted"] == test["n_accepted"]
    assert at["coverage"] == test["coverage"]
    assert 1 - at["selective_risk"] == pytest.approx(test["selective_accuracy"])


def test_the_configuration_is_resolved_and_gives_the_same_settings(folder: Path, run: pipeline.Run) -> None:
    text = (folder / "config.yaml").read_text()
    assert "${" not in text
    assert "???" not in text
    config = OmegaConf.load(folder / "config.yaml")
    again = Settings.from_config(config)  # type: ignore[arg-type]
    assert again.config == run.settings.config
    assert again.classes == run.settings.classes
    assert pipeline.run(again).results["artifacts"]["branch"]["built"] is False


def test_figures_are_pictures(folder: Path, silent: Path) -> None:
    for place in (folder, silent):
        for name in ("risk_coverage", "confusion"):
            with Image.open(place / f"{name}.png") as image:
                assert is_a_picture(image), (place, name)
    blank = io.BytesIO()
    Figure(figsize=(4, 4)).savefig(blank)
    assert not is_a_picture(Image.open(blank))


@pytest.mark.parametrize("which", ["folder", "silent"])
def test_events_hold_curves_scalars_and_the_hparams_row(
    which: str, run: pipeline.Run, request: pytest.FixtureRequest
) -> None:
    place = request.getfixturevalue(which)
    results = read_results(place)
    events = EventAccumulator(str(place))
    events.Reload()
    tags = events.Tags()
    for part, history in run.histories.items():
        for metric in ("train/loss", "val/loss", "val/accuracy"):
            scalars = events.Scalars(f"{part}/{metric}")
            assert [scalar.step for scalar in scalars] == list(range(1, len(history) + 1))
            values = [entry[metric] for entry in history]
            assert [scalar.value for scalar in scalars] == pytest.approx(values, rel=1e-6)
    assert len(run.histories["branch"]) > 1

    points = rows(place / "curve.csv")
    scalars = events.Scalars("test/selective_accuracy_by_coverage")
    reached = [p for p in range(1, 101) if p >= 100 * float(points[-1]["coverage"]) - 1e-9]
    assert [scalar.step for scalar in scalars] == reached
    for scalar in scalars:
        at = next(point for point in points if float(point["coverage"]) <= scalar.step / 100 + 1e-12)
        assert scalar.value == pytest.approx(1 - float(at["selective_risk"]), rel=1e-6)
    assert scalars[-1].value == pytest.approx(results["test"]["accuracy"], rel=1e-6)

    assert sorted(tags["images"]) == ["test/confusion", "test/risk_coverage"]
    picture = Image.open(io.BytesIO(events.Images("test/confusion")[0].encoded_image_string))
    assert is_a_picture(picture)
    metrics = {
        "test/accuracy": results["test"]["accuracy"],
        "test/aurc": results["test"]["aurc"],
        "test/coverage": results["test"]["coverage"],
        "test/selective_accuracy": results["test"]["selective_accuracy"],
        "test/parent_restricted_accuracy": results["test"]["parent_restricted"]["accuracy"],
        "test/parent_restricted_aurc": results["test"]["parent_restricted"]["aurc"],
    }
    for tag, value in metrics.items():
        [scalar] = events.Scalars(tag)
        assert math.isnan(scalar.value) if value is None else scalar.value == pytest.approx(value, rel=1e-6)
    assert not [tag for tag in tags["scalars"] if tag.startswith("hp_metric")]
    chosen = _hparams(events, "_hparams_/session_start_info").session_start_info.hparams
    assert chosen["branch/subset"].string_value == "digits"
    assert chosen["branch/point"].string_value == "hidden2"
    assert chosen["branch/threshold"].string_value == results["threshold"]["rule"]
    assert chosen["seed/branch"].number_value == 0
    infos = _hparams(events, "_hparams_/experiment").experiment.metric_infos
    assert {info.name.tag for info in infos} == set(metrics)


def _hparams(events: EventAccumulator, tag: str) -> Any:
    content = events.SummaryMetadata(tag).plugin_data.content
    return plugin_data_pb2.HParamsPluginData.FromString(content)


def test_the_printed_table_has_the_numbers(
    run: pipeline.Run, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    print_run(run, folder)
    text = capsys.readouterr().out
    test = run.results["test"]
    for numbers in (test, test["parent_restricted"]):
        for name in ("accuracy", "aurc", "coverage", "selective_accuracy"):
            assert f"{numbers[name]:.3f}" in text
    assert "60 test images" in text
    assert str(folder) in text
    assert "built data" in text


def test_provenance_and_numbers_in_words(run: pipeline.Run) -> None:
    artifacts = {
        "data": {"built": False, "build_seconds": 1.0},
        "branch": {"built": True, "build_seconds": 2.04},
    }
    assert provenance({"artifacts": artifacts}) == "built branch (2.0 s); reused data"
    assert [number(value) for value in (0.12345, None, math.nan)] == ["0.123", "–", "–"]


# Figures.


def test_the_risk_coverage_figure_draws_its_lines_and_points() -> None:
    lines = {
        "a": figures.Line([1.0, 0.5], [0.7, 0.9], (0.5, 0.9)),
        "b": figures.Line([1.0, 0.2], [0.6, 1.0], None),
    }
    [axes] = figures.risk_coverage(lines, "title").axes
    drawn = [tuple(map(tuple, line.get_data())) for line in axes.lines]
    assert drawn == [((1.0, 0.5), (0.7, 0.9)), ((0.5,), (0.9,)), ((1.0, 0.2), (0.6, 1.0))]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["a", "b"]
    assert axes.get_ylim()[0] <= 0.6


def test_the_confusion_figure_shows_every_count() -> None:
    table = {"rows": ["x", "y"], "columns": ["x", "y", "abstain"], "counts": [[5, 1, 0], [2, 3, 4]]}
    [axes] = figures.confusion(table, "title").axes
    shown = {
        (round(text.get_position()[1]), round(text.get_position()[0])): text.get_text() for text in axes.texts
    }
    assert shown == {(0, 0): "5", (0, 1): "1", (0, 2): "0", (1, 0): "2", (1, 1): "3", (1, 2): "4"}
    assert [label.get_text() for label in axes.get_xticklabels()] == table["columns"]
    assert [label.get_text() for label in axes.get_yticklabels()] == table["rows"]


def test_the_comparison_figure_shows_mean_and_standard_deviation() -> None:
    values = {"fish": {"hidden1": [0.5, 0.7], "hidden2": [0.8]}, "flowers": {"hidden2": [0.4]}}
    baselines = {"fish": {"hidden1": [0.3], "hidden2": [0.3]}, "flowers": {"hidden2": [0.2]}}
    [axes] = figures.comparison(values, baselines, ["hidden1", "hidden2"], "accuracy").axes
    means = [container[0].get_ydata().tolist() for container in axes.containers]
    assert means == [[pytest.approx(0.6), 0.8], [0.3, 0.3], [0.4], [0.2]]
    [bars] = axes.containers[0][2]
    low, high = bars.get_segments()[0][:, 1]
    assert (high - low) / 2 == pytest.approx(np.std([0.5, 0.7], ddof=1))
    assert [label.get_text() for label in axes.get_xticklabels()] == ["hidden1", "hidden2"]


# Many runs.


def changed(run: pipeline.Run, **values: Any) -> pipeline.Run:
    """The run under other settings, as far as the summary knows them."""
    return dataclasses.replace(run, results={**run.results, **values})


@pytest.fixture
def sweep(run: pipeline.Run, tmp_path: Path) -> Path:
    """Completed runs, a failed one, an unfinished one, and files of others."""
    for name, values in {
        "0_digits_hidden2": {},
        "2_upper_hidden2": {"subset": "upper"},
        "10_digits_hidden1": {"branch_point": "hidden1"},
    }.items():
        (tmp_path / name).mkdir()
        write_run(changed(run, **values), tmp_path / name, draw=False)
    (tmp_path / "3_failed").mkdir()
    write_results(
        tmp_path / "3_failed", {"status": "failed", "error": {"type": "InputError", "message": "no room"}}
    )
    (tmp_path / "4_unfinished").mkdir()
    (tmp_path / "4_unfinished" / "config.yaml").write_text("seed: 0\n")
    for name, text in {
        "foreign": '{"accuracy": 0.9}',
        "list": "[1, 2]",
        "torn": '{"schema_version": 1, "status": "comp',
        "newer": '{"schema_version": 2, "status": "completed"}',
    }.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "results.json").write_text(text)
    return tmp_path


def test_a_summary_has_a_row_for_every_run_and_a_reason_for_every_other(
    sweep: Path, run: pipeline.Run
) -> None:
    summary = summarize(sweep)
    completed = ["0_digits_hidden2", "2_upper_hidden2", "10_digits_hidden1"]
    assert [row["run"] for row in summary.completed] == completed
    assert summary.failed == [{"run": "3_failed", "status": "failed", "error": "no room"}]
    assert set(summary.unread) == {"4_unfinished", "foreign", "list", "torn", "newer"}
    assert "unfinished" in summary.unread["4_unfinished"]
    assert "schema_version 2" in summary.unread["newer"]
    for name in ("foreign", "list", "torn"):
        assert "not a results file" in summary.unread[name]

    table = rows(sweep / "summary.csv")
    assert [row["run"] for row in table] == [*completed, "3_failed"]
    test = run.results["test"]
    expected = {
        "status": "completed",
        "data": "glyphs",
        "parent": "mlp",
        "subset": "digits",
        "branch_point": "hidden1",
        "branch": "mlp",
        "threshold": "coverage 0.6",
        "parent_seed": "0",
        "branch_seed": "0",
        "threshold_value": str(run.results["threshold"]["value"]),
        "validation_accuracy": str(run.results["validation"]["accuracy"]),
        "test_n": "60",
        "test_accuracy": str(test["accuracy"]),
        "test_aurc": str(test["aurc"]),
        "test_coverage": str(test["coverage"]),
        "test_n_accepted": str(test["n_accepted"]),
        "test_selective_accuracy": str(test["selective_accuracy"]),
        "restricted_accuracy": str(test["parent_restricted"]["accuracy"]),
        "restricted_aurc": str(test["parent_restricted"]["aurc"]),
        "parent_test_accuracy": str(run.results["parent"]["test_accuracy"]),
        "built": "data parent activations branch",
        "error": "",
    }
    assert table[2] == {"run": "10_digits_hidden1", **expected}
    assert table[1] == {**expected, "run": "2_upper_hidden2", "subset": "upper", "branch_point": "hidden2"}
    assert {name: value for name, value in table[3].items() if value} == summary.failed[0]


def test_the_markdown_has_every_setting_and_names_what_has_no_results(sweep: Path, run: pipeline.Run) -> None:
    summarize(sweep)
    text = (sweep / "summary.md").read_text()
    for setting in ("digits | hidden2", "upper | hidden2", "digits | hidden1"):
        [line] = [line for line in text.splitlines() if line.startswith(f"| {setting} | coverage 0.6 |")]
        assert f"| {run.results['test']['accuracy']:.3f} |" in line
    assert "| 3_failed | failed: no room |" in text
    for name in ("4_unfinished", "foreign", "list", "torn", "newer"):
        assert f"\n| {name} | " in text
    assert "AURC: one point per distinct score" in text
    for table in text.split("\n\n"):
        assert len({line.count("|") for line in table.splitlines()}) == 1, table


def test_the_summary_is_printed_with_what_was_skipped(
    sweep: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    print_summary(summarize(sweep))
    text = capsys.readouterr().out
    assert "3 runs" in text
    assert "failed 3_failed: no room" in text
    assert "skipped 4_unfinished" in text
    assert "skipped foreign" in text
    assert "3 data, 3 parent, 3 activations, 3 branch" in text
    assert str(sweep) in text


def test_the_summary_draws_comparisons(sweep: Path) -> None:
    summarize(sweep)
    for name in ("risk_coverage", "accuracy", "aurc"):
        with Image.open(sweep / f"{name}.png") as image:
            assert is_a_picture(image), name


def test_summarising_again_changes_nothing(sweep: Path) -> None:
    first = summarize(sweep)
    text = (sweep / "summary.csv").read_bytes()
    assert summarize(sweep) == first
    assert (sweep / "summary.csv").read_bytes() == text


def test_a_threshold_that_accepts_nothing_is_summarised_too(silent: Path, tmp_path: Path) -> None:
    place = tmp_path / "1"
    place.mkdir()
    for file in silent.iterdir():
        (place / file.name).write_bytes(file.read_bytes())
    [row] = summarize(place).completed
    assert row["test_selective_accuracy"] is None
    assert row["threshold_value"] is None
    assert row["run"] == "."
    assert "–" in (place / "summary.md").read_text()


def test_only_failed_runs_make_a_table_without_figures(tmp_path: Path) -> None:
    write_results(tmp_path, {"status": "failed", "error": {"message": "no room"}})
    summary = summarize(tmp_path)
    assert summary.completed == []
    assert not list(tmp_path.glob("*.png"))


def test_folders_without_runs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no results\.json"):
        summarize(tmp_path)
    with pytest.raises(InputError, match="does not exist"):
        summarize(tmp_path / "nothing")
    (tmp_path / "results.json").write_text("{}")
    with pytest.raises(InputError, match=r"has no results\.json of a run"):
        summarize(tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {"results.json"}


@pytest.mark.parametrize(
    "text",
    [
        '{"schema_version": 1}',
        '{"schema_version": 1, "status": "completed"}',
        '{"schema_version": 1, "status": 3}',
    ],
)
def test_a_foreign_file_that_looks_like_ours_is_skipped(text: str, sweep: Path) -> None:
    (sweep / "foreign" / "results.json").write_text(text)
    summary = collect(sweep)
    assert "foreign" in {*summary.unread, *(row["run"] for row in summary.failed)}
    assert len(summary.completed) == 3


def test_a_run_that_lost_its_curve_does_not_stop_the_others(sweep: Path) -> None:
    (sweep / "2_upper_hidden2" / "curve.csv").unlink()
    summary = summarize(sweep)
    assert "0_digits_hidden2" in [row["run"] for row in summary.completed]
    assert (sweep / "summary.csv").exists()


def write_all(runs: dict[str, pipeline.Run], folder: Path) -> Path:
    for name, each in runs.items():
        (folder / name).mkdir()
        write_run(each, folder / name, draw=False)
    return folder


def test_seeds_of_one_setting_are_aggregated(run: pipeline.Run, tmp_path: Path) -> None:
    accuracies = (0.5, 0.7, 0.75)
    runs = {
        str(seed): changed(
            run,
            seeds={"split": 0, "parent": seed, "branch": seed},
            test={
                **run.results["test"],
                "accuracy": accuracy,
                "selective_accuracy": 0.9 if seed else math.nan,
            },
            overrides=[f"seed={seed}"],
        )
        for seed, accuracy in enumerate(accuracies)
    }
    runs["again"] = runs["2"]  # repeated, not one more seed
    summary = summarize(write_all(runs, tmp_path))
    [record] = summary.settings()
    assert record["seeds"] == 3
    assert record["test_accuracy"] == pytest.approx((np.mean(accuracies), np.std(accuracies, ddof=1)))
    assert record["test_selective_accuracy"] == pytest.approx((0.9, 0))  # of the seeds that have one
    assert record["test_aurc"][1] == pytest.approx(0)
    assert len(rows(tmp_path / "summary.csv")) == 4
    text = (tmp_path / "summary.md").read_text()
    assert "| 0.650±0.132 |" in text
    assert "## Runs" in text


def test_a_single_run_has_no_deviation(folder: Path) -> None:
    [record] = collect(folder).settings()
    assert record["seeds"] == 1
    assert record["test_accuracy"] == (read_results(folder)["test"]["accuracy"], None)
    assert "±" not in number(*record["test_accuracy"])


def test_other_swept_options_get_a_column(run: pipeline.Run, tmp_path: Path) -> None:
    overrides = (["branch.fit.lr=0.1", "+x=1"], ["branch.fit.lr=0.2", "+x=1"], ["seed=0", "+x=1"])
    runs = {str(job): changed(run, overrides=typed) for job, typed in enumerate(overrides)}
    summary = summarize(write_all(runs, tmp_path))
    assert summary.swept == ["branch.fit.lr"]  # not x, which is the same everywhere
    assert [row["branch.fit.lr"] for row in rows(tmp_path / "summary.csv")] == ["0.1", "0.2", "default"]
    assert [record["seeds"] for record in summary.settings()] == [1, 1, 1]


def test_published_figures_stand_beside_the_runs(run: pipeline.Run, tmp_path: Path) -> None:
    published = {"source": "a paper", "accuracy": 0.7533, "coverage": 0.833, "selective_accuracy": 0.8}
    summarize(write_all({"0": changed(run, published=published)}, tmp_path))
    [line] = [line for line in (tmp_path / "summary.md").read_text().splitlines() if "a paper" in line]
    assert [cell.strip() for cell in line.split("|")[1:-1]] == [
        "digits", "", "a paper", "0.753", "–", "0.833", "0.800", "–", "–",
    ]  # fmt: skip


OTHERS = [
    {"parent": {"name": "convnet"}},
    {"data": "cifar100"},
    {"branch": {"name": "linear"}},
    {"seeds": {"parent": 1}},
    {"seeds": {"branch": 1}},
    {"overrides": ["branch.fit.lr=0.1"]},
]


def two_runs(run: pipeline.Run, change: dict[str, Any], folder: Path) -> Path:
    [(name, value)] = change.items()
    other = {**run.results[name], **value} if isinstance(value, dict) else value
    test = {**run.results["test"], "accuracy": 0.125}
    return write_all({"0": run, "1": changed(run, **{name: other, "test": test})}, folder)


@pytest.mark.parametrize("change", OTHERS, ids=str)
def test_every_trained_branch_has_a_curve_of_its_own(
    change: dict[str, Any], run: pipeline.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: dict[str, figures.Line] = {}
    original = figures.risk_coverage
    monkeypatch.setattr(
        figures, "risk_coverage", lambda lines, title: drawn.update(lines) or original(lines, title)
    )
    summarize(two_runs(run, change, tmp_path))
    assert len(drawn) == 2


@pytest.mark.parametrize("change", OTHERS, ids=str)
def test_only_seeds_are_averaged_in_the_comparison(
    change: dict[str, Any], run: pipeline.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[dict[str, dict[str, list[float]]]] = []
    original = figures.comparison
    monkeypatch.setattr(
        figures, "comparison", lambda values, *rest: compared.append(values) or original(values, *rest)
    )
    summarize(two_runs(run, change, tmp_path))
    branches = [
        points["hidden2"] for group, points in compared[0].items() if "parent restricted" not in group
    ]
    values = [run.results["test"]["accuracy"], 0.125]
    assert branches == ([values] if "seeds" in change else [[value] for value in values])


def test_experiments_that_share_every_name_stay_apart(run: pipeline.Run, tmp_path: Path) -> None:
    for name, experiment, key in (("0_a", "first", "aaa"), ("1_b", "second", "bbb")):
        artifacts = {**run.results["artifacts"], "branch": {**run.results["artifacts"]["branch"], "key": key}}
        (tmp_path / name).mkdir()
        overrides = [f"experiment={experiment}"]
        write_run(changed(run, artifacts=artifacts, overrides=overrides), tmp_path / name, draw=False)
    summary = collect(tmp_path)
    assert summary.swept == ["experiment"]
    assert [record["experiment"] for record in summary.settings()] == ["first", "second"]


def test_runs_whose_configurations_differ_unseen_are_told_apart_by_them(
    run: pipeline.Run, tmp_path: Path
) -> None:
    for name, key, epochs in (("0_a", "aaa", 3), ("1_b", "bbb", 4)):
        artifacts = {**run.results["artifacts"], "branch": {**run.results["artifacts"]["branch"], "key": key}}
        (tmp_path / name).mkdir()
        write_run(changed(run, artifacts=artifacts, overrides=[]), tmp_path / name, draw=False)
        config = OmegaConf.load(tmp_path / name / "config.yaml")
        config.parent.fit.epochs = epochs
        OmegaConf.save(config, tmp_path / name / "config.yaml")
    assert collect(tmp_path).swept == ["parent.fit.epochs"]


@pytest.mark.parametrize(
    "damage",
    [{"artifacts": {"parent": 3}}, {"test": {}}, {"status": "failed", "error": "x"}, {"schema_version": 7}],
)
def test_a_damaged_run_does_not_take_the_others_with_it(
    damage: dict[str, Any], run: pipeline.Run, tmp_path: Path
) -> None:
    for name in ("0_good", "1_bad"):
        (tmp_path / name).mkdir()
        write_run(changed(run, overrides=[]), tmp_path / name, draw=False)
    file = tmp_path / "1_bad" / "results.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **damage}))
    (tmp_path / "0_good" / "curve.csv").write_text("damaged")
    summary = summarize(tmp_path)
    assert [row["run"] for row in summary.completed] == ["0_good"]
    assert list(summary.unread) == ["1_bad"]
