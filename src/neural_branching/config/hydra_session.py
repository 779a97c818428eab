"""Hydra for a while: ``conf/`` is composed with overrides, and what Hydra refuses is one sentence."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from hydra import compose
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from hydra.types import RunMode
from hydra.version import setbase
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from neural_branching.config.build import conf_dir, unresolved
from neural_branching.errors import InputError, one_of

# What Hydra raises for what was typed: plain errors for a number or a mapping where a name belongs.
REFUSALS = (HydraException, OmegaConfBaseException, YAMLError, ValueError, TypeError)

# Groups of which no file need be chosen.
OPTIONAL = ("experiment", "search")

# Mappings whose names are the user's own.
FREE = ("data.superclasses", "hierarchy.nodes", "published")


@contextmanager
def hydra_session(config_dir: str | Path | None = None, config_path: str | None = None) -> Iterator[None]:
    """Hydra, initialised with ``conf/``; afterwards it is as before, for it is one in a process.

    Args:
        config_dir: a folder with further groups, which come before those of ``conf/``.
        config_path: a folder instead of ``conf/``.

    Raises:
        InputError: if there is no such folder.
    """
    search = create_config_search_path(str(Path(config_path).absolute() if config_path else conf_dir()))
    if config_dir is not None:
        folder = Path(config_dir).absolute()
        if not folder.is_dir():
            raise InputError(f"--config-dir is {str(config_dir)!r}: there is no such folder.")
        search.prepend("command-line", f"file://{folder}")
    hydra = GlobalHydra.instance()
    before, hydra.hydra = hydra.hydra, None
    setbase("1.3")
    try:
        Hydra.create_main_hydra2("neural-branching", search)
        yield
    finally:
        hydra.hydra = before


def optional_groups(config_name: str) -> list[str]:
    """Groups of ``OPTIONAL`` that a primary configuration takes, while Hydra is initialised."""
    defaults = _loader().load_configuration(config_name, [], RunMode.RUN).hydra.runtime.choices
    return [group for group in OPTIONAL if group in defaults]


def explained(error: Exception, overrides: Sequence[str], config_name: str) -> Exception:
    """The sentence for what Hydra refuses, with the nearest name that there is.

    Args:
        error: one of ``REFUSALS``.
        overrides: as typed, while Hydra is initialised.
        config_name: of the primary configuration.

    Returns:
        An InputError; an error that does not come of what was typed comes back as it is.
    """
    if isinstance(error, YAMLError):
        mark = getattr(error, "problem_mark", None)
        place = f"{mark.name}, line {mark.line + 1}" if mark else "A configuration file"
        problem = getattr(error, "problem", None) or "it is damaged"
        return InputError(f"{place} is no YAML: {problem}.")
    if isinstance(error, UnicodeDecodeError):
        return InputError(f"A configuration file is no UTF-8 text ({error.reason} at byte {error.start}).")
    if not isinstance(error, (HydraException, OmegaConfBaseException)):
        if found := _no_name(overrides, config_name):
            return found
        if not _raised_by_hydra(error):
            return error
    words = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
    if isinstance(error, OmegaConfBaseException):
        return unresolved(error)
    if isinstance(error, OverrideParseException):
        return _unreadable(error.override)
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, name = error.missing_cfg_file.rpartition("/")
        return _unknown_option(group, name) if group else InputError(f"There is no configuration {name!r}.")
    if words.startswith("Could not override 'hydra."):
        return InputError(
            f"{words.split(chr(39))[1]} is unknown: neural-branching train --hydra-help says more."
        )
    if other_command := re.match(r"In '(.+)/(.+)': Could not override '(.+)'", words):
        group, name, other = other_command.groups()
        return InputError(f"{group}={name} chooses a {other}, which {config_name} does not have.")
    if words.startswith("Could not override "):
        return _unknown_key(words.split("'")[1], overrides, config_name)
    if several := re.match(r"Ambiguous value for argument '(.+?)=(.+)'", words):
        name, values = several.groups()
        return InputError(
            f"{name}={values} has several values: add -m, which runs each, or write "
            f'"{name}=[{values}]" where a list is wanted.'
        )
    if "requires --multirun" in words:
        return InputError(f"{words.split(chr(39))[1]} stands for several values: add -m, which runs each.")
    return InputError(f"{words}.")


def _raised_by_hydra(error: Exception) -> bool:
    """Whether an error of a plain type was raised where Hydra reads and merges what was typed."""
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    module = str(trace.tb_frame.f_globals.get("__name__")) if trace else ""
    return module.partition(".")[0] in ("hydra", "omegaconf")


def _no_name(overrides: Sequence[str], config_name: str) -> InputError | None:
    """The sentence for a number or a mapping where the name of a file belongs; None if there is none."""
    for override in _parsed(overrides):
        group, value = override.key_or_group, override.value()
        if not group:
            return _unreadable(str(override.input_line))
        named = _is_name(value) or override.is_delete() or (value is None and group in OPTIONAL)
        if _is_group(group) and not named:
            return _value_for_group(override, overrides, config_name)
    return None


def _unreadable(override: str) -> InputError:
    return InputError(
        f"{override!r} cannot be read: write NAME=VALUE, and text with other characters than letters, digits "
        "and -_./ within quotes, as in NAME=\"'…'\"."
    )


def _parsed(overrides: Sequence[str]) -> list[Override]:
    try:
        return OverridesParser.create(_loader()).parse_overrides(list(overrides))
    except HydraException:
        return []


def _loader() -> Any:
    return GlobalHydra.instance().config_loader()


def _is_group(key: str) -> bool:
    return bool(key and _loader().get_group_options(key))


def _is_name(value: Any) -> bool:
    """Whether a value can choose files of a group: a name or some, or what deletes or sweeps."""
    if isinstance(value, list):
        return all(map(_is_name, value))
    return not isinstance(value, (bool, int, float, dict, type(None)))


def _unknown_option(group: str, name: str) -> InputError:
    try:
        one_of(name, _loader().get_group_options(group), group)
    except InputError as error:
        return error
    return InputError(f"{group} is {name!r}, which cannot be loaded.")


def _value_for_group(override: Override, overrides: Sequence[str], config_name: str) -> InputError:
    """A number where the name of a file belongs: most often it is meant for a value of the group."""
    group, value = override.key_or_group, override.get_value_element_as_str()
    node = _groups_alone(overrides, config_name).get(group.replace("/", "."))
    numbers = (
        []
        if not OmegaConf.is_dict(node)
        else [
            name
            for name in node
            if name != "seed"
            and not OmegaConf.is_missing(node, name)
            and isinstance(node[name], (int, float))
        ]
    )
    options = _loader().get_group_options(group)
    hint = f"did you mean {group}.{numbers[0]}={value}? " if numbers else ""
    if override.value() is None:
        hint = f"did you mean {group}=none? " if "none" in options else ""
    names = ", ".join(options)
    return InputError(f"{group} is {value}: {hint}{group} itself is one of {names}.")


def _unknown_key(key: str, overrides: Sequence[str], config_name: str) -> InputError:
    group, at, _ = key.partition("@")
    if at:
        return InputError(f"{key} is unknown: write {group}=NAME.")
    node: Any = _groups_alone(overrides, config_name)
    place = ""
    *above, name = key.replace("/", ".").split(".")
    for part in above:
        if not OmegaConf.is_dict(node) or part not in node:
            name = part
            break
        place, node = f"{place}{part}.", node._get_node(part)
    if f"{place}{name}" in FREE or place.rstrip(".") in FREE:
        return InputError(f"{key} adds names to those that are there: write +{key}=… with a plus sign.")
    if not OmegaConf.is_dict(node):
        return InputError(f"{key} is unknown: {place.rstrip('.')} is a single value.")
    known = [str(one) for one in node if one != "_target_"]
    if not place:
        groups = (*optional_groups(config_name), "hydra/launcher", "hydra/sweeper")
        known += [one for one in groups if _is_group(one)]
    near = get_close_matches(name, known, n=1, cutoff=0.5)
    other = not place and _is_group(name)
    hint = f"did you mean {place}{near[0]}? " if near and not other else ""
    there = f"{place.rstrip('.') or 'a configuration'} has {', '.join(known)}"
    target = str(node._get_node("_target_")) if "_target_" in node else __name__
    foreign = target.partition(".")[0] != __name__.partition(".")[0]
    added = f"; +{key}=VALUE adds what a class of yours takes" if foreign else ""
    added += f"; {name} is for other commands than {config_name}" if other else ""
    return InputError(f"{place}{name} is unknown: {hint}{there}{added}.")


def _groups_alone(overrides: Sequence[str], config_name: str) -> DictConfig:
    """The configuration with the groups that were chosen, and no single value changed."""
    chosen = [
        str(one.input_line)
        for one in _parsed(overrides)
        if _is_group(one.key_or_group) and isinstance(one.value(), str)
    ]
    for lines in (chosen, []):
        try:
            return compose(config_name, lines)
        except (HydraException, OmegaConfBaseException):
            continue
    return OmegaConf.create({})
