"""Composing the jobs of a sweep: as Hydra would, one by one, but without reading the files anew."""

from collections.abc import Iterator

import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import OmegaConf

from neural_branching import callbacks
from neural_branching.callbacks import compose_jobs
from neural_branching.config import conf_dir


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

    monkeypatch.setattr(callbacks, "compose", counted)
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
    "null": (["branch.images_per_class=null,5"], 1),
}


@pytest.mark.parametrize("name", SWEEPS)
def test_jobs_are_those_that_hydra_composes(name: str, compositions: list[list[str]]) -> None:
    overrides, files = SWEEPS[name]
    jobs = compose_jobs(overrides, "train")
    assert files is None or len(compositions) == files
    [batch] = callbacks.BasicSweeper.split_arguments(
        callbacks.OverridesParser.create(
            config_loader=callbacks.GlobalHydra.instance().config_loader()
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
