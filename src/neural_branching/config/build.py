"""From configuration to objects: where conf/ is, and the only call to Hydra's ``instantiate``."""

import inspect
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any, TypeVar

from hydra.errors import InstantiationException
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationToMissingValueError, MissingMandatoryValue, OmegaConfBaseException

from neural_branching.errors import ArgumentError, InputError
from neural_branching.networks.readout import JOIN

T = TypeVar("T")

# A branch point of several stages, listed or not, as the name of a folder says it.
OmegaConf.register_new_resolver(
    "joined",
    lambda point: JOIN.join(map(str, point)) if OmegaConf.is_list(point) else str(point),
    replace=True,
)

_COLLECTING = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


class UntrustedError(InputError):
    """A configuration that nobody vouches for names something that is no class of this package."""

    def __init__(self, where: str, target: object) -> None:
        super().__init__(f"{where} builds {target}, which is not of this package.")


def conf_dir() -> Path:
    """The folder of configuration groups: inside an installed package, or at the top of a checkout.

    Raises:
        InputError: if neither is there, as after an incomplete installation.
    """
    package = Path(__file__).resolve().parents[1]
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
    except OmegaConfBaseException as error:
        raise unresolved(error) from None
    return values


def unresolved(error: OmegaConfBaseException) -> InputError:
    """The sentence for a configuration that cannot be resolved."""
    words = str(error).splitlines()[0].rstrip(".")
    if "HydraConfig was not set" in words or "interpolation type hydra" in words:
        return InputError(
            "The configuration has a value ${hydra:…}, which Hydra knows only while a job runs: of these "
            "${hydra:job.num} can be used, in a sweep (-m)."
        )
    name = error.full_key if isinstance(error, MissingMandatoryValue) else words.rsplit(" ", 1)[-1]
    if isinstance(error, (MissingMandatoryValue, InterpolationToMissingValueError)):
        return InputError(f"{name} must be given: add {name}=VALUE.")
    return InputError(f"The configuration cannot be resolved: {words}.")


def build(node: Mapping[str, Any], where: str, kind: type[T], *, trusted: bool, **late: Any) -> T:
    """Build the object that a configuration node describes: the only place that makes objects of names.

    Without trust a target is a class of this package, of the kind that belongs at its place, and its
    options are plain values. Trusted ones may be anybody's, and have objects among their options.

    Args:
        node: plain values with a ``_target_``.
        where: the node's place in the configuration, for messages.
        kind: the class that the object has to be of.
        trusted: whether the user has written the configuration, or vouches for it.
        late: arguments that only the code knows (shapes, numbers of classes); targets of other
            people's making need not take them.

    Raises:
        UntrustedError: for a target that is not of this package, if the configuration is not trusted.
        InputError: for a target of another kind, options that it does not have or lacks, and values
            that its constructor refuses, with the place that the user can change.
    """
    node = check_class(node, where)
    target, own = _target(node["_target_"], where, kind, trusted)
    options = {name: value for name, value in node.items() if name != "_target_"}
    parameters = inspect.signature(target).parameters
    free = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    late = {name: value for name, value in late.items() if name in parameters or free}
    allowed = [name for name in parameters if name not in late]
    for name in options:
        if name not in allowed and not free:
            raise InputError(f"{where} has no option {name!r}: allowed are {', '.join(allowed) or 'none'}.")
    for name, parameter in parameters.items():
        needed = parameter.default is parameter.empty and parameter.kind not in _COLLECTING
        if needed and name not in options and name not in late:
            raise InputError(f"{where}.{name} must be given: add {where}.{name}=VALUE.")
    if not own:
        options = {name: _inside(value) for name, value in options.items()}
    try:
        made = target(**options, **late)
    except ArgumentError as error:
        raise ArgumentError(f"{where}.{error.argument}", error.problem) from None
    except (AttributeError, IndexError, TypeError) as error:
        if not own:
            raise
        words = ", ".join(f"{name}={value!r}" for name, value in options.items())
        raise InputError(
            f"{where} cannot be made of {words}: one of them is of a wrong type ({error})."
        ) from error
    if not isinstance(made, kind):
        raise InputError(
            f"{where}._target_ is {node['_target_']!r}, which makes a {type(made).__name__}: "
            f"it must make one of the kind {kind.__name__}."
        )
    return made


def object_of(name: object) -> Any:
    """What a full name stands for; its module is imported, so only of whom the user trusts.

    Raises:
        Exception: of any kind, if there is nothing of the name.
    """
    return get_object(name)  # type: ignore[arg-type]  # which refuses what is no text


def _target(name: object, where: str, kind: type, trusted: bool) -> tuple[Callable[..., Any], bool]:
    """What a name stands for, and whether it is a class of this package."""
    package = __name__.partition(".")[0]
    if not trusted and (not isinstance(name, str) or name.partition(".")[0] != package):
        raise UntrustedError(where, name)
    try:
        found = object_of(name)
    except Exception as error:
        reason = str(error.__cause__ or error).splitlines()[0].rstrip(".")
        raise InputError(f"{where}._target_ is {name!r}, which cannot be imported: {reason}.") from error
    # By where it is defined: a module of this package also has names that it has imported.
    own = inspect.isclass(found) and found.__module__.partition(".")[0] == package
    if not own and not trusted:
        raise UntrustedError(where, name)
    # Named among its bases, since any object with methods of the same names would pass for a protocol.
    if own and kind not in found.__mro__:
        raise InputError(f"{where}._target_ is {name!r}: it must be a {kind.__name__}.")
    if not callable(found):
        raise InputError(f"{where}._target_ is {name!r}, which makes no object: name a class.")
    return found, own


def _inside(value: Any) -> Any:
    """A value with the objects that it describes, if it describes any."""
    if "_target_" not in str(value):  # Hydra is slow where there is nothing to do
        return value
    try:
        return instantiate(value, _convert_="all")
    except InstantiationException as error:
        raise error.__cause__ or error from None


def check_class(node: Any, where: str) -> Mapping[str, Any]:
    """Return what names a class and its options.

    Raises:
        InputError: if it does not.
    """
    if not isinstance(node, Mapping):
        raise InputError(f"{where} is {node!r}: it must be a class (_target_) and its options.")
    if node.get("_target_") is None:
        raise InputError(f"{where}._target_ must be given: the class that {where} is.")
    return node


def check_keys(
    node: Any, allowed: set[str], where: str, optional: AbstractSet[str] = frozenset()
) -> Mapping[str, Any]:
    """Return what is a mapping of exactly these keys.

    Args:
        node: plain values.
        allowed: the keys that are read.
        where: the node's place in the configuration, for messages.
        optional: those that may be missing.

    Raises:
        InputError: naming the first key that is unknown or missing.
    """
    if not isinstance(node, Mapping):
        raise InputError(f"{where} is {node!r}: it must be options, {', '.join(sorted(allowed))}.")
    for name in node:
        if name not in allowed:
            raise InputError(f"{where} has no option {name!r}: allowed are {', '.join(sorted(allowed))}.")
    for name in sorted(allowed - optional - node.keys()):
        raise InputError(f"{where} has no {name!r}, which must be given.")
    return node


def placed(place: str, action: Callable[[], T]) -> T:
    """Do something and say of a refused argument where in the configuration it stands."""
    try:
        return action()
    except ArgumentError as error:
        raise ArgumentError(f"{place}.{error.argument}", error.problem) from None
