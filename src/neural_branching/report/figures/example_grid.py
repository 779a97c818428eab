"""Examples side by side, each with what was answered."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

from matplotlib.figure import Figure
from numpy.typing import NDArray

from neural_branching.report.figures.style import blank

COLUMNS = 6
LONGEST = 26  # letters of a name


@dataclass(frozen=True)
class Shown:
    """An example to look at.

    Attributes:
        picture: 0 … 255 (height, width, 3).
        caption: what is said of it.
        name: what its source calls it; may be empty.
    """

    picture: NDArray[Any]
    caption: str
    name: str


def example_grid(kinds: Mapping[str, Sequence[Shown]], title: str) -> Figure:
    """A block of pictures for each kind.

    Args:
        kinds: heading → its examples; a kind without any is left out.
        title: of the figure.
    """
    there = {heading: some for heading, some in kinds.items() if some}
    heights = [ceil(len(some) / COLUMNS) for some in there.values()]
    figure = blank(1.6 * COLUMNS, 0.5 + 2.2 * sum(heights) + 0.3 * len(there))
    figure.suptitle(title, fontsize=11)
    blocks = figure.subfigures(len(there), 1, height_ratios=heights, squeeze=False)[:, 0]
    for block, (heading, some), height in zip(blocks, there.items(), heights, strict=True):
        block.suptitle(heading, fontsize=10)
        places = block.subplots(height, COLUMNS, squeeze=False).ravel()
        for place, one in zip(places, some, strict=False):
            place.imshow(one.picture, interpolation="nearest")
            place.set_title(one.caption, fontsize=7)
            name = one.name if len(one.name) <= LONGEST else f"…{one.name[1 - LONGEST :]}"
            place.set_xlabel(name, fontsize=5)
        for place in places:
            place.set_xticks([])
            place.set_yticks([])
            place.set_frame_on(False)
    return figure
