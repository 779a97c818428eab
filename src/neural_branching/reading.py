"""Files of runs that may come from elsewhere: plain mappings, lists and scalars, and nothing else.

What a file says is never taken for more than it is: no tag makes an object, no anchor repeats a part,
no interpolation is resolved, and neither size nor depth is without a limit.
"""

import stat
from pathlib import Path
from typing import Any

import yaml

from neural_branching.errors import InputError

BYTES, DEPTH = 4 << 20, 64

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


def read_yaml(file: Path) -> dict[str, Any]:
    """Read a mapping of plain values.

    Args:
        file: a regular file of YAML in UTF-8, of at most ``BYTES`` bytes and ``DEPTH`` levels.

    Raises:
        InputError: if the file cannot be read or is too large or too deep, and for whatever is not plain:
            tags, anchors, aliases, interpolations, a key that is not text or stands twice, several
            documents, or a document that is no mapping.
    """
    text = _text(file)
    try:
        _check_events(text)
        content = yaml.load(text, Loader=_Loader)
        _check_values(content)
    except (yaml.YAMLError, ValueError) as error:
        reason = getattr(error, "problem", "") or str(error).splitlines()[0].rstrip(".")
        raise InputError(f"{file} is not the configuration of a run: {reason}.") from error
    if not isinstance(content, dict):
        raise InputError(f"{file} is not the configuration of a run: it holds no mapping.")
    return content


def _text(file: Path) -> str:
    """Content of a regular file that is not too large.

    Raises:
        InputError: otherwise.
    """
    try:
        status = file.stat()
        if not stat.S_ISREG(status.st_mode):
            raise InputError(f"{file} is not a regular file.")
        if status.st_size > BYTES:
            raise InputError(f"{file} has {status.st_size:,} bytes: at most {BYTES:,} are read.")
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{file} cannot be read: it is not UTF-8 text.") from error


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
