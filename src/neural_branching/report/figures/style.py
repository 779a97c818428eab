"""What all figures share: size, colours, markers. Figures are objects: no global state, no files."""

from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib.figure import Figure

# Okabe & Ito's palette, which stays distinct for colour-blind readers.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")
STYLES = ("-", "--", ":", "-.")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
# What happened to an image, in every figure that tells right from wrong and foreign.
RIGHT, WRONG, FOREIGN = "#009E73", "#D55E00", "#999999"


def blank(width: float, height: float) -> Figure:
    """An empty figure, in inches."""
    return Figure(figsize=(width, height), dpi=130, layout="constrained")


def deviation(values: Sequence[float]) -> float:
    """Standard deviation over seeds; 0 of a single one."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


def legend_of_bars(values: Iterable[Sequence[float]], *more: str) -> str:
    """What an axis says of its bars, " (bars: …)"; they are drawn only where there are several seeds."""
    several = ("bars: standard deviation over seeds",) if any(len(one) > 1 for one in values) else ()
    explained = "; ".join((*several, *(one for one in more if one)))
    return f" ({explained})" if explained else ""
