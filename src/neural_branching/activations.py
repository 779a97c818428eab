"""The frozen parent's activations: every stage of every image, from one pass, kept on disk."""

import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from torch import Tensor

from neural_branching.classifier import Classifier
from neural_branching.data.batches import TensorDataModule
from neural_branching.data.table import DataTable
from neural_branching.errors import InputError
from neural_branching.readout import Readout
from neural_branching.row_file import RowFile
from neural_branching.store import Artifact, Facts

RECIPE = 1
BATCH = 512


def stage_shapes(
    parent: Classifier, image_shape: Sequence[int], stages: Sequence[str]
) -> dict[str, tuple[int, ...]]:
    """Shape of some stages' outputs for one image, found by a pass over one blank image."""
    image = torch.zeros(1, *image_shape, dtype=torch.uint8, device=parent.device)
    with torch.inference_mode():
        return {name: tuple(output.shape[1:]) for name, output in parent.eval().walk(image, stages)}


def stage_width(parent: Classifier, image_shape: Sequence[int], stage: str, readout: Readout) -> int:
    """Length of the vectors that a readout makes of a stage.

    Raises:
        InputError: if the readout does not fit the stage.
    """
    shape = stage_shapes(parent, image_shape, (stage,))[stage]
    return readout(torch.empty(1, *shape, device="meta"), parent.network.class_token).shape[1]


@torch.inference_mode()
def extract(
    parent: Classifier,
    images: NDArray[np.uint8],
    folder: Path,
    device: torch.device,
    stages: Sequence[str] | None = None,
    readout: Readout | None = None,
) -> Facts:
    """Write the activations of all images at some stages, one safetensors file per stage.

    The parent is put into evaluation mode: no dropout, stored batch-norm statistics. Row i of every
    file belongs to image i. Files grow batch by batch, so that memory does not limit their size.

    Args:
        parent: the frozen network.
        images: uint8, shape (n, 3, height, width); may be memory-mapped.
        folder: where ``<stage>.safetensors`` is written, float32 (n, width) under "activations".
        device: where the forward pass runs.
        stages: names of the stages; None for the network's main stages.
        readout: how outputs become vectors; None for each stage's default.

    Returns:
        Number of images and width of every stage.

    Raises:
        InputError: if the disk has no room for the files; nothing is written then.
    """
    n, readout = len(images), readout or Readout("auto")
    stages = stages or parent.network.main_stages
    token = parent.network.class_token
    widths = {
        name: readout(torch.empty(1, *shape, device="meta"), token).shape[1]
        for name, shape in stage_shapes(parent, images.shape[1:], stages).items()
    }
    _check_room(folder, 4 * n * sum(widths.values()))
    parent = parent.to(device).eval()
    with ExitStack() as stack:
        disk = stack.enter_context(ThreadPoolExecutor(1))
        files = {
            name: stack.enter_context(RowFile(folder / f"{name}.safetensors", n, width, disk))
            for name, width in widths.items()
        }
        for start in range(0, n, BATCH):
            batch = torch.from_numpy(np.array(images[start : start + BATCH])).to(device)
            for name, output in parent.walk(batch, stages):
                # Written while it is still in the processor's cache.
                files[name].append(readout(output, token).cpu())
    return {"images": n, "widths": widths}


def read(artifact: Artifact, stage: str, rows: NDArray[np.int64] | None = None) -> Tensor:
    """Activations of a stage, float32 (rows, width), read through a memory map.

    Args:
        artifact: stored activations.
        stage: name of the stage.
        rows: ascending row numbers; None for all.
    """
    with safe_open(artifact.path / f"{stage}.safetensors", framework="pt") as file:
        tensor: Tensor = file.get_tensor("activations")
    return tensor if rows is None else tensor[torch.from_numpy(rows)]


class ActivationDataModule(TensorDataModule):
    """The activations of one stage for the classes of a subset; it never touches a pixel.

    Args:
        activations: asks the store, which builds the activations if they are missing.
        table: labels and splits.
        classes: the subset's class names; targets are indices into them.
        stage: the branch point.
        batch_size: rows per step.
        seed: seed of the order of the batches.
    """

    def __init__(
        self,
        activations: Callable[[], Artifact],
        table: DataTable,
        classes: Sequence[str],
        stage: str,
        batch_size: int,
        seed: int,
    ) -> None:
        super().__init__(batch_size, seed)
        self.activations = activations
        self.table = table
        self.classes = tuple(classes)
        self.stage = stage

    def prepare_data(self) -> None:
        """Make sure that the activations are in the store."""
        self.activations()

    def load(self) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Read the subset's rows of the training and validation splits."""
        return self.select("train"), self.select("validation")

    def select(self, split: str) -> tuple[Tensor, Tensor]:
        """Activations float32 (n, width) and targets int64 (n,) of the subset in a split."""
        rows = self.table.rows(split, self.classes)
        targets = subset_targets(self.table, rows, self.classes)
        return read(self.activations(), self.stage, rows), torch.from_numpy(targets)


def subset_targets(table: DataTable, rows: NDArray[np.int64], classes: Sequence[str]) -> NDArray[np.int64]:
    """Labels of rows as indices into ``classes``; -1 where a row's class is not among them."""
    index = np.full(len(table.classes), -1, dtype=np.int64)
    index[[table.classes.index(name) for name in classes]] = np.arange(len(classes))
    return index[table.labels[rows]]


def _check_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise InputError(
            f"The activations of all stages need {needed / 1e9:.1f} GB, and the disk of {folder.parent} has "
            f"{free / 1e9:.1f} GB free: free some space or choose another folder with outputs=FOLDER."
        )
