"""Configuration groups as Python objects: an option of ``conf/`` and what is changed in it."""

from collections.abc import Mapping
from typing import Any


class Group:
    """An option of a configuration group with changes.

    Args:
        option: name of a file of the group's folder in ``conf/``.
        changes: keys of the group → values; a mapping changes only what it names.
    """

    def __init__(self, option: str, changes: Mapping[str, Any]) -> None:
        self.option = option
        self.changes = {name: value for name, value in changes.items() if value is not None}

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in self.changes.items())
        return f"{type(self).__name__}({shown})"


def given(**options: Any) -> dict[str, Any]:
    """The options that are not None: what is left out stays as ``conf/`` has it."""
    return {name: value for name, value in options.items() if value is not None}


def described(thing: object) -> dict[str, Any]:
    """An object of plain settings as a configuration names it: its class and what it was made with.

    Args:
        thing: a score, threshold or router, whose attributes are the arguments of its constructor.
    """
    kind = type(thing)
    return {"_target_": f"{kind.__module__}.{kind.__qualname__}", **vars(thing)}
