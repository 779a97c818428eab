"""The front door in Python: the same configurations, keys and numbers as the command line."""

import inspect
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from torch import nn

import neural_branching as nb
from device import DEVICE
from neural_branching import cli
from neural_branching.config.experiment import BASELINES
from neural_branching.errors import InputError
from neural_branching.facade.groups import described
from neural_branching.routing.routers import ROUTERS
from neural_branching.selection.scores.score import Scorer
from neural_branching.training.loggers import Csv, TensorBoard
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
    with pytest.raises(InputError, match="split is 'tset', which is unknown: did you mean 'test'"):
        run.activations("hidden2", "tset")
    with pytest.raises(InputError, match="it has predictions"):
        run.trace()
    examples = nb.load(run.folder, threshold=0).examples[:8]
    with pytest.raises(InputError, match=r"The threshold is not given: the run has 0 \(fixed 0.4\), 1 "):
        run.predict(examples)
    for rule, number in (("fixed 0.4", 0), ("coverage 0.5", 1)):
        assert run.predict(examples, threshold=rule) == run.predict(examples, threshold=number)


def test_a_tree_is_declared_as_a_branch_is(tmp_path: Path) -> None:
    nodes = {name: {"classes": classes} for name, classes in CLASSES.items()}
    tree = nb.Tree(nodes, at="hidden2", router=nb.routers.Gate(), fit={"epochs": 2}, name="cases")
    run = experiment(tree).run(tmp_path)
    assert run.results["router"] == "gate"
    assert run.results["hierarchy"] == "cases"
    assert {"gate", "soft"} <= set(run.summary()["router"])
    assert len(run.trace()) == 5 * 8
    with pytest.raises(InputError, match=r"it has a trace\(\)"):
        run.predictions()
    predictor = nb.load(run.folder)
    answers = run.predict(predictor.examples[:3])
    assert [one.answer for one in answers] == [
        one.answer for one in predictor.predict(predictor.examples[:3])
    ]


def test_a_judge_is_declared_as_a_branch_is(tmp_path: Path) -> None:
    judge = nb.Judge(
        ["hidden2"],
        threshold=nb.thresholds.Coverage(0.6),
        target=nb.targets.AgreesWithFinal(),
        repeats=1,
        fit={"epochs": 2},
    )
    run = experiment(judge).run(tmp_path)
    assert not [*run.folder.glob("*.png")]
    assert run.results["target"] == "agrees_with_final"
    assert set(run.summary()["stage"]) == {"hidden2"}
    assert run.figures().keys() == {"by_stage"}
    with pytest.raises(InputError, match="holds studies of judge, which have tables of their own"):
        nb.summary(run.folder)
    predictor = nb.load(run.folder)
    assert predictor.stages == ("hidden2",)
    answers = run.predict(predictor.examples[:3])
    assert answers == predictor.predict(predictor.examples[:3])
    names = [*CLASSES["digit"], *CLASSES["upper"]]
    assert all(one.answer in names and 0 < one.confidence < 1 for one in answers)
    spec = experiment(nb.Judge(subset="upper", generation={"tokens": 3})).spec()
    assert (spec.classes, spec.generation.tokens, spec.repeats) == (("upper_O", "upper_I"), 3, 5)


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
        (
            lambda: nb.Experiment(nb.sources.Data("glyfs"), nb.parents.MLP(), branch()),
            "data is 'glyfs', which is unknown: did you mean 'glyphs'",
        ),
        (
            lambda: nb.Experiment("glyphs", nb.parents.MLP(), branch()),
            "data is 'glyphs': it must be one of nb",
        ),
        (lambda: nb.Experiment(data(), "mlp", branch()), "parent is 'mlp': it must be one of nb.parents"),
        (
            lambda: nb.Experiment(data(), nb.parents.MLP(), "digits"),
            "it must be an nb.Branch, an nb.Tree, an nb.Cascade or an nb.Judge",
        ),
        (lambda: nb.Branch("digits", None), "at is None: it must be the name of a stage"),
        (lambda: branch(threshold=0.5), "threshold is 0.5: it must be an object of nb.thresholds"),
        (lambda: branch(threshold=[]), "threshold is an empty list"),
        (lambda: branch(threshold=[nb.thresholds.Fixed(0.5), 0.7]), "threshold is 0.7"),
        (lambda: branch(score="max_softmax"), "score is 'max_softmax': it must be an object of nb.scores"),
        (lambda: branch(score=nb.scores.Margin), "it must be an object of nb.scores"),
        (
            lambda: nb.Tree("glyphs", "hidden2", router="soft"),
            "router is 'soft': it must be an object of nb",
        ),
        (lambda: nb.Tree(5, "hidden2"), "hierarchy is 5: it must be a name, or a mapping"),
        (lambda: nb.parents.Module(nn.ReLU()), "module is ReLU.*it must be a class"),
        (lambda: nb.parents.Module(local_class()), "Net is defined within a function: define it at the top"),
        (lambda: superclasses_by_number(), "data.superclasses has the name 1: names must be text"),
        (lambda: nb.Tree({"a": None}, "hidden2"), "Node 'a' of the hierarchy is None: give a mapping"),
        (lambda: experiment(branch(["digit_0", "${seed}"])), r"subset.classes\[1\] is '\$\{seed\}'"),
        (lambda: experiment(branch(seed=object())), "branch.seed is <object"),
        (
            lambda: experiment(nb.Judge("hidden1")),
            "stages is 'hidden1': it must be null, or different stages",
        ),
        (lambda: experiment(nb.Judge(["hidden9"])), "hidden9"),
        (lambda: nb.Judge(target="mine"), "target is 'mine': it must be an object of nb.targets"),
        (lambda: nb.Judge(threshold=[]), r"threshold is \[\]: it must be an object of nb.thresholds"),
        (lambda: experiment(nb.Judge(), baselines="all"), "baselines"),
        (lambda: experiment(branch(), baselines="al"), "baselines is 'al': it must be all"),
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
        "nb.Judge, nb.targets; "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def local_class() -> type:
    class Net(nn.Module):
        pass

    return Net


def superclasses_by_number() -> nb.Experiment:
    source = nb.sources.Glyphs(30, 8, superclasses={1: ["digit_0", "digit_1"]})
    return nb.Experiment(source, nb.parents.MLP([16, 12]), branch())


@pytest.mark.parametrize("outputs", [None, 5, ""])
def test_outputs_are_a_folder(outputs: object) -> None:
    with pytest.raises(InputError, match="it must be a folder"):
        experiment(branch()).spec(outputs)


def test_hydra_of_others_is_left_as_it_was() -> None:
    with initialize_config_dir(str(Path(__file__).parents[2] / "conf"), version_base="1.3"):
        theirs = GlobalHydra.instance().hydra
        experiment(branch()).spec()
        assert GlobalHydra.instance().hydra is theirs
    assert not GlobalHydra.instance().is_initialized()


def test_none_numpy_and_paths_are_taken_as_they_are_meant(tmp_path: Path) -> None:
    parent = nb.parents.ConvNet(4, augment=None, fit={"epochs": np.int64(2), "lr": np.float64(1e-3)})
    grown = nb.Branch(np.array(["digit_0", "digit_1"]), "pool", network={"widths": np.array([8])}, name="two")
    spec = nb.Experiment(data(), parent, grown, baselines="all", baseline_epochs=1).spec(tmp_path)
    assert spec.parent.augment is None
    assert spec.parent.recipe.epochs == 2
    assert spec.usual.branch.network["widths"] == [8]
    assert (spec.outputs, spec.baseline_epochs) == (tmp_path, 1)
    assert spec.baselines == BASELINES[:-1]  # of images
    assert nb.Experiment(data(), parent, nb.Branch("digits", "pool", name="mine")).spec().tree.name == "mine"


def test_a_node_of_a_tree_has_objects_of_its_own() -> None:
    nodes = {name: {"classes": classes} for name, classes in CLASSES.items()}
    nodes["upper"] |= {"score": nb.scores.Margin(), "threshold": nb.thresholds.Fixed(0.25)}
    spec = experiment(nb.Tree(nodes, at="hidden2")).spec()
    assert (spec.nodes["upper"].score.kind, spec.nodes["digit"].score.kind) == ("margin", "max_softmax")
    assert str(spec.nodes["upper"].thresholds[0]) == "fixed 0.25"


class OddScore(nb.scores.MaxSoftmax):
    """Not a number for the most confident answers; what it keeps for itself is no argument."""

    kind = "odd"

    def __init__(self, cut: float = 0.5) -> None:
        self.cut, self._cache = cut, {}

    def fit(self, answers: object) -> Scorer:
        return Scorer(lambda given: np.where(given.logits.max(1) > self.cut, np.nan, 0.5))


class Forgetful(nb.thresholds.Fixed):
    def __init__(self, count: int = 1) -> None:
        super().__init__(0.5)


def test_ones_own_score_and_threshold_are_held_to_what_they_promise(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="The score gives nan: it must give finite numbers"):
        experiment(branch(score=OddScore(-1e9))).run(tmp_path)
    with pytest.raises(InputError, match="Forgetful keeps no attribute 'count'"):
        branch(threshold=Forgetful(3))


def test_the_logger_is_one_of_the_groups(tmp_path: Path) -> None:
    for name, kind in (("tensorboard", TensorBoard), ("csv", Csv), (None, type(None))):
        spec = experiment(branch(), logger=name).spec(tmp_path)
        assert type(spec.compute.logger) is kind
    with pytest.raises(InputError, match="logger is 'tensorbord', which is unknown"):
        experiment(branch(), logger="tensorbord").spec(tmp_path)
