"""Batches straight from tensors in memory: no workers, no collation."""

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor


@runtime_checkable
class Augment(Protocol):
    """What changes a batch of training examples."""

    def __call__(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        """A changed batch of the same shape.

        Args:
            batch: examples as the table holds them, shape (n, …).
            generator: CPU generator of every random choice.
        """


class Batches:
    """One pass over a tensor data set.

    Args:
        x: inputs, shape (n, …).
        y: int64 targets, shape (n,).
        batch_size: rows per batch; the last may be smaller.
        generator: draws a new order (and the augmentation) for every pass; None keeps the order.
            It lives on the CPU, so that the order does not depend on the device.
        augment: maps a batch of inputs and the generator to a changed batch.
    """

    def __init__(
        self,
        x: Tensor,
        y: Tensor,
        batch_size: int,
        generator: torch.Generator | None = None,
        augment: Augment | None = None,
    ) -> None:
        self.x, self.y = x, y
        self.batch_size = batch_size
        self.generator = generator
        self.augment = augment

    def __len__(self) -> int:
        """Number of batches in a pass."""
        return -(-len(self.y) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        if self.generator is None:
            yield from zip(
                torch.split(self.x, self.batch_size), torch.split(self.y, self.batch_size), strict=True
            )
            return
        order = torch.randperm(len(self.y), generator=self.generator).to(self.y.device)
        for rows in torch.split(order, self.batch_size):
            x = self.x.index_select(0, rows)
            if self.augment is not None:
                x = self.augment(x, self.generator)
            yield x, self.y.index_select(0, rows)
