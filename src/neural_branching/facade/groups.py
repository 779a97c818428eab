"""Configuration groups as Python objects: an option of ``conf/`` and what is changed in it."""

import inspect
from collections.abc import Mapping
from os import PathLike, fspath
from typing import Any

from neural_branching.errors import InputError


class Group:
    """An option of a configuration group with changes.

    Args:
        option: name of a file of the group's folder in ``conf/``.
        changes: keys of the group → values; a mapping changes only what it names.
    """

    def __init__(self, option: str, changes: Mapping[str, Any]) -> None:
        self.option, self.changes = option, dict(changes)

    def __repr__(self) -> str:
        shown = "".join(f", {name}={value!r}" for name, value in self.changes.items())
        return f"{type(self).__name__}({self.option!r}{shown})"


def given(**options: Any) -> dict[str, Any]:
    """The options that are not None: what is left out stays as ``conf/`` has it."""
    return {name: value for name, value in options.items() if value is not None}


def described(thing: object) -> dict[str, Any]:
    """An object of plain settings as a configuration names it: its class and what it was made with.

    Args:
        thing: a score, threshold or router, which keeps the arguments of its constructor as attributes.

    Raises:
        InputError: if it does not.
    """
    kind = type(thing)
    options = {}
    for name in inspect.signature(kind).parameters:
        if not hasattr(thing, name):
            raise InputError(
                f"{kind.__name__} keeps no attribute {name!r}: your own class keeps every argument of its "
                "constructor under the argument's name."
            )
        options[name] = getattr(thing, name)
    return {"_target_": full_name(kind, kind.__name__), **options}


def full_name(kind: object, place: str) -> str:
    """The name by which a class is imported.

    Args:
        kind: the class.
        place: for messages.

    Raises:
        InputError: for what is no class, and a class that is defined within a function.
    """
    if not isinstance(kind, type):
        raise InputError(f"{place} is {kind!r}: it must be a class, or the full name of one.")
    if "<locals>" in kind.__qualname__:
        raise InputError(f"{kind.__name__} is defined within a function: define it at the top of a module.")
    return f"{kind.__module__}.{kind.__qualname__}"


def plain(value: Any, place: str) -> Any:
    """A value as a configuration holds it: arrays and tuples as lists, paths as text.

    Args:
        value: mappings, sequences, scalars and whatever numpy makes of them.
        place: where it will stand, for messages.

    Raises:
        InputError: for other objects, and for text that a configuration would take for a reference.
    """
    if isinstance(value, PathLike):
        value = fspath(value)
    elif hasattr(value, "tolist"):  # arrays and numbers of numpy, tensors
        value = value.tolist()
    if isinstance(value, Mapping):
        for name in value:
            if not isinstance(name, str):
                raise InputError(f"{place} has the name {name!r}: names must be text.")
        return {name: plain(one, f"{place}.{name}") for name, one in value.items()}
    if isinstance(value, (list, tuple, range)):
        return [plain(one, f"{place}[{index}]") for index, one in enumerate(value)]
    if isinstance(value, str) and "${" in value:
        raise InputError(f"{place} is {value!r}: a configuration takes ${{ for a reference to another value.")
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise InputError(f"{place} is {value!r}: it must be numbers, text, and lists and mappings of them.")
