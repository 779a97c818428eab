"""Configurations of runs hold plain values; whatever else YAML can say is refused, and nothing is run."""

import os
import pickle
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import yaml
from hydra import compose, initialize_config_dir
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from neural_branching import pipeline
from neural_branching.config.build import UntrustedError, build, conf_dir, plain
from neural_branching.config.experiment import Experiment
from neural_branching.errors import InputError
from neural_branching.files.reading import DEPTH, YAML_BYTES, read_yaml
from neural_branching.report.results import read_config, write_config
from neural_branching.selection.thresholds.plain import Fixed
from neural_branching.selection.thresholds.threshold import Threshold

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=12)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=12,
)


def readable(value: Any) -> bool:
    """Whether a value holds no interpolation."""
    if isinstance(value, dict):
        return all(readable(key) and readable(item) for key, item in value.items())
    if isinstance(value, list):
        return all(map(readable, value))
    return not (isinstance(value, str) and "${" in value)


@given(config=st.dictionaries(st.text(max_size=5), VALUES, max_size=4).filter(readable))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(config={"a": "2024-01-01", "<<": "=", "b": "1:30", "c": [1e-5, 1e300, True, "true", "~", "0x1f"]})
def test_what_is_written_is_read(config: dict[str, Any], tmp_path: Path) -> None:
    write_config(tmp_path, config)
    assert read_config(tmp_path) == config


def test_what_stands_twice_is_written_twice(tmp_path: Path) -> None:
    same = ["a", "b"]
    write_config(tmp_path, {"one": same, "other": same})
    assert read_yaml(tmp_path / "config.yaml") == {"one": same, "other": same}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: !!pairs [x: 1]", "line 1 has the tag tag:yaml.org,2002:pairs"),
        ("a: 1\nb: !!omap [x: 1]", "line 2 has the tag"),
        ("a: !!set {x}", "has the tag"),
        ("a: !!python/object/apply:os.getpid []", "has the tag"),
        ("a: !!str 1", "has the tag"),
        ("a: !own 1", "has the tag"),
        ("a: ! 1", "has the tag"),
        ("a: &b 1", "has an anchor or an alias"),
        ("a: &b [1]\nc: *b", "has an anchor or an alias"),
        ("a: ${oc.env:HOME}", "is an interpolation"),
        ("${a}: 1", "is an interpolation"),
        ("1: a", "the key 1 is not text"),
        ("? [a]\n: 1", "found unhashable key"),
        ("a: 1\na: 2", "a key that stands twice"),
        ("a: 1\n---\nb: 2", "found another document"),
        ("[a]", "holds no mapping"),
        ("", "holds no mapping"),
        ("a: [", r"(did not find expected|expected the) node content"),
        ("a: " + "[" * (DEPTH + 1) + "]" * (DEPTH + 1), f"deeper than {DEPTH} levels"),
        ("a: " + "[" * 100_000, f"deeper than {DEPTH} levels"),
        ("a: " + "9" * 5000, "limit"),
    ],
)
def test_what_is_not_plain_is_refused(text: str, problem: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(InputError, match=problem) as error:
        read_yaml(tmp_path / "config.yaml")
    assert str(tmp_path / "config.yaml") in str(error.value)
    assert "\n" not in str(error.value)
    assert read_config(tmp_path) == {}


def test_no_type_is_guessed_but_the_simple_ones(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("a: 2024-01-01\nb: {<<: {c: 1}}\nd: =\n")
    assert read_yaml(tmp_path / "config.yaml") == {"a": "2024-01-01", "b": {"<<": {"c": 1}}, "d": "="}


def test_what_is_no_regular_file_of_sane_size_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large").write_bytes(b"#" * (YAML_BYTES + 1))
    (tmp_path / "bytes").write_bytes(b"a: \xff")
    for name, problem in {
        "pipe": "it is no regular file",
        "large": "it has more than",
        "bytes": "codec can.t decode",
        "nothing": "cannot be read: No such file",
        ".": "cannot be read: Is a directory",
    }.items():
        with pytest.raises(InputError, match=problem):
            read_yaml(tmp_path / name)


# One place makes objects of names, and knows what belongs where.


def test_a_place_takes_one_kind_of_object_only() -> None:
    fixed = {"_target_": "neural_branching.selection.thresholds.plain.Fixed", "value": 0.5}
    assert isinstance(build(fixed, "threshold", Threshold, trusted=False), Fixed)
    for target in (
        "neural_branching.selection.scores.from_logits.MaxSoftmax",
        "neural_branching.store.artifact_store.Store",
        "neural_branching.selection.thresholds.plain.Threshold.__class__",
    ):
        with pytest.raises(InputError, match=r"must be a Threshold|not of this package"):
            build({"_target_": target}, "threshold", Threshold, trusted=False)


def test_what_the_user_names_may_be_anybodys_but_must_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    class Mine(Fixed):
        pass

    module = ModuleType("mine")
    module.Mine, module.make, module.wrong = Mine, lambda: Mine(0.5), lambda: 7
    monkeypatch.setitem(sys.modules, "mine", module)
    for target, options in (("mine.Mine", {"value": 0.5}), ("mine.make", {})):
        node = {"_target_": target, **options}
        assert isinstance(build(node, "threshold", Threshold, trusted=True), Mine)
        with pytest.raises(UntrustedError, match=rf"threshold builds {target}, which is not of this package"):
            build(node, "threshold", Threshold, trusted=False)
    with pytest.raises(
        InputError, match=r"'mine.wrong', which makes a int: it must make one of the kind Threshold"
    ):
        build({"_target_": "mine.wrong"}, "threshold", Threshold, trusted=True)


@pytest.fixture(scope="module")
def configs() -> dict[str, dict[str, Any]]:
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        tiny = ["data.image_size=8", "outputs=nowhere", "trainer=cpu"]
        return {
            "train": plain(compose("train", tiny)),
            "route": plain(compose("route", [*tiny, "hierarchy=glyphs_by_case"])),
        }


FIRED: list[object] = []


class Payload:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> tuple[Callable[[object], None], tuple[str]]:
        return FIRED.append, ("unpickled",)


@pytest.fixture
def hostile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Mappings in YAML that would run code: in a module of nobody's, of libraries, and of this package."""
    module = ModuleType("hostile")
    module.fire = lambda *args, **kwargs: FIRED.append(kwargs)
    monkeypatch.setitem(sys.modules, "hostile", module)
    monkeypatch.setattr("neural_branching.store.artifact_store.sha256_of", module.fire)
    file, made = tmp_path / "file", tmp_path / "made"
    np.save(tmp_path / "array.npy", np.array([Payload()]), allow_pickle=True)
    file.write_bytes(pickle.dumps(Payload()))
    FIRED.clear()
    yield [
        "{_target_: hostile.fire}",
        "{_target_: hostile.fire, _partial_: false, _args_: [1]}",
        f"{{_target_: os.mkdir, path: {made}}}",
        f"{{_target_: neural_branching.commands.launch.os.mkdir, path: {made}}}",
        "{_target_: neural_branching.store.artifact_store.sha256_of, file: x}",
        "{_target_: hydra.utils.call, config: {_target_: hostile.fire}}",
        f"{{_target_: numpy.load, file: {tmp_path / 'array.npy'}, allow_pickle: true}}",
        f"{{_target_: joblib.load, filename: {file}}}",
        f"{{_target_: torch.load, f: {file}, weights_only: false}}",
    ]
    assert not FIRED
    assert not made.exists()


WRAPPERS = (
    "{hostile}",
    "[{hostile}]",
    "{{x: {hostile}}}",
    "{{_target_: {hostile}}}",
    "[[[{{x: [{hostile}]}}]]]",
    "!!pairs [x: {hostile}]",
    "!!omap [x: {hostile}]",
    "!!map {hostile}",
    "!!seq [{hostile}]",
    "!!set {{? {hostile}}}",
    "{{? {hostile} : 1}}",
    "&a {hostile}",
    "{{<<: {hostile}}}",
    "[&a {hostile}, *a]",
    "!!python/tuple [{hostile}]",
    "!!python/object/apply:hostile.fire []",
    "!!python/name:hostile.fire ''",
    "!!python/object/new:hostile.fire {{}}",
    '"${{oc.create:{hostile}}}"',
    "!!binary aG9zdGlsZQ==",
    "!!timestamp 2024-01-01",
)


def places(config: Any, before: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every value of a configuration, and to one more option of every mapping."""
    if isinstance(config, dict):
        yield (*before, "more")
    for name in config if isinstance(config, dict) else ():
        yield (*before, name)
        yield from places(config[name], (*before, name))


def replaced(config: Any, place: tuple[Any, ...], value: str) -> Any:
    if not place:
        return value
    return {**config, place[0]: replaced(config.get(place[0], {}), place[1:], value)}


@given(data=st.data())
@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_configuration_makes_anything_outside_the_list(
    data: st.DataObject, configs: dict[str, dict[str, Any]], hostile: list[str], tmp_path: Path
) -> None:
    command = data.draw(st.sampled_from(sorted(configs)))
    place = data.draw(st.sampled_from(list(places(configs[command]))))
    wrapper, payload = data.draw(st.sampled_from(WRAPPERS)), data.draw(st.sampled_from(hostile))
    text = yaml.safe_dump(replaced(configs[command], place, "PAYLOAD"))
    (tmp_path / "config.yaml").write_text(text.replace("PAYLOAD", wrapper.format(hostile=payload)))
    try:
        config = read_yaml(tmp_path / "config.yaml")
        pipeline.check(Experiment.from_values(config, trusted=False))
    except (InputError, AttributeError, KeyError, TypeError, ValueError):
        pass  # refused, one way or the other: in a sentence where a run is loaded
    assert not FIRED
    assert not (tmp_path / "made").exists()


def test_what_hydra_knows_only_while_a_job_runs_is_refused_in_a_sentence() -> None:
    with pytest.raises(
        InputError, match=r"^The configuration has a value \$\{hydra:…\}, which .* in a sweep"
    ):
        plain(OmegaConf.create({"seed": "${hydra:job.num}"}))
