"""The front door in Python: the same configurations, keys and numbers as the command line."""

import inspect
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

import neural_branching as nb
from device import DEVICE
from neural_branching import cli
from neural_branching.errors import InputError
from neural_branching.facade.groups import described
from neural_branching.routing.routers import ROUTERS
from tiny import glyphs, networks

TRAINER = {"accelerator": DEVICE, "threads": 1, "progress": False}
TYPED = [
    *glyphs(2, train=30, test=8),
    *networks(),
    *("parent.fit.epochs=2", "branch.fit.epochs=2", "trainer.progress=false"),
]
CLASSES = {"digit": ["digit_0", "digit_1", "digit_2"], "upper": ["upper_O", "upper_I"]}


def data() -> nb.sources.Glyphs:
    classes = [name for some in CLASSES.values() for name in some]
    return nb.sources.Glyphs(30, 8, image_size=12, classes=classes, superclasses=CLASSES)


def experiment(branches: object, **options: object) -> nb.Experiment:
    parent = nb.parents.MLP([16, 12], fit={"epochs": 2})
    return nb.Experiment(data(), parent, branches, trainer=TRAINER, **options)


def branch(subset: object = "digits", **options: object) -> nb.Branch:
    return nb.Branch(subset, at="hidden2", network={"widths": [8]}, fit={"epochs": 2}, **options)


def test_python_finds_what_the_command_line_has_built(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, unillustrated: None
) -> None:
    monkeypatch.chdir(tmp_path)
    typed = ["train", "subset=digits", "threshold=coverage", "threshold.target=0.7", *TYPED]
    monkeypatch.setattr("sys.argv", ["neural-branching", *typed])
    cli.main()
    [folder] = Path("outputs/runs").iterdir()
    run = experiment(branch(threshold=nb.thresholds.Coverage(0.7))).run()
    assert not any(one["built"] for one in run.results["artifacts"].values())
    theirs = nb.summary(folder).drop(columns=["run", "built"])
    mine = run.summary().drop(columns=["run", "built"])
    assert mine.equals(theirs)
    configurations = [yaml.safe_load((one / "config.yaml").read_text()) for one in (run.folder, folder)]
    for one in configurations:
        del one["outputs"], one["data"]["superclasses"]  # the command line adds to those of the file
    assert configurations[0] == configurations[1]


def test_a_run_gives_tables_tensors_figures_and_answers(tmp_path: Path) -> None:
    rules = [nb.thresholds.Fixed(0.4), nb.thresholds.Coverage(0.5)]
    run = experiment(branch(["digit_0", "upper_O"], name="round", threshold=rules)).run(tmp_path)
    assert run.summary()["threshold"].tolist() == ["fixed 0.4", "coverage 0.5"]
    assert set(run.summary()["subset"]) == {"round"}
    table = run.predictions()
    vectors, labels = run.activations("hidden2", split="test")
    assert vectors.shape == (5 * 8, 12)
    assert labels.bincount().tolist() == [8] * 5
    everything, _ = run.activations("hidden1")
    assert everything.shape == (5 * 38, 16)
    rows = torch.tensor(table[(table["split"] == "test") & (table["label"] == "upper_O")]["row"].to_numpy())
    expected = run.classes.index("upper_O")
    assert (torch.from_numpy(run.run.table.labels)[rows] == expected).all()
    assert {"risk_coverage", "confusion"} <= run.figures().keys()
    with pytest.raises(InputError, match="stage is 'hidden3', which is unknown"):
        run.activations("hidden3")


def test_a_tree_is_declared_as_a_branch_is(tmp_path: Path) -> None:
    nodes = {name: {"classes": classes} for name, classes in CLASSES.items()}
    tree = nb.Tree(nodes, at="hidden2", router=nb.routers.Gate(), fit={"epochs": 2}, name="cases")
    run = experiment(tree).run(tmp_path)
    assert run.results["router"] == "gate"
    assert run.results["hierarchy"] == "cases"
    assert {"gate", "soft"} <= set(run.summary()["router"])
    with pytest.raises(InputError, match=r"has no predictions\.csv"):
        run.predictions()
    predictor = nb.load(run.folder)
    answers = run.predict(predictor.examples[:3])
    assert [one.answer for one in answers] == [
        one.answer for one in predictor.predict(predictor.examples[:3])
    ]


def test_a_superclass_is_a_subset() -> None:
    spec = experiment(branch("upper")).spec()
    assert spec.tree.classes == ("upper_O", "upper_I")
    data_with_others = nb.sources.Glyphs(30, 8, superclasses={"ring": ["digit_0", "upper_O", "lower_o"]})
    named = nb.Experiment(data_with_others, nb.parents.MLP([16, 12]), branch("ring")).spec()
    assert named.tree.classes == ("digit_0", "upper_O", "lower_o")
    assert named.data.superclasses == {"ring": ["digit_0", "upper_O", "lower_o"]}  # instead of the usual ones


@pytest.mark.parametrize(
    ("declared", "sentence"),
    [
        (lambda: experiment(branch("digitz")), "superclass is 'digitz', which is unknown"),
        (lambda: experiment(branch(["digit_0"])), "at least two"),
        (lambda: experiment(branch(threshold=nb.thresholds.Fixed(3))), "threshold.value is 3"),
        (lambda: experiment(nb.Branch("digits", "hidden9")), "hidden9"),
        (lambda: experiment(branch(depth=3)), "branch has no option 'depth'"),
        (lambda: experiment(branch(kind="mpl")), "mpl"),
        (lambda: nb.Experiment(nb.sources.Data("glyfs"), nb.parents.MLP(), branch()), "glyfs"),
    ],
)
def test_what_cannot_be_used_is_a_sentence_and_leaves_nothing(
    declared: object, sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=sentence):
        declared().run(tmp_path / "outputs")
    assert not list((tmp_path / "outputs").glob("runs/*/config.yaml"))


@pytest.mark.parametrize(
    "thing",
    [
        *(getattr(nb.scores, name)() for name in nb.scores.__all__),
        nb.thresholds.Fixed(0.5),
        nb.thresholds.Coverage(0.5),
        nb.thresholds.Risk(0.1),
        nb.thresholds.Conformal(0.1),
        nb.thresholds.FalseAccept(0.1),
        nb.thresholds.Sgr(0.1, 0.05),
        nb.thresholds.FixedSequence(0.1, 0.05),
        nb.thresholds.RandomWalk(0.1, 0.05),
        *(router() for router in ROUTERS.values()),
    ],
    ids=lambda one: type(one).__name__,
)
def test_settings_are_attributes_of_the_names_that_constructors_take(thing: object) -> None:
    names = described(thing).keys() - {"_target_"}
    assert names == set(inspect.signature(type(thing)).parameters)


def test_names_are_there_and_nothing_heavy_comes_with_them() -> None:
    assert {"Experiment", "Branch", "Tree", "sources", "parents", "scores", "thresholds"} <= set(dir(nb))
    with pytest.raises(AttributeError, match="no attribute 'Branche'"):
        _ = nb.Branche
    code = (
        "import sys, neural_branching as nb; nb.Experiment, nb.scores.Margin, nb.parents.MLP; "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
