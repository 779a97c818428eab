"""What trains is imported where something trains: what lies in the store is answered without it."""

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tiny import glyphs, networks, recipe

pytestmark = pytest.mark.thorough

TYPED = ["train", *glyphs(), *networks(), *recipe(epochs=1, lr=0.01)]


def imported(folder: Path, *arguments: str) -> set[str]:
    """The modules that a command has imported when it has ended."""
    lines = (
        "import atexit, sys",
        "from neural_branching.cli import main",
        "atexit.register(lambda: print('imported', *sys.modules))",
        "sys.argv[1:] = " + repr(list(arguments)),
        "main()",
    )
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], cwd=folder, capture_output=True, text=True
    )
    assert not done.returncode, done.stderr
    return set(done.stdout.splitlines()[-1].split()[1:])


def test_what_trains_nothing_imports_neither_lightning_nor_the_compiler(tmp_path: Path) -> None:
    slow = {"pytorch_lightning", "lightning_fabric", "torchmetrics", "torch._dynamo"}
    assert slow <= imported(tmp_path, *TYPED)
    assert not slow & imported(tmp_path, *TYPED)
    [*_, run] = sorted((tmp_path / "outputs" / "runs").iterdir())
    Image.new("RGB", (12, 12)).save(tmp_path / "black.png")
    assert not slow & imported(tmp_path, "predict", str(run), "black.png")
