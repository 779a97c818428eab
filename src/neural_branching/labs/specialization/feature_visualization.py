"""Images that drive units of a network, found by gradient ascent.

The method of Olah et al. (Feature Visualization, Distill 2017): an image is parametrised by its spectrum,
every frequency weighed by its inverse, in decorrelated colours, and is moved and scaled a little before each
step. Its contrast is held, so that no unit is driven by contrast alone.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from neural_branching.networks.standardized_network import StandardizedNetwork
from neural_branching.selection.array_types import Float, Shaped

STEPS = 64
RATE = 0.1
SHIFT = 1 / 16  # largest move, as a share of the side
SCALE = 0.05  # largest change of size
CONTRAST = 0.6  # deviation of an image before it is bounded, as a share of half the range


def visualize(
    model: StandardizedNetwork,
    stage: str,
    units: Sequence[int],
    images: Shaped[Tensor, "n 3 h w"],
    *,
    steps: int = STEPS,
    seed: int = 0,
) -> Float[Tensor, "units 3 h w"]:
    """An image for each of some units, all from one batch.

    What rises is the mean over positions of the unit's output. A unit that is silent starts anew until some
    noise wakes it; one that none has woken has no image. Results are images before they are moved.

    Args:
        model: a network of images.
        stage: one of its stages, whose outputs are maps (n, units, h, w) or vectors (n, units).
        units: which of its outputs.
        images: raw images, whose colours are decorrelated and whose size the result has.
        steps: of ascent.
        seed: of the first images and of the moves.

    Returns:
        Float32 within [0, 255], on the CPU; nan for units that never woke.
    """
    size = (images.shape[-2], images.shape[-1])
    generator = torch.Generator().manual_seed(seed)
    colours = colour_basis(images).to(model.device)
    weights = _inverse_frequency(*size).to(model.device)
    start = _noise((len(units), 3, *weights.shape, 2), generator)
    spectrum = start.to(model.device).requires_grad_()
    ascent = torch.optim.Adam([spectrum], RATE)
    chosen = torch.as_tensor(units, device=model.device)
    rows = torch.arange(len(units), device=model.device)
    awake = torch.ones(len(units), dtype=torch.bool, device=model.device)
    model.eval()
    for _ in range(steps):
        output = model(_moved(_decoded(spectrum, weights, colours, size), generator), until=stage)
        answers = output[rows, chosen].reshape(len(units), -1).mean(1)
        # Of the images alone: gradients of the weights would stay with the network.
        (gradient,) = torch.autograd.grad(-answers.sum(), spectrum)
        norms = gradient.flatten(1).norm(dim=1).view(-1, 1, 1, 1, 1)
        # Units of small outputs move as fast as those of large ones.
        spectrum.grad = gradient / norms.clamp_min(1e-12)
        ascent.step()
        # A unit that is silent everywhere, behind a ReLU, says of no direction that it is up.
        anew = _noise(spectrum.shape, generator).to(model.device)
        with torch.no_grad():
            spectrum.copy_(torch.where(norms > 0, spectrum, anew))
        awake = norms.flatten() > 0
    with torch.no_grad():
        images = _decoded(spectrum, weights, colours, size).float()
        images[~awake] = torch.nan
        return images.cpu()


def colour_basis(images: Shaped[Tensor, "n 3 h w"]) -> Float[Tensor, "3 3"]:
    """The square root of the covariance of the channels, scaled to the variance 1 on average."""
    pixels = images.float().movedim(1, 0).flatten(1)
    values, vectors = torch.linalg.eigh(torch.cov(pixels).double())
    root = (vectors * values.clamp_min(1e-3 * float(values.max())).sqrt()) @ vectors.T
    scaled: Tensor = root / root.square().sum(1).mean().sqrt()
    return scaled.float()


def _inverse_frequency(height: int, width: int) -> Tensor:
    """1 / cycles per pixel of the half spectrum's cells, (h, w/2 + 1); of the mean as of the lowest."""
    distance = torch.hypot(torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width))
    return 1 / distance.clamp_min(1 / max(height, width))


def _noise(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    return 0.01 * torch.randn(*shape, generator=generator)


def _decoded(spectrum: Tensor, weights: Tensor, colours: Tensor, size: tuple[int, int]) -> Tensor:
    """Raw images, of one contrast, by their spectra."""
    waves = torch.fft.irfft2(torch.view_as_complex(spectrum) * weights, s=size, norm="ortho")
    waves = torch.einsum("dc,nchw->ndhw", colours, waves)
    contrast = waves.square().mean((1, 2, 3), keepdim=True).sqrt().clamp_min(1e-12)
    return 127.5 + 127.5 * torch.tanh(CONTRAST * waves / contrast)


def _moved(images: Tensor, generator: torch.Generator) -> Tensor:
    """All images shifted and scaled alike, mirrored at the edges."""
    shift_x, shift_y, scale = (2 * torch.rand(3, generator=generator) - 1).tolist()
    side = 1 + SCALE * scale
    # An image reaches from −1 to 1: its side is 2.
    turn = torch.tensor([[side, 0, 2 * SHIFT * shift_x], [0, side, 2 * SHIFT * shift_y]])
    grid = F.affine_grid(
        turn.to(images.device).expand(len(images), 2, 3), list(images.shape), align_corners=False
    )
    return F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
