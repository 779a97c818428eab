"""Files of runs and stores, perhaps from elsewhere: plain mappings, lists and scalars, and nothing else.

What a file says is never taken for more than it is: no tag makes an object, no anchor repeats a part,
no interpolation is resolved, and neither size nor depth is without a limit.
"""

import json
import os
import stat
from pathlib import Path
from typing import Any

import yaml

from neural_branching.errors import InputError

BYTES, DEPTH = 1 << 26, 64
YAML_BYTES = 1 << 22  # which takes longer to read

_Parser: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # many times faster, where libyaml is there


class _Loader(_Parser):  # type: ignore[misc]
    """Scalars are text, numbers, booleans or null; a date is text, ``<<`` a key like any other."""

    yaml_implicit_resolvers = {  # noqa: RUF012
        first: [
            (tag, pattern)
            for tag, pattern in resolvers
            if tag.rpartition(":")[2] in ("bool", "int", "float", "null")
        ]
        for first, resolvers in _Parser.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """As in PyYAML, which lets the last of two equal keys win."""
        mapping: dict[Any, Any] = super().construct_mapping(node, deep=deep)
        if len(mapping) < len(node.value):
            raise ValueError(f"line {node.start_mark.line + 1} begins a mapping with a key that stands twice")
        return mapping


def read_json(file: Path, limit: int = BYTES, depth: int = DEPTH) -> Any:
    """The mappings, lists and scalars of a JSON file.

    Args:
        file: a regular file of UTF-8 text.
        limit: most bytes that it may have.
        depth: most mappings and lists that may stand inside one another.

    Raises:
        InputError: naming the file, if it cannot be read, is no such file or holds no such values; nan and
            infinities are no JSON.
    """
    try:
        value = json.loads(_text(file, limit), parse_constant=_refuse)
        if _deeper(value, depth):
            raise ValueError(f"it is more than {depth} levels deep")
    except RecursionError:
        raise InputError(f"{file} cannot be read: it is more than {depth} levels deep.") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InputError(f"{file} cannot be read: {reason or type(error).__name__}.") from error
    return value


def read_yaml(file: Path) -> dict[str, Any]:
    """Read a mapping of plain values.

    Args:
        file: a regular file of YAML in UTF-8, of at most ``YAML_BYTES`` bytes and ``DEPTH`` levels.

    Raises:
        InputError: if the file cannot be read or is too large or too deep, and for whatever is not plain:
            tags, anchors, aliases, interpolations, a key that is not text or stands twice, several
            documents, or a document that is no mapping.
    """
    try:
        text = _text(file, YAML_BYTES)
        _check_events(text)
        content = yaml.load(text, Loader=_Loader)
        _check_values(content)
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}.") from error
    except (yaml.YAMLError, ValueError) as error:
        reason = getattr(error, "problem", "") or str(error).splitlines()[0].rstrip(".")
        raise InputError(f"{file} is not the configuration of a run: {reason}.") from error
    if not isinstance(content, dict):
        raise InputError(f"{file} is not the configuration of a run: it holds no mapping.")
    return content


def _text(file: Path, limit: int) -> str:
    # Not to wait for who might write into a pipe, which is then refused.
    descriptor = os.open(file, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    with open(descriptor, "rb") as stream:  # noqa: PTH123, of a descriptor
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("it is no regular file")
        content = stream.read(limit + 1)
    if len(content) > limit:
        raise ValueError(f"it has more than {limit:,} bytes")
    return content.decode("utf-8")


def _deeper(value: Any, depth: int) -> bool:
    """Whether values lie inside one another deeper than so many levels."""
    level = [value]
    for _ in range(depth + 1):
        level = [
            inner
            for one in level
            if isinstance(one, (dict, list))
            for inner in (one.values() if isinstance(one, dict) else one)
        ]
    return bool(level)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number of JSON")


def _check_events(text: str) -> None:
    """Check the syntax before anything is made of it: as a stream, so that no depth hurts.

    Raises:
        ValueError: for tags, anchors, aliases, and a document that is too deep.
    """
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise ValueError(f"line {line} has an anchor or an alias")
        if getattr(event, "tag", None) is not None:
            raise ValueError(f"line {line} has the tag {event.tag}")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > DEPTH:
                raise ValueError(f"line {line} is deeper than {DEPTH} levels")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _check_values(value: Any) -> None:
    """Check what is left when the syntax is plain.

    Raises:
        ValueError: for an interpolation and for keys that are not text.
    """
    if isinstance(value, str) and "${" in value:
        raise ValueError(f"{value!r} is an interpolation")
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise ValueError(f"the key {key!r} is not text")
            _check_values(key)
            _check_values(item)
    elif isinstance(value, list):
        for item in value:
            _check_values(item)
