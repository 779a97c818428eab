"""Pictures of single units: cards of what drives them, and a map of how alike they respond."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from neural_branching.labs.specialization.unit_portraits import Portraits
from neural_branching.report.figures.style import PALETTE, blank, legend_beside
from neural_branching.selection.array_types import Float64, Shaped

_TILE, _GAP = 64, 6  # pixels
_SHORT = {"colour_selectivity": "colour", "curve_selectivity": "curve", "class_selectivity": "class"}


def cards(stage: str, portraits: Portraits, filters: Shaped[np.ndarray, "n k k 3"] | None = None) -> Figure:
    """A row per unit: its features, its filter where it has one, what drives it, its strongest images.

    Args:
        stage: the stage, for the title.
        portraits: its units.
        filters: of every unit as a picture; None where they have none.
    """
    rows = max(map(len, portraits.chosen.values()))
    heads = [*([] if filters is None else ["filter"]), "driven", "strongest test images"]
    columns = len(heads) - 1 + len(next(iter(portraits.examples.values())))
    width = min(2, len(portraits.chosen))
    blocks = -(-len(portraits.chosen) // width)
    figure = blank(width * (0.55 * columns + 1.6), blocks * (0.62 * rows + 0.5) + 0.4)
    grid = figure.subplots(blocks, width, squeeze=False).ravel()
    step = _TILE + _GAP
    for axes, (branch, units) in zip(grid, portraits.chosen.items(), strict=False):
        lines = [
            [*([] if filters is None else [filters[unit]]), portraits.driven[unit], *portraits.examples[unit]]
            for unit in units
        ]
        axes.imshow(np.concatenate([_line(line) for line in lines]), interpolation="nearest")
        place = (len(heads) - 2) * step + _TILE / 2
        for row, unit in enumerate(units):
            if np.isnan(portraits.driven[unit]).any():
                axes.text(place, row * step + _TILE / 2, "dead", fontsize=6, ha="center", va="center")
        for row, unit in enumerate(units):
            features = [
                f"{_SHORT.get(name, name)} {values[unit]:.2f}" for name, values in portraits.features.items()
            ]
            text = "\n".join([f"unit {unit}", *features])
            axes.text(-_GAP, row * step + step / 2, text, fontsize=5, ha="right", va="center")
        for column, head in enumerate(heads):
            axes.text(column * step, -_GAP, head, fontsize=6, ha="left", va="bottom")
        axes.set_title(f"branch {branch}", fontsize=8, pad=14)
    for axes in grid:
        axes.set_axis_off()
    figure.suptitle(f"{stage}: the units of each branch that differ most from other branches", fontsize=9)
    return figure


def unit_map(stage: str, portraits: Portraits, silhouette: Mapping[str, Any]) -> Figure:
    """Live units in two dimensions by 1 − r of their responses, coloured by branch.

    Args:
        stage: the stage, for the title.
        portraits: its units.
        silhouette: as tested at these very distances, before they were projected.
    """
    places, share = scaled(1 - np.corrcoef(portraits.responses.T))
    figure = blank(5.6, 4)
    axes = figure.subplots()
    owners = np.array([portraits.owners[unit] for unit in portraits.units.tolist()])
    for number, branch in enumerate(dict.fromkeys(owners.tolist())):
        x, y = places[owners == branch].T
        axes.scatter(x, y, s=40, color=PALETTE[number % len(PALETTE)], alpha=0.75, label=f"branch {branch}")
    for unit, place in zip(portraits.units.tolist(), places, strict=True):
        axes.annotate(str(unit), tuple(place), fontsize=5, ha="center", va="center")
    axes.set_aspect("equal", "datalim")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_xlabel(f"classical scaling of 1 − r; two axes hold {share:.0%} of it", fontsize=8)
    axes.set_title(
        f"{stage}: units by response; silhouette by branch {silhouette['value']:.3f}, "
        f"p {silhouette['p']:.2g}",
        fontsize=9,
    )
    legend_beside([axes])
    return figure


def scaled(distances: Float64[np.ndarray, "n n"]) -> tuple[Float64[np.ndarray, "n 2"], float]:
    """Places in two dimensions, and the share of the positive eigenvalues that they hold.

    Classical multidimensional scaling (Torgerson, 1952): eigenvectors of the doubly centred squares. Each
    axis points to where its largest entry is positive.
    """
    squares = distances**2
    centred = squares - squares.mean(0) - squares.mean(1, keepdims=True) + squares.mean()
    values, vectors = np.linalg.eigh(-centred / 2)
    values, vectors = values[::-1].clip(0), vectors[:, ::-1][:, :2]
    largest = vectors[np.abs(vectors).argmax(0), range(2)]
    share = float(values[:2].sum() / max(1e-12, values.sum()))
    return vectors * np.where(largest < 0, -1, 1) * np.sqrt(values[:2]), share


def _line(pictures: list[np.ndarray]) -> Shaped[np.ndarray, "h w 3"]:
    """Pictures of any size side by side in white, which those of nan are too."""
    line = np.ones((_TILE + _GAP, (_TILE + _GAP) * len(pictures), 3))
    for column, picture in enumerate(pictures):
        nearest = np.arange(_TILE) * picture.shape[0] // _TILE
        across = np.arange(_TILE) * picture.shape[1] // _TILE
        start = column * (_TILE + _GAP)
        line[:_TILE, start : start + _TILE] = np.nan_to_num(picture[nearest][:, across], nan=1.0)
    return line
