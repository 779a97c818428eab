"""Jobs of a sweep are composed as Hydra would, but without reading the files anew, and thresholds at once."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from neural_branching.commands import composition
from neural_branching.commands.composition import compose_jobs, joined_thresholds, literal
from neural_branching.config.build import conf_dir
from neural_branching.config.experiment import thresholds_of


@pytest.fixture(autouse=True)
def hydra() -> Iterator[None]:
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        yield


@pytest.fixture
def compositions(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    found = []

    def counted(name: str, overrides: list[str]) -> object:
        found.append(overrides)
        return compose(name, overrides)

    monkeypatch.setattr(composition, "compose", counted)
    return found


SWEEPS = {
    "values": (["threshold.value=0.5,0.7", "seed=range(2)"], 1),
    "groups": (["subset=digits,lower", "parent=mlp,convnet", "branch_point=pool,block1"], 8),
    "both": (["subset=digits,lower", "threshold.value=0.5,0.7", "branch.fit.lr=0.1,1e-3"], 2),
    "experiments": (["experiment=cifar100_fish,cifar100_seed", "seed=0,1"], 2),
    "a group by its key": (["fit@branch.fit=glob(*)", "branch.fit.epochs=3,4"], None),
    "a value that a chosen file gives too": (["threshold=coverage,risk", "threshold.target=0.2,0.3"], 2),
    "a value before the choice of its file": (["threshold.value=0.5,0.7", "threshold=fixed"], 1),
    "an added key": (["+parent.fit.unknown=1,2", "seed=3"], 2),
    "an added key that is changed": (["++parent.fit.unknown=1", "parent.fit.unknown=2,3"], 1),
    "a removed key": (["~trainer.progress", "seed=1,2"], 1),
    "a whole part": (["branch_point={stage:hidden1,readout:flatten},{stage:hidden2,readout:auto}"], 2),
    "a list": (["subset.classes=[a,b],[c,d,e]", "data.classes=[a,b,c,d,e]"], 1),
    "an interpolation": (["branch.seed=${seed},7", "seed=4,5"], 1),
    "text that looks like a number": (["subset.name='1','2e3'"], 1),
    "a value of Hydra's own part": (["hydra.job.chdir=true", "seed=1,2"], 1),
    "null": (["branch.examples_per_class=null,5"], 1),
}


@pytest.mark.parametrize("name", SWEEPS)
def test_jobs_are_those_that_hydra_composes(name: str, compositions: list[list[str]]) -> None:
    overrides, files = SWEEPS[name]
    jobs = compose_jobs(overrides, "train")
    assert files is None or len(compositions) == files
    [batch] = composition.BasicSweeper.split_arguments(
        composition.OverridesParser.create(
            config_loader=composition.GlobalHydra.instance().config_loader()
        ).parse_overrides(overrides),
        max_batch_size=None,
    )
    assert len(jobs) == len(batch)
    for job, lines in zip(jobs, batch, strict=True):
        expected = compose("train", lines)
        assert OmegaConf.to_container(job) == OmegaConf.to_container(expected)
        assert OmegaConf.to_yaml(job, resolve=True) == OmegaConf.to_yaml(expected, resolve=True)
        assert OmegaConf.is_struct(job) == OmegaConf.is_struct(expected)


def test_jobs_do_not_share_what_they_hold() -> None:
    first, second = compose_jobs(["seed=1,2", "data.classes=[a,b]"], "train")
    first.data.classes.append("c")
    assert list(second.data.classes) == ["a", "b"]


@pytest.mark.parametrize(
    "override",
    ["thresholds.value=1,2", "threshold.valeu=1,2", "threshold=none,fixed", "seed.deep=1,2", "~seed=5,6"],
)
def test_what_hydra_refuses_is_refused_in_its_words(override: str) -> None:
    one = override.split(",")[0]
    with pytest.raises(HydraException) as expected:
        compose("train", [one])
    with pytest.raises(HydraException) as found:
        compose_jobs([override], "train")
    assert str(found.value) == str(expected.value)


JOINED = {
    "values": (
        ["seed=1,2", "threshold.value=0.5,0.7"],
        ["seed=1,2"],
        ["fixed", "fixed"],
    ),
    "rules": (["threshold=fixed,sgr", "threshold.target=0.2"], None, None),  # fixed has no target
    "rules with what all of them have": (
        ["threshold=risk,sgr", "threshold.target=0.2,0.3"],
        [],
        ["risk", "risk", "sgr", "sgr"],
    ),
    "every rule": (
        ["threshold=glob([c*,s*])", "threshold.target=0.2"],
        ["threshold.target=0.2"],
        ["conformal", "coverage", "sgr"],
    ),
    "a range": (["threshold.value=range(0,3)"], [], ["fixed"] * 3),
}


@pytest.mark.parametrize("name", JOINED)
def test_swept_thresholds_become_one_list(name: str) -> None:
    typed, kept, kinds = JOINED[name]
    if kinds is None:
        with pytest.raises(HydraException):
            joined_thresholds(typed, "train")
        return
    *rest, last = joined_thresholds(typed, "train")
    assert rest == kept
    # As Hydra composes them one by one.
    config = OmegaConf.to_container(compose("train", [last]))
    joined = thresholds_of(config)
    assert joined == [
        OmegaConf.to_container(job.threshold)
        for job in compose_jobs([one for one in typed if one.startswith("threshold")], "train")
    ]
    homes = {"fixed": "Fixed", "risk": "Risk", "sgr": "Sgr", "conformal": "Conformal", "coverage": "Coverage"}
    assert [one["_target_"].rsplit(".", 1)[1] for one in joined] == [homes[kind] for kind in kinds]


@pytest.mark.parametrize(
    "overrides",
    [
        ["seed=1,2"],
        ["threshold.value=0.5", "seed=1,2"],
        ["threshold.value=${seed},0.5", "seed=0,1"],  # depends on what differs between jobs
        ["threshold.value=choice(0.1,1.0)", "search=aurc"],
    ],
)
def test_other_sweeps_stay_as_they_are(overrides: list[str]) -> None:
    assert joined_thresholds(overrides, "train") == overrides


@given(
    value=st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-9, 9)
        | st.floats(allow_nan=False)
        | st.text("ab'\\\" ,:=$é[{"),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
        ),
        max_leaves=6,
    )
)
@settings(derandomize=True, deadline=None, max_examples=200)
def test_a_value_survives_as_an_override(value: object) -> None:
    [parsed] = OverridesParser.create().parse_overrides([f"x=[{literal(value)}]"])
    assert parsed.value() == [value]


def test_what_a_job_chooses_for_its_threshold_stays_its_own(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    for name, delta in (("strict", 0.1), ("loose", 0.4)):
        text = f"# @package _global_\nthreshold:\n  delta: {delta}\n"
        (tmp_path / "experiment" / f"{name}.yaml").write_text(text)
    place = f"hydra.searchpath=[file://{tmp_path}]"
    typed = [place, "threshold=sgr", "experiment=strict,loose", "threshold.target=0.3,0.5"]
    joined = joined_thresholds(typed, "train")
    assert joined == [*typed[:-1], "thresholds=[{target:0.3},{target:0.5}]"]
    jobs = compose_jobs(joined, "train")
    found = [
        [(one["delta"], one["target"]) for one in thresholds_of(OmegaConf.to_container(job))] for job in jobs
    ]
    assert found == [[(0.1, 0.3), (0.1, 0.5)], [(0.4, 0.3), (0.4, 0.5)]]
    # What a file says may depend on the experiment too: then every value stays a job.
    files = [place, "threshold=sgr,fixed_sequence", "experiment=strict,loose"]
    assert joined_thresholds(files, "train") == files
