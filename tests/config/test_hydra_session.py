"""What Hydra refuses is one sentence, with the nearest name that there is."""

import string
from pathlib import Path

import pytest
from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from hypothesis import given, settings
from hypothesis import strategies as st

from neural_branching.config.experiment import Experiment
from neural_branching.config.hydra_session import REFUSALS, explained, hydra_session
from neural_branching.errors import InputError


def sentence(*overrides: str, command: str = "train") -> str:
    with hydra_session():
        try:
            Experiment.from_config(compose(command, list(overrides)))
        except REFUSALS as error:
            return str(explained(error, overrides, command))
    return ""


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (
            ["threshold=0.8"],
            "threshold is 0.8: did you mean threshold.value=0.8? threshold itself is one of",
        ),
        (["experiment=null", "subset=[{a:1}]"], "subset is [{a:1}]: subset itself is one of"),
        (["data.superclasses={pets:[a,b]}"], "write +data.superclasses=… with a plus sign."),
        (["data.superclasses.pets=[a,b]"], "write +data.superclasses.pets=… with a plus sign."),
        (
            ["+data.superclasses.pets=[digit_0,b]"],
            "a class in data.superclasses.pets is 'b', which is unknown",
        ),
        (["views=5"], "views is 5: did you mean views.count=5?"),
        (["branch=null"], "branch is null: branch itself is one of linear, mlp."),
        (["logger=null"], "logger is null: did you mean logger=none? logger itself is one of"),
        (["parent=mpl"], "parent is 'mpl', which is unknown: did you mean 'mlp'?"),
        (["data/source=glyfs"], "data/source is 'glyfs', which is unknown: did you mean 'glyphs'?"),
        (["subsett=lower"], "subsett is unknown: did you mean subset?"),
        (
            ["parent.fit.lrr=1"],
            "parent.fit.lrr is unknown: did you mean parent.fit.lr? parent.fit has",
        ),
        (
            ["parent=convnet", "parent.network.wdth=1"],
            "did you mean parent.network.width? parent.net",
        ),
        (["++hierarchy.nodes=[]", "hierarchy.nodes.x=mlp"], "invalid literal for int() with base 10: 'x'."),
        (["hydra.run.dirr=x"], "hydra.run.dirr is unknown: neural-branching train --hydra-help says more."),
        (["seed.first=1"], "seed.first is unknown: seed is a single value."),
        (["subset=ünïcode"], "'subset=ünïcode' cannot be read: write NAME=VALUE"),
        (["seed"], "'seed' cannot be read"),
        (["=3"], "'=3' cannot be read"),
        (["seed=range(0)"], "seed=range(0) stands for several values: add -m"),
        (
            ["subset=digits,upper"],
            'subset=digits,upper has several values: add -m, which runs each, or write "',
        ),
        (["subset=superclass"], "subset.superclass must be given: add subset.superclass=VALUE."),
        (["parent@other=mlp"], "parent@other is unknown: write parent=NAME."),
        (["~parent"], "The configuration has no 'parent', which must be given."),
        (["~branch.fit"], "branch has no 'fit', which must be given."),
        (["branch.network=5"], "branch.network is 5: it must be a class (_target_) and its options."),
        (["branch.network.widths=256"], ""),  # networks take torch: `train` asks them before it trains
        (["data.superclasses=foo"], "data.superclasses is 'foo': it must be {NAME: [CLASS, CLASS]}."),
        (["published=5"], "published is 5: it must be null or"),
        (["views.augment=5"], "views.augment is 5"),
        (["score=margin", "+score.cut=3"], "score has no option 'cut': allowed are none."),
        (["data.split.seed={a:1}"], "data.split.seed is {'a': 1}: it must be a whole number"),
    ],
)
def test_a_wrong_override_is_one_sentence(overrides: list[str], expected: str) -> None:
    found = sentence(*overrides)
    assert found.startswith(expected) or expected in found, found
    assert "\n" not in found


def test_a_folder_of_ones_own_comes_first_and_hydra_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "threshold").mkdir()
    own = "_target_: neural_branching.selection.thresholds.plain.Fixed\nvalue: 0.3\n"
    (tmp_path / "threshold" / "mine.yaml").write_text(own)
    with hydra_session(tmp_path):
        assert compose("train", ["threshold=mine"]).threshold.value == 0.3
    assert not GlobalHydra.instance().is_initialized()
    with pytest.raises(InputError, match="there is no such folder"), hydra_session(tmp_path / "none"):
        pass


@pytest.mark.parametrize(
    ("content", "expected"),
    [(b"name: [broken\n", "mine.yaml, line "), (b"name: \xff\n", "no UTF-8 text")],
)
def test_a_broken_file_of_ones_own_is_one_sentence(content: bytes, expected: str, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine.yaml").write_bytes(content)
    with hydra_session(tmp_path), pytest.raises(REFUSALS) as caught:
        compose("train", ["data=mine"])
    found = explained(caught.value, ["data=mine"], "train")
    assert isinstance(found, InputError)
    assert expected in str(found)


KEYS = [
    "subset", "parent", "branch_point", "views", "branch", "score", "threshold", "trainer", "data", "seed",
    "outputs", "baselines", "published", "thresholds", "hierarchy", "router", "experiment", "parent.fit",
    "parent.network", "parent.fit.lr", "branch.network", "branch.fit.epochs", "branch.seed", "data.split",
    "data.split.train", "data.source", "data.classes", "data.superclasses", "data.image_size", "views.count",
    "views.augment", "threshold.value", "subset.classes", "subset.superclass", "subset.name", "parent.labels",
    "parent.classes", "parent.normalize", "branch_point.stage", "branch_point.readout", "parent.checkpoint",
    "parent.augment", "trainer.threads", "trainer.devices", "hierarchy.nodes", "branch.examples_per_class",
]  # fmt: skip
VALUES = st.one_of(
    st.sampled_from(
        [
            "mlp",
            "digits",
            "hidden1",
            "null",
            "true",
            "''",
            "[]",
            "{}",
            "[1,2]",
            "{a:1}",
            "{_target_:os.getcwd}",
        ]
    ),
    st.integers(-5, 10**9).map(str),
    st.floats(-2, 2).map(str),
    st.text(string.ascii_letters + "${}[],:=' ", max_size=8),
    st.lists(st.sampled_from(["digit_0", "upper_O", "{a:1}", "null", "3"]), max_size=3).map(
        lambda some: f"[{','.join(some)}]"
    ),
)
OVERRIDES = st.builds(
    lambda sign, key, end, value: f"{sign}{key}{end}={value}",
    st.sampled_from(["", "", "", "", "+", "++"]),
    st.sampled_from(KEYS),
    st.sampled_from(["", "", "", "", "x", ".x"]),
    VALUES,
) | st.sampled_from(KEYS).map(lambda key: f"~{key}")


@pytest.mark.thorough
@settings(max_examples=30, deadline=None)
@given(st.lists(OVERRIDES, min_size=1, max_size=3), st.sampled_from(["train", "route"]))
def test_whatever_is_typed_is_an_experiment_or_one_sentence(overrides: list[str], command: str) -> None:
    found = sentence(*overrides, command=command)
    assert "\n" not in found
    assert not found or found.endswith((".", "]"))
