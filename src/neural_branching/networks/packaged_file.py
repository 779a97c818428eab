"""Files that packages of PyPI bring; of the packages nothing else is used."""

from functools import lru_cache
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

from neural_branching.errors import InputError


def packaged_file(package: str, name: str, missing: str) -> Path:
    """A file, or a folder, of an installed package, which is not imported.

    Args:
        package: its name as one imports it.
        name: within the package.
        missing: what is said where it is not installed.

    Raises:
        InputError: if the package is not installed.
    """
    found = find_spec(package)
    if found is None or found.origin is None:
        raise InputError(missing)
    return Path(found.origin).parent / name


@lru_cache(maxsize=8)  # every identity asks, and the files do not change while a process runs
def checksum(file: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    return sha256(file.read_bytes()).hexdigest()
