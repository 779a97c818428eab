"""A branch, and what it is compared with, that learn from a given number of images per class."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

from neural_branching.artifacts import activations as act
from neural_branching.artifacts.activation_data import ActivationDataModule
from neural_branching.artifacts.baselines import _Bench
from neural_branching.artifacts.ensure_branch import (
    ensure_activations,
    ensure_branch,
    ensure_views,
    load_branch,
)
from neural_branching.artifacts.ensure_data import ensure_data
from neural_branching.artifacts.workspace import Workspace, store_of
from neural_branching.config.branch_spec import BranchSpec
from neural_branching.config.parent_spec import ParentSpec
from neural_branching.data.training_examples import ExampleDataModule
from neural_branching.errors import InputError
from neural_branching.pipeline import Run
from neural_branching.report.cells import Cell
from neural_branching.report.collect import cell
from neural_branching.report.figures.learning_curve import learning_curve
from neural_branching.report.run_report import write_run
from neural_branching.report.summary import summarize
from neural_branching.training.recipe import Recipe
from sweeps import record
from tiny import ORDINARY, GlyphRun

FEW = ("branch.examples_per_class=10", "baselines=[knn,scratch,fine_tuned]", "baseline_epochs=2", *ORDINARY)


@pytest.fixture(scope="module")
def few(glyph_run: GlyphRun) -> Run:
    return glyph_run(*FEW)


def branch_of(run: Run) -> BranchSpec:
    """The branch that a run trained."""
    branch = run.experiment.usual.branch
    assert branch
    return branch


def on_pixels(run: Run) -> ParentSpec:
    """The network that learns the branch's task from pixels, beside the branch of a run."""
    workspace = Workspace.of(run.experiment, run.table)
    return _Bench(workspace, branch_of(run), run.experiment.baseline_epochs)._of_subset(gentle=False)


def test_few_images_are_among_more_and_alike_for_each_class(few: Run) -> None:
    table, classes = few.table, few.experiment.tree.classes
    five, ten = (table.rows("train", classes, per_class=n) for n in (5, 10))
    assert set(five) < set(ten) < set(table.rows("train", classes))
    assert np.array_equal(ten, np.sort(ten))
    assert np.bincount(table.labels[ten]).tolist() == [10, 10, 10]
    assert len(table.rows("test", classes, per_class=5)) == len(table.rows("test", classes))


def test_epochs_make_up_for_few_images(glyph_run: GlyphRun, few: Run) -> None:
    plenty = glyph_run(*ORDINARY)  # 50 training images of each class
    assert branch_of(few).recipe.epochs == 5 * branch_of(plenty).recipe.epochs
    assert len(few.histories["branch"]) == 5 * len(plenty.histories["branch"])
    assert few.experiment.parent.recipe.epochs == plenty.experiment.parent.recipe.epochs
    assert on_pixels(few).recipe.epochs == 5 * 2
    recipe = Recipe(epochs=3, batch_size=4, lr=0.1, patience=2)
    assert vars(recipe.stretched(2.5)) == vars(recipe) | {"epochs": 8, "patience": 5}


def test_the_parent_is_the_same_and_the_branch_another(glyph_run: GlyphRun, few: Run) -> None:
    plenty, mine = glyph_run(*ORDINARY).results["artifacts"], few.results["artifacts"]
    assert mine["parent"]["key"] == plenty["parent"]["key"]
    assert mine["activations"]["key"] == plenty["activations"]["key"]
    assert mine["branch"]["key"] != plenty["branch"]["key"]


def test_the_branch_is_standardised_by_its_own_images(few: Run) -> None:
    spec, workspace = branch_of(few), Workspace.of(few.experiment, few.table)
    rows = few.table.rows("train", spec.classes, per_class=10)
    seen = act.read(ensure_activations(workspace, spec), spec.stage, rows)
    branch = load_branch(spec, ensure_branch(workspace, spec))
    torch.testing.assert_close(branch.standardize.mean, seen.mean(0))


def test_views_are_those_of_the_same_images(glyph_run: GlyphRun) -> None:
    run = glyph_run("branch.examples_per_class=10", "views.count=2", *ORDINARY)
    spec, table, workspace = branch_of(run), run.table, Workspace.of(run.experiment, run.table)
    data = ActivationDataModule(
        lambda: ensure_activations(workspace, spec),
        table,
        spec.groups,
        spec.stage,
        8,
        0,
        lambda: ensure_views(workspace, spec),
        per_class=10,
    )
    data.setup("fit")
    everyone = table.rows("train").tolist()
    mine = [everyone.index(row) for row in table.rows("train", spec.classes, per_class=10)]
    views = act.read(ensure_views(workspace, spec), spec.stage).unflatten(0, (2, -1))
    assert len(data.train[0]) == 3 * 30
    assert torch.equal(data.train[0][30:], views[:, mine].flatten(0, 1))
    assert torch.equal(data.train[1], data.train[1][:30].repeat(3))


def test_networks_on_pixels_see_the_branch_s_images(few: Run) -> None:
    spec, classes = on_pixels(few), few.experiment.tree.classes
    table = ensure_data(few.experiment.data, store_of(few.experiment), content=True)
    data = ExampleDataModule(
        table, spec.labels, 8, 0, training_source=spec.training_source, per_class=spec.examples_per_class
    )
    data.setup("fit")
    mine = table.rows("train", classes, per_class=10)
    assert torch.equal(data.train[0], torch.from_numpy(table.examples()[mine]))
    assert len(data.validation[0]) == len(table.rows("validation", classes))
    # To the branch point, and then the distance to each of 30 images in 12 dimensions.
    assert record(few.results)["baselines"]["knn"]["macs"] == 3 * 16 * 16 * 16 + 16 * 12 + 30 * 12


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        (
            "branch.examples_per_class=51",
            r"is 51: a branch can learn from at most 50 examples of class 'digit_0'",
        ),
        ("branch.examples_per_class=0", "branch.examples_per_class is 0"),
        ("branch.examples_per_class=ten", "branch.examples_per_class is 'ten'"),
        ("baseline_epochs=0", "baseline_epochs is 0"),
    ],
)
def test_impossible_numbers_are_refused(glyph_run: GlyphRun, option: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        glyph_run(*ORDINARY, option)


def test_of_a_split_that_keeps_images_apart_the_branch_has_half(glyph_run: GlyphRun) -> None:
    with pytest.raises(InputError, match="at most 25 examples"):
        glyph_run(*ORDINARY, "data.split.disjoint=true", "branch.examples_per_class=26")


@pytest.mark.usefixtures("rendered")
def test_a_sweep_over_images_draws_a_learning_curve(glyph_run: GlyphRun, few: Run, tmp_path: Path) -> None:
    fewer = glyph_run("branch.examples_per_class=5", *FEW[1:])
    for number, run in enumerate((few, fewer)):
        folder = tmp_path / str(number)
        folder.mkdir()
        write_run(run, folder, draw_figures=False)
    summary = summarize(tmp_path)
    assert summary.swept == ["branch.examples_per_class"]
    assert (tmp_path / "learning_curve.png").stat().st_size > 10_000
    with (tmp_path / "baselines.csv").open() as stream:
        lines = list(csv.DictReader(stream))
    assert {(line["branch.examples_per_class"], line["model"]) for line in lines} == {
        (images, model) for images in ("10", "5") for model in ("branch", "knn", "scratch", "fine_tuned")
    }


def test_the_learning_curve_draws_means_over_its_images() -> None:
    curves = {
        "branch": {25: cell([0.4, 0.6]), 400: cell([0.8, 0.8])},
        "scratch": {25: Cell(0.3), 400: Cell(0.9)},
    }
    seconds = {"branch": {25: Cell(3.0)}, "probe": {25: Cell(2.0)}}
    figure = learning_curve({"test accuracy": {"fish": curves}, "seconds": {"fish": seconds}})
    above, below = figure.axes
    assert [bar.lines[0].get_xydata().tolist() for bar in above.containers] == [
        [[25, 0.5], [400, 0.8]],
        [[25, 0.3], [400, 0.9]],
    ]
    assert above.get_title() == "fish"
    listed = [text.get_text() for text in above.get_legend().get_texts()]
    assert listed == ["branch", "scratch", "probe"]  # whichever panel they are in
    assert (above.get_ylabel(), below.get_ylabel()) == ("test accuracy", "seconds")


def test_networks_on_pixels_vary_with_the_branch(glyph_run: GlyphRun, few: Run) -> None:
    other = glyph_run("branch.seed=1", *FEW)
    assert other.results["artifacts"]["parent"]["key"] == few.results["artifacts"]["parent"]["key"]
    assert on_pixels(other).seed == 1
