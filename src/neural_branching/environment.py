"""What a run was computed with."""

from importlib.metadata import version
from typing import Any

import torch


def environment(device: torch.device) -> dict[str, Any]:
    """The device, the threads and the versions that results depend on, for results.json."""
    packages = ("neural-branching", "torch", "pytorch-lightning", "numpy")
    return {
        "device": str(device),
        "threads": torch.get_num_threads(),
        "versions": {name: version(name) for name in packages},
    }
