"""What all figures share: size, colours, markers, and how they are drawn and written.

Figures are objects: no global state.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from neural_branching.errors import printable
from neural_branching.files.progress import progress
from neural_branching.files.writing import whole_file
from neural_branching.report.cells import Cell
from neural_branching.selection.arrays import Floats

G = TypeVar("G")
Group = tuple[str, str]  # a row of panels, and a name in it

# Okabe & Ito's palette, which stays distinct for colour-blind readers.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")
STYLES = ("-", "--", ":", "-.")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
REST = "#cccccc"  # of groups beyond the colours
# What happened to an example, in every figure that tells right from wrong and foreign.
RIGHT, WRONG, FOREIGN = "#009E73", "#D55E00", "#999999"


class LiteralFigure(Figure):
    """A figure that draws every text as it is: names of users are no formulas, whatever is in them."""

    def draw(self, renderer: Any) -> None:
        """Draw everything, as matplotlib asks for it."""
        with self._literally():
            super().draw(renderer)

    def savefig(self, *where: Any, **how: Any) -> None:
        """Write a file; what has been laid out for one file stays so for all others.

        matplotlib itself would draw everything once more to lay it out, and again for every file.
        """
        # Without an engine matplotlib would take the one of the user's settings.
        with rc_context({"figure.autolayout": False, "figure.constrained_layout.use": False}):
            if engine := self.get_layout_engine():
                with self._literally():
                    engine.execute(self)
                self.set_layout_engine(None)
            super().savefig(*where, **how)

    @contextmanager
    def _literally(self) -> Iterator[None]:
        for text in self.findobj(Text):
            text.set_parse_math(False)
            text.set_text(printable(text.get_text()))
        with rc_context({"text.parse_math": False}):  # for ticks that are made while drawing
            yield


def blank(width: float, height: float) -> Figure:
    """An empty figure, in inches."""
    return LiteralFigure(figsize=(width, height), dpi=130, layout="constrained")


def save(drawn: Mapping[str, Figure], folder: Path, endings: Sequence[str]) -> list[str]:
    """Write figures into a folder, each whole or not at all.

    Args:
        drawn: name → figure.
        folder: where to.
        endings: such as "png", a file for each.

    Returns:
        Names of the files.

    Raises:
        OSError: if one cannot be written.
    """
    names = []
    with progress("Drawing figures") as show:
        for name, figure in drawn.items():
            for ending in endings:
                names.append(f"{name}.{ending}")
                with whole_file(folder / names[-1]) as temporary:
                    figure.savefig(temporary)
                show(len(names) / (len(drawn) * len(endings)))
    return names


def told_apart(groups: Sequence[G], loss: Mapping[G, float]) -> list[G]:
    """The groups that get a colour: all of them, or the best where there are more than colours."""
    if len(groups) <= len(PALETTE):
        return list(groups)
    best = set(sorted(groups, key=loss.__getitem__)[: len(PALETTE) - 1])
    return [group for group in groups if group in best]


def others_label(others: Collection[object], why: str = " (larger AURC)") -> str:
    """What a legend says of the grey ones."""
    return f"{len(others)} others{why}"


def error_bars(cells: Sequence[Cell], *, of_seeds: bool) -> Floats | None:
    """Lengths below and above each number, (2, n): deviations over seeds, or 95 % intervals.

    None if there are none.
    """
    ends = []
    for cell in cells:
        mean = cell.mean or 0.0
        low, high = mean, mean
        if of_seeds:
            low, high = mean - (cell.deviation or 0.0), mean + (cell.deviation or 0.0)
        elif cell.interval is not None:
            low, high = cell.interval
        ends.append((max(0.0, mean - low), max(0.0, high - mean)))
    lengths = np.array(ends, np.float64).reshape(-1, 2).T
    return lengths if lengths.any() else None


def explained_bars(cells: Iterable[Cell]) -> str:
    """What bars are: deviations where there are several seeds, as ``error_bars`` is to draw; "" for none."""
    found = list(cells)
    if any(cell.deviation is not None for cell in found):
        return "bars: standard deviation over seeds"
    return "bars: 95 % interval over test examples" if any(cell.interval for cell in found) else ""


def legend_beside(axes: Sequence[Axes]) -> None:
    """A legend right of the last of some panels, of what is drawn in any of them."""
    handles = {
        label: handle for one in axes for handle, label in zip(*one.get_legend_handles_labels(), strict=True)
    }
    if handles:
        axes[-1].legend(
            handles.values(),
            handles,
            loc="center left",
            bbox_to_anchor=(1.01, 0.5),
            frameon=False,
            fontsize=8,
        )
