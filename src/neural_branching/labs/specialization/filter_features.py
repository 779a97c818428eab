"""What first-layer filters look for: chroma, frequency, orientation. Closed formulas on their weights."""

import numpy as np

from neural_branching.errors import InputError
from neural_branching.selection.array_types import Bool, Float64

SPECTRUM = 16  # cells of the zero-padded spectrum, each way
FAINT = 0.25  # share of the median norm below which a filter is dead


def dead_filters(weights: Float64[np.ndarray, "n c k k"]) -> Bool[np.ndarray, " n"]:
    """Filters whose norm is below a quarter of the median."""
    norms = np.sqrt((weights**2).sum((1, 2, 3)))
    return np.asarray(norms < FAINT * np.median(norms))


def chroma(weights: Float64[np.ndarray, "n c k k"]) -> Float64[np.ndarray, " n"]:
    """Share of a filter that sees colour, 1 − 3·Σ(mean over channels)² / Σw², within [0, 1].

    0 weighs all three channels alike, 1 sees no brightness.

    Raises:
        InputError: unless there are three channels.
    """
    if weights.shape[1] != 3:
        raise InputError(
            f"Filters of {weights.shape[1]} channels have no chroma: it takes images of three channels."
        )
    return np.asarray(1 - 3 * (weights.mean(1) ** 2).sum((1, 2)) / (weights**2).sum((1, 2, 3)))


def frequency(weights: Float64[np.ndarray, "n c k k"]) -> Float64[np.ndarray, " n"]:
    """Mean distance from zero of a filter's power spectrum, in cycles per pixel within [0, √½]."""
    power, distance, _ = _spectrum(weights)
    return np.asarray((power * distance).sum((1, 2)) / power.sum((1, 2)))


def orientation(weights: Float64[np.ndarray, "n c k k"]) -> Float64[np.ndarray, " n"]:
    """Selectivity for one orientation, |Σ P·exp(2iθ)| / ΣP within [0, 1].

    The mean of a filter has no orientation and is left out; 0 of a filter without anything else.
    """
    power, _, angle = _spectrum(weights - weights.mean((2, 3), keepdims=True))
    total = np.maximum(1e-12, power.sum((1, 2)))
    return np.asarray(np.abs((power * np.exp(2j * angle)).sum((1, 2))) / total)


def _spectrum(
    weights: Float64[np.ndarray, "n c k k"],
) -> tuple[Float64[np.ndarray, "n s s"], Float64[np.ndarray, "s s"], Float64[np.ndarray, "s s"]]:
    """Power summed over channels, and distance and angle of every cell."""
    power = (np.abs(np.fft.fft2(weights, (SPECTRUM, SPECTRUM))) ** 2).sum(1)
    across = np.fft.fftfreq(SPECTRUM)
    v, u = np.meshgrid(across, across, indexing="ij")
    return power, np.hypot(u, v), np.arctan2(v, u)


FILTER_FEATURES = {"chroma": chroma, "frequency": frequency, "orientation": orientation}
