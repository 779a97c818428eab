"""What a branch learns from: cached activations as training and validation tensors."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from neural_branching.artifacts import activations as act
from neural_branching.data.table import DataTable
from neural_branching.data.tensor_data import TensorDataModule
from neural_branching.selection.array_types import Float32, Int64
from neural_branching.store.artifact_store import Artifact


class ActivationDataModule(TensorDataModule):
    """The activations of a branch point for the classes of a subset; it never touches an example.

    Args:
        activations: asks the store, which builds the activations if they are missing.
        table: labels and splits.
        groups: the classes behind each label; targets are indices of labels.
        point: the branch point.
        batch_size: rows per step.
        seed: seed of the order of the batches.
        views: asks the store for the activations of views of the training examples; None for none.
        per_class: only so many training examples of each class, with their views; None for all.
    """

    def __init__(
        self,
        activations: Callable[[], Artifact],
        table: DataTable,
        groups: Sequence[Sequence[str]],
        point: str,
        batch_size: int,
        seed: int,
        views: Callable[[], Artifact] | None = None,
        per_class: int | None = None,
    ) -> None:
        super().__init__(batch_size, seed)
        self.activations = activations
        self.views = views
        self.table = table
        self.groups = groups
        self.point = point
        self.per_class = per_class

    def prepare_data(self) -> None:
        """Make sure that the activations are in the store."""
        self.activations()
        if self.views:
            self.views()

    def load(self) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Read the subset's rows of the training split with its views, and of the validation split."""
        return self.select("train", views=True), self.select("validation")

    def select(
        self, split: str, *, views: bool = False
    ) -> tuple[Float32[Tensor, "n width"], Int64[Tensor, " n"]]:
        """Activations and targets of the subset in a split.

        Args:
            split: name of the split.
            views: whether those of augmented views, if there are any, come after those of the examples.
        """
        rows, artifact = self._rows(split), self.activations()
        y = torch.from_numpy(act.subset_targets(self.table, rows, self.groups))
        parts = [(act.mapped(artifact, self.point), rows)]
        if views and self.views:
            everyone = self.table.rows(split)
            mine = np.flatnonzero(np.isin(everyone, rows))
            vectors = act.mapped(self.views(), self.point)
            first = np.arange(0, len(vectors[0]), len(everyone))  # one view of every example after another
            parts.append((vectors, (first[:, None] + mine).ravel()))
            y = y.repeat(1 + len(first))
        return act.gather(parts, artifact.path.parent), y

    def _rows(self, split: str) -> Int64[np.ndarray, " n"]:
        classes = [name for group in self.groups for name in group]
        return self.table.rows(split, classes, per_class=self.per_class)
