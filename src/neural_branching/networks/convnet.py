"""A small residual convolutional network for 32 × 32 images."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from neural_branching.errors import switch, whole
from neural_branching.networks.staged import StagedNetwork
from neural_branching.selection.array_types import Float

NARROWEST = 8


class ConvNet(StagedNetwork):
    """Residual network (He et al., 2016): stages stem, block1, block2, block3, pool, logits.

    Each block halves the resolution and doubles the width: at width 16 the blocks have 32, 64 and
    128 channels and the whole network about 0.3 M parameters.

    Args:
        in_shape: (channels, height, width) of one image.
        num_classes: number of logits.
        width: channels of the stem.
        residual: with shortcuts; without them it is a plain network.

    Raises:
        InputError: for a width below 1, and for anything but true and false.
    """

    def __init__(
        self, in_shape: Sequence[int], num_classes: int, width: int = 16, residual: bool = True
    ) -> None:
        width, residual = whole(width, "width", 1), switch(residual, "residual")
        super().__init__(
            {
                "stem": nn.Sequential(
                    nn.Conv2d(in_shape[0], width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
                ),
                "block1": Block(width, 2 * width, residual=residual),
                "block2": Block(2 * width, 4 * width, residual=residual),
                "block3": Block(4 * width, 8 * width, residual=residual),
                "pool": nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
                "logits": nn.Linear(8 * width, num_classes),
            }
        )
        # Convolutions follow the order of their weights, and this one is the faster. Of fewer channels oneDNN
        # corrupts the memory in it, as of torch 2.15 on processors with AVX2.
        if width >= NARROWEST:
            self.to(memory_format=torch.channels_last)

    @property
    def block_units(self) -> dict[str, int]:
        """Block → number of its units."""
        return {name: one.units for name, one in self.stages.items() if isinstance(one, Block)}


class Block(nn.Module):
    """Two 3 × 3 convolutions with batch norm, the first of stride 2, and beside them a projected shortcut."""

    def __init__(self, inputs: int, outputs: int, *, residual: bool) -> None:
        super().__init__()
        self.units = outputs
        self.residual = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut = (
            nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride=2, bias=False), nn.BatchNorm2d(outputs))
            if residual
            else None
        )
        self.activation = nn.ReLU()

    def forward(self, x: Float[Tensor, "n inputs h w"]) -> Float[Tensor, "n outputs half_h half_w"]:
        """Halve height and width."""
        output: Tensor = self.residual(x)
        if self.shortcut is not None:
            output = output + self.shortcut(x)
        activated: Tensor = self.activation(output)
        return activated
