"""Dropout whose masks may have been drawn before they are needed."""

from collections.abc import Callable

from torch import Tensor, nn

Kept = Callable[[Tensor], Tensor]  # what is left of a batch


class Dropout(nn.Dropout):
    """torch's dropout, or what was drawn ahead.

    Args:
        rate: probability of dropping a unit while training.
        width: number of units.

    Attributes:
        drawn: drops by masks from elsewhere; None for torch's own.
    """

    def __init__(self, rate: float, width: int) -> None:
        super().__init__(rate)
        self.width = width
        self.drawn: Kept | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Drop units of a batch (n, width) and scale those that stay, while training."""
        if self.training and self.drawn is not None:
            return self.drawn(x)
        return super().forward(x)
