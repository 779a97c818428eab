"""Configurations as Hydra composes them; those that choose the same files share one composition."""

import copy
from functools import cache

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from neural_branching.config.build import conf_dir

GROUPS = {folder.name for folder in conf_dir().iterdir() if folder.is_dir()}


def composed(command: str, *overrides: str) -> DictConfig:
    """What a command makes of overrides, which may be changed freely."""
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    if any(one.type is OverrideType.DEL for one in parsed):  # which depends on what is set before
        return _of_files.__wrapped__(command, overrides)
    values = [one for one in parsed if _is_value(one)]
    lines = {one.input_line for one in values}
    config = copy.deepcopy(_of_files(command, tuple(one for one in overrides if one not in lines)))
    try:
        for one in values:
            added = one.type is OverrideType.FORCE_ADD
            OmegaConf.update(config, one.key_or_group, one.value(), merge=True, force_add=added)
    except OmegaConfBaseException:
        return _of_files.__wrapped__(command, overrides)  # for Hydra's own words
    return config


@cache
def _of_files(command: str, overrides: tuple[str, ...]) -> DictConfig:
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return compose(command, list(overrides))


def _is_value(override: Override) -> bool:
    """Whether an override sets values, and chooses no file."""
    key, kinds = override.key_or_group, (OverrideType.CHANGE, OverrideType.FORCE_ADD)
    chooses = override.package is not None or "/" in key or key in GROUPS
    return override.type in kinds and not chooses and not key.startswith("hydra")
