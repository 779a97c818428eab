"""What a network that somebody else trained expects of an image: its size, its colours' scale."""

from collections.abc import Mapping, Sequence
from math import floor
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from neural_branching.errors import ArgumentError, number, one_of, whole
from neural_branching.selection.array_types import Float

INTERPOLATIONS = ("bilinear", "bicubic", "nearest")


class Preprocessing(nn.Module):
    """Resizes images and standardises their colours by constants.

    An image is resized, as Pillow does it, so that the middle ``crop`` of its side has ``size`` pixels; the
    rest is cut off.

    Args:
        size: side of what the network sees, in pixels.
        mean: of red, green and blue, within [0, 1].
        std: their deviations, within (0, 1].
        interpolation: "bilinear", "bicubic" or "nearest".
        crop: share of an image's side that the network sees, within (0, 1].

    Attributes:
        values: all of these as plain values, for a key.

    Raises:
        InputError: for values outside their ranges.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        size: int,
        mean: Sequence[float],
        std: Sequence[float],
        interpolation: str = "bicubic",
        crop: float = 1.0,
    ) -> None:
        super().__init__()
        self.size = whole(size, "size", 8)
        self.crop = number(crop, "crop", 0, 1, open_low=True)
        self.interpolation = one_of(interpolation, INTERPOLATIONS, "interpolation")
        self.values: Mapping[str, Any] = {
            "size": self.size,
            "crop": self.crop,
            "interpolation": self.interpolation,
            "mean": _three(mean, "mean"),
            "std": _three(std, "std", open_low=True),
        }
        # Constants of the model and no weights of it.
        for name in ("mean", "std"):
            self.register_buffer(name, 255 * torch.tensor(self.values[name]).view(3, 1, 1), persistent=False)

    def forward(self, x: Float[Tensor, "n 3 side side"]) -> Float[Tensor, "n 3 size size"]:
        """What the network sees of images of values 0 … 255."""
        side = floor(self.size / self.crop)
        if x.shape[-1] != side:
            # Only with antialias has torch the cubic curves of Pillow, for larger sizes too.
            smooth = {} if self.interpolation == "nearest" else {"align_corners": False, "antialias": True}
            x = F.interpolate(x, (side, side), mode=self.interpolation, **smooth)
            x = x.clamp(0, 255)  # beyond which cubic curves overshoot
        if start := round((side - self.size) / 2):
            x = x[..., start : start + self.size, start : start + self.size]
        return (x - self.mean) / self.std


def _three(values: Sequence[float], name: str, *, open_low: bool = False) -> list[float]:
    found = [number(value, name, 0, 1, open_low=open_low) for value in values]
    if len(found) != 3:
        raise ArgumentError(name, f"has {len(found)} numbers: it must have one for each of red, green, blue.")
    return found
