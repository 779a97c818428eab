"""Pictures of images taken apart: input, branches, sum, residual; spectra; parts swapped and scaled."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from neural_branching.labs.decomposition.autoencoder import Autoencoder
from neural_branching.labs.decomposition.editing import reconstruct, swap
from neural_branching.labs.decomposition.examined import Examined
from neural_branching.labs.decomposition.part_measures import BINS, centred, spectrum
from neural_branching.report.figures.style import PALETTE, blank
from neural_branching.selection.array_types import Float, Float32

ROWS = 8  # images of a figure
FACTORS = (0.0, 0.5, 1.0, 2.0)
GAP = 16  # pictures are a sixteenth of their width apart


def parts_figure(module: Autoencoder, shown: Examined) -> Figure:
    """A row per image: the input, each branch beyond its mean image, the sum of branches, the residual."""
    rows = np.linspace(0, len(shown.images) - 1, min(ROWS, len(shown.images))).round().astype(np.int64)
    parts, target = module.parts(shown.images).numpy(), module.standardized(shown.images).numpy()
    middle, residual = centred(parts)[rows], (target - parts.sum(1))[rows]
    reach = float(np.quantile(np.abs(middle), 0.995))
    columns = {"input": bright(module.pixels(module.standardized(shown.images))[rows])}
    columns |= {f"branch {b}": around_grey(middle[:, b], reach) for b in range(parts.shape[1])}
    columns |= {"sum": bright(reconstruct(module, shown.images)[rows])}
    columns |= {"residual": around_grey(residual, float(np.quantile(np.abs(residual), 0.995)))}
    return picture_grid(columns, [shown.names[label] for label in shown.labels[rows]])


def spectra(module: Autoencoder, shown: Examined) -> Figure:
    """Power of the input, of each branch and of the residual by frequency, logarithmic."""
    parts, target = module.parts(shown.images).numpy(), module.standardized(shown.images).numpy()
    middle = centred(parts)
    lines = {"input": target - target.mean(0), "residual": target - parts.sum(1)}
    lines |= {f"branch {b}": middle[:, b] for b in range(parts.shape[1])}
    figure = blank(5, 3.4)
    axes = figure.subplots()
    frequencies = (np.arange(BINS) + 0.5) / (2 * BINS)
    colours = ("#000000", "#999999", *PALETTE)
    for place, (name, images) in enumerate(lines.items()):
        dashed = "--" if name in ("input", "residual") else "-"
        power = np.maximum(spectrum(images), 1e-9)
        axes.semilogy(frequencies, power, dashed, color=colours[place % len(colours)], label=name)
    axes.set_xlabel("cycles per pixel")
    axes.set_ylabel("power")
    axes.yaxis.set_major_formatter("{x:g}")  # matplotlib's own writes formulas
    axes.legend(fontsize=7, frameon=False)
    return figure


def swaps(module: Autoencoder, shown: Examined) -> Figure:
    """A row per pair of images: both, and the first with each branch's part of the second."""
    first, second = _pairs(shown)
    columns = {"one": bright(reconstruct(module, first)), "other": bright(reconstruct(module, second))}
    for branch in range(len(module.network.branches)):
        columns[f"branch {branch} of other"] = bright(swap(module, first, second, branch))
    return picture_grid(columns, [""] * len(first))


def scales(module: Autoencoder, shown: Examined) -> Figure:
    """A row per image and branch: its part left out, halved, as it is and doubled."""
    first = _pairs(shown)[0][:2]
    branches = range(len(module.network.branches))
    columns = {
        f"× {factor:g}": np.concatenate(
            [bright(reconstruct(module, first[i : i + 1], {b: factor})) for i in range(2) for b in branches]
        )
        for factor in FACTORS
    }
    return picture_grid(columns, [f"branch {branch}" for _ in range(2) for branch in branches])


def _pairs(shown: Examined) -> tuple[Tensor, Tensor]:
    """Some images, and as many of other classes."""
    places = np.linspace(0, len(shown.images) - 1, min(ROWS, len(shown.images))).round().astype(np.int64)
    half = len(places) // 2
    return shown.images[places[:half]], shown.images[places[-half:]]


def picture_grid(columns: dict[str, Float[np.ndarray, "n h w c"]], names: Sequence[str]) -> Figure:
    """Pictures, a column for each name, a row for each image; one picture of all of them, quickly drawn."""
    height, width = next(iter(columns.values())).shape[1:3]
    gap = max(1, width // GAP)
    sheet = np.ones((len(names) * (height + gap) - gap, len(columns) * (width + gap) - gap, 3))
    for column, pictures in enumerate(columns.values()):
        for row, picture in enumerate(pictures):
            top, left = row * (height + gap), column * (width + gap)
            sheet[top : top + height, left : left + width] = picture
    figure = blank(0.95 * len(columns) + 1.0, 0.95 * len(names) + 0.4)
    axes = figure.subplots()
    axes.imshow(sheet, interpolation="nearest")
    axes.set_xticks(np.arange(len(columns)) * (width + gap) + width / 2 - 0.5, list(columns), fontsize=7)
    axes.set_yticks(np.arange(len(names)) * (height + gap) + height / 2 - 0.5, list(names), fontsize=7)
    axes.tick_params(length=0, labeltop=True, labelbottom=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return figure


def bright(images: Float32[Tensor, "n c h w"]) -> Float[np.ndarray, "n h w c"]:
    """Brightness within [0, 1] as pictures."""
    return np.asarray(images.permute(0, 2, 3, 1).numpy())


def around_grey(part: Float[np.ndarray, "n c h w"], reach: float) -> Float[np.ndarray, "n h w c"]:
    """A part as pictures, grey where it adds nothing."""
    return np.asarray((0.5 + 0.5 * part / (reach or 1)).clip(0, 1).transpose(0, 2, 3, 1))
