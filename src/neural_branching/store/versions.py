"""Versions of installed packages."""

import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version

# Those that results depend on.
RECORDED = ("neural-branching", "torch", "pytorch-lightning", "numpy")


@cache  # each look reads a file, and every run of a sweep asks for several
def version_of(package: str) -> str:
    """Version of a package: of a checkout that is not installed its own word for it, else "unknown"."""
    try:
        return version(package)
    except PackageNotFoundError:
        module = sys.modules.get(package.replace("-", "_"))
        return str(getattr(module, "__version__", "unknown"))
