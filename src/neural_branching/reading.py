"""Reads files that somebody else may have written: plain values of limited size and depth, nothing else."""

import json
import os
import stat
from pathlib import Path
from typing import Any

from neural_branching.errors import InputError

BYTES = 1 << 26
DEPTH = 64


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
