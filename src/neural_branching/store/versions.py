"""Versions of installed packages."""

import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version

# Those that results depend on.
RECORDED = ("neural-branching", "torch", "pytorch-lightning", "numpy")
# And those that parents come from, where a process has loaded them.
LIBRARIES = ("timm", "torchvision", "transformers")


def recorded_versions() -> dict[str, str]:
    """Package → version, of what results depend on."""
    loaded = [name for name in LIBRARIES if name in sys.modules]
    return {name: version_of(name) for name in (*RECORDED, *loaded)}


@cache  # each look reads a file, and every run of a sweep asks for several
def version_of(package: str) -> str:
    """Version of a package: of a checkout that is not installed its own word for it, else "unknown"."""
    try:
        return version(package)
    except PackageNotFoundError:
        module = sys.modules.get(package.replace("-", "_"))
        return str(getattr(module, "__version__", "unknown"))
