"""Augmentation of whole batches as tensor operations."""

import torch
from torch import Tensor

from neural_branching.errors import ArgumentError, whole


class CropFlipCutout:
    """Random shifts, mirror images and erased squares.

    Every image is shifted by up to ``pad`` pixels with reflected borders, mirrored with probability
    ½, and loses one square of ``cutout`` pixels at a random place, cut off at the borders (DeVries &
    Taylor, 2017), which is filled with the batch's mean colour.

    Args:
        pad: largest shift in pixels, in each direction.
        flip: whether images may be mirrored left to right.
        cutout: side of the erased square in pixels; 0 erases nothing.

    Raises:
        InputError: for negative sizes or a ``flip`` that is not a boolean.
    """

    def __init__(self, pad: int = 4, flip: bool = True, cutout: int = 8) -> None:
        self.pad = whole(pad, "pad", 0)
        self.cutout = whole(cutout, "cutout", 0)
        if not isinstance(flip, bool):
            raise ArgumentError("flip", f"is {flip!r}: it must be true or false.")
        self.flip = flip

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Augment a batch.

        Args:
            images: uint8 or float, shape (n, c, h, w) with h and w above ``pad``.
            generator: CPU generator of every random choice.

        Returns:
            A new batch of the same shape and dtype.
        """
        n, _, height, width = images.shape
        shift = torch.randint(-self.pad, self.pad + 1, (2, n, 1), generator=generator)
        rows = _reflected(torch.arange(height) + shift[0], height)
        columns = _reflected(torch.arange(width) + shift[1], width)
        if self.flip:
            mirrored = torch.randint(0, 2, (n, 1), generator=generator, dtype=torch.bool)
            columns = torch.where(mirrored, columns.flip(1), columns)
        device = images.device
        # One gather does the shift and the mirroring: index (image, row, column), channels last.
        picture = torch.arange(n, device=device)[:, None, None]
        rows, columns = rows.to(device)[:, :, None], columns.to(device)[:, None, :]
        result = images.permute(0, 2, 3, 1)[picture, rows, columns].permute(0, 3, 1, 2)
        if self.cutout:
            top = torch.randint(0, height, (n, 1), generator=generator) - self.cutout // 2
            left = torch.randint(0, width, (n, 1), generator=generator) - self.cutout // 2
            inside_rows = (torch.arange(height) >= top) & (torch.arange(height) < top + self.cutout)
            inside_columns = (torch.arange(width) >= left) & (torch.arange(width) < left + self.cutout)
            hole = (inside_rows[:, None, :, None] & inside_columns[:, None, None, :]).to(device)
            colour = images.float().mean((0, 2, 3), keepdim=True).to(images.dtype)
            result = torch.where(hole, colour, result)
        return result


def _reflected(index: Tensor, size: int) -> Tensor:
    """Indices outside [0, size) mirrored at the border, which is not repeated."""
    index = index.abs()
    return torch.where(index >= size, 2 * (size - 1) - index, index)
