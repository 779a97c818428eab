"""Augmentation of whole batches as tensor operations."""

import torch
from torch import Tensor

from neural_branching.data.batches import Augment
from neural_branching.errors import ArgumentError, number, whole


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
        if not isinstance(flip, bool):
            raise ArgumentError("flip", f"is {flip!r}: it must be true or false.")
        self.flip = flip

    def __call__(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        """Augment a batch.

        Args:
            batch: images, uint8 or float, shape (n, c, h, w) with h and w above ``pad``.
            generator: CPU generator of every random choice, so that none depends on the device.

        Returns:
            float32, same shape, in the units of the input.
        """
        # Changes of light come last, on what the network would see, so the fill takes part in them.
        images = batch
        if self.pad >= min(images.shape[2:]):
            raise ArgumentError("pad", f"is {self.pad}: images of {min(images.shape[2:])} pixels need less.")
        pixels = images.float()
        colour = pixels.mean((0, 2, 3), keepdim=True)
        result = self._shifted(pixels, generator)
        if self.cutout:
            result = torch.where(self._holes(images, generator), colour, result)
        if self.jitter:
            contrast, brightness = (
                ((2 * torch.rand(2, len(images), 1, 1, 1, generator=generator) - 1) * self.jitter)
                .to(images.device)
                .unbind()
            )
            spread = pixels.std((0, 2, 3), keepdim=True)
            result = colour + (result - colour) * (1 + contrast) + brightness * spread
        return result

    def _shifted(self, images: Tensor, generator: torch.Generator) -> Tensor:
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
        return images.permute(0, 2, 3, 1)[picture, rows, columns].permute(0, 3, 1, 2)

    def _holes(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Where each image is erased: bool, shape (n, 1, h, w)."""
        n, _, height, width = images.shape
        top = torch.randint(0, height, (n, 1), generator=generator) - self.cutout // 2
        left = torch.randint(0, width, (n, 1), generator=generator) - self.cutout // 2
        rows = (torch.arange(height) >= top) & (torch.arange(height) < top + self.cutout)
        columns = (torch.arange(width) >= left) & (torch.arange(width) < left + self.cutout)
        return (rows[:, None, :, None] & columns[:, None, None, :]).to(images.device)


def _reflected(index: Tensor, size: int) -> Tensor:
    """Indices outside [0, size) mirrored at the border, which is not repeated."""
    index = index.abs()
    return torch.where(index >= size, 2 * (size - 1) - index, index)
