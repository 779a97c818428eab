"""Standardisation by statistics of the training split, kept with a network's weights."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from neural_branching.selection.array_types import Float32, Shaped

# Deviations from the mean; of a Gaussian unit one value in two million lies beyond.
LIMIT = 5.0


class Standardize(nn.Module):
    """Map x to (x − mean) / std as float32, cut off at 5 deviations.

    A unit that hardly ever fires in training has a tiny deviation, and is thousands of them away when
    it does fire, on examples of other classes for instance: it must not drown out all others.

    The statistics are buffers: they are stored with the weights, so that a stored network takes the
    same raw inputs that it was trained on.

    Args:
        shape: shape of the statistics, broadcast against a batch's trailing dimensions: (c, 1, 1)
            for channels, the whole input's shape for elements.
        constants: mean and deviation, each of as many numbers, instead of those of training inputs. Nothing
            is cut off then.
    """

    mean: Tensor
    inverse_std: Tensor

    def __init__(
        self, shape: Iterable[int], constants: tuple[Sequence[float], Sequence[float]] | None = None
    ) -> None:
        super().__init__()
        size = tuple(shape)
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("inverse_std", torch.ones(size))
        self.limit = LIMIT
        self.constant = constants is not None
        if constants is not None:
            mean, std = (torch.tensor(one).view(size) for one in constants)
            self.mean.copy_(mean)
            self.inverse_std.copy_(1 / std)
            self.limit = float("inf")

    def learn(self, x: Shaped[Tensor, "n ..."], floor: float = 1e-6) -> None:
        """Set the statistics from training inputs, averaging where they have size 1.

        Constants stay as they are.

        Args:
            x: training inputs of any dtype; the sums are taken in float64.
            floor: dimensions whose standard deviation is at most this, or lost in the rounding of
                their mean, are only centred: a unit that never fires in training must not explode
                when it does.
        """
        if self.constant:
            return
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
        self.inverse_std.copy_(torch.where(std > (1e-7 * mean.abs()).clamp_min(floor), 1 / std, 1.0))

    def forward(self, x: Shaped[Tensor, " n *input"]) -> Float32[Tensor, " n *input"]:
        """Standardise a batch; the result is within ±5 if it is by statistics."""
        return ((x - self.mean) * self.inverse_std).clamp_(-self.limit, self.limit)
