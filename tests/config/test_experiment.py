"""From the command line's overrides to checked settings: the first mistake is named where it was made."""

from pathlib import Path

import pytest

from composed import composed
from neural_branching.config.experiment import Experiment
from neural_branching.data.sources.glyphs import CLASSES, Glyphs
from neural_branching.data.sources.image_folder import ImageFolder
from neural_branching.errors import InputError

FISH = ["data=fish_and_flowers", "subset=fish"]


def settings(folder: Path, *overrides: str) -> Experiment:
    return Experiment.from_config(composed("train", f"outputs={folder / 'outputs'}", *overrides))


def seeds(found: Experiment) -> tuple[int, int, int]:
    """Of the parent, the branch and the split."""
    return found.parent.seed, found.usual.branch.seed, found.data.split.seed


def test_the_defaults(tmp_path: Path) -> None:
    found = settings(tmp_path)
    [(name, node)] = found.nodes.items()
    assert name == node.branch.name == found.tree.name == "digits"
    assert found.router is None
    assert isinstance(found.data.source, Glyphs)
    assert found.data.classes == CLASSES
    assert node.branch.classes == tuple(f"digit_{digit}" for digit in range(10))
    assert node.branch.stage == "hidden2"
    assert found.data.input.shape == (3, 32, 32)
    assert str(node.score) == "max_softmax"
    assert [str(one) for one in node.thresholds] == ["fixed 0.96"]
    assert seeds(found) == (0, 0, 0)
    assert found.outputs == tmp_path / "outputs"
    assert not found.outputs.exists()
    assert found.config["parent"]["network"]["widths"] == [1024, 512]


def test_outputs_are_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Experiment.from_config(composed("train", "outputs=here")).outputs == tmp_path / "here"


def test_seeds_of_models_follow_the_seed_and_the_splits_does_not(tmp_path: Path) -> None:
    found = settings(tmp_path, "seed=3")
    assert seeds(found) == (3, 3, 0)
    found = settings(tmp_path, "seed=3", "branch.seed=5", "data.split.seed=7")
    assert seeds(found) == (3, 5, 7)


def test_subsets_come_in_the_order_of_the_data(tmp_path: Path) -> None:
    assert settings(tmp_path, *FISH).tree.classes == ("crab", "aquarium_fish", "shark")
    assert settings(tmp_path, "data=cifar100", "subset=fish").tree.classes == (
        "aquarium_fish",
        "crab",
        "shark",
    )
    found = settings(tmp_path, "data=cifar100", "subset=superclass", "subset.superclass=reptiles")
    assert found.tree.name == "reptiles"
    assert found.tree.classes == ("crocodile", "dinosaur", "lizard", "snake", "turtle")
    found = settings(
        tmp_path, "subset=custom", "subset.name=ring", "subset.classes=[upper_O,lower_o,digit_0]"
    )
    assert (found.tree.name, found.tree.classes) == ("ring", ("digit_0", "upper_O", "lower_o"))


def test_the_reader_of_a_data_set_can_be_swapped(tmp_path: Path, class_folders) -> None:
    root = class_folders(["crab", "aquarium_fish", "shark", "sunflower", "poppy", "tulip", "extra"], train=10)
    found = settings(tmp_path, *FISH, "data/source=image_folder", f"data.root={root}")
    assert isinstance(found.data.source, ImageFolder)
    assert found.data.classes == ("crab", "aquarium_fish", "shark", "sunflower", "poppy", "tulip")


def test_own_images_bring_their_own_classes(tmp_path: Path, class_folders) -> None:
    data = ["data=image_folder", f"data.root={class_folders(('cat', 'dog', 'emu'), train=10)}"]
    found = settings(tmp_path, *data, "subset=custom", "subset.classes=[emu,cat]")
    assert found.data.classes == ("cat", "dog", "emu")
    assert found.tree.classes == ("cat", "emu")
    found = settings(tmp_path, *data, "data.classes=[emu,cat]", "subset=custom", "subset.classes=[cat,emu]")
    assert found.data.classes == found.tree.classes == ("emu", "cat")


MISTAKES = {
    "thresholds=0.5": r"^thresholds is 0\.5: it must be null or a list of options, as in \[\{value:0\.5\}",
    "thresholds=[0.5,0.7]": r"^thresholds\[0\] is 0\.5: it must be options of the threshold, as in \{value:",
    "thresholds=[{value:0.5},{value:96}]": r"^threshold\.value is 96: scores of score=max_softmax lie within",
    "+hierarchy=glyphs": r"^The configuration has no option 'hierarchy': allowed are ",
    "threshold.value=96": (r"^threshold\.value is 96: scores of score=max_softmax lie within \[0, 1\]\.$"),
    "score=knn": r"^threshold\.value is 0\.96: scores of score=knn lie within \[-2, 0\]\.$",
    "score=negative_entropy": r"^threshold\.value is 0\.96: .* lie within \(-inf, 0\]\.$",
    "score=knn score.k=0 threshold=coverage": r"^score\.k is 0: it must be a whole number of at least 1",
    "score._target_=neural_branching.selection.scores.learned.Margn": r"^score\._target_ is '.*Margn', wh",
    "threshold=random_walk threshold.target=1": r"^threshold\.target is 1: .* within \(0, 1\)\.$",
    "threshold=sgr threshold.delta=0": r"^threshold\.delta is 0: .* within \(0, 1\)\.$",
    "threshold=conformal threshold.target=0": r"^threshold\.target is 0: .* within \(0, 1\)\.$",
    "threshold=false_accept data.classes=[digit_1,digit_2]": r"^threshold=false_accept is fitted",
    "threshold.value=inf": r"^threshold\.value is inf: it must be a finite number\.$",
    "threshold.value=???": r"^threshold\.value must be given: add threshold\.value=VALUE\.$",
    "~threshold.value": r"^threshold\.value must be given: add threshold\.value=VALUE\.$",
    "+threshold.target=0.5": r"^threshold has no option 'target': allowed are value\.$",
    "threshold=risk threshold.target=-1": r"^threshold\.target is -1:",
    "threshold._target_=neural_branching.selection.thresholds.plain.Fix": r"^threshold\._target_ is '.*Fix'",
    "parent.normalize=batch": r"^parent\.normalize is 'batch'.* channel, pixel, imagenet",
    "parent.fit.lr=0": r"^parent\.fit\.lr is 0: it must be a number within \(0, inf\)\.$",
    "parent.fit.optimizer=adm": r"^parent\.fit\.optimizer is 'adm'.* did you mean 'adam'\?",
    "parent.labels=medium": r"^parent\.labels is 'medium'.* fine, coarse",
    "parent.classes=rest": r"^parent\.classes is 'rest'.* all, others",
    "parent.classes=[digit_1]": r"^parent\.classes leaves the parent with digit_1 to tell apart",
    "parent.labels=coarse data.superclasses.upper=[upper_B]": r"^parent\.labels is 'coarse', and class",
    "parent.checkpoint=/nowhere.pt": r"^parent\.checkpoint is '/nowhere\.pt': there is no such file\.$",
    "branch_point.readout=pool0": r"^branch_point\.readout is 'pool0', which is unknown",
    "data.split.disjoint=maybe": r"^data\.split\.disjoint is 'maybe': it must be true or false\.$",
    "branch.fit.epochs=0": r"^branch\.fit\.epochs is 0:",
    "branch.fit.keep=last": r"^branch\.fit\.patience is 10 while keep is 'last'",
    "branch.fit.keep=every branch.fit.patience=null": r"^branch\.fit\.keep is 'every': a branch keeps",
    "+branch.fit.epoch=3": r"^branch\.fit has no option 'epoch'",
    "+parent.epochs=3": r"^parent has no option 'epochs'",
    "+branch.augment=null": r"^branch has no option 'augment'",
    "+branch_point.size=2": r"^branch_point has no option 'size'",
    "+data.size=16": r"^data has no option 'size'",
    "+trainer.epochs=3": r"^trainer has no option 'epochs'",
    "trainer.accelerator=gpu": r"^trainer\.accelerator is 'gpu'",
    "trainer.threads=0": r"^trainer\.threads is 0:",
    "parent.seed=-1": r"^parent\.seed is -1:",
    "branch.seed=0.5": r"^branch\.seed is 0\.5:",
    "data.image_size=4": r"^data\.source\.image_size is 4: it must be a whole number of at least 8",
    "data.split.train=0.9": r"^data\.split\.train \+ validation \+ calibration is 1\.15",
    "data.split.seed=-1": r"^data\.split\.seed is -1",
    "data.source.train_per_class=0": r"^data\.source\.train_per_class is 0",
    "data.classes=[digit_1]": r"^data\.classes is \['digit_1'\]: it must name at least two",
    "data.classes=[digit_1,digit_1]": r"^data\.classes is .*: it must name at least two different classes",
    "data.classes=[digit_1,digit_l]": r"^a class in data\.classes is 'digit_l'.* did you mean 'digit_",
    "data.classes=digit_1": r"digit_1",
    "subset=fish": r"^a class of subset 'fish' is 'crab', which is unknown",
    "subset=custom": r"^subset\.classes must be given: add subset\.classes=VALUE\.$",
    "subset=custom subset.classes=[digit_1]": r"^The subset 'custom' holds digit_1:",
    "subset=custom subset.classes=digit_1": r"digit_1",
    "subset=superclass": r"^subset\.superclass must be given: add subset\.superclass=VALUE\.$",
    "subset=superclass subset.superclass=uper": r"superclass is 'uper'.* did you mean 'upper'\?",
    "data=image_folder": r"^data\.root must be given: add data\.root=VALUE\.$",
    "data=image_folder data.root=/nowhere/at/all": r"^The data folder /nowhere/at/all does not exist",
    "data/source=image_folder": r"data.*root",
    "data/source=image_folder data.root=/nowhere data.source.broken=x": r"^data\.source\.broken is 'x'",
}


@pytest.mark.parametrize("overrides", MISTAKES)
def test_a_mistake_is_answered_with_its_place(tmp_path: Path, overrides: str) -> None:
    with pytest.raises(InputError, match=MISTAKES[overrides]) as refused:
        settings(tmp_path, *overrides.split())
    assert "\n" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("[digit_1,digit_l]", r"^parent\.classes \(each of them\) is 'digit_l'"),
        ("null", r"^parent\.classes is None"),
        ("5", r"^parent\.classes is 5"),
    ],
)
def test_a_mistake_in_the_parents_classes_is_answered(tmp_path: Path, value: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        settings(tmp_path, f"parent.classes={value}")


def test_thresholds_are_laid_on_the_usual_one_and_each_counts_once(tmp_path: Path) -> None:
    found = settings(
        tmp_path, "threshold=sgr", "threshold.delta=0.2", "thresholds=[{target:0.3},{target:0.30},{}]"
    )
    assert [(one.target, one.delta) for one in found.usual.thresholds] == [(0.3, 0.2), (0.1, 0.2)]
