"""Many configurations composed at once: the jobs of a sweep, the values of a search, several thresholds."""

import copy
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

from hydra import compose
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, OverrideType, QuotedString
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

# ${hydra:job.num}, which Hydra escapes where it splits overrides.
JOB_NUMBER = re.compile(r"\$\\?\{hydra\\?:job\.num\\?\}")


def joined_thresholds(overrides: list[str], config_name: str) -> list[str]:
    """Overrides whose swept thresholds are one list, so that one job judges all of them.

    A branch is the same whatever its threshold, and Hydra makes a job of every value. So
    ``threshold.value=0.5,0.7`` becomes ``thresholds=[{value:0.5},{value:0.7}]``, which each job lays on its
    own threshold; of ``threshold=risk,sgr`` the list holds what the files say.

    Args:
        overrides: as typed, while Hydra is initialised.
        config_name: of the primary configuration.

    Returns:
        The overrides as they are, where no threshold is swept, a search is made, the command takes one at a
        time, or what a chosen file says depends on other choices that are swept.

    Raises:
        HydraException: if an override cannot be parsed or composed.
    """
    parsed = _parser().parse_overrides(overrides)
    swept = [override for override in parsed if _is_of_threshold(override) and override.is_sweep_override()]
    if not swept or any(isinstance(override.value(), IntervalSweep) for override in swept):
        return overrides
    others = [override for override in parsed if override not in swept]
    [offered] = BasicSweeper.split_arguments(swept, max_batch_size=None)
    choices = _choices(others)
    first = compose(config_name, [*choices[0], *offered[0]], return_hydra_config=True)
    if (
        not is_grid(first.hydra.sweeper) or "thresholds" not in first
    ):  # which only branches by themselves have
        return overrides
    if all(override.key_or_group != "threshold" for override in swept):
        thresholds = [_options(one) for one in offered]
    else:
        found = [_nodes([[*choice, *one] for one in offered], config_name) for choice in choices]
        if any(nodes != found[0] for nodes in found):
            return overrides
        thresholds = found[0]
    if "${" in str(thresholds):
        return overrides
    kept = [line for override, line in zip(parsed, overrides, strict=True) if override not in swept]
    return [*kept, f"thresholds={literal(thresholds)}"]


def _options(overrides: Sequence[str]) -> dict[str, Any]:
    """What overrides of single options say of a threshold."""
    options: dict[str, Any] = {}
    for override in _parser().parse_overrides(list(overrides)):
        *places, name = override.key_or_group.split(".")[1:]
        inner = options
        for place in places:
            inner = inner.setdefault(place, {})
        value = override.value()
        # Text with its quotes is an object of Hydra's.
        inner[name] = value.text if isinstance(value, QuotedString) else value
    return options


def _choices(overrides: Sequence[Override]) -> list[list[str]]:
    """The first value of every override, and each further one among the first of all others."""
    offered: dict[str, list[str]] = {}  # a later override of the same key counts
    for override in overrides:
        key = override.get_key_element()
        offered[key] = [f"{key}={one}" for one in _values(override)]
    first = [lines[0] for lines in offered.values()]
    choices = [first]
    for place, lines in enumerate(offered.values()):
        choices += [[*first[:place], line, *first[place + 1 :]] for line in lines[1:]]
    return choices


def _nodes(batch: Sequence[Sequence[str]], config_name: str) -> list[Any]:
    return [OmegaConf.to_container(node) for node in _compose(batch, config_name, "threshold")]


def is_grid(sweeper: DictConfig) -> bool:
    """Whether a sweeper runs every combination of the values, and is no search among them."""
    return bool(sweeper._target_.endswith("BasicSweeper"))


def _is_of_threshold(override: Override) -> bool:
    key = override.key_or_group
    return override.package is None and (key == "threshold" or key.startswith("threshold."))


def literal(value: Any) -> str:
    """A plain value as an override says it."""
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{name}:{literal(one)}' for name, one in value.items())}}}"
    if isinstance(value, list):
        return f"[{','.join(map(literal, value))}]"
    if isinstance(value, str):
        escaped = re.sub(r"(\\*)'", r"\1\1\\'", value)
        return "'" + re.sub(r"(\\+)$", r"\1\1", escaped) + "'"
    return (
        {None: "null", True: "true", False: "false"}[value]
        if value is None or isinstance(value, bool)
        else repr(value)
    )


def compose_jobs(overrides: list[str], config_name: str) -> list[DictConfig]:
    """The configuration of every job that overrides with commas stand for, while Hydra is initialised.

    Raises:
        HydraException: if an override cannot be parsed or composed.
    """
    [batch] = BasicSweeper.split_arguments(_parser().parse_overrides(overrides), max_batch_size=None)
    # Hydra itself has numbers for jobs only while they run.
    numbered = [[JOB_NUMBER.sub(str(job), line) for line in lines] for job, lines in enumerate(batch)]
    return _compose(numbered, config_name)


def compose_values(overrides: list[str], config_name: str) -> list[DictConfig]:
    """A configuration for every value that a search can choose, beside the first of all others.

    Raises:
        HydraException: if an override cannot be parsed or composed.
    """
    return _compose(_choices(_parser().parse_overrides(overrides)), config_name)


def _values(override: Override) -> list[str]:
    """The values of an override, or the ends of an interval."""
    value = override.value()
    if isinstance(value, IntervalSweep):
        return [str(value.start), str(value.end)]
    if override.is_sweep_override():
        return list(override.sweep_string_iterator())
    return [override.get_value_element_as_str()]


def _compose(batch: Sequence[Sequence[str]], config_name: str, part: str = "") -> list[DictConfig]:
    """The configuration of every job, each a list of overrides; or only a part of it.

    Jobs that choose the same files and differ in values share one composition, as it reads and merges
    some thirty files anew each time.

    Raises:
        HydraException: if an override cannot be parsed or composed.
    """
    loader = GlobalHydra.instance().config_loader()
    parser = OverridesParser.create(config_loader=loader)
    composed: dict[tuple[str, ...], DictConfig] = {}
    is_group = cache(lambda key: bool(loader.get_group_options(key)))

    def job_of(lines: Sequence[str]) -> DictConfig:
        parsed = parser.parse_overrides(list(lines))
        values = [override for override in parsed if _is_value(override, is_group)]
        files = tuple(str(override.input_line) for override in parsed if override not in values)
        try:
            if files not in composed:
                composed[files] = compose(config_name, list(files))
            config = copy.deepcopy(composed[files][part] if part else composed[files])
            for override in values:
                group, _, key = override.key_or_group.partition(".")
                if not part or (group == part and key):
                    OmegaConf.update(
                        config, key if part else override.key_or_group, override.value(), merge=True
                    )
        except (HydraException, OmegaConfBaseException):
            whole = compose(config_name, list(lines))  # where only Hydra knows the right message
            return whole[part] if part else whole
        return config

    return [job_of(lines) for lines in batch]


def _is_value(override: Override, is_group: Callable[[str], bool]) -> bool:
    """Whether an override sets one value of the configuration, and chooses no file."""
    key = override.key_or_group
    plain = override.type is OverrideType.CHANGE and override.package is None and "/" not in key
    return plain and not key.startswith("hydra.") and ("." in key or not is_group(key))


def _parser() -> OverridesParser:
    return OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
