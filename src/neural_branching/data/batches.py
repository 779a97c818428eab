"""Batches straight from tensors in memory: no workers, no collation."""

from collections.abc import Iterator, Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor


@runtime_checkable
class Augment(Protocol):
    """What changes a batch of training examples: it draws on the CPU, and acts where the examples are.

    So the draws of a whole epoch go to a device at once, and no change waits for the host.
    """

    def draw(self, shape: Sequence[int], generator: torch.Generator) -> Tensor:
        """Every random choice for a batch: a row of numbers for each example, shape (n, …).

        Args:
            shape: of the batch, (n, …).
            generator: CPU generator of every choice.
        """

    def __call__(self, batch: Tensor, draws: Tensor) -> Tensor:
        """A changed batch of the same shape.

        Args:
            batch: examples as the table holds them, shape (n, …).
            draws: what was chosen for them, on their device.
        """


class Batches:
    """One pass over a tensor data set.

    Args:
        x: inputs, shape (n, …).
        y: int64 targets, shape (n,).
        batch_size: rows per batch; the last may be smaller.
        generator: draws a new order (and the augmentation) for every pass; None keeps the order.
            It lives on the CPU, so that the order does not depend on the device.
        augment: changes the batches of a new order; None for nothing.
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
        """Inputs and targets of every batch of one pass."""
        if self.generator is None:
            yield from zip(
                torch.split(self.x, self.batch_size), torch.split(self.y, self.batch_size), strict=True
            )
            return
        for drawn in self.draw():
            yield self.take(*drawn)

    def draw(self) -> Iterator[tuple[Tensor, ...]]:
        """What one pass takes, batch by batch, chosen for all of it before the first: ``take`` it.

        Yields:
            Numbers of rows, int64 (b,), and what the augmentation draws for them, on the inputs' device.
        """
        n = len(self.y)
        order = torch.arange(n)
        if self.generator is not None:
            order = torch.randperm(n, generator=self.generator)
        batches = torch.split(order.to(self.y.device), self.batch_size)
        if self.generator is None or self.augment is None:
            yield from ((rows,) for rows in batches)
            return
        shape = self.x.shape[1:]
        draws = torch.cat([self.augment.draw((len(rows), *shape), self.generator) for rows in batches])
        yield from zip(batches, torch.split(draws.to(self.x.device), self.batch_size), strict=True)

    def take(self, rows: Tensor, draws: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Inputs, changed by the augmentation, and targets of one batch that was drawn."""
        x = self.x.index_select(0, rows)
        if self.augment is not None and draws is not None:
            x = self.augment(x, draws)
        return x, self.y.index_select(0, rows)
