"""What one run leaves behind: files that agree with each other, and say what is missing."""

import csv
import dataclasses
import hashlib
import io
import json
import math
import re
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.figure import Figure
from omegaconf import OmegaConf
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2

from neural_branching import pipeline
from neural_branching.config.experiment import Experiment
from neural_branching.report import results as results_module
from neural_branching.report.cells import Cell, markdown_table, number, with_interval
from neural_branching.report.figures.thresholds import HEADER, threshold_lines
from neural_branching.report.metrics import METRICS
from neural_branching.report.pictures import pictures
from neural_branching.report.results import read_config, read_results, records, write_results
from neural_branching.report.run_logs import settings_of
from neural_branching.report.run_report import print_run, provenance, write_run
from neural_branching.selection import Bootstrap, clopper_pearson_upper
from sweeps import only, record

pytestmark = pytest.mark.usefixtures("rendered")

FILES = {"results.json", "config.yaml", "curve.csv", "scod_curve.csv", "thresholds.csv", "predictions.csv"}
FIGURES = {"risk_coverage", "scod", "reliability", "scores", "confusion", "thresholds"}
BOTH = pytest.mark.parametrize("which", ["folder", "silent"])


@pytest.fixture
def place(which: str, request: pytest.FixtureRequest) -> Path:
    return request.getfixturevalue(which)


@pytest.fixture(scope="module")
def complete(glyph_run: Any) -> pipeline.Run:
    """A run whose subset has every class of the data set, so that none is foreign."""
    classes = "[digit_0,digit_1,digit_2,upper_O,upper_I]"
    return glyph_run("subset=custom", f"subset.classes={classes}", "threshold=fixed", "branch.fit.epochs=2")


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as stream:
        return list(csv.DictReader(stream))


def points_of(file: Path) -> list[dict[str, float]]:
    return [{name: float(value) for name, value in line.items()} for line in rows(file)]


def files(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir() if file.is_file() and not file.name.startswith("events.")}


def threshold_of(results: dict[str, Any]) -> float:
    value = results["threshold"]["value"]
    return math.inf if value is None else value


def is_a_picture(example: Image.Image) -> bool:
    """Whether something is drawn: of some size, many colours, and not all paper."""
    pixels = np.asarray(example.convert("RGB"))
    colours = len(np.unique(pixels @ np.array([65536, 256, 1])))
    return min(pixels.shape[:2]) > 150 and colours > 50 and (pixels == 255).all(2).mean() < 0.98


# Results.


def test_results_have_every_key(folder: Path) -> None:
    results = json.loads((folder / "results.json").read_text())
    assert results == read_results(folder)
    results = record(results)
    assert results["schema_version"] == 4
    assert results["status"] == "completed"
    assert results["subset"] == "digits"
    assert results["classes"] == ["digit_0", "digit_1", "digit_2"]
    assert results["branch_point"] == "hidden2"
    assert results["score"].keys() == {"kind", "name", "bounds", "learns_from", "learned"}
    fitted = {"kind", "rule", "settings", "value", "reject_all", "promise", "guarantee", "split", "examples"}
    assert results["threshold"].keys() >= fitted | {"n", "certificate", "shortage"}
    areas = {"aurc", "e_aurc", "augrc", "failure_auroc"}
    judged = {"n", "accuracy", "n_accepted", "coverage", "selective_accuracy"} | areas
    for numbers in (results["validation"], results["calibration"], results["test"]):
        assert judged <= numbers.keys()
    assert "loss" in results["validation"]
    assert judged | {"intervals", "threshold"} <= results["test"]["parent_restricted"].keys()
    assert {"intervals", "per_class", "confusion"} <= results["test"].keys()
    assert {"temperature", "before", "after"} <= results["reliability"].keys()
    for numbers in (results["reliability"]["before"], results["reliability"]["after"]):
        assert {"ece", "nll", "brier", "confident", "intervals"} <= numbers.keys()
        assert numbers["intervals"].keys() == {"nll", "brier"}
        assert numbers["if_calibrated"]["ece"].keys() == {"mean", "quantile_95", "p_value"}
        assert numbers["confident"]["intervals"].keys() == {"accuracy"}
    assert {"near", "far", "per_class", "intervals", "parent_restricted"} <= results["foreign"].keys()
    assert 0 <= results["parent"]["test_accuracy"] <= 1
    assert results["artifacts"].keys() == {"data", "parent", "activations", "branch"}
    for entry in results["artifacts"].values():
        assert entry.keys() >= {"key", "path", "built", "seconds", "build_seconds"}
        assert Path(entry["path"]).name == entry["key"]
        assert entry["seconds"] > 0
    assert results["test"]["n"] == 60
    assert 0 < results["test"]["n_accepted"] < 60
    assert results["calibration"]["n"] == results["threshold"]["n"] == 120
    assert results["foreign"]["n"] == 40
    assert results["overrides"] == ["threshold=coverage", "threshold.target=0.6"]


def test_the_results_contain_what_was_measured(folder: Path, run: pipeline.Run) -> None:
    [node] = read_results(folder)["nodes"].values()
    for name, block in only(run).numbers().items():
        assert node[name] == json.loads(json.dumps(block).replace("NaN", "null"))


@BOTH
def test_intervals_hold_their_numbers(place: Path) -> None:
    results = record(read_results(place))
    for numbers in (results["test"], results["test"]["parent_restricted"], results["foreign"]):
        assert len(numbers["intervals"]) >= 3
        for name, (low, high) in numbers["intervals"].items():
            if numbers[name] is None:
                assert (low, high) == (None, None)
            else:
                # Excess and rank areas are biased on resamples, but not by more than their spread.
                assert low <= numbers[name] <= high, name


def test_numbers_that_are_none_become_null(tmp_path: Path, silent: Path) -> None:
    values = {"a": math.nan, "b": [math.inf, 1.5, -math.inf], "c": {"d": (np.float64("nan"), 2)}, "e": "nan"}
    write_results(tmp_path, values)
    read = json.loads((tmp_path / "results.json").read_text(), parse_constant=pytest.fail)
    assert read == {
        "schema_version": 4, "a": None, "b": [None, 1.5, None], "c": {"d": [None, 2]}, "e": "nan",
    }  # fmt: skip
    results = record(json.loads((silent / "results.json").read_text(), parse_constant=pytest.fail))
    assert results["threshold"]["value"] is None
    assert results["threshold"]["reject_all"] is True
    assert results["threshold"]["certificate"] is None
    assert results["threshold"]["shortage"]["examples"] > 120
    assert results["test"]["selective_accuracy"] is None
    assert results["test"]["intervals"]["selective_accuracy"] == [None, None]
    assert results["test"]["parent_restricted"]["selective_accuracy"] is None
    assert results["test"]["coverage"] == 0
    assert results["test"]["accuracy"] is not None
    assert results["foreign"]["false_accept_rate"] == 0


def test_where_no_image_counts_the_interval_is_exact(silent: Path) -> None:
    results = record(read_results(silent))
    nothing = {
        60: (results["test"]["intervals"]["coverage"],),
        40: (results["foreign"]["intervals"]["false_accept_rate"],),
        20: [each["intervals"]["false_accept_rate"] for each in results["foreign"]["per_class"].values()],
    }
    for n, intervals in nothing.items():
        for low, high in intervals:
            assert low == 0
            assert 0.75 * (1 - high) ** n == pytest.approx(0.025)  # two-sided
    assert len(nothing[20]) == 2


# Files.


def test_a_run_leaves_these_files(folder: Path, run: pipeline.Run, tmp_path: Path) -> None:
    assert files(folder) == FILES | {f"{name}.{ending}" for name in FIGURES for ending in ("png", "svg")}
    write_run(run, tmp_path, draw_figures=False)
    assert files(tmp_path) == FILES
    for name in FILES - {"results.json"}:
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()
    first, second = (json.loads((place / "results.json").read_text()) for place in (folder, tmp_path))
    mine, theirs = first.pop("written"), second.pop("written")
    assert first == second
    assert mine["counter"] == theirs["counter"]
    assert mine["number"] < theirs["number"]
    for place, block in ((folder, mine), (tmp_path, theirs)):
        assert block["files"] == {
            file.relative_to(place).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
            for file in place.rglob("*.*")
            if file.name != "results.json"
        }


def test_results_are_written_last(run: pipeline.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("no room")

    monkeypatch.setattr("neural_branching.report.run_report.write_events", fail)
    with pytest.raises(OSError, match="no room"):
        write_run(run, tmp_path, draw_figures=False)
    assert files(tmp_path) == FILES - {"results.json"}


def test_the_configuration_is_resolved_and_gives_the_same_settings(folder: Path, run: pipeline.Run) -> None:
    text = (folder / "config.yaml").read_text()
    assert "${" not in text
    assert "???" not in text
    again = Experiment.from_config(OmegaConf.load(folder / "config.yaml"))  # type: ignore[arg-type]
    assert again.config == run.experiment.config == read_config(folder)
    assert again.tree.classes == run.experiment.tree.classes
    assert not any(artifact["built"] for artifact in pipeline.run(again).results["artifacts"].values())


# Predictions.


@BOTH
def test_predictions_reproduce_the_results(place: Path) -> None:
    results = record(read_results(place))
    threshold = threshold_of(results)
    known = [line for line in rows(place / "predictions.csv") if line["label"] in results["classes"]]
    for split in ("validation", "calibration", "test"):
        mine = [line for line in known if line["split"] == split]
        right = [line["label"] == line["prediction"] for line in mine]
        accepted = [float(line["score"]) >= threshold for line in mine]
        assert accepted == [line["accepted"] == "1" for line in mine]
        assert len(mine) == results[split]["n"]
        assert sum(right) / len(mine) == pytest.approx(results[split]["accuracy"], rel=1e-12)
        assert sum(accepted) == results[split]["n_accepted"]
        assert sum(accepted) / len(mine) == results[split]["coverage"]
        if any(accepted):
            both = sum(r and a for r, a in zip(right, accepted, strict=True))
            assert both / sum(accepted) == pytest.approx(results[split]["selective_accuracy"], rel=1e-12)
        else:
            assert results[split]["selective_accuracy"] is None
    parents = [line["label"] == line["parent_prediction"] for line in known if line["split"] == "test"]
    restricted = results["test"]["parent_restricted"]
    assert sum(parents) / len(parents) == pytest.approx(restricted["accuracy"], rel=1e-12)
    sure = [line for line in known if float(line["parent_score"]) >= (restricted["threshold"] or math.inf)]
    assert sum(line["split"] == "test" for line in sure) == restricted["n_accepted"]


@BOTH
def test_foreign_predictions_reproduce_the_results(place: Path) -> None:
    results = record(read_results(place))
    lines = rows(place / "predictions.csv")
    foreign = [line for line in lines if line["label"] not in results["classes"]]
    assert lines[-len(foreign) :] == foreign  # they come last
    assert {line["split"] for line in foreign} == {"calibration", "test"}
    assert {line["label"] for line in foreign} == {"upper_O", "upper_I"}
    mine = [line for line in foreign if line["split"] == "test"]
    assert len(mine) == results["foreign"]["n"]
    assert sum(line["accepted"] == "1" for line in mine) == results["foreign"]["n_accepted"]
    for name, numbers in results["foreign"]["per_class"].items():
        answered = [line["accepted"] == "1" for line in mine if line["label"] == name]
        assert (len(answered), sum(answered)) == (numbers["n"], numbers["n_accepted"])


def test_predictions_carry_scores_and_logits_of_rows(folder: Path, run: pipeline.Run) -> None:
    lines = rows(folder / "predictions.csv")
    assert len({line["row"] for line in lines}) == len(lines)
    for line in lines:
        logits = np.array([float(line[f"logit_{name}"]) for name in run.experiment.tree.classes])
        probabilities = np.exp(logits) / np.exp(logits).sum()
        assert line["prediction"] == run.experiment.tree.classes[probabilities.argmax()]
        assert float(line["score"]) == pytest.approx(probabilities.max(), rel=1e-4)
        assert line["label"] == run.table.classes[run.table.labels[int(line["row"])]]


def test_predictions_of_very_many_classes_leave_logits_out(
    folder: Path, run: pipeline.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results_module, "MOST_LOGITS", 2)
    results_module.write_predictions(tmp_path, only(run), run.table.names)
    assert rows(tmp_path / "predictions.csv") == [
        {name: value for name, value in line.items() if not name.startswith("logit_")}
        for line in rows(folder / "predictions.csv")
    ]


def test_predictions_say_what_each_image_fitted(
    run: pipeline.Run, folder: Path, glyph_run: Any, tmp_path: Path
) -> None:
    def fitted(place: Path) -> dict[tuple[str, str, bool], int]:
        counts: dict[tuple[str, str, bool], int] = {}
        for line in rows(place / "predictions.csv"):
            key = line["split"], line["fits"], line["label"] in run.experiment.tree.classes
            counts[key] = counts.get(key, 0) + 1
        return counts

    unused = {("validation", "", True): 30, ("test", "", True): 60, ("test", "", False): 40}
    assert fitted(folder) == {
        **unused, ("calibration", "threshold", True): 120, ("calibration", "", False): 80,
    }  # fmt: skip
    others = {
        ("score=temperature", "threshold=fixed"): {
            ("calibration", "score", True): 60, ("calibration", "", True): 60, ("calibration", "", False): 80,
        },
        ("threshold=false_accept",): {
            ("calibration", "", True): 120, ("calibration", "threshold", False): 80,
        },
    }  # fmt: skip
    for overrides, expected in others.items():
        place = tmp_path / overrides[0]
        place.mkdir()
        write_run(glyph_run(*overrides), place, draw_figures=False)
        assert fitted(place) == {**unused, **expected}


# Curves and points.


def area_under(points: list[dict[str, float]]) -> float:
    assert points[0]["coverage"] == 1
    corners = [(point["coverage"], point["selective_risk"]) for point in points]
    corners.append((0.0, corners[-1][1]))
    return sum((left[0] - right[0]) * (left[1] + right[1]) / 2 for left, right in pairwise(corners))


def test_the_curve_reproduces_aurc_and_the_point_at_the_threshold(folder: Path) -> None:
    points = points_of(folder / "curve.csv")
    results = record(read_results(folder))
    test = results["test"]
    assert area_under(points) == pytest.approx(test["aurc"], abs=1e-12)
    at = next(point for point in points if point["threshold"] >= results["threshold"]["value"])
    assert at["n_accepted"] == test["n_accepted"]
    assert at["coverage"] == test["coverage"]
    assert 1 - at["selective_risk"] == pytest.approx(test["selective_accuracy"])


@BOTH
def test_the_scod_curve_counts_answered_foreign_images_as_errors(place: Path) -> None:
    points = points_of(place / "scod_curve.csv")
    results = record(read_results(place))
    assert points[0]["n_accepted"] == 100
    assert area_under(points) == pytest.approx(results["foreign"]["scod_aurc"], abs=1e-12)
    right = round(60 * results["test"]["accuracy"])
    assert points[0]["selective_risk"] == pytest.approx(1 - right / 100)
    lines = [line for line in rows(place / "predictions.csv") if line["split"] == "test"]
    middle = points[len(points) // 2]
    answered = [line for line in lines if float(line["score"]) >= middle["threshold"]]
    assert len(answered) == middle["n_accepted"]
    wrong = sum(line["label"] != line["prediction"] for line in answered)
    assert wrong / len(answered) == pytest.approx(middle["selective_risk"])


@BOTH
def test_the_points_are_recounted_from_the_predictions(place: Path) -> None:
    results = record(read_results(place))
    lines = [line for line in rows(place / "predictions.csv") if line["split"] == "test"]
    points = rows(place / "thresholds.csv")
    thresholds = [float(point["threshold"]) for point in points]
    assert thresholds == sorted(thresholds)
    assert {0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99} <= set(thresholds)
    for point, threshold in zip(points, thresholds, strict=True):
        answered = [line for line in lines if float(line["score"]) >= threshold]
        mine = [line for line in answered if line["label"] in results["classes"]]
        assert int(point["n_accepted"]) == len(mine)
        assert float(point["coverage"]) == pytest.approx(len(mine) / 60)
        assert float(point["coverage_low"]) <= len(mine) / 60 <= float(point["coverage_high"])
        right = sum(line["label"] == line["prediction"] for line in mine)
        expected = right / len(mine) if mine else math.nan
        assert float(point["selective_accuracy"]) == pytest.approx(expected, nan_ok=True)
        share = (len(answered) - len(mine)) / 40
        assert float(point["false_accept_rate"]) == pytest.approx(share)
        low, high = (float(point[f"false_accept_rate_{end}"]) for end in ("low", "high"))
        assert 0 <= low <= share <= high <= 1
        assert low < high
    [own] = [point for point in points if point["chosen"] == "True"]
    assert float(own["threshold"]) == threshold_of(results)
    assert int(own["n_accepted"]) == results["test"]["n_accepted"]
    for name in ("coverage", "selective_accuracy"):
        ends = [own[f"{name}_{end}"] for end in ("low", "high")]
        assert ends == ["nan" if end is None else repr(end) for end in results["test"]["intervals"][name]]


# Figures.


def test_figures_are_pictures(folder: Path) -> None:
    for name in FIGURES:
        with Image.open(folder / f"{name}.png") as example:
            assert is_a_picture(example), name
    blank = io.BytesIO()
    Figure(figsize=(4, 4)).savefig(blank)
    assert not is_a_picture(Image.open(blank))


def test_figures_can_be_enlarged(folder: Path) -> None:
    space = "{http://www.w3.org/2000/svg}"
    for name in FIGURES:
        root = ElementTree.parse(folder / f"{name}.svg").getroot()
        assert root.tag == f"{space}svg"
        assert len(list(root.iter(f"{space}path"))) > 10, name


def test_a_run_that_answers_nothing_is_drawn(silent_run: pipeline.Run) -> None:
    drawn = pictures(record(silent_run.results), only(silent_run))
    assert drawn.keys() == FIGURES
    for name, figure in drawn.items():
        stream = io.BytesIO()
        figure.savefig(stream, dpi=60)
        assert is_a_picture(Image.open(stream)), name
    for name, curves in (("risk_coverage", 2), ("scod", 1)):
        [axes] = drawn[name].axes
        assert len(axes.lines) == curves  # and no mark after any
        assert all(len(line.get_xdata()) > 1 for line in axes.lines)
        assert "mark" not in axes.get_xlabel()


def test_the_curves_are_drawn_with_their_bands_and_marks(run: pipeline.Run) -> None:
    drawn = pictures(record(run.results), only(run))
    [axes] = drawn["risk_coverage"].axes
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["branch", "parent restricted"]
    assert axes.get_xlabel() == "coverage: share of test examples answered (mark: at the threshold)"
    branch, mark, parent, parents_mark = axes.lines
    for line, point, numbers in (
        (branch, mark, record(run.results)["test"]),
        (parent, parents_mark, record(run.results)["test"]["parent_restricted"]),
    ):
        assert line.get_xdata().tolist() == pytest.approx([level / 100 for level in range(100, 0, -1)])
        assert line.get_ydata()[0] == pytest.approx(numbers["accuracy"])
        shown = (point.get_xdata()[0], point.get_ydata()[0])
        assert shown == pytest.approx((numbers["coverage"], numbers["selective_accuracy"]))
    band = axes.collections[0].get_paths()[0].vertices
    ends = sorted(set(band[np.isclose(band[:, 0], 1), 1]))
    right = ~only(run).thresholds[0].branch.answers.known["test"].error
    assert [ends[0], ends[-1]] == pytest.approx(Bootstrap(len(right)).mean(right))


def test_the_curve_with_foreign_images_is_a_figure_of_its_own(run: pipeline.Run) -> None:
    [axes] = pictures(record(run.results), only(run))["scod"].axes
    curve, mark = axes.lines
    test, foreign = record(run.results)["test"], record(run.results)["foreign"]
    assert curve.get_xdata()[0] == 1
    assert curve.get_ydata()[0] == pytest.approx(test["accuracy"] * 0.6)
    answered = test["n_accepted"] + foreign["n_accepted"]
    right = test["n_accepted"] * test["selective_accuracy"]
    shown = (mark.get_xdata()[0], mark.get_ydata()[0])
    assert shown == pytest.approx((answered / 100, right / answered))
    assert shown in [pytest.approx(point) for point in zip(*curve.get_data(), strict=True)]
    assert not axes.collections  # without a band
    assert "foreign examples count as errors" in axes.get_title()
    assert "all test examples, foreign ones too" in axes.get_xlabel()


def test_bands_contain_their_lines(run: pipeline.Run) -> None:
    [axes] = pictures(record(run.results), only(run))["risk_coverage"].axes
    for line, band in zip((axes.lines[0], axes.lines[2]), axes.collections, strict=True):
        corners = band.get_paths()[0].vertices
        for x, y in zip(*line.get_data(), strict=True):
            ends = corners[np.isclose(corners[:, 0], x), 1]
            if len(ends):
                assert ends.min() - 1e-9 <= y <= ends.max() + 1e-9
        assert len({round(x, 6) for x in corners[:, 0]}) > 90


# TensorBoard.


@BOTH
def test_events_hold_the_curves(place: Path, run: pipeline.Run) -> None:
    results = record(read_results(place))
    events = loaded(place)
    for part, history in run.histories.items():
        for metric in ("train/loss", "val/loss", "val/accuracy"):
            scalars = events.Scalars(f"{part}/{metric}")
            assert [scalar.step for scalar in scalars] == list(range(1, len(history) + 1))
            values = [entry[metric] for entry in history]
            assert [scalar.value for scalar in scalars] == pytest.approx(values, rel=1e-6)
    assert len(run.histories["branch"]) > 1

    points = points_of(place / "curve.csv")
    scalars = events.Scalars("test/selective_accuracy_by_coverage")
    reached = [percent for percent in range(1, 101) if percent >= 100 * points[-1]["coverage"] - 1e-9]
    assert [scalar.step for scalar in scalars] == reached
    for scalar in scalars:
        at = next(point for point in points if point["coverage"] <= scalar.step / 100 + 1e-12)
        assert scalar.value == pytest.approx(1 - at["selective_risk"], rel=1e-6)
    assert scalars[-1].value == pytest.approx(results["test"]["accuracy"], rel=1e-6)


def loaded(folder: Path) -> EventAccumulator:
    events = EventAccumulator(str(folder))
    events.Reload()
    return events


@BOTH
def test_a_row_of_hparams_has_the_metrics(place: Path) -> None:
    results, events = record(read_results(place)), loaded(place / "threshold_0")
    metrics = {metric.tag: metric.of(results) for metric in METRICS if metric.tag}
    for tag, value in metrics.items():
        [scalar] = events.Scalars(tag)
        assert math.isnan(scalar.value) if value is None else scalar.value == pytest.approx(value, rel=1e-6)
    # What lies in the row's folder is a column, so that curves lie elsewhere; the first five are shown.
    names = sorted(events.Tags()["scalars"])
    assert set(names) == set(metrics)
    assert names[:5] == [
        f"test/{name}" for name in ("accuracy", "aurc", "coverage", "false_accept_rate", "selective_accuracy")
    ]
    # A list of names would hide what other runs have beside it.
    assert "_hparams_/experiment" not in events.Tags()["tensors"]


def test_a_row_of_hparams_has_the_settings_by_the_names_that_one_types(folder: Path) -> None:
    results, events = record(read_results(folder)), loaded(folder / "threshold_0")
    chosen = _hparams(events, "_hparams_/session_start_info").session_start_info.hparams
    told = {name: value.string_value or value.number_value for name, value in chosen.items()}
    assert told == {
        **{"data": "glyphs", "subset": "digits", "branch_point": "hidden2", "score": "max_softmax"},
        **{"parent": "mlp", "parent.labels": "fine", "branch": "mlp"},
        **{"parent.seed": 0, "branch.seed": 0, "data.split.seed": 0},
        **{"threshold": "coverage", "threshold.target": 0.6},
        "threshold.value": pytest.approx(results["threshold"]["value"]),
    }


def test_settings_are_what_was_typed_numbers_as_numbers(run: pipeline.Run) -> None:
    typed = ["+branch.fit.lr=0.01", "parent.network.widths=[8]", "outputs=x", "seed=3", "threshold.value=9"]
    results = record(run.results) | {"overrides": [*typed, "hydra.verbose=true", "trainer.threads=1"]}
    told = settings_of(results)
    assert told.keys() - settings_of(record(run.results)).keys() == {"branch.fit.lr", "parent.network.widths"}
    assert (told["branch.fit.lr"], told["parent.network.widths"]) == (0.01, "[8]")
    results["threshold"] = {**results["threshold"], "value": math.inf}  # accepts nothing
    assert "threshold.value" not in settings_of(results)


def test_events_hold_the_figures_if_there_are_any(folder: Path, silent: Path) -> None:
    events = EventAccumulator(str(folder))
    events.Reload()
    assert set(events.Tags()["images"]) == {f"test/{name}" for name in FIGURES}
    for name in FIGURES:
        [example] = events.Images(f"test/{name}")
        assert example.encoded_image_string == (folder / f"{name}.png").read_bytes()
        picture = Image.open(io.BytesIO(example.encoded_image_string))
        assert is_a_picture(picture), name
        assert picture.size == (example.width, example.height)
    without = EventAccumulator(str(silent))
    without.Reload()
    assert without.Tags()["images"] == []


def test_events_hold_the_thresholds_as_a_table(folder: Path, run: pipeline.Run) -> None:
    events = EventAccumulator(str(folder))
    events.Reload()
    [tag] = [tag for tag in events.Tags()["tensors"] if tag.startswith("test/thresholds")]
    [entry] = events.Tensors(tag)
    text = entry.tensor_proto.string_val[0].decode()
    lines = markdown_table(list(HEADER), threshold_lines(only(run).operating_points))
    assert [re.sub(r"\s+", " ", line) for line in lines] == text.replace(
        "\N{NO-BREAK SPACE}", " "
    ).splitlines()
    assert all(re.fullmatch(r"\|( [^ ]+ \|)+", line) for line in text.splitlines()[2:])  # no cell is broken
    assert text.count("(this\N{NO-BREAK SPACE}run)") == 1


def _hparams(events: EventAccumulator, tag: str) -> Any:
    content = events.SummaryMetadata(tag).plugin_data.content
    return plugin_data_pb2.HParamsPluginData.FromString(content)


def test_another_logger_gets_the_same_numbers(glyph_run: Any, tmp_path: Path) -> None:
    done = glyph_run("logger=csv")
    write_run(done, tmp_path, draw_figures=False)
    assert files(tmp_path) == FILES | {"metrics.csv"}
    assert not list(tmp_path.rglob("events.*"))
    assert "metrics.csv" in read_results(tmp_path)["written"]["files"]
    *epochs, last = rows(tmp_path / "metrics.csv")
    for part, history in done.histories.items():
        for metric in ("train/loss", "val/accuracy"):
            assert [float(line[f"{part}/{metric}"]) for line in epochs if line[f"{part}/{metric}"]] == [
                entry[metric] for entry in history
            ]
    assert [int(line["step"]) for line in epochs] == list(range(1, len(epochs) + 1))
    assert float(last["test/accuracy"]) == record(done.results)["test"]["accuracy"]
    write_run(done, tmp_path, draw_figures=False)  # once more, into the same folder
    assert len(rows(tmp_path / "metrics.csv")) == len(epochs) + 1


def test_without_a_logger_a_run_has_its_files_alone(glyph_run: Any, tmp_path: Path) -> None:
    write_run(glyph_run("logger=none"), tmp_path, draw_figures=False)
    assert {file.name for file in tmp_path.iterdir()} == FILES


# On the screen.


def test_the_printed_table_has_the_numbers(
    run: pipeline.Run, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    print_run(run, folder)
    text = capsys.readouterr().out
    test = record(run.results)["test"]
    for numbers in (test, test["parent_restricted"]):
        for name in ("accuracy", "aurc", "coverage", "selective_accuracy"):
            low, high = numbers["intervals"][name]
            assert f"{numbers[name]:.3f} [{low:.3f}, {high:.3f}]" in text
    assert "digits at hidden2 · 60 test examples" in text
    assert "[ ]: 95 % interval over test examples" in text
    assert "AURC: one point per distinct score" in text
    assert "±" not in text  # of what a table does not have nothing is explained
    assert str(folder) in text
    assert (
        f"score max_softmax, threshold {record(run.results)['threshold']['value']:.3f} (coverage 0.6" in text
    )
    assert "fitted on 120 calibration examples)" in text
    assert f"promise: {run.experiment.usual.thresholds[0].promise}" in text
    assert "certificate" not in text
    reliability = record(run.results)["reliability"]
    for numbers in (reliability["before"], reliability["after"]):
        floor = numbers["if_calibrated"]["ece"]
        assert f"ECE {numbers['ece']:.3f} ({floor['mean']:.3f} if they were calibrated" in text
        assert f"p = {floor['p_value']:.2g}), NLL {numbers['nll']:.3f}" in text
        assert f"of {numbers['confident']['n']} answers with a confidence of at least" in text
    assert f"at temperature {reliability['temperature']:.2f}" in text
    foreign = record(run.results)["foreign"]
    assert f"{foreign['false_accept_rate']:.3f} [" in text
    assert f"AUROC {foreign['auroc']:.3f}, FPR95 {foreign['fpr95']:.3f}" in text
    assert f"parent on all 5 classes: {run.results['parent']['test_accuracy']:.3f}" in text


def test_a_run_that_answers_nothing_says_what_it_would_need(
    silent_run: pipeline.Run, capsys: pytest.CaptureFixture[str]
) -> None:
    print_run(silent_run, Path("somewhere"))
    text = capsys.readouterr().out
    assert "threshold none: accepts nothing (sgr 0.001, fitted on 120 calibration examples)" in text
    assert record(silent_run.results)["threshold"]["shortage"]["sentence"] in text
    assert "–" in text
    assert "nan" not in text


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (("threshold=sgr", "threshold.target=0.3"), "errors among {n_accepted} accepted"),
        (("threshold=false_accept",), "{n_accepted} of 80 foreign examples accepted"),
    ],
    ids=["sgr", "false_accept"],
)
def test_a_certificate_is_printed(
    overrides: tuple[str, ...], expected: str, glyph_run: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    certified = glyph_run(*overrides)
    print_run(certified, Path("somewhere"))
    [line] = [line for line in capsys.readouterr().out.splitlines() if "certificate:" in line]
    certificate = record(certified.results)["threshold"]["certificate"]
    assert certificate["quantity"] in line
    assert f"≤ {certificate['target']:g}" in line
    if certificate["delta"] is None:
        assert "on average" in line
    else:
        # The bound can be recomputed from what is printed.
        assert f"except with probability {certificate['delta']:g}" in line
        assert f"at level {certificate['level']:.3g} is {certificate['bound']:.3f}" in line
        counts = certificate["errors"], certificate["n_accepted"]
        assert certificate["bound"] == clopper_pearson_upper(*counts, certificate["level"])
    assert f"{certificate['bound']:.3f}" in line
    assert expected.format(**certificate) in line


def test_a_published_figure_is_printed_beside_the_run(
    run: pipeline.Run, capsys: pytest.CaptureFixture[str]
) -> None:
    published = {"source": "a paper", "accuracy": 0.7533, "coverage": 0.833, "selective_accuracy": 0.8}
    [(subset, node)] = run.results["nodes"].items()
    results = {**run.results, "nodes": {subset: {**node, "published": published}}}
    print_run(dataclasses.replace(run, results=results), Path("x"))
    [line] = [line for line in capsys.readouterr().out.splitlines() if "a paper" in line]
    assert line.split() == ["a", "paper", "0.753", "–", "0.833", "0.800"]


@pytest.mark.parametrize("name", ["plots [of mine]", "a[/b]"])
def test_brackets_in_a_folders_name_are_printed_as_they_are(
    name: str, run: pipeline.Run, capsys: pytest.CaptureFixture[str]
) -> None:
    print_run(run, Path(name))
    assert f"Results in {name}" in capsys.readouterr().out


def test_provenance_and_numbers_in_words() -> None:
    artifacts = {
        "data": {"built": False, "build_seconds": 1.0},
        "branch": {"built": True, "build_seconds": 2.04},
    }
    assert provenance({"artifacts": artifacts}) == "built branch (2.0 s); reused data"
    assert [number(value) for value in (0.12345, None, math.nan)] == ["0.123", "–", "–"]
    assert number(0.5, 0.25) == "0.500±0.250"
    assert with_interval(0.5, (0.25, 0.75)) == "0.500 [0.250, 0.750]"
    assert [with_interval(value, (0.25, 0.75)) for value in (None, math.nan)] == ["–", "–"]
    assert [with_interval(0.5, interval) for interval in (None, (None, None))] == ["0.500", "0.500"]
    cells = [Cell(None), Cell(0.5), Cell(0.5, 0.25), Cell(0.5, None, (0, 1)), Cell(0.5, 0.25, (0, 1))]
    assert [str(cell) for cell in cells] == [
        "–", "0.500", "0.500±0.250", "0.500 [0.000, 1.000]", "0.500±0.250 [0.000, 1.000]",
    ]  # fmt: skip


def test_a_markdown_table_has_a_rule_under_its_header() -> None:
    assert markdown_table(["a", "b"], [["1", "2"], ["3", "4"]]) == [
        "| a | b |", "|---|---|", "| 1 | 2 |", "| 3 | 4 |",
    ]  # fmt: skip


# Several thresholds.


def test_a_run_of_several_thresholds_leaves_files_in_which_each_has_its_place(
    glyph_run: Any, run: pipeline.Run, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rule = "_target_:neural_branching.selection.thresholds.plain.Coverage"
    several = glyph_run(f"thresholds=[{{{rule},target:0.6}},{{{rule},target:0.3}}]")
    write_run(several, tmp_path, draw_figures=False)
    results = read_results(tmp_path)
    first, second = records(results)
    alone = record(json.loads((folder / "results.json").read_text()))
    for name in ("threshold", "validation", "calibration", "test", "foreign", "reliability"):
        assert first[name] == alone[name]
    assert (tmp_path / "curve.csv").read_bytes() == (folder / "curve.csv").read_bytes()
    lines = rows(tmp_path / "predictions.csv")
    for found in (first, second):
        column = f"accepted by {found['threshold']['rule']}"
        for split in ("validation", "calibration", "test"):
            mine = [line for line in lines if line["split"] == split and line["label"] in found["classes"]]
            assert sum(int(line[column]) for line in mine) == found[split]["n_accepted"]
    chosen = [point for point in rows(tmp_path / "thresholds.csv") if point["chosen"] == "True"]
    assert [int(point["n_accepted"]) for point in chosen] == [
        found["test"]["n_accepted"] for found in (first, second)
    ]
    for index, found in enumerate((first, second)):
        events = EventAccumulator(str(tmp_path / f"threshold_{index}"))
        events.Reload()
        assert events.Scalars("test/coverage")[0].value == pytest.approx(found["test"]["coverage"])
        start = _hparams(events, "_hparams_/session_start_info").session_start_info.hparams
        assert start["threshold.target"].number_value == found["threshold"]["settings"]["target"]
        assert start["threshold.value"].number_value == pytest.approx(found["threshold"]["value"])
    assert {name for name in results["written"]["files"] if name.startswith("threshold_")} == {
        file.relative_to(tmp_path).as_posix() for file in tmp_path.glob("threshold_*/*")
    }
    print_run(several, tmp_path)
    text = capsys.readouterr().out
    for found in (first, second):
        [line] = [
            line for line in text.splitlines() if line.startswith(f"{found['threshold']['rule']}  branch ")
        ]
        assert f"{found['test']['coverage']:.3f} [" in line
        assert f"threshold {found['threshold']['value']:.3f} ({found['threshold']['rule']}" in text
    assert text.count("parent on all 5 classes") == 1
    drawn = pictures(first, only(several))
    marks = [line for line in drawn["risk_coverage"].axes[0].lines if len(line.get_xdata()) == 1]
    assert {mark.get_xdata()[0] for mark in marks} >= {found["test"]["coverage"] for found in (first, second)}


# Without foreign classes.


def test_a_subset_of_every_class_has_nothing_foreign(
    complete: pipeline.Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(complete, tmp_path, draw_figures=False)
    assert files(tmp_path) == FILES - {"scod_curve.csv"}
    results = record(read_results(tmp_path))
    assert results["foreign"] is None
    assert results["threshold"]["n"] == 0
    for name in ("false_accept_rate", "false_accept_rate_low", "false_accept_rate_high"):
        assert {line[name] for line in rows(tmp_path / "thresholds.csv")} == {""}
    assert {line["label"] for line in rows(tmp_path / "predictions.csv")} == set(
        complete.experiment.data.classes
    )
    assert {line["fits"] for line in rows(tmp_path / "predictions.csv")} == {""}
    print_run(complete, tmp_path)
    text = capsys.readouterr().out
    assert "foreign" not in text
    assert "fitted on" not in text
    events = loaded(tmp_path / "threshold_0")
    assert math.isnan(events.Scalars("test/false_accept_rate")[0].value)
    drawn = pictures(record(complete.results), only(complete))
    assert drawn.keys() == FIGURES - {"scod"}
    assert "foreign" not in "".join(text.get_text() for text in drawn["scores"].findobj(match=_has_text))
    names = [text.get_text() for text in drawn["risk_coverage"].axes[0].get_legend().get_texts()]
    assert names == ["branch", "parent restricted"]


def _has_text(artist: Any) -> bool:
    return hasattr(artist, "get_text")
