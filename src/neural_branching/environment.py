"""What a run was computed with."""

from typing import Any

import torch

from neural_branching.versions import version_of


def environment(device: torch.device) -> dict[str, Any]:
    """The device, the threads and the versions that results depend on, for results.json."""
    packages = ("neural-branching", "torch", "pytorch-lightning", "numpy")
    return {
        "device": str(device),
        "threads": torch.get_num_threads(),
        "versions": {name: version_of(name) for name in packages},
    }
