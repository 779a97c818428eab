"""Certificates that hold at once: fitted again by hand from what the runs were evaluated on."""

import csv
import dataclasses
import hashlib
import json
import math
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neural_branching import pipeline
from neural_branching.evaluation.scored_node import ThresholdedNode
from neural_branching.report.certificates import Certified
from neural_branching.report.collect import Summary, collect
from neural_branching.report.metrics import SHOWN
from neural_branching.report.results import read_results
from neural_branching.report.run_report import write_run
from neural_branching.report.summary import summarize
from neural_branching.report.summary_screen import print_summary
from neural_branching.report.tables import markdown
from neural_branching.selection import coverage, selective_accuracy
from neural_branching.selection.thresholds.guaranteed import Sgr
from sweeps import adopt, only, record

TARGET = 0.35  # certified with room to spare, whatever a version of torch makes of the branches
SGR = ("threshold=sgr", f"threshold.target={TARGET}")
SWEPT = {
    "0_sgr": SGR,
    "1_sgr": (*SGR, "branch.seed=1"),
    "2_sgr": (*SGR, "branch.seed=2"),
    "3_sequence": ("threshold=fixed_sequence", f"threshold.target={TARGET}"),
    "4_learned": (*SGR, "score=temperature"),
    "5_strict": ("threshold=sgr", "threshold.target=0.01"),
    "6_coverage": ("threshold=coverage", "threshold.target=0.6"),
}
GUARANTEED = list(SWEPT)[:-1]
TEST = ("test coverage", "test selective accuracy")
COLUMNS = (
    *("certified_target", "certified_delta", "certified_bound", "certificates_compared"),
    *("adjusted_threshold", "adjusted_bound", "adjusted_test_coverage", "adjusted_test_selective_accuracy"),
)


@pytest.fixture(scope="module")
def runs(glyph_run: Any) -> dict[str, pipeline.Run]:
    return {name: glyph_run(*overrides) for name, overrides in SWEPT.items()}


@pytest.fixture(scope="module")
def written(runs: dict[str, pipeline.Run], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs with and without a guarantee. To be read only."""
    folder = tmp_path_factory.mktemp("certified")
    for name, each in runs.items():
        (folder / name).mkdir()
        write_run(each, folder / name, draw_figures=False)
    return folder


@pytest.fixture(scope="module")
def summary(written: Path) -> Summary:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("neural_branching.report.summary.draw", lambda _: {})
        return summarize(written)


@pytest.fixture(scope="module")
def certificates(summary: Summary) -> dict[str, Certified]:
    return {one.row["run"]: one for one in summary.certificates}


@pytest.fixture
def sweep(written: Path, tmp_path: Path) -> Path:
    """The same runs for the test to change."""
    return Path(shutil.copytree(written, tmp_path / "sweep"))


def branch_of(run: pipeline.Run) -> ThresholdedNode:
    """The branch of a run under its only threshold."""
    [one] = only(run).thresholds
    return one.branch


def kept(sweep: Path, *names: str) -> Summary:
    """What is collected if only these runs are there."""
    for folder in sweep.iterdir():
        if folder.is_dir() and folder.name not in names:
            shutil.rmtree(folder)
    return collect(sweep)


def rows(file: Path) -> Iterator[dict[str, str]]:
    with file.open(newline="") as stream:
        yield from csv.DictReader(stream)


def table(text: str, heading: str) -> tuple[list[str], list[list[str]]]:
    lines = text.split(f"## {heading}\n\n")[1].split("\n\n")[0].splitlines()
    header, _, *body = ([entry.strip() for entry in line.split("|")[1:-1]] for line in lines)
    return header, body


# What is compared.


def test_every_guaranteed_run_is_certified_and_no_other(certificates: dict[str, Certified]) -> None:
    assert list(certificates) == GUARANTEED  # seeds are runs of their own
    assert {one.compared for one in certificates.values()} == {6}
    assert {name: one.target for name, one in certificates.items()} == {
        name: 0.01 if name == "5_strict" else TARGET for name in GUARANTEED
    }
    assert {one.delta for one in certificates.values()} == {0.1}


def test_a_repeated_run_counts_once(sweep: Path) -> None:
    shutil.copytree(sweep / "0_sgr", sweep / "7_again")
    found = collect(sweep).certificates
    assert len(found) == 6
    assert {one.compared for one in found} == {6}
    assert len({one.row["run"] for one in found} & {"0_sgr", "7_again"}) == 1


def test_another_delta_is_another_certificate(sweep: Path, runs: dict[str, pipeline.Run]) -> None:
    other = runs["0_sgr"]
    [(subset, node)] = other.results["nodes"].items()
    threshold = {**record(other.results)["threshold"], "settings": {"target": TARGET, "delta": 0.2}}
    changed = {
        **other.results,
        "nodes": {subset: {**node, "thresholds": [{**node["thresholds"][0], "threshold": threshold}]}},
        "overrides": [*SGR, "threshold.delta=0.2"],
    }
    (sweep / "1_delta").mkdir()
    write_run(dataclasses.replace(other, results=changed), sweep / "1_delta", draw_figures=False)
    assert [one.compared for one in kept(sweep, "0_sgr", "1_delta").certificates] == [2, 2]


def test_fewer_runs_are_paid_for_less(sweep: Path, runs: dict[str, pipeline.Run]) -> None:
    some = kept(sweep, "0_sgr", "2_sgr", "6_coverage").certificates
    assert [one.row["run"] for one in some] == ["0_sgr", "2_sgr"]
    for one in some:
        assert one.compared == 2
        assert one.adjusted == Sgr(TARGET, 0.05).fit(branch_of(runs[one.row["run"]]).held_out)


def test_a_certificate_that_is_alone_stays_as_it_is(sweep: Path) -> None:
    [one] = kept(sweep, "0_sgr", "6_coverage").certificates
    assert one.compared == 1
    assert one.adjusted == one.alone


# What is fitted.


@pytest.mark.parametrize("name", GUARANTEED)
def test_alone_is_the_runs_own_threshold_bit_for_bit(
    name: str, certificates: dict[str, Certified], runs: dict[str, pipeline.Run]
) -> None:
    assert certificates[name].alone == branch_of(runs[name]).choice


@pytest.mark.parametrize("name", GUARANTEED)
def test_adjusted_is_the_rule_at_a_share_of_delta(
    name: str, certificates: dict[str, Certified], runs: dict[str, pipeline.Run]
) -> None:
    [rule], branch = runs[name].experiment.usual.thresholds, branch_of(runs[name])
    expected = rule.fit_among(branch.held_out, 6)
    one = certificates[name]
    assert one.adjusted == expected
    if expected.certificate:
        assert expected.certificate.delta == pytest.approx(0.1 / 6)
    scores, errors = branch.known["test"], branch.answers.known["test"].error
    assert one.test_coverage == coverage(scores, expected.value)
    accuracy = selective_accuracy(scores, errors, expected.value)
    assert one.test_selective_accuracy == pytest.approx(accuracy, nan_ok=True)


def test_adjusted_is_never_looser(certificates: dict[str, Certified]) -> None:
    assert all(one.adjusted.value >= one.alone.value for one in certificates.values())
    assert any(one.adjusted.value > one.alone.value for one in certificates.values())
    assert any(one.adjusted.certificate for one in certificates.values())
    for one in certificates.values():
        assert one.test_coverage <= one.row["test_coverage"]


def test_a_learned_score_is_certified_on_the_thresholds_half(
    certificates: dict[str, Certified], runs: dict[str, pipeline.Run]
) -> None:
    one = certificates["4_learned"]
    assert one.alone.n == one.adjusted.n == 60
    assert record(runs["4_learned"].results)["score"]["learned"]["n"] == 60
    assert certificates["0_sgr"].alone.n == 120


def test_a_threshold_that_certifies_nothing_stays_silent(certificates: dict[str, Certified]) -> None:
    one = certificates["5_strict"]
    assert one.alone.value == one.adjusted.value == math.inf
    assert one.alone.certificate is one.adjusted.certificate is None
    assert one.test_coverage == 0
    assert math.isnan(one.test_selective_accuracy)


# What is lost.


@pytest.mark.parametrize(
    ("file", "why"),
    [
        ("predictions.csv", "predictions.csv cannot be read"),
        ("config.yaml", "config.yaml cannot be read: No"),
    ],
)
def test_a_run_that_lost_a_file_is_left_out_but_counted(file: str, why: str, sweep: Path) -> None:
    (sweep / "1_sgr" / file).unlink()
    found = collect(sweep)
    assert [one.row["run"] for one in found.certificates] == [name for name in GUARANTEED if name != "1_sgr"]
    assert {one.compared for one in found.certificates} == {6}
    assert len(found.completed) == 7
    assert list(found.uncertified) == ["1_sgr"]
    assert why in found.uncertified["1_sgr"]


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("!!pairs [x: {hostile}]", "has the tag"),
        ("{hostile}", "delta is {{'_target_': 'os.mkdir'"),
        ("0.1\n  _target_: os.mkdir\n  path: {path}", "stands twice"),
    ],
)
def test_a_report_runs_no_code_of_a_configuration(value: str, why: str, sweep: Path, tmp_path: Path) -> None:
    file, made = sweep / "1_sgr" / "config.yaml", tmp_path / "made"
    hostile = value.format(hostile=f"{{_target_: os.mkdir, path: {made}}}", path=made)
    text = re.sub(r"delta: 0\.\d+", f"delta: {hostile}", file.read_text())
    file.write_text(text)
    assert "os.mkdir" in text
    results = json.loads((file.parent / "results.json").read_text())
    results["written"]["files"]["config.yaml"] = hashlib.sha256(text.encode()).hexdigest()
    (file.parent / "results.json").write_text(json.dumps(results))
    found = collect(sweep)
    assert re.search(why.format(), found.uncertified["1_sgr"])
    assert not made.exists()


HEADER = "row,split,fits,label,prediction,score\n"
LINES = {
    "calibration": "1,calibration,threshold,digit_0,digit_0,0.5\n",
    "validation": "2,validation,,digit_0,digit_0,0.5\n",
    "test": "3,test,,digit_0,digit_0,0.5\n",
}


@pytest.mark.parametrize("split", LINES)
def test_a_run_that_lost_a_splits_predictions_is_left_out_but_counted(split: str, sweep: Path) -> None:
    text = HEADER + "".join(line for name, line in LINES.items() if name != split)
    adopt(sweep / "3_sequence", "predictions.csv", text)
    found = collect(sweep)
    names = [one.row["run"] for one in found.certificates]
    assert "3_sequence" not in names
    assert len(names) == 5
    assert {one.compared for one in found.certificates} == {6}
    assert list(found.uncertified) == ["3_sequence"]
    assert "has lost predictions of a whole split" in found.uncertified["3_sequence"]


@pytest.mark.parametrize("score", ["nan", "inf"])
def test_predictions_without_a_finite_score_are_left_out_but_counted(score: str, sweep: Path) -> None:
    text = HEADER + "".join(LINES.values()).replace("0.5", score)
    adopt(sweep / "0_sgr", "predictions.csv", text)
    found = collect(sweep)
    assert "0_sgr" not in [one.row["run"] for one in found.certificates]
    assert {one.compared for one in found.certificates} == {6}
    assert list(found.uncertified) == ["0_sgr"]


def test_if_every_prediction_is_lost_nothing_is_certified(sweep: Path) -> None:
    for file in sweep.glob("*/predictions.csv"):
        file.unlink()
    found = collect(sweep)
    assert found.certificates == []
    assert list(found.uncertified) == GUARANTEED
    assert "## Certificates" not in markdown(found)
    assert [line[0] for line in table(markdown(found), "Not certified again")[1]] == GUARANTEED
    assert len(found.completed) == 7


def test_what_could_not_be_certified_again_is_named_with_its_reason(
    sweep: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (sweep / "1_sgr" / "predictions.csv").unlink()
    found = collect(sweep)
    header, lines = table(markdown(found), "Not certified again")
    assert header == ["run", "why"]
    assert lines == [["1_sgr", found.uncertified["1_sgr"]]]
    print_summary(found)
    assert f"not certified again 1_sgr: {found.uncertified['1_sgr']}" in capsys.readouterr().out


def test_where_nothing_is_lost_nothing_is_named(summary: Summary, capsys: pytest.CaptureFixture[str]) -> None:
    assert summary.uncertified == {}
    assert "Not certified again" not in markdown(summary)
    print_summary(summary)
    assert "not certified again" not in capsys.readouterr().out


# What is written.


def test_the_csv_has_a_runs_certificate(summary: Summary, certificates: dict[str, Certified]) -> None:
    lines = {row["run"]: row for row in rows(summary.folder / "summary.csv")}
    assert list(lines) == list(SWEPT)
    for name, one in certificates.items():
        alone, adjusted = one.alone.certificate, one.adjusted.certificate
        expected = (
            *(one.target, one.delta, alone.bound if alone else "", 6),
            *(one.adjusted.value, adjusted.bound if adjusted else ""),
            *(one.test_coverage, one.test_selective_accuracy),
        )
        assert [lines[name][column] for column in COLUMNS] == [str(value) for value in expected], name
    assert {lines["6_coverage"][column] for column in COLUMNS} == {""}
    assert lines["0_sgr"]["certified_bound"] != ""
    assert lines["5_strict"]["certified_bound"] == ""
    assert lines["5_strict"]["adjusted_threshold"] == "inf"


def test_the_markdown_has_a_line_per_setting_with_its_seeds_together(
    summary: Summary, certificates: dict[str, Certified]
) -> None:
    header, lines = table(markdown(summary), "Certificates")
    assert header == [
        "subset", "branch point", "score", "threshold", "n",
        *("alone: δ", "alone: certified", *(f"alone: {name}" for name in TEST)),
        *("best of 6: δ", "best of 6: certified", *(f"best of 6: {name}" for name in TEST)),
    ]  # fmt: skip
    assert [line[2:6] for line in lines] == [
        ["max_softmax", f"sgr {TARGET}", "120", "0.1"],
        ["max_softmax", f"fixed_sequence {TARGET}", "120", "0.1"],
        ["temperature", f"sgr {TARGET}", "60", "0.1"],
        ["max_softmax", "sgr 0.01", "120", "0.1"],
    ]
    seeds = [certificates[name] for name in GUARANTEED[:3]]
    mine = lines[0]
    assert mine[6] == f"{sum(one.alone.certificate is not None for one in seeds)} of 3"
    assert mine[10] == f"{sum(one.adjusted.certificate is not None for one in seeds)} of 3"
    assert mine[9] == "0.017"
    for place, values in (
        (7, [one.row["test_coverage"] for one in seeds]),
        (8, [one.row["test_selective_accuracy"] for one in seeds]),
        (11, [one.test_coverage for one in seeds]),
        (12, [one.test_selective_accuracy for one in seeds]),
    ):
        found = [value for value in values if value is not None and value == value]
        spread = f"±{np.std(found, ddof=1):.3f}" if len(found) > 1 else ""
        assert mine[place].split(" [")[0] == f"{np.mean(found):.3f}{spread}"
    # 60 test examples, none of them answered.
    assert lines[3][6:] == ["0 of 1", "0.000 [0.000, 0.055]", "–", "0.017", "0 of 1", "0.000", "–"]


def test_the_note_says_how_many_share_delta(summary: Summary, sweep: Path) -> None:
    text = markdown(summary)
    assert "To choose the best of 6 afterwards" in text
    assert "δ / 6" in text
    alone = markdown(kept(sweep, "0_sgr", "6_coverage"))
    header, [line] = table(alone, "Certificates")
    assert header[-4:] == [f"alone: {name}" for name in ("δ", "certified", *TEST)]
    assert "best of" not in alone
    assert len(line) == len(header)
    assert "Certificates bound the selective risk of one run" in alone
    assert "Bonferroni" not in alone


def test_certificates_are_printed(
    summary: Summary, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    print_summary(summary)
    text = capsys.readouterr().out
    assert text.count("Certificates") == 2  # title and note
    assert "0 of 1" in text
    assert " of 3" in text
    assert "δ / 6" in text
    assert all(str(metric.heading).split()[0] in text for metric in SHOWN)


def test_a_folder_without_guarantees_has_no_certificates(
    sweep: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = kept(sweep, "6_coverage")
    assert found.certificates == []
    assert "Certificates" not in markdown(found)
    print_summary(found)
    assert "Certificates" not in capsys.readouterr().out


def test_results_and_predictions_are_all_that_is_needed(sweep: Path, summary: Summary) -> None:
    for name in GUARANTEED:
        assert record(read_results(sweep / name))["threshold"]["guarantee"] == "with high probability"
        for file in (sweep / name).rglob("*.*"):
            if file.name not in ("results.json", "predictions.csv", "config.yaml"):
                file.unlink()
    again = {one.row["run"]: (one.alone, one.adjusted) for one in collect(sweep).certificates}
    assert again == {one.row["run"]: (one.alone, one.adjusted) for one in summary.certificates}


def test_a_certificate_does_not_rest_on_an_edited_configuration(sweep: Path) -> None:
    file = sweep / "0_sgr" / "config.yaml"
    file.write_text(file.read_text().replace("delta:", "delta: 0.5 #"))
    found = collect(sweep)
    assert list(found.uncertified) == ["0_sgr"]
    assert "has changed since the run was written" in found.uncertified["0_sgr"]
    assert {one.compared for one in found.certificates} == {6}
