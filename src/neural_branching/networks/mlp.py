"""Multi-layer perceptrons: the original parent, and the heads of branches."""

from collections.abc import Sequence
from itertools import pairwise
from math import prod

from torch import nn

from neural_branching.errors import ArgumentError, number, whole
from neural_branching.networks.dropout import Dropout
from neural_branching.networks.staged import StagedNetwork


class MLP(StagedNetwork):
    """Linear layers with ReLU and dropout: stages hidden1 … hiddenN, logits.

    Without hidden layers it is a linear classifier.

    Args:
        in_shape: shape of one input, flattened first.
        num_classes: number of logits.
        widths: units of the hidden layers.
        dropout: probability of dropping a hidden unit while training, applied at the *input* of the
            next layer, so that a hidden stage's own output is never a dropped-out one.

    Raises:
        InputError: for widths below 1 or a dropout outside [0, 1).
    """

    def __init__(
        self, in_shape: Sequence[int], num_classes: int, widths: Sequence[int] = (), dropout: float = 0.0
    ) -> None:
        if not isinstance(widths, (list, tuple)):
            raise ArgumentError("widths", f"is {widths!r}: it must be a list of whole numbers, as in [256].")
        dropout = number(dropout, "dropout", 0, 1)
        if dropout == 1:
            raise ArgumentError("dropout", "is 1, which drops everything: it must be below 1.")
        sizes = [prod(in_shape), *(whole(width, "widths (each of them)", 1) for width in widths)]
        stages: dict[str, nn.Module] = {}
        for depth, (inputs, outputs) in enumerate(pairwise(sizes), start=1):
            entry = nn.Flatten() if depth == 1 else Dropout(dropout, inputs)
            stages[f"hidden{depth}"] = nn.Sequential(entry, nn.Linear(inputs, outputs), nn.ReLU())
        entry = Dropout(dropout, sizes[-1]) if widths else nn.Flatten()
        stages["logits"] = nn.Sequential(entry, nn.Linear(sizes[-1], num_classes))
        super().__init__(stages)
        self.dropout = dropout
