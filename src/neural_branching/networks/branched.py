"""A convolutional network whose layers are divided into branches, and the plain one beside it."""

from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from neural_branching.errors import ArgumentError, one_of, whole
from neural_branching.networks.convnet import NARROWEST
from neural_branching.networks.staged import StagedNetwork
from neural_branching.selection.array_types import Float

LAYERS = ("conv1", "conv2", "conv3")


class BranchedNet(StagedNetwork):
    """Three convolutions divided into branches: stages conv1, conv2, conv3, pool, logits.

    Every branch sees the whole image and has its share of each layer's channels (width, 2 × and 4 × the
    width); between its first layer and the stage where branches meet nothing passes from one to another.
    Branches that meet at the logits are towers, as in the first network of Krizhevsky et al. (2012); a single
    branch is a plain network.

    Args:
        in_shape: (channels, height, width) of one image, height and width at least 4.
        num_classes: number of logits.
        width: channels of the first layer.
        branches: number of equal branches, or the shares of unequal ones such as [2, 4, 1, 1].
        join: the first stage that sees all branches: conv2, conv3 or logits.
        kernel: size of the first layer's kernels, odd; or one per branch. Later layers have 3 × 3.

    Raises:
        InputError: for values outside their ranges, and shares that do not divide the width.
    """

    def __init__(
        self,
        in_shape: Sequence[int],
        num_classes: int,
        width: int = 32,
        branches: int | Sequence[int] = 2,
        join: str = "logits",
        kernel: int | Sequence[int] = 5,
    ) -> None:
        shares = _shares(branches)
        width, total = whole(width, "width", 1), sum(shares)
        if width % total:
            raise ArgumentError(
                "width", f"is {width}, which branches of {' : '.join(map(str, shares))} do not divide."
            )
        kernels = _kernels(kernel, len(shares))
        last = (*LAYERS, "logits").index(one_of(join, (*LAYERS[1:], "logits"), "join"))
        sizes = [[share * width * 2**layer // total for share in shares] for layer in range(len(LAYERS))]
        stages: dict[str, nn.Module] = {}
        for layer, name in enumerate(LAYERS):
            before = sizes[layer - 1] if layer else [in_shape[0]]
            separate = 0 < layer < last
            stages[name] = BranchedLayer(
                before if separate else [sum(before)] * len(shares),
                sizes[layer],
                [3] * len(shares) if layer else kernels,
                separate=separate,
                halve=name != LAYERS[-1],
            )
        stages["pool"] = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        stages["logits"] = nn.Linear(4 * width, num_classes)
        super().__init__(stages)
        self.shares, self.join = shares, join
        if min(sizes[0]) >= NARROWEST:
            self.to(memory_format=torch.channels_last)

    def unit_count(self, stage: str) -> int:
        """Number of units of a convolution, or of the pooled stage."""
        return sum(self.layer(stage).sizes)

    def layer(self, stage: str) -> "BranchedLayer":
        """The convolution of a stage, or the last one for the pooled stage."""
        layer = self.stages[LAYERS[-1] if stage == "pool" else stage]
        assert isinstance(layer, BranchedLayer)
        return layer

    def branch_units(self) -> dict[str, dict[str, range]]:
        """The stages that are divided → name of each branch → its units; empty for a plain network."""
        if len(self.shares) == 1:
            return {}
        names = self.stage_names
        found = {}
        for stage in names[: names.index(self.join)]:
            ends = [0, *accumulate(self.layer(stage).sizes)]
            found[stage] = {str(i): range(ends[i], ends[i + 1]) for i in range(len(self.shares))}
        return found

    def filters(self) -> Float[Tensor, "units channels k k"]:
        """Kernels of the first layer; smaller ones than the largest stand in the middle of zeros."""
        weights = self.layer(LAYERS[0]).weights
        size = max(one.shape[-1] for one in weights)
        return torch.cat([F.pad(one, [(size - one.shape[-1]) // 2] * 4) for one in weights])

    def next_weights(self) -> Float[Tensor, "units channels k k"]:
        """Kernels of the second layer of a plain network, or of one whose branches meet there."""
        return torch.cat(self.layer(LAYERS[1]).weights)


class BranchedLayer(nn.Module):
    """Convolution, batch norm and ReLU of every branch, their outputs side by side; halves the resolution.

    Attributes:
        sizes: number of units of every branch.
    """

    def __init__(
        self, inputs: list[int], sizes: list[int], kernels: list[int], *, separate: bool, halve: bool
    ) -> None:
        super().__init__()
        self.inputs, self.sizes, self.separate = inputs, sizes, separate
        self.convolutions = nn.ModuleList(
            nn.Conv2d(mine, size, kernel, padding=kernel // 2, bias=False)
            for mine, size, kernel in zip(inputs, sizes, kernels, strict=True)
        )
        # Before ReLU, the maximum leaves it a quarter of the work, and outputs and gradients as they are.
        self.after = nn.Sequential(
            nn.BatchNorm2d(sum(sizes)), nn.MaxPool2d(2) if halve else nn.Identity(), nn.ReLU()
        )

    @property
    def weights(self) -> list[Tensor]:
        """Kernels of every branch."""
        return [one.weight for one in self.convolutions if isinstance(one, nn.Conv2d)]

    @property
    def norm(self) -> nn.BatchNorm2d:
        """Batch norm of all branches."""
        norm = self.after[0]
        assert isinstance(norm, nn.BatchNorm2d)
        return norm

    def forward(self, x: Float[Tensor, "n inputs h w"]) -> Float[Tensor, "n units new_h new_w"]:
        """Run every branch on its part of the input, or on the whole of it."""
        parts = torch.split(x, self.inputs, 1) if self.separate else [x] * len(self.sizes)
        outputs = [one(part) for one, part in zip(self.convolutions, parts, strict=True)]
        output: Tensor = self.after(torch.cat(outputs, 1) if len(outputs) > 1 else outputs[0])
        return output


def _shares(branches: int | Sequence[int]) -> tuple[int, ...]:
    if not isinstance(branches, int | str) and branches:
        return tuple(whole(share, "branches", 1) for share in branches)
    return (1,) * whole(branches, "branches", 1)


def _kernels(kernel: int | Sequence[int], branches: int) -> list[int]:
    each = [kernel] * branches if isinstance(kernel, int) else list(kernel)
    if len(each) != branches:
        raise ArgumentError(
            "kernel", f"has {len(each)} sizes for {branches} branches: give one size, or one per branch."
        )
    for size in each:
        if whole(size, "kernel", 1) % 2 == 0:
            raise ArgumentError("kernel", f"is {size}: a kernel has an odd size.")
    return each
