"""What units are shown: images without colour or detail, and rendered curves and lines."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from neural_branching.selection.array_types import Shaped

ORIENTATIONS = 8
RADII = (0.15, 0.25, 0.4)  # of arcs, as shares of the image's side
STROKE = 1.0  # half the width of a stroke, in pixels
LENGTH = 0.3  # of a stroke, as a share of the side
BLUR = 5  # side of the blurring window, in pixels


def grey(images: Shaped[Tensor, "n c h w"]) -> Shaped[Tensor, "n c h w"]:
    """The images with the mean of their channels in every channel, of the same type."""
    return images.float().mean(1, keepdim=True).round().to(images.dtype).expand_as(images)


def blurred(images: Shaped[Tensor, "n c h w"]) -> Shaped[Tensor, "n c h w"]:
    """The images, each pixel the mean of the 5 × 5 around it that lie inside, of the same type."""
    mean = F.avg_pool2d(images.float(), BLUR, 1, BLUR // 2, count_include_pad=False)
    return mean.round().to(images.dtype)


VARIANTS = {"colour": lambda images: images, "grey": grey, "blurred": blurred}


def arcs(size: int) -> Shaped[Tensor, "n 3 h w"]:
    """White arcs through the centre on grey, 8 orientations × 3 radii, uint8."""
    centre = (size - 1) / 2
    return _drawn(size, [(angle, centre, radius * size) for angle in _angles(2 * np.pi) for radius in RADII])


def lines(size: int) -> Shaped[Tensor, "n 3 h w"]:
    """White lines of the arcs' length through the centre on grey, 8 orientations, uint8."""
    return _drawn(size, [(angle, (size - 1) / 2, np.inf) for angle in _angles(np.pi)])


def _angles(turn: float) -> list[float]:
    return [turn * step / ORIENTATIONS for step in range(ORIENTATIONS)]


def _drawn(size: int, strokes: list[tuple[float, float, float]]) -> Shaped[Tensor, "n 3 h w"]:
    """Strokes whose normal has an angle, that bend with a radius."""
    y, x = np.mgrid[:size, :size].astype(np.float64)
    pictures = []
    for angle, centre, radius in strokes:
        normal, along = _turned(x - centre, y - centre, angle)
        if np.isinf(radius):
            distance, travelled = np.abs(normal), along
        else:
            distance = np.abs(np.hypot(normal - radius, along) - radius)
            travelled = radius * np.arctan2(along, radius - normal)
        ink = np.clip(STROKE + 0.5 - distance, 0, 1) * (np.abs(travelled) <= LENGTH * size)
        pictures.append(np.repeat((127 + 128 * ink)[None], 3, 0).astype(np.uint8))
    return torch.from_numpy(np.stack(pictures))


def _turned(x: np.ndarray, y: np.ndarray, angle: float) -> tuple[np.ndarray, np.ndarray]:
    return x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
