"""Tensors in memory as Lightning takes them: one epoch per step."""

from abc import abstractmethod
from collections.abc import Iterator
from typing import Generic, TypeVar

import pytorch_lightning as pl
import torch
from torch import Tensor

from neural_branching.data.batches import Augment, Batches

Epoch = TypeVar("Epoch")


class EpochLoader(Generic[Epoch]):
    """A "data loader" whose only item is a whole epoch, for modules that loop over it themselves."""

    def __init__(self, batches: Epoch) -> None:
        self.batches = batches

    def __len__(self) -> int:
        """Always 1."""
        return 1

    def __iter__(self) -> Iterator[Epoch]:
        yield self.batches


class TensorDataModule(pl.LightningDataModule):
    """Training and validation tensors on the trainer's device.

    Sub-classes say in ``load`` where both come from. This module owns the generator of the batches'
    order, so that the order is a function of the seed alone.

    Args:
        batch_size: examples per training step.
        seed: seed of the order of the batches and of the augmentation.
        augment: applied to training batches.

    Attributes:
        train: inputs (n, …) and int64 targets (n,).
        validation: the same for the validation split.
    """

    train: tuple[Tensor, Tensor]
    validation: tuple[Tensor, Tensor]

    def __init__(self, batch_size: int, seed: int, augment: Augment | None = None) -> None:
        super().__init__()
        self.batch_size = batch_size
        self.augment = augment
        self.generator = torch.Generator().manual_seed(seed)

    @abstractmethod
    def load(self) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Inputs and targets of the training split, and of the validation split."""

    def setup(self, stage: str) -> None:
        """Load both splits, once: who needs statistics of the inputs asks before the trainer does."""
        if not hasattr(self, "train"):
            self.train, self.validation = self.load()

    @property
    def steps_per_epoch(self) -> int:
        """Number of optimiser steps in one epoch."""
        return len(Batches(*self.train, self.batch_size))

    def train_dataloader(self) -> EpochLoader[Batches]:
        """The training epoch, in a new order every time it is iterated."""
        return EpochLoader(Batches(*self._placed(self.train), self.batch_size, self.generator, self.augment))

    def val_dataloader(self) -> EpochLoader[Batches]:
        """The validation epoch, in a fixed order."""
        return EpochLoader(Batches(*self._placed(self.validation), max(self.batch_size, 512)))

    def _placed(self, tensors: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        x, y = tensors
        device = self.trainer.strategy.root_device if self.trainer else x.device
        return x.to(device), y.to(device)
