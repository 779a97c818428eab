"""What networks are shown: some training and some test images."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from neural_branching.config.parent_spec import ParentSpec
from neural_branching.data.table import DataTable
from neural_branching.selection.array_types import Int64, Shaped


@dataclass(frozen=True)
class Shown:
    """Images and labels.

    Attributes:
        training: images that the network may have learned from, raw uint8.
        training_labels: their labels as the network has them.
        test: images that it has not.
        test_labels: their labels.
        names: of the labels.
    """

    training: Shaped[Tensor, "n c h w"]
    training_labels: Int64[np.ndarray, " n"]
    test: Shaped[Tensor, "m c h w"]
    test_labels: Int64[np.ndarray, " m"]
    names: tuple[str, ...]

    @classmethod
    def of(cls, table: DataTable, parent: ParentSpec, most: int) -> "Shown":
        """About so many images of each split at most, of every label as many, the same for every network.

        Args:
            table: the examples.
            parent: whose labels count.
            most: number of images of a split.
        """
        targets, content = parent.labels.targets(table.classes), table.examples()

        def some(split: str) -> tuple[Tensor, Int64[np.ndarray, " n"]]:
            rows = table.rows(split, tuple(parent.labels.of), training_source="parent")
            labels = targets[table.labels[rows]]
            share = max(1, most // len(parent.labels.names))
            chosen = [
                mine[np.linspace(0, len(mine) - 1, min(share, len(mine))).round().astype(np.int64)]
                for mine in (np.flatnonzero(labels == label) for label in range(len(parent.labels.names)))
            ]
            rows = rows[np.sort(np.concatenate(chosen))]
            return torch.from_numpy(content[rows]), targets[table.labels[rows]]

        training, test = some("train"), some("test")
        return cls(*training, *test, tuple(parent.labels.names))

    @property
    def size(self) -> int:
        """Side of an image in pixels."""
        return int(self.test.shape[-1])

    @property
    def is_grey(self) -> bool:
        """Whether no image has any colour."""
        return bool((self.training == self.training[:, :1]).all())
