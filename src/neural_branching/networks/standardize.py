"""Standardisation by statistics of the training split, kept with a network's weights."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn


class Standardize(nn.Module):
    """Map x to (x − mean) / std as float32.

    The statistics are buffers: they travel with the weights, so that a stored network takes the
    same raw inputs that it was trained on (uint8 pixels for a parent, activations for a branch).

    Args:
        shape: shape of the statistics, broadcast against a batch's trailing dimensions: (3, 1, 1)
            for channels, the whole input's shape for elements.
    """

    mean: Tensor
    inverse_std: Tensor

    def __init__(self, shape: Iterable[int]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(tuple(shape)))
        self.register_buffer("inverse_std", torch.ones(tuple(shape)))

    def learn(self, x: Tensor, floor: float = 0.1) -> None:
        """Set the statistics from training inputs (n, …), averaging where they have size 1.

        Args:
            x: training inputs of any dtype; the sums are taken in float64.
            floor: least standard deviation to divide by, as a share of the typical one (the root mean
                square over dimensions): a unit that hardly ever fires in training must not explode
                when it does, on other classes for instance. Inputs that do not vary are only centred.
        """
        pooled = [0, *(d + 1 for d, size in enumerate(self.mean.shape) if size == 1 and x.shape[d + 1] > 1)]
        total = torch.zeros_like(self.mean, dtype=torch.float64)
        squares = torch.zeros_like(total)
        for chunk in torch.split(x, 4096):  # keeps the float64 copy small
            values = chunk.double()
            total += values.sum(pooled, keepdim=True)[0]
            squares += values.square().sum(pooled, keepdim=True)[0]
        count = x.numel() / self.mean.numel()
        mean = total / count
        std = (squares / count - mean.square()).clamp_min(0).sqrt()
        self.mean.copy_(mean)
        typical = std.square().mean().sqrt()
        # Below this a deviation is the rounding of its own mean.
        noise = 1e-7 * mean.abs().max()
        scale = torch.where(typical > noise, torch.maximum(std, floor * typical), 1.0)
        self.inverse_std.copy_(1 / scale)

    def forward(self, x: Tensor) -> Tensor:
        """Standardise a batch of shape (n, …); the result is float32."""
        return (x - self.mean) * self.inverse_std
