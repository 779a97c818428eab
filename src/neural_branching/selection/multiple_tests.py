"""Several tests at once."""

from collections.abc import Sequence

import numpy as np


def holm(p: Sequence[float]) -> list[float]:
    """p-values after Holm's step-down correction (1979), in their order."""
    order = np.argsort(p, kind="stable")
    scaled = (len(p) - np.arange(len(p))) * np.asarray(p, dtype=np.float64)[order]
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(scaled))
    return [float(one) for one in corrected]
