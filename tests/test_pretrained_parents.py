"""Parents that somebody else trained through the whole flow: no labels, no training, their own preprocessing."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from device import TRAINER
from neural_branching import cli, pipeline
from neural_branching.artifacts.activations import read
from neural_branching.artifacts.workspace import Workspace, load_parent
from neural_branching.config.experiment import Experiment
from neural_branching.exported_program import export
from neural_branching.load_run import load
from tiny import ORDINARY, glyphs, recipe

BACKBONE = ("parent=timm", "parent.model=test_efficientnet", "parent.weights=null")
BRANCH = [one for one in recipe(epochs=2, lr=1e-2) if one.startswith("++branch")]
OWN = (*glyphs(2, size=16, train=16, test=6), *BRANCH, "branch.network.widths=[8]", *ORDINARY, "logger=none")
SEEN = ("parent.network.size=32", *TRAINER, "trainer.progress=false")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run at the last stage and one within, of one store."""
    outputs = tmp_path_factory.mktemp("pretrained") / "outputs"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["neural-branching"])
        for stage in ("output", "blocks.1"):
            cli.main(["train", *BACKBONE, *OWN, *SEEN, f"branch_point.stage={stage}", f"outputs={outputs}"])
    return outputs


def run_at(place: Path, stage: str) -> Path:
    [found] = (place / "runs").glob(f"*_{stage}")
    return found
