"""Augmentation of whole batches as tensor operations."""

from collections.abc import Sequence

import torch
from torch import Tensor

from neural_branching.data.batches import Augment
from neural_branching.errors import ArgumentError, number, switch, whole
from neural_branching.selection.array_types import Float32


class Augmentation(Augment):
    """Random shifts, mirror images, erased squares and changes of light.

    Every image is shifted by up to ``pad`` pixels with reflected borders, mirrored with probability
    ½, loses one square of ``cutout`` pixels at a random place, cut off at the borders (DeVries &
    Taylor, 2017) and filled with the batch's mean colour, and is changed in contrast and brightness.

    Args:
        pad: largest shift in pixels, in each direction.
        flip: whether images may be mirrored left to right.
        cutout: side of the erased square in pixels; 0 erases nothing.
        jitter: contrast is multiplied by a factor within 1 ± jitter, brightness moves by up to
            jitter standard deviations of the batch's pixels; 0 leaves both.

    Raises:
        InputError: for values outside their ranges.
    """

    def __init__(self, pad: int = 4, flip: bool = True, cutout: int = 8, jitter: float = 0.0) -> None:
        self.pad = whole(pad, "pad", 0)
        self.cutout = whole(cutout, "cutout", 0)
        self.jitter = number(jitter, "jitter", 0, 1)
        self.flip = switch(flip, "flip")

    def draw(self, shape: Sequence[int], generator: torch.Generator) -> Float32[Tensor, "n choices"]:
        """Every random choice for a batch.

        Args:
            shape: (n, c, h, w) of the images, with h and w above ``pad``.
            generator: CPU generator of every choice, so that none depends on the device.

        Returns:
            A row for each image: its shift in rows and in columns, in pixels; then, as far as they are asked
            for, 1 if it is mirrored, the row and the column in the middle of its hole, what its contrast is
            multiplied by beyond 1, and by how many deviations its brightness moves.

        Raises:
            InputError: if the images are too small for the shift.
        """
        n, _, height, width = shape
        if self.pad >= min(height, width):
            raise ArgumentError("pad", f"is {self.pad}: images of {min(height, width)} pixels need less.")
        choices: list[Tensor] = [torch.randint(-self.pad, self.pad + 1, (2, n), generator=generator)]
        if self.flip:
            choices.append(torch.randint(0, 2, (1, n), generator=generator, dtype=torch.bool))
        if self.cutout:
            choices += [torch.randint(0, side, (1, n), generator=generator) for side in (height, width)]
        if self.jitter:
            choices.append((2 * torch.rand(2, n, generator=generator) - 1) * self.jitter)
        return torch.cat([choice.float() for choice in choices]).t()

    def __call__(self, batch: Tensor, draws: Float32[Tensor, "n choices"]) -> Float32[Tensor, "n c h w"]:
        """Augment a batch.

        Args:
            batch: images, uint8 or float, shape (n, c, h, w).
            draws: what ``draw`` has chosen for them, on their device.

        Returns:
            The images in the units of the input.
        """
        # Changes of light come last, on what the network would see, so the fill takes part in them.
        choices = iter(draws.t())
        pixels = batch.float()
        colour = pixels.mean((0, 2, 3), keepdim=True)
        shift = next(choices), next(choices)
        result = _moved(pixels, shift, next(choices) if self.flip else None)
        if self.cutout:
            holes = _squares((next(choices), next(choices)), self.cutout, batch.shape[2:])
            result = torch.where(holes, colour, result)
        if self.jitter:
            contrast, brightness = (next(choices)[:, None, None, None] for _ in range(2))
            spread = pixels.std((0, 2, 3), keepdim=True)
            result = colour + (result - colour) * (1 + contrast) + brightness * spread
        return result


def _moved(images: Tensor, shift: tuple[Tensor, Tensor], mirrored: Tensor | None) -> Tensor:
    """Images shifted by numbers of rows and columns (n,), and mirrored where the third is 1."""
    n, _, height, width = images.shape
    device = images.device
    rows, columns = (
        _reflected(torch.arange(side, device=device) + by.long()[:, None], side)
        for by, side in zip(shift, (height, width), strict=True)
    )
    if mirrored is not None:
        columns = torch.where(mirrored.bool()[:, None], columns.flip(1), columns)
    # One gather does the shift and the mirroring: index (image, row, column), channels last.
    picture = torch.arange(n, device=device)[:, None, None]
    return images.permute(0, 2, 3, 1)[picture, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def _squares(middles: tuple[Tensor, Tensor], side: int, size: Sequence[int]) -> Tensor:
    """Where images are erased, around rows and columns (n,): bool, shape (n, 1, h, w)."""
    inside = []
    for middle, length in zip(middles, size, strict=True):
        start = middle.long()[:, None] - side // 2
        places = torch.arange(length, device=middle.device)
        inside.append((places >= start) & (places < start + side))
    rows, columns = inside
    return rows[:, None, :, None] & columns[:, None, None, :]


def _reflected(index: Tensor, size: int) -> Tensor:
    """Indices outside [0, size) mirrored at the border, which is not repeated."""
    index = index.abs()
    return torch.where(index >= size, 2 * (size - 1) - index, index)
