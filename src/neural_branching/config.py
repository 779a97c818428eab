"""From configuration to objects: where conf/ is, and the only call to Hydra's ``instantiate``."""

import inspect
from pathlib import Path
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationToMissingValueError, MissingMandatoryValue, OmegaConfBaseException

from neural_branching.errors import ArgumentError, InputError

_COLLECTING = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def conf_dir() -> Path:
    """The folder of configuration groups: inside an installed package, or at the top of a checkout.

    Raises:
        InputError: if neither is there, as after an incomplete installation.
    """
    package = Path(__file__).resolve().parent
    for folder in (package / "conf", package.parents[1] / "conf"):
        if (folder / "train.yaml").is_file():
            return folder
    raise InputError(f"The folder conf/ is missing beside {package}: install neural-branching again.")


def plain(node: DictConfig) -> dict[str, Any]:
    """A configuration node as plain Python values with everything resolved.

    Raises:
        InputError: if a mandatory value was not given.
    """
    try:
        values: dict[str, Any] = OmegaConf.to_container(node, resolve=True, throw_on_missing=True)  # type: ignore[assignment]
    except MissingMandatoryValue as error:
        raise InputError(f"{error.full_key} must be given: add {error.full_key}=VALUE.") from None
    except InterpolationToMissingValueError as error:
        name = str(error).splitlines()[0].rsplit(" ", 1)[-1].rstrip(".")
        raise InputError(f"{name} must be given: add {name}=VALUE.") from None
    except OmegaConfBaseException as error:
        raise InputError(f"The configuration cannot be resolved: {str(error).splitlines()[0]}.") from None
    return values


def build(node: dict[str, Any], where: str, **late: Any) -> Any:
    """Build the object that a configuration node describes.

    Args:
        node: plain values with a ``_target_``.
        where: the node's place in the configuration, for messages.
        late: arguments that only the code knows (shapes, numbers of classes); targets of other
            people's making need not take them.

    Raises:
        InputError: for options that the target does not have or lacks, and for values that its
            constructor refuses, with the place that the user can change.
    """
    if "_target_" not in node:
        raise InputError(f"{where}._target_ must be given: the class that {where} is.")
    try:
        target = get_object(node["_target_"])
    except Exception as error:
        reason = str(error.__cause__ or error).splitlines()[0].rstrip(".")
        raise InputError(
            f"{where}._target_ is {node['_target_']!r}, which cannot be imported: {reason}."
        ) from error
    parameters = inspect.signature(target).parameters
    free = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    late = {name: value for name, value in late.items() if name in parameters or free}
    options = [name for name in parameters if name not in late]
    for name in node:
        if name != "_target_" and name not in options and not free:
            raise InputError(f"{where} has no option {name!r}: allowed are {', '.join(options) or 'none'}.")
    for name, parameter in parameters.items():
        needed = parameter.default is parameter.empty and parameter.kind not in _COLLECTING
        if needed and name not in node and name not in late:
            raise InputError(f"{where}.{name} must be given: add {where}.{name}=VALUE.")
    try:
        # Objects inside are left to Hydra, which is slow where there are none.
        values = {name: _inside(value) for name, value in node.items() if name != "_target_"}
        return target(**values, **late)
    except ArgumentError as error:
        raise ArgumentError(f"{where}.{error.argument}", error.problem) from None
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, ArgumentError):
            raise ArgumentError(f"{where}.{cause.argument}", cause.problem) from None
        raise cause or error from None


def _inside(value: Any) -> Any:
    """A value with the objects that it describes, if it describes any."""
    return instantiate(value, _convert_="all") if "_target_" in str(value) else value


def strangers(config: Any) -> list[str]:
    """Targets of a configuration that are no classes of this package: what building it would run.

    Args:
        config: plain values of any depth, resolved: what is left of interpolations could make targets.

    Returns:
        Names, in their order.
    """
    if isinstance(config, str) and "${" in config:
        return [config]
    if isinstance(config, dict):
        mine = config.get("_target_")
        found = [str(mine)] if mine is not None and not _is_own_class(str(mine)) else []
        return found + [name for value in config.values() for name in strangers(value)]
    return [name for value in config for name in strangers(value)] if isinstance(config, list) else []


def _is_own_class(target: str) -> bool:
    package = __name__.partition(".")[0]
    if target.partition(".")[0] != package:
        return False
    try:
        found = get_object(target)
    except Exception:
        return False
    # By where it is defined: a module of this package also has names that it has imported.
    return inspect.isclass(found) and found.__module__.partition(".")[0] == package


def only_keys(node: dict[str, Any], allowed: set[str], where: str) -> None:
    """Refuse keys that nothing reads, instead of ignoring them.

    Raises:
        InputError: naming the first unknown key.
    """
    for name in node:
        if name not in allowed:
            raise InputError(f"{where} has no option {name!r}: allowed are {', '.join(sorted(allowed))}.")
