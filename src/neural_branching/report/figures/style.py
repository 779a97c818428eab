"""What all figures share: size, colours, markers, and how they are drawn and written.

Figures are objects: no global state.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.text import Text

from neural_branching.errors import printable
from neural_branching.files.progress import progress
from neural_branching.files.writing import whole_file

# Okabe & Ito's palette, which stays distinct for colour-blind readers.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")
STYLES = ("-", "--", ":", "-.")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
# What happened to an example, in every figure that tells right from wrong and foreign.
RIGHT, WRONG, FOREIGN = "#009E73", "#D55E00", "#999999"


class _Literal(Figure):
    """A figure that draws every text as it is: names of users are no formulas, whatever is in them."""

    def draw(self, renderer: Any) -> None:
        for text in self.findobj(Text):
            text.set_parse_math(False)
            text.set_text(printable(text.get_text()))
        with rc_context({"text.parse_math": False}):  # for ticks that are made while drawing
            super().draw(renderer)


def blank(width: float, height: float) -> Figure:
    """An empty figure, in inches."""
    return _Literal(figsize=(width, height), dpi=130, layout="constrained")


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
                figure.set_layout_engine("none")  # as laid out once, in every file
                show(len(names) / (len(drawn) * len(endings)))
    return names


def deviation(values: Sequence[float]) -> float:
    """Standard deviation over seeds; 0 of a single one."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


def legend_of_bars(values: Iterable[Sequence[float]], *more: str) -> str:
    """What an axis says of its bars, " (bars: …)"; they are drawn only where there are several seeds."""
    several = ("bars: standard deviation over seeds",) if any(len(one) > 1 for one in values) else ()
    explained = "; ".join((*several, *(one for one in more if one)))
    return f" ({explained})" if explained else ""
