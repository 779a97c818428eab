"""What stands beside a branch: other heads, other parents, none; and what each costs."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

from neural_branching.artifacts.baselines import NEIGHBOURS, _Bench
from neural_branching.artifacts.workspace import Workspace
from neural_branching.config.experiment import BASELINES, OF_TEXTS
from neural_branching.errors import InputError
from neural_branching.evaluation.outcomes import Outcome, differences, outcome
from neural_branching.report.baseline_table import HEADER, baseline_lines
from neural_branching.report.run_report import write_run
from neural_branching.report.summary import summarize
from sweeps import record
from tiny import ORDINARY, GlyphRun

WIDTHS, PIXELS, CLASSES = (16, 12), 3 * 16 * 16, 3
OF_IMAGES = [name for name in BASELINES if name != OF_TEXTS]
TO_HIDDEN2 = PIXELS * 16 + 16 * 12


@pytest.fixture(scope="module")
def compared(glyph_run: GlyphRun) -> dict:
    return record(glyph_run(*ORDINARY, "baselines=all").results)["baselines"]


def test_every_baseline_is_there_in_its_order(compared: dict) -> None:
    assert list(compared) == ["branch", *OF_IMAGES]
    assert {one["n"] for one in compared.values()} == {60}


def test_a_run_that_asks_for_none_has_none(glyph_run: GlyphRun) -> None:
    assert record(glyph_run(*ORDINARY).results)["baselines"] == {}


def test_the_branch_is_the_run_s_own(glyph_run: GlyphRun, compared: dict) -> None:
    test = record(glyph_run(*ORDINARY).results)["test"]
    assert compared["branch"]["accuracy"] == pytest.approx(test["accuracy"])
    assert compared["branch"]["aurc"] == pytest.approx(test["aurc"])
    assert compared["restricted"]["accuracy"] == pytest.approx(test["parent_restricted"]["accuracy"])
    assert compared["restricted"]["aurc"] == pytest.approx(test["parent_restricted"]["aurc"])


def test_costs_are_the_closed_forms(compared: dict) -> None:
    head = 12 * 8 + 8 * CLASSES
    assert compared["branch"]["macs"] == TO_HIDDEN2 + head
    assert compared["branch"]["trained_parameters"] == head + 8 + CLASSES
    assert compared["linear_probe"]["macs"] == TO_HIDDEN2 + 12 * CLASSES
    assert compared["linear_probe"]["trained_parameters"] == 12 * CLASSES + CLASSES
    assert compared["restricted"]["macs"] == TO_HIDDEN2 + 12 * 5  # five classes
    assert compared["knn"]["macs"] == TO_HIDDEN2 + 150 * 12  # half of 100 images of 3 classes
    assert compared["random_parent"]["macs"] == compared["random_labels"]["macs"] == TO_HIDDEN2 + head
    for name in ("scratch", "fine_tuned"):
        assert compared[name]["macs"] == TO_HIDDEN2 + 12 * CLASSES
        assert compared[name]["trained_parameters"] == TO_HIDDEN2 + 12 * CLASSES + 16 + 12 + CLASSES
    assert compared["restricted"]["trained_parameters"] == compared["knn"]["trained_parameters"] == 0


def test_nothing_is_learned_from_random_labels(compared: dict) -> None:
    control = compared["random_labels"]
    # Three classes of twenty test images: chance is 1/3, five deviations of it .30.
    assert control["accuracy"] < 1 / 3 + 0.3
    assert compared["branch"]["accuracy"] > 0.6
    assert control["branch_lead"]["accuracy"]["interval"][0] > 0


def test_a_lead_is_the_difference_and_lies_in_its_interval(compared: dict) -> None:
    for name in OF_IMAGES:
        one = compared[name]
        for metric in ("accuracy", "aurc"):
            lead = one["branch_lead"][metric]
            assert lead["difference"] == pytest.approx(compared["branch"][metric] - one[metric])
            assert lead["interval"][0] <= lead["difference"] <= lead["interval"][1]


def test_baselines_are_kept(glyph_run: GlyphRun, compared: dict) -> None:
    again = record(glyph_run(*ORDINARY, "baselines=all", "threshold.target=0.61").results)["baselines"]
    # Seconds of training are those of the first time, so that equal numbers mean that nothing was built.
    assert again == compared


def test_a_list_is_kept_in_its_order(glyph_run: GlyphRun) -> None:
    found = record(glyph_run(*ORDINARY, "baselines=[knn,restricted,knn]").results)["baselines"]
    assert list(found) == ["branch", "knn", "restricted"]


@pytest.mark.parametrize("value", ["some", "3", "[knn,knm]"])
def test_an_unknown_baseline_is_refused(glyph_run: GlyphRun, value: str) -> None:
    with pytest.raises(InputError, match=r"baselines.*(must be all, null or a list|did you mean 'knn')"):
        glyph_run(f"baselines={value}")


def test_a_parent_that_does_not_know_the_classes_cannot_be_restricted(glyph_run: GlyphRun) -> None:
    found = record(glyph_run(*ORDINARY, "parent.labels=coarse", "baselines=[restricted,knn]").results)[
        "baselines"
    ]
    assert found["restricted"] is None
    assert [line[0] for line in baseline_lines(found)] == ["branch", "knn"]


def test_lines_have_an_entry_for_each_heading(compared: dict) -> None:
    lines = baseline_lines(compared)
    assert [line[0] for line in lines][:3] == ["branch", "parent restricted", "linear probe"]
    assert {len(line) for line in lines} == {len(HEADER)}


def test_an_outcome_is_right_by_the_largest_logit_and_sure_by_its_softmax() -> None:
    one = outcome(np.log(np.array([[0.7, 0.3], [0.4, 0.6]], dtype=np.float32)), np.array([0, 0]))
    assert one.error.tolist() == [False, True]
    assert one.score == pytest.approx([0.7, 0.6])
    assert one.accuracy == 0.5


def test_a_model_leads_itself_by_nothing() -> None:
    rng = np.random.default_rng(0)
    one = outcome(rng.normal(size=(40, 3)).astype(np.float32), rng.integers(3, size=40))
    for lead in differences(one, one).values():
        assert lead["difference"] == 0
        low, high = lead["interval"]
        assert -0.1 < low == -high < 0  # 40 equal answers do not show that no answer differs


def test_a_lead_is_paired_by_image() -> None:
    """Of 400 images the first model alone answers 10 rightly, the second alone 6: Bonett & Price (2012)."""
    error = np.arange(400) < 40
    first, second = Outcome(error.copy(), np.zeros(400)), Outcome(error.copy(), np.zeros(400))
    first.error[40:46] = True
    second.error[46:56] = True
    lead = differences(first, second)["accuracy"]
    assert lead["difference"] == pytest.approx(4 / 400)
    half = 1.96 * np.sqrt(16 + 2 - 4**2 / 400) / 400
    assert lead["interval"] == pytest.approx((0.01 - half, 0.01 + half), abs=1e-5)


def test_costs_of_a_run(glyph_run: GlyphRun) -> None:
    run = glyph_run(*ORDINARY)
    cost = record(run.results)["cost"]
    assert cost["macs"]["path"] == cost["macs"]["to_branch_point"] + cost["macs"]["branch"]
    assert cost["macs"]["to_branch_point"] == TO_HIDDEN2
    assert cost["macs"]["parent"] == TO_HIDDEN2 + 12 * 5
    assert cost["parameters"]["branch"] == record(run.results)["branch"]["parameters"]
    assert cost["parameters"]["parent"] == run.results["parent"]["parameters"]
    n = run.results["examples"]["n"]
    assert cost["cache_bytes"] >= 4 * n * (16 + 12 + 5)
    kept, epochs = run.results["artifacts"]["activations"], record(run.results)["branch"]["epochs"]
    expected = kept["build_seconds"] * (epochs * 150 / n - 1)  # half of 100 images of 3 classes, every epoch
    assert kept["saved_seconds"] == pytest.approx(expected, abs=1e-3)


def test_neighbours_are_tried_in_ascending_numbers() -> None:
    assert list(NEIGHBOURS) == sorted(set(NEIGHBOURS))


def test_baselines_without_the_parent_know_none_of_its_weights(glyph_run: GlyphRun, tmp_path: Path) -> None:
    run = glyph_run(*ORDINARY)
    workspace, branch = Workspace.of(run.experiment, run.table), run.experiment.usual.branch
    network = {**workspace.parent.network, "weights": "somewhere"}
    brought = replace(workspace.parent, checkpoint=tmp_path / "weights.pt", network=network)
    on_pixels = _Bench(replace(workspace, parent=brought), branch, None)._of_subset(gentle=False)
    for anew in (brought.anew(), on_pixels):
        assert anew.checkpoint is None
        assert anew.network["weights"] is None
    assert brought.network["weights"] == "somewhere"


def test_votes_of_neighbours_are_in_the_store(glyph_run: GlyphRun, compared: dict) -> None:
    outputs = glyph_run(*ORDINARY).experiment.outputs
    kept = list((outputs / "store" / "neighbours").glob("*/votes.safetensors"))
    assert kept
    for votes in kept:
        found = load_file(votes)["votes"]
        assert found.sum(1).numpy() == pytest.approx(np.ones(len(found)), abs=1e-5)


def test_a_summary_lists_every_model_of_every_run(
    glyph_run: GlyphRun, compared: dict, tmp_path: Path
) -> None:
    write_run(glyph_run(*ORDINARY, "baselines=all"), tmp_path, draw_figures=False)
    summary = summarize(tmp_path)
    with (tmp_path / "baselines.csv").open() as stream:
        lines = {line["model"]: line for line in csv.DictReader(stream)}
    assert list(lines) == ["branch", *OF_IMAGES]
    for name, line in lines.items():
        assert float(line["accuracy"]) == pytest.approx(compared[name]["accuracy"])
    lead = compared["knn"]["branch_lead"]["aurc"]
    found = [float(lines["knn"][f"branch_lead_aurc{end}"]) for end in ("", "_low", "_high")]
    assert found == pytest.approx([lead["difference"], *lead["interval"]])
    assert lines["branch"]["branch_lead_aurc"] == ""
    assert "## Baselines" in (tmp_path / "summary.md").read_text()
    assert [row["baselines"].keys() for row in summary.completed] == [compared.keys()]


def test_a_summary_without_baselines_has_no_file_of_them(glyph_run: GlyphRun, tmp_path: Path) -> None:
    write_run(glyph_run(*ORDINARY), tmp_path, draw_figures=False)
    summarize(tmp_path)
    assert not (tmp_path / "baselines.csv").exists()
    assert "Baselines" not in (tmp_path / "summary.md").read_text()
