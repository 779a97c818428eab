"""Versions of installed packages."""

import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version

# Those that results depend on.
RECORDED = ("neural-branching", "torch", "pytorch-lightning", "numpy")
# And those that parents may come from, where they are installed: what a process has loaded by then depends
# on what it has found in the store.
LIBRARIES = ("timm", "torchvision", "transformers")
UNKNOWN = "unknown"


def recorded_versions() -> dict[str, str]:
    """Package → version, of what results depend on."""
    found = {name: version_of(name) for name in (*RECORDED, *LIBRARIES)}
    return {name: version for name, version in found.items() if name in RECORDED or version != UNKNOWN}


@cache  # each look reads a file, and every run of a sweep asks for several
def version_of(package: str) -> str:
    """Version of a package: of a checkout that is not installed its own word for it, else UNKNOWN."""
    try:
        return version(package)
    except PackageNotFoundError:
        module = sys.modules.get(package.replace("-", "_"))
        return str(getattr(module, "__version__", UNKNOWN))
