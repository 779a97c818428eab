"""A small vision transformer."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from neural_branching.errors import ArgumentError, number, whole
from neural_branching.networks.staged import StagedNetwork
from neural_branching.selection.array_types import Float


class VisionTransformer(StagedNetwork):
    """Vision transformer (Dosovitskiy et al., 2021): stages patches, block1 … blockN, norm, logits.

    Patches and blocks give tokens, shape (n, 1 + patches, width), the first of them the class token;
    "norm" is the class token after the last layer norm, shape (n, width).

    Args:
        in_shape: (channels, height, width) of one image.
        num_classes: number of logits.
        patch: side of a patch in pixels; it divides the image's height and width.
        width: length of a token; a multiple of ``heads``.
        depth: number of blocks.
        heads: attention heads of a block.
        dropout: probability of dropping a unit of a block's residual while training.

    Raises:
        InputError: for sizes below 1 or that do not divide, or a dropout outside [0, 1).
    """

    class_token = "block1"  # the first that lets it see the patches

    def __init__(
        self,
        in_shape: Sequence[int],
        num_classes: int,
        patch: int = 4,
        width: int = 128,
        depth: int = 6,
        heads: int = 4,
        dropout: float = 0.1,
    ) -> None:
        channels, height, breadth = in_shape
        patch, width, depth = whole(patch, "patch", 1), whole(width, "width", 1), whole(depth, "depth", 1)
        dropout = number(dropout, "dropout", 0, 1, open_high=True)
        if height % patch or breadth % patch:
            raise ArgumentError(
                "patch", f"is {patch}, which does not divide images of {height} × {breadth} pixels."
            )
        if width % whole(heads, "heads", 1):
            raise ArgumentError("heads", f"is {heads}, which does not divide the width {width}.")
        tokens = (height // patch) * (breadth // patch)
        super().__init__(
            {
                "patches": Patches(channels, patch, width, tokens),
                **{f"block{i}": Block(width, heads, dropout) for i in range(1, depth + 1)},
                "norm": FirstToken(width),
                "logits": nn.Linear(width, num_classes),
            }
        )


class Patches(nn.Module):
    """Cut images into patches, embed each linearly, put the class token in front, add positions."""

    def __init__(self, channels: int, patch: int, width: int, tokens: int) -> None:
        super().__init__()
        self.embed = nn.Conv2d(channels, width, patch, stride=patch)
        # Shaped (1, …) so that weight decay, which spares vectors, treats them as the matrices they are.
        self.token = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.position = nn.Parameter(0.02 * torch.randn(1, 1 + tokens, width))

    def forward(self, x: Float[Tensor, "n channels h w"]) -> Float[Tensor, "n tokens width"]:
        """Make tokens of images."""
        patches = self.embed(x).flatten(2).transpose(1, 2)
        return torch.cat([self.token.expand(x.shape[0], -1, -1), patches], 1) + self.position


class Block(nn.Module):
    """Self-attention and a two-layer perceptron of 4 × the width, each after a layer norm."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.project = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Float[Tensor, "n tokens width"]) -> Float[Tensor, "n tokens width"]:
        """Map tokens to tokens."""
        n, tokens, width = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(n, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, tokens, width)
        x = x + self.dropout(self.project(attended))
        output: Tensor = x + self.dropout(self.mlp(self.norm2(x)))
        return output


class FirstToken(nn.Module):
    """Layer norm of the class token."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Float[Tensor, "n tokens width"]) -> Float[Tensor, "n width"]:
        """Take the first token."""
        output: Tensor = self.norm(x[:, 0])
        return output
