"""Which branch of one seed is which of another: an assignment, as branches have no names of their own."""

import numpy as np
from scipy.optimize import linear_sum_assignment

from neural_branching.selection.array_types import Float64, Int64


def match_branches(
    one: Float64[np.ndarray, "branches features"], other: Float64[np.ndarray, "branches features"]
) -> Int64[np.ndarray, " branches"]:
    """The branch of ``other`` for each branch of ``one``: the assignment of least squared distance.

    Solved by the Hungarian method (Kuhn, 1955).

    Args:
        one: what describes each branch, on comparable scales.
        other: the same of another network.
    """
    distances = ((one[:, None] - other[None]) ** 2).sum(-1)
    return np.asarray(linear_sum_assignment(distances)[1])
