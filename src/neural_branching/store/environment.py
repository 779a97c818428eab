"""What a run was computed with."""

import os
import platform
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import torch

from neural_branching.store.versions import recorded_versions


def environment(device: torch.device) -> dict[str, Any]:
    """The device, the threads, the versions and the code that results depend on, for results.json."""
    return {
        "device": str(device),
        "processor": _processor(device),
        "threads": torch.get_num_threads(),
        # Elsewhere than on a CPU dropout draws other numbers; the order of examples and augmentation do not.
        "draws": {"order": "cpu", "augmentation": "cpu", "dropout": device.type},
        "python": platform.python_version(),
        "versions": recorded_versions(),
        "git": git_state(Path(__file__).parent),
    }


def _processor(device: torch.device) -> str:
    """What arithmetic is done by: the GPU's name, or the CPU's kind and the instructions that torch uses."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"


@cache  # a process does not change its code
def git_state(folder: Path) -> dict[str, Any] | None:
    """Commit of a checkout, and whether its tracked files differ from it.

    Args:
        folder: a folder of source files.

    Returns:
        ``{"commit": 40 hexadecimal digits, "changed": bool}``; None if git does not track the folder, as in
        an installed package, or is not there.
    """
    # A package may be installed inside of somebody else's checkout, whose commit says nothing of it.
    if not _git(folder, "ls-files", "--", "."):
        return None
    described = _git(folder, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    if described is None:
        return None
    return {"commit": described.removesuffix("-dirty"), "changed": described.endswith("-dirty")}


def _git(folder: Path, *arguments: str) -> str | None:
    """What git prints; None if it fails."""
    # A hook's environment names the repository that it is of.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=10, check=True, env=environment
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
