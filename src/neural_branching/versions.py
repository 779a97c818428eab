"""Versions of installed packages."""

from functools import cache
from importlib.metadata import version

# Those that results depend on.
RECORDED = ("neural-branching", "torch", "pytorch-lightning", "numpy")


@cache  # each look reads a file, and every run of a sweep asks for several
def version_of(package: str) -> str:
    """Version of an installed package."""
    return version(package)
