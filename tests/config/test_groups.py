"""Every option of every configuration group composes, and says only what its target understands."""

import inspect
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from neural_branching.config import build as module
from neural_branching.config.build import conf_dir
from neural_branching.config.experiment import Experiment
from neural_branching.data.sources import cifar100, glyphs
from neural_branching.errors import InputError
from neural_branching.labs.decomposition.decomposition_spec import DecompositionSpec
from neural_branching.labs.explanation.explanation_spec import ExplanationSpec
from neural_branching.labs.self_evaluation.self_evaluation_spec import SelfEvaluationSpec
from neural_branching.labs.specialization.study_spec import StudySpec
from text_writing import write_texts
from vector_writing import examples, write

CONF = conf_dir()
FILES = sorted(file.relative_to(CONF).with_suffix("").as_posix() for file in CONF.rglob("*.yaml"))
OPTIONS = [file for file in FILES if "/" in file and not file.startswith(("experiment/", "hydra/"))]
EXPERIMENTS = [file.removeprefix("experiment/") for file in FILES if file.startswith("experiment/")]
STUDIES = {
    name: command
    for name in EXPERIMENTS
    for end, command in (
        ("specialization", "specialize"),
        ("decomposition", "decompose"),
        ("explanation", "explain"),
        ("self_evaluation", "judge"),
    )
    if name.endswith(end)
}
CASCADES = [name for name in EXPERIMENTS if name.endswith("cascade")]
EXPERIMENTS = [name for name in EXPERIMENTS if name not in {*STUDIES, *CASCADES}]

# Where the objects of each group live. Groups of plain values name no object.
HOMES: dict[str, tuple[str, ...]] = {
    "data": ("data",),
    "subset": ("data.subset",),
    "parent": ("networks", "training.classifier", "training.recipe", "data.augment"),
    "branch_point": (),
    "branch": ("networks", "training.classifier", "training.recipe"),
    "score": ("selection.scores",),
    "threshold": ("selection.thresholds",),
    "fit": ("training.recipe",),
    "trainer": ("training.compute",),
    "logger": ("training.loggers",),
    "views": ("data.views", "data.augment"),
    "hierarchy": ("routing.hierarchy",),
    "router": ("routing.routers",),
    "treatment": ("labs.specialization.treatments",),
    "autoencoder": ("labs.decomposition", "training.recipe"),
    "target": ("labs.self_evaluation.targets",),
    "promise": ("routing.promises",),
    "choose": ("routing.exit_choice",),
    "experiment": (),
    "search": (),
    "hydra": (),
}

# What only the code knows: the arguments that `build` is given beside the configuration.
LATE = {"in_shape", "num_classes", "stages", "logger", "folder"}

# What stands beside an object's own options and is built for itself, later.
BESIDE = {"neural_branching.data.views.Views": {"augment"}}

# Where an option goes, for groups that are used in other places than their own.
PLACES = {"fit": ["fit@parent.fit", "fit@branch.fit"]}

# Groups that only `route` has.
OF_SYSTEMS = {"hierarchy", "router"}

# And that only `cascade` has.
OF_CASCADES = {"promise", "choose"}
EXITS = "stages=[hidden1,hidden2]"

# And that only `specialize`, `decompose` and `explain`, or `judge`, have.
OF_STUDIES = {"treatment": "specialize", "autoencoder": "decompose", "target": "judge"}
SPECS = {
    "specialize": StudySpec,
    "decompose": DecompositionSpec,
    "explain": ExplanationSpec,
    "judge": SelfEvaluationSpec,
}

# Scores that the default threshold, a probability, does not fit.
UNBOUNDED = ("score/negative_entropy", "score/mahalanobis", "score/knn")

# Branch points that only a transformer has.
TRANSFORMERS = ("patches", "block4", "block5", "block6", "norm")

# What an option needs beside itself.
COMPANIONS = {
    "data/cifar100": ["subset=fish"],
    "hierarchy/fish_and_flowers": ["data=fish_and_flowers"],
    "hierarchy/cifar100": ["data=cifar100"],
    "hierarchy/cifar100_living": ["data=cifar100"],
    **{score: ["threshold=coverage"] for score in UNBOUNDED},
    "data/fish_and_flowers": ["subset=fish"],
    "data/image_folder": ["data.root={images}", "subset=custom", "subset.classes=[cat,dog]"],
    "data/vectors": ["data.root={vectors}"],
    "data/source/vectors": ["data=vectors", "data.root={vectors}"],
    "data/text": ["data.root={texts}", "parent.model=owner/name"],
    "data/source/texts": ["data=text", "data.root={texts}", "parent.model=owner/name"],
    "data/source/package_descriptions": ["data=debian_descriptions"],
    "parent/minilm": ["data=debian_descriptions"],
    "parent/smollm2": ["data=debian_descriptions"],
    "data/source/city_questions": ["data=city_questions"],
    "parent/huggingface_text": ["data=text", "data.root={texts}", "parent.model=owner/name"],
    "parent/timm": ["parent.model=test_vit", "parent.weights=null"],
    "parent/huggingface": ["parent.model=owner/name"],
    "parent/identity": ["data=vectors", "data.root={vectors}"],
    "branch_point/first": ["data=vectors", "data.root={vectors}"],
    "data/source/cifar100": ["data=fish_and_flowers", "subset=fish"],
    "data/source/image_folder": ["data=image_folder", "data.root={images}", "subset=custom",
                                 "subset.classes=[cat,dog]"],
    **{f"branch_point/{stage}": ["parent=vit"] for stage in TRANSFORMERS},
    "parent/custom": ["parent.network._target_=torch.nn.Flatten"],
    "subset/custom": ["subset.classes=[digit_1,lower_l]"],
    "subset/fish": ["data=fish_and_flowers"],
    "subset/flowers": ["data=cifar100"],
    "subset/superclass": ["subset.superclass=lower"],
}  # fmt: skip


@pytest.fixture(autouse=True)
def hydra() -> Iterator[None]:
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        yield


def targets(node: Any, place: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every node below this one that describes an object."""
    if isinstance(node, dict):
        if node.get("_target_", "???") != "???":  # what the user has to give is not there yet
            yield place, node
        for name, value in node.items():
            yield from targets(value, f"{place}.{name}")


def raw(config: Any) -> Any:
    return OmegaConf.to_container(config, resolve=False)


def bind(place: str, node: dict[str, Any]) -> None:
    """Import the target and call its signature, not the target."""
    signature = inspect.signature(get_object(node["_target_"]))
    beside = BESIDE.get(node["_target_"], set())
    options = {name: value for name, value in node.items() if name not in {"_target_", *beside}}
    late = dict.fromkeys(LATE & signature.parameters.keys())
    assert not late.keys() & options.keys(), f"{place} repeats what the code knows"
    try:
        signature.bind(**options, **late)
    except TypeError as error:
        pytest.fail(f"{place}: {error}")


def composed(option: str, *overrides: str) -> DictConfig:
    group, _, name = option.rpartition("/")
    command = "route" if group in OF_SYSTEMS else OF_STUDIES.get(group, "train")
    if group in OF_CASCADES:
        command, overrides = "cascade", (EXITS, *overrides)
    return compose(command, [*(f"{place}={name}" for place in PLACES.get(group, [group])), *overrides])


def test_the_folder_is_found_and_shipped() -> None:
    assert (CONF / "train.yaml").is_file()
    project = tomllib.loads((CONF.parent / "pyproject.toml").read_text())
    assert project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"] == {
        "conf": "neural_branching/conf"
    }


def test_an_installed_package_has_its_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "site-packages" / "neural_branching"
    package.mkdir(parents=True)
    monkeypatch.setattr(module, "__file__", str(package / "config" / "build.py"))
    with pytest.raises(InputError, match=r"The folder conf/ is missing beside .*: install neural-branching"):
        conf_dir()
    (package / "conf").mkdir()
    (package / "conf" / "train.yaml").touch()
    assert conf_dir() == package / "conf"


@pytest.mark.parametrize("file", FILES)
def test_every_target_lives_in_its_groups_home_and_binds(file: str) -> None:
    group = file.split("/")[0]
    assert "/" not in file or group in HOMES, f"the group {group} has no home"
    for place, node in targets(raw(OmegaConf.load(CONF / f"{file}.yaml"))):
        if "/" in file:
            homes = [f"neural_branching.{home}." for home in HOMES[group]]
            assert any(node["_target_"].startswith(home) for home in homes), f"{place} in {file}.yaml"
        bind(f"{file}{place}", node)


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_composes_and_can_be_used(option: str, tmp_path: Path, class_folders) -> None:
    companions = COMPANIONS.get(option, [])
    if any("{images}" in companion for companion in companions):
        images = class_folders(train=10)
        companions = [companion.format(images=images) for companion in companions]
    if any("{vectors}" in companion for companion in companions):
        vectors = write(tmp_path, "safetensors", examples())
        companions = [companion.format(vectors=vectors) for companion in companions]
    if any("{texts}" in companion for companion in companions):
        texts = write_texts(tmp_path)
        companions = [companion.format(texts=texts) for companion in companions]
    config = composed(option, f"outputs={tmp_path / 'outputs'}", *companions)
    nodes = list(targets(raw(config)))
    command = OF_STUDIES.get(option.split("/")[0])
    assert len(nodes) >= (6 if command else 8)
    for place, node in nodes:
        bind(f"{option}: {place}", node)
    SPECS.get(command, Experiment).from_config(config)
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_composes_and_can_be_used(name: str, tmp_path: Path) -> None:
    config = compose("train", [f"experiment={name}", f"outputs={tmp_path}"])
    for place, node in targets(raw(config)):
        bind(f"experiment={name}: {place}", node)
    settings = Experiment.from_config(config)
    published = settings.config["published"] or {}
    for numbers in published.values():
        assert numbers.keys() == {"source", "accuracy", "coverage", "selective_accuracy"}


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_composes_and_can_be_used(name: str, tmp_path: Path) -> None:
    config = compose(STUDIES[name], [f"experiment={name}", f"outputs={tmp_path}"])
    for place, node in targets(raw(config)):
        bind(f"experiment={name}: {place}", node)
    study = SPECS[STUDIES[name]].from_config(config)
    assert study.repeats == {"specialize": 10, "decompose": 5, "explain": 5, "judge": 5}[STUDIES[name]]


@pytest.mark.parametrize("name", [name for name in EXPERIMENTS if name.startswith("cifar100")])
def test_every_experiment_can_be_a_system(name: str, tmp_path: Path) -> None:
    everything = compose("train", [f"experiment={name}"]).data.name == "cifar100"
    hierarchy = "cifar100" if everything else "fish_and_flowers"
    config = compose("route", [f"experiment={name}", f"hierarchy={hierarchy}", f"outputs={tmp_path}"])
    if config.parent.classes == "others":
        with pytest.raises(InputError, match=r"parent\.classes leaves the parent with nothing to tell apart"):
            Experiment.from_config(config)
        return
    system = Experiment.from_config(config)
    assert list(system.nodes) == list(system.tree.nodes)
    assert len(system.branches) == (20 if everything else 2)


@pytest.mark.parametrize("name", [name for name in EXPERIMENTS if name != "cifar100_seed"])
def test_every_experiment_without_a_threshold_can_be_a_cascade(name: str, tmp_path: Path) -> None:
    cascade = Experiment.from_config(compose("cascade", [f"experiment={name}", EXITS, f"outputs={tmp_path}"]))
    assert [one.branch.stage for one in cascade.nodes.values() if one.branch] == ["hidden1", "hidden2"]
    assert [node.defer_to for node in cascade.tree.nodes.values()] == ["hidden2", None]


@pytest.mark.parametrize("name", CASCADES)
def test_every_cascade_composes_and_can_be_used(name: str, tmp_path: Path) -> None:
    config = compose("cascade", [f"experiment={name}", f"outputs={tmp_path}"])
    for place, node in targets(raw(config)):
        bind(f"experiment={name}: {place}", node)
    assert len(Experiment.from_config(config).branches) == 5


@pytest.mark.parametrize("command", ["train", "route", "cascade"])
def test_the_whole_configuration_with_hydras_part_binds(command: str) -> None:
    for place, node in targets(raw(compose(command, return_hydra_config=True))):
        bind(place, node)


@pytest.mark.parametrize("command", ["train", "route"])
def test_a_folder_named_by_its_overrides_leaves_out_the_list_of_thresholds(command: str) -> None:
    config = compose(command, return_hydra_config=True)
    assert config.hydra.job.config.override_dirname.exclude_keys == ["thresholds"]


def test_every_stage_offered_is_one_of_a_network() -> None:
    from neural_branching.networks.convnet import ConvNet
    from neural_branching.networks.mlp import MLP
    from neural_branching.networks.vit import VisionTransformer

    networks = (ConvNet((3, 8, 8), 2, 1), MLP((4,), 2, (2, 2)), VisionTransformer((3, 8, 8), 2))
    stages = {stage for network in networks for stage in network.stages}
    assert set(TRANSFORMERS) == set(networks[2].stages) - set(networks[0].stages)
    offered = {file.removeprefix("branch_point/") for file in OPTIONS if file.startswith("branch_point/")}
    assert offered == stages | {"first", "output"}  # of given activations, and of backbones without logits
    for stage in offered:
        assert raw(OmegaConf.load(CONF / "branch_point" / f"{stage}.yaml")) == {
            "stage": stage,
            "readout": "auto",
        }


def test_the_superclasses_of_cifar100_are_20_of_5_classes_each() -> None:
    superclasses = composed("data/cifar100").data.superclasses
    assert len(superclasses) == 20
    assert {len(members) for members in superclasses.values()} == {5}
    assert Counter(name for members in superclasses.values() for name in members) == Counter(cifar100.CLASSES)


def test_the_superclasses_of_the_other_data_sets_are_partitions_too() -> None:
    for option, classes in (("glyphs", glyphs.CLASSES), ("fish_and_flowers", None)):
        data = composed(f"data/{option}").data
        members = [name for names in data.superclasses.values() for name in names]
        assert Counter(members) == Counter(classes or data.classes)
    assert {name for name in data.classes if name not in cifar100.CLASSES} == set()
    assert data.superclasses.fish == OmegaConf.load(CONF / "subset" / "fish.yaml").classes
    assert data.superclasses.flowers == OmegaConf.load(CONF / "subset" / "flowers.yaml").classes
