"""Writes files whole or not at all: beside their place, then renamed."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def whole_file(file: Path) -> Iterator[Path]:
    """Yields a temporary name beside a file, which takes the file's place if nothing is raised.

    Readers see the old content or the new, never a part; what is raised leaves the old.

    Raises:
        OSError: naming the file, if it cannot be written.
    """
    # The ending stays: some writers go by it.
    temporary = file.with_name(f".{secrets.token_hex(6)}{file.suffix}")
    try:
        yield temporary
        temporary.replace(file)
    except OSError as error:
        if error.filename in (None, str(temporary), temporary):  # a full disk names no file
            error.filename = str(file)
        raise
    finally:
        with suppress(OSError):  # it is there only if something was raised
            temporary.unlink()


def write_atomically(file: Path, text: str) -> None:
    """Replace a file's content by UTF-8 text, whole or not at all, its line ends as they are.

    Raises:
        OSError: as ``whole_file``.
    """
    with whole_file(file) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")
