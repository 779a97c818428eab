"""What each branch contributes, in numbers: colour, frequency, share of the variance, likeness, use.

Parts are compared without their mean image, which every branch could give without looking.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from neural_branching.selection.array_types import Float32, Float64, Int64

BINS = 16  # of radial spectra, from 0 to half a cycle per pixel
GRID = 4  # cells of an image, each way, in which a part is looked for

Parts = Float32[np.ndarray, "n b c h w"]
Images = Float32[np.ndarray, "n c h w"]


def centred(parts: Parts) -> Parts:
    """Parts without each branch's mean image."""
    return np.asarray(parts - parts.mean(0))


@dataclass(frozen=True)
class PartSums:
    """What features of parts are made of, image by image, so that branches can change places within an image.

    Attributes:
        energy: Σ p² of every image and branch.
        grey: 3·Σ (mean over channels of p)².
        oscillation: Σ p² weighted by frequency in cycles per pixel.
        products: Σ p·component of every known component; of none if none is known.
        components: Σ component² over all images.
    """

    energy: Float64[np.ndarray, "n b"]
    grey: Float64[np.ndarray, "n b"]
    oscillation: Float64[np.ndarray, "n b"]
    products: Float64[np.ndarray, "n b k"]
    components: Float64[np.ndarray, " k"]

    @classmethod
    def of(cls, parts: Parts, components: Mapping[str, Images]) -> "PartSums":
        """Sums of parts and components, both centred.

        Args:
            parts: what branches contribute.
            components: name → what the same images were made of; may be empty.
        """
        n, count, _, height, width = parts.shape
        distance = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width))
        oscillation = np.empty((n, count))
        for branch in range(count):
            power = np.abs(np.fft.fft2(parts[:, branch])) ** 2
            oscillation[:, branch] = (power.sum(1) * distance).sum((1, 2)) / (height * width)
        flat = parts.reshape(n, count, -1).astype(np.float64)
        known = [one.reshape(n, -1).astype(np.float64) for one in components.values()]
        products = [np.einsum("nbp,np->nb", flat, one) for one in known]
        return cls(
            energy=(flat**2).sum(-1),
            grey=3 * (parts.mean(2, dtype=np.float64) ** 2).sum((2, 3)),
            oscillation=oscillation,
            products=np.stack(products, -1) if products else np.zeros((n, count, 0)),
            components=np.array([(one**2).sum() for one in known]),
        )

    def shuffled(self, generator: np.random.Generator) -> "PartSums":
        """The same with the branches of every image in random order."""
        order = generator.permuted(np.tile(np.arange(self.energy.shape[1]), (len(self.energy), 1)), axis=1)
        energy, grey, oscillation = (
            np.take_along_axis(one, order, 1) for one in (self.energy, self.grey, self.oscillation)
        )
        products = np.take_along_axis(self.products, order[..., None], 1)
        return PartSums(energy, grey, oscillation, products, self.components)

    def features(self) -> dict[str, Float64[np.ndarray, " b"]]:
        """Of every branch its chroma, frequency and share.

        Chroma is 1 − 3·Σ(mean over channels)² / Σp² within [0, 1], frequency the mean distance from zero of
        the power spectrum in cycles per pixel, share the part of the branches' summed variances.
        """
        energy = np.maximum(self.energy.sum(0), 1e-12)
        return {
            "chroma": 1 - self.grey.sum(0) / energy,
            "frequency": self.oscillation.sum(0) / energy,
            "share": energy / energy.sum(),
        }

    def correlations(self) -> Float64[np.ndarray, "b k"]:
        """Pearson's r of every branch with every component, over all images, pixels and channels."""
        scale = np.sqrt(np.maximum(self.energy.sum(0)[:, None] * self.components, 1e-12))
        return np.asarray(self.products.sum(0) / scale)

    def ranges(self) -> dict[str, float]:
        """How far branches are apart in each feature; and mean |r| of components with the nearest branch."""
        found = {name: float(np.ptp(values)) for name, values in self.features().items()}
        if len(self.components):
            found["known"] = float(np.abs(self.correlations()).max(0).mean())
        return found


def correlation(parts: Parts) -> Float64[np.ndarray, "b b"]:
    """Pearson's r between the centred parts of branches, over all images, pixels and channels."""
    flat = parts.swapaxes(0, 1).reshape(parts.shape[1], -1)
    products = np.array([[np.dot(one, other) for other in flat] for one in flat], np.float64)
    scale = np.sqrt(np.maximum(np.diag(products), 1e-12))
    return np.asarray(products / np.outer(scale, scale))


def mean_between(table: Float64[np.ndarray, "b b"]) -> float:
    """Mean over pairs of different branches."""
    return float(table[np.triu_indices(len(table), 1)].mean())


def errors(parts: Parts, target: Images) -> tuple[Float64[np.ndarray, " n"], Float64[np.ndarray, "n b"]]:
    """Mean squared error of every image, whole and with each branch replaced by its mean image."""
    residual = target - parts.sum(1)
    without = residual[:, None] + centred(parts)
    return (
        (residual**2).mean((1, 2, 3), dtype=np.float64),
        (without**2).mean((2, 3, 4), dtype=np.float64),
    )


def by_class(
    whole: Float64[np.ndarray, " n"],
    without: Float64[np.ndarray, "n b"],
    labels: Int64[np.ndarray, " n"],
) -> Float64[np.ndarray, "b classes"]:
    """By how much the error of every class grows without each branch: a factor."""
    return np.stack(
        [without[labels == label].mean(0) / whole[labels == label].mean() for label in np.unique(labels)], 1
    )


def regions(parts: Parts) -> Float64[np.ndarray, "b g g"]:
    """Where in images the variance of each centred part lies: shares of 4 × 4 cells."""
    variance = (parts**2).mean((0, 2), dtype=np.float64)
    rows = [np.array_split(strip, GRID, -1) for strip in np.array_split(variance, GRID, -2)]
    cells = np.array([[cell.sum((-2, -1)) for cell in row] for row in rows]).transpose(2, 0, 1)
    return np.asarray(cells / np.maximum(cells.sum((1, 2), keepdims=True), 1e-12))


def spectrum(images: Images) -> Float64[np.ndarray, " bins"]:
    """Mean power of images in rings of equal width, from 0 to half a cycle per pixel."""
    height, width = images.shape[2:]
    distance = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width))
    ring = np.minimum((distance * 2 * BINS).astype(np.int64), BINS)  # the last holds the corners, left out
    power = (np.abs(np.fft.fft2(images)) ** 2).mean((0, 1)) / (height * width)
    sums = np.bincount(ring.ravel(), power.ravel(), BINS + 1)
    return np.asarray((sums / np.maximum(1, np.bincount(ring.ravel(), minlength=BINS + 1)))[:BINS])
