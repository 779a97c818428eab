"""Two settings on the same test examples, paired by seeds."""

import csv
import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from neural_branching.errors import InputError
from neural_branching.report import paired
from neural_branching.report.paired import HEADINGS, compare, print_comparison, settings_of
from neural_branching.report.predictions_file import Predictions, read_predictions
from neural_branching.report.run_report import write_run
from neural_branching.selection import augrc, aurc, bootstrap_interval, selective_accuracy
from sweeps import record

SCORES = ("max_softmax", "margin")
SEEDS = (0, 1)
OF_BRANCHES = ["accuracy", "aurc", "augrc", "coverage", "selective_accuracy"]
DIFFERENT = "name different columns: name the same ones on both sides"


@pytest.fixture(scope="module")
def sweep(glyph_run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two scores × two seeds of the branch, answering about half of the examples."""
    folder = tmp_path_factory.mktemp("paired")
    for score in SCORES:
        for seed in SEEDS:
            run = glyph_run(
                f"score={score}", f"branch.seed={seed}", "threshold=coverage", "threshold.target=0.5"
            )
            place = folder / f"{score}_{seed}"
            place.mkdir()
            write_run(run, place, draw_figures=False)
    return folder


def test_differences_are_recounted(sweep: Path, run) -> None:
    [found] = compare(sweep, "score=max_softmax", "score=margin")
    assert (found.pairs, found.unpaired, found.examples) == (2, 0, record(run.results)["test"]["n"])
    tests = {
        (score, seed): read_predictions(sweep / f"{score}_{seed}", run.results["classes"]).of("test")
        for score in SCORES
        for seed in SEEDS
    }
    for metric, function in (("aurc", aurc), ("augrc", augrc)):
        change = [
            function(tests["margin", seed].score, tests["margin", seed].error)
            - function(tests["max_softmax", seed].score, tests["max_softmax", seed].error)
            for seed in SEEDS
        ]
        [mine] = [one for one in found.differences if one.metric == metric]
        assert mine.difference == pytest.approx(np.mean(change), abs=1e-12)
        assert mine.deviation == pytest.approx(np.std(change, ddof=1), abs=1e-12)
        assert mine.interval[0] <= mine.difference <= mine.interval[1]
    [accuracy] = [one for one in found.differences if one.metric == "accuracy"]
    assert accuracy.difference == accuracy.deviation == 0  # a score changes no prediction
    # No example is answered differently: of 60, up to a few of many might be.
    assert accuracy.interval == pytest.approx((-1.96 * np.sqrt(2) / 60, 1.96 * np.sqrt(2) / 60), rel=1e-3)


def test_the_interval_is_over_images_that_both_answer(sweep: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As wide as that of resampled examples, and a little wider: two imagined examples are added.

    Answers are drawn, since those of trained networks are others on another machine.
    """
    generator = np.random.default_rng(0)
    hard, nothing = generator.normal(size=300), np.full(300, "")

    def drawn() -> Predictions:
        score = generator.normal(size=300) - hard
        error = generator.random(300) < 1 / (1 + np.exp(1 + 2 * score))
        return Predictions(
            np.arange(300), np.full(300, "test"), nothing, np.zeros(300, np.bool_), error, score
        )

    tests = {"max_softmax_0": drawn(), "margin_1": drawn()}
    monkeypatch.setattr(paired, "read_predictions", lambda folder, _: tests[folder.name])
    [found] = compare(sweep, "run=max_softmax_0", "run=margin_1")
    a, b = tests.values()
    for metric, function in (("aurc", aurc), ("augrc", augrc), ("accuracy", lambda _, e: 1 - e.mean())):
        [mine] = [one for one in found.differences if one.metric == metric]
        assert mine.deviation is None

        def difference(index: np.ndarray, _: np.ndarray, function=function) -> float:
            rows = index.astype(int)
            return function(b.score[rows], b.error[rows]) - function(a.score[rows], a.error[rows])

        low, high = bootstrap_interval(difference, np.arange(len(a)), np.zeros(len(a)))
        assert 0.9 < (mine.interval[1] - mine.interval[0]) / (high - low) < 1.15, metric


def test_a_setting_beside_itself_differs_in_nothing(sweep: Path) -> None:
    [found] = compare(sweep, "score=margin,branch=mlp", "score=margin,branch=mlp")
    for one in found.differences:
        assert one.difference == 0
        assert one.interval[0] == -one.interval[1] < 0


def test_other_settings_are_compared_apart(sweep: Path, glyph_run, tmp_path: Path) -> None:
    for score in SCORES:
        for rule in ("coverage", "conformal"):
            place = tmp_path / f"{score}_{rule}"
            place.mkdir()
            run = glyph_run(f"score={score}", f"threshold={rule}", "threshold.target=0.3")
            write_run(run, place, draw_figures=False)
    found = compare(tmp_path, "score=max_softmax", "score=margin")
    assert [one.shared["threshold"] for one in found] == ["conformal 0.3", "coverage 0.3"]


def test_selective_accuracy_is_at_each_runs_own_threshold(sweep: Path, run) -> None:
    [found] = compare(sweep, "run=max_softmax_0", "run=margin_0")
    [mine] = [one for one in found.differences if one.metric == "selective_accuracy"]
    for name, side in (("max_softmax_0", mine.first), ("margin_0", mine.second)):
        everything = read_predictions(sweep / name, run.results["classes"])
        scores = np.sort(everything.of("calibration").score)
        threshold = scores[-int(np.ceil(len(scores) / 2))]
        test = everything.of("test")
        assert side.mean == pytest.approx(selective_accuracy(test.score, test.error, threshold))


def test_commas_within_brackets_are_of_a_value() -> None:
    assert settings_of("subset=fish,parent.exits=[a,b],seed=1") == {
        "subset": "fish",
        "parent.exits": "[a,b]",
        "seed": "1",
    }


def test_the_table_and_the_file_agree(sweep: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = io.StringIO()
    monkeypatch.setattr(paired, "console", lambda: Console(file=text, width=200, markup=False))
    found = compare(sweep, "score=max_softmax", "score=margin")
    print_comparison(found, "score=max_softmax", "score=margin", sweep)
    with (sweep / "comparison.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["metric"] for row in rows] == OF_BRANCHES
    for row in rows:
        heading = HEADINGS[row["metric"]]
        assert heading in text.getvalue()
        assert f"{float(row['difference']):.3f} [{float(row['low']):.3f}" in text.getvalue()
        assert row["A"] == "score=max_softmax"
    assert "AURC: one point per distinct score" in text.getvalue()
    assert "Without a partner" not in text.getvalue()


@pytest.mark.parametrize("sides", [SCORES, SCORES[::-1]], ids=" ".join)
def test_runs_without_a_partner_are_counted(
    sides: tuple[str, str], sweep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(sweep, tmp_path / "sweep"))
    shutil.rmtree(folder / "margin_1")
    named = [f"score={score}" for score in sides]
    found = compare(folder, *named)
    assert [(one.pairs, one.unpaired) for one in found] == [(1, 1)]
    text = io.StringIO()
    monkeypatch.setattr(paired, "console", lambda: Console(file=text, width=200, markup=False))
    print_comparison(found, *named, folder)
    assert "Without a partner of the same seeds and settings: 1 of the runs." in text.getvalue()


def test_columns_may_be_named_in_any_order(sweep: Path) -> None:
    [found] = compare(sweep, "score=margin,branch=mlp", "branch=mlp,score=max_softmax")
    assert (found.pairs, found.unpaired) == (2, 0)


@pytest.mark.parametrize(
    ("sides", "message"),
    [
        (("score=margin", "margin"), r"'margin' does not name a setting: write column=value"),
        (("scor=margin", "scor=other"), r"The column in 'scor=margin' is 'scor'.* did you mean 'score'"),
        (("score=margins", "score=margin"), r"score in 'score=margins' is 'margins'.* did you mean 'margin'"),
        (
            ("score=margin,run=max_softmax_0", "score=margin,run=margin_0"),
            r"run in .* allowed are margin_0, margin_1\.",
        ),
        (("score=margin,branch=mlp", "score=max_softmax"), DIFFERENT),
        (("score=margin", "score=max_softmax,branch=mlp"), DIFFERENT),
        (("score=margin", "branch=mlp"), DIFFERENT),
        (("scor=margin", "score=margins"), DIFFERENT),  # said first
    ],
)
def test_what_cannot_be_compared_is_refused(sweep: Path, sides: tuple[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        compare(sweep, *sides)


def test_runs_on_different_images_are_refused(glyph_run, tmp_path: Path) -> None:
    for name, override in (("three", "seed=0"), ("two", "data.superclasses={digit:[digit_0,digit_1]}")):
        (tmp_path / name).mkdir()
        write_run(glyph_run(override), tmp_path / name, draw_figures=False)
    with pytest.raises(InputError, match="were tested on different examples, so that they cannot be paired"):
        compare(tmp_path, "run=three", "run=two")


def test_of_runs_with_several_thresholds_each_is_a_pair(glyph_run, tmp_path: Path) -> None:
    rule = "_target_:neural_branching.selection.thresholds.plain.Coverage"
    thresholds = f"thresholds=[{{{rule},target:0.6}},{{{rule},target:0.3}}]"
    for score in SCORES:
        (tmp_path / score).mkdir()
        write_run(glyph_run(f"score={score}", thresholds), tmp_path / score, draw_figures=False)
    found = compare(tmp_path, "run=max_softmax", "run=margin")
    assert [one.shared["threshold"] for one in found] == ["coverage 0.3", "coverage 0.6"]
    less, more = (next(one for one in each.differences if one.metric == "coverage") for each in found)
    assert less.first.mean < more.first.mean
    assert less.second.mean < more.second.mean
    [one] = compare(tmp_path, "run=max_softmax,threshold=coverage 0.3", "run=margin,threshold=coverage 0.6")
    assert one.shared == {}


def test_a_pair_in_which_one_answers_nothing_has_no_selective_accuracy(glyph_run, tmp_path: Path) -> None:
    for name, rule in (("some", "coverage"), ("none", "sgr")):
        for seed in SEEDS:
            place = tmp_path / f"{name}_{seed}"
            place.mkdir()
            target = 0.5 if name == "some" or seed else 0.001
            run = glyph_run(f"branch.seed={seed}", f"threshold={rule}", f"threshold.target={target}")
            write_run(run, place, draw_figures=False)
    found = compare(tmp_path, "run=some_0", "run=none_0")[0].differences
    [nothing] = [one for one in found if one.metric == "selective_accuracy"]
    assert np.isnan(nothing.difference)
    assert np.isnan(nothing.interval).all()
    [coverage] = [one for one in found if one.metric == "coverage"]
    assert coverage.difference == -coverage.first.mean
