"""Maps of a classifier's evidence that can be subtracted from images: controls of a learned one."""

from collections.abc import Callable

import numpy as np
import torch
from scipy.integrate import trapezoid
from torch import Tensor

from neural_branching.selection.array_types import Float32, Float64, Int64

STEPS = 16  # of integrated gradients
KEPT = 1 / 8  # cycles per pixel up to which a low-passed image keeps what it has

Logits = Callable[[Tensor], Tensor]
Images = Float32[Tensor, "n c h w"]


def gradient(logits: Logits, images: Images, classes: Int64[Tensor, " n"]) -> Images:
    """Derivative of the log probability of a class of each image (Simonyan et al., 2014).

    Args:
        logits: of images.
        images: images.
        classes: a class of each.
    """
    with torch.enable_grad():
        x = images.detach().requires_grad_(True)
        chosen = logits(x).log_softmax(1).gather(1, classes[:, None]).sum()
        (found,) = torch.autograd.grad(chosen, x)
    return found.detach()


def sign_gradient(logits: Logits, images: Images, classes: Int64[Tensor, " n"]) -> Images:
    """The gradient's sign: subtracted, the fast gradient sign method (Goodfellow et al., 2015)."""
    return gradient(logits, images, classes).sign()


def integrated_gradients(
    logits: Logits, images: Images, classes: Int64[Tensor, " n"], steps: int = STEPS
) -> Images:
    """(x − x') times the mean gradient from x' = 0 to x (Sundararajan et al., 2017), by the midpoint rule.

    Its sum over an image is the difference of the log probabilities of x and of x'.

    Args:
        logits: of images.
        images: images, of which 0 is the mean brightness.
        classes: a class of each.
        steps: of the rule.
    """
    total = torch.zeros_like(images)
    for step in range(steps):
        total += gradient(logits, images * ((step + 0.5) / steps), classes)
    return images * total / steps


def low_pass(images: Images, kept: float = KEPT) -> Images:
    """Images without frequencies beyond some cycles per pixel."""
    height, width = images.shape[-2:]
    distance = torch.hypot(torch.fft.fftfreq(height)[:, None], torch.fft.fftfreq(width))
    slow: Images = torch.fft.ifft2(torch.fft.fft2(images) * (distance <= kept).to(images.device)).real
    return slow.contiguous()


def noise(images: Images, seed: int) -> Images:
    """Gaussian noise."""
    drawn = np.random.default_rng(seed).standard_normal(tuple(images.shape), dtype=np.float32)
    return torch.from_numpy(drawn).to(images.device)


def of_energy(maps: Images, images: Images, energy: float) -> Images:
    """Maps scaled so that each has a share of its image's energy, Σ map² = energy · Σ image².

    A map of zeros stays so.

    Args:
        maps: of any size.
        images: images, of which 0 is the mean brightness.
        energy: share within (0, 1].
    """
    norm, whole = (one.flatten(1).norm(dim=1)[:, None, None, None] for one in (maps, images))
    scaled: Images = maps * (energy**0.5 * whole / norm.clamp_min(1e-12))
    return scaled


def areas(right: Float64[np.ndarray, "energies n"], energies: list[float]) -> Float64[np.ndarray, " n"]:
    """Of every image the mean of being right over the size of what is subtracted, from 0 to the largest.

    Trapezoids over β = √energy, the size of a map relative to its image.

    Args:
        right: 1 or 0, of no energy first and then of each.
        energies: increasing.
    """
    size = np.sqrt([0.0, *energies])
    return np.asarray(trapezoid(right, size, axis=0) / size[-1])
