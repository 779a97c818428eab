"""Examples that come in groups, such as texts of one author: groups may be exchangeable where rows are not.

Rows of a group resemble one another, so that n of them say less than n independent ones. What has to be exact
takes one row of each group; intervals count the rows and widen by how alike a group's rows turn out to be.
"""

import numpy as np
from scipy.special import ndtri, stdtrit

from neural_branching.selection.array_types import Bool, Int64
from neural_branching.selection.arrays import Floats


def one_per_group(groups: Int64[np.ndarray, " n"], seed: int = 0) -> Bool[np.ndarray, " n"]:
    """Which rows are drawn: one of each group, each of its rows with the same probability.

    Args:
        groups: equal for rows of one group.
        seed: of the draw, fixed so that nothing can be chosen by it.
    """
    order = np.random.default_rng(seed).permutation(len(groups))
    drawn = np.zeros(len(groups), dtype=bool)
    drawn[order[np.unique(groups[order], return_index=True)[1]]] = True
    return drawn


def group_sums(values: Floats, groups: Int64[np.ndarray, " n"]) -> Floats:
    """Sum of each group's values, float64 (groups,)."""
    _, place = np.unique(groups, return_inverse=True)
    return np.asarray(np.bincount(place, weights=np.asarray(values)), dtype=np.float64)


def effective_number(chosen: Bool[np.ndarray, " n"], groups: Int64[np.ndarray, " n"], level: float) -> float:
    """Independent examples that would tell a share as well as rows in groups do.

    n divided by the design effect (Kish, 1965), its variance being that of the groups' sums, and reduced by
    the quantiles of the normal and of Student's law, since few groups tell little of the variance (Korn &
    Graubard, 1998). At least 1 and at most n; the number of groups where all rows are alike or there is one.

    Args:
        chosen: whose share is told.
        groups: equal for rows of one group.
        level: of the interval, within (0, 1).
    """
    n, share = len(chosen), float(chosen.mean())
    sums = group_sums(chosen - share, groups)
    count = len(sums)
    if share in (0.0, 1.0) or count < 2:
        return float(count)
    variance = float(np.square(sums).sum()) * count / (count - 1) / n**2
    number = share * (1 - share) / variance if variance else float(n)
    return float(np.clip(number / student_factor(count, level) ** 2, 1, n))


def student_factor(groups: int, level: float) -> float:
    """How much wider an interval is whose variance was seen on so many groups, at least 2."""
    return float(stdtrit(groups - 1, (1 + level) / 2) / ndtri((1 + level) / 2))
