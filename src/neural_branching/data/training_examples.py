"""The examples of a table as training and validation tensors."""

import torch
from torch import Tensor

from neural_branching.data.batches import Augment
from neural_branching.data.labels import Labels
from neural_branching.data.table import DataTable
from neural_branching.data.tensor_data import TensorDataModule


class ExampleDataModule(TensorDataModule):
    """What a parent is trained on: examples as they are stored, in a new order every epoch.

    Args:
        table: the data set.
        labels: what the parent tells apart; examples of other classes are left out.
        batch_size: examples per step.
        seed: seed of the order of the batches and of the augmentation.
        augment: applied to training batches.
        training_source: whose training examples, "parent" or "branch", where the split keeps them apart.
        per_class: only so many training examples of each class; None for all.
    """

    def __init__(
        self,
        table: DataTable,
        labels: Labels,
        batch_size: int,
        seed: int,
        augment: Augment | None = None,
        *,
        training_source: str = "parent",
        per_class: int | None = None,
    ) -> None:
        super().__init__(batch_size, seed, augment)
        self.table = table
        self.labels = labels
        self.training_source = training_source
        self.per_class = per_class

    def load(self) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Read the rows of both splits from the memory-mapped table."""
        return self._read("train"), self._read("validation")

    def _read(self, split: str) -> tuple[Tensor, Tensor]:
        classes = tuple(self.labels.of)
        rows = self.table.rows(split, classes, training_source=self.training_source, per_class=self.per_class)
        targets = self.labels.targets(self.table.classes)[self.table.labels[rows]]
        return torch.from_numpy(self.table.examples()[rows]), torch.from_numpy(targets)
