"""The images of a table as training and validation tensors."""

import torch

from neural_branching.data.batches import Augment, TensorDataModule
from neural_branching.data.table import DataTable


class PixelDataModule(TensorDataModule):
    """Pixels for training a parent: uint8 tensors, the training split in a new order every epoch.

    Args:
        table: the data set.
        batch_size: images per step.
        seed: seed of the order of the batches and of the augmentation.
        augment: applied to training batches (uint8).
    """

    def __init__(self, table: DataTable, batch_size: int, seed: int, augment: Augment | None = None) -> None:
        super().__init__(batch_size, seed, augment)
        self.table = table

    def setup(self, stage: str) -> None:
        """Read the rows of both splits from the memory-mapped table."""
        images = self.table.images()
        self.train, self.validation = (
            (torch.from_numpy(images[rows]), torch.from_numpy(self.table.labels[rows]))
            for rows in (self.table.rows("train"), self.table.rows("validation"))
        )
