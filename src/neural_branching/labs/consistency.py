"""Do branches of several seeds divide the work alike? They have no names, so they are matched first."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from scipy.optimize import linear_sum_assignment

from neural_branching.labs.permutation_tests import Tested
from neural_branching.selection.array_types import Float64, Int64

Profiles = Sequence[Float64[np.ndarray, "branches classes"]]


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


def match_seeds(
    features: Sequence[Float64[np.ndarray, "branches features"]],
) -> list[Int64[np.ndarray, " branches"]]:
    """Of every seed, its branches in the order of the first seed's which they resemble.

    Args:
        features: of every seed, what branches are matched by; standardised here over all branches.
    """
    every = np.concatenate(features)
    spread = every.std(0)
    scaled = [(one - every.mean(0)) / np.where(spread > 0, spread, 1) for one in features]
    return [match_branches(scaled[0], mine) for mine in scaled]


def consistency(
    features: Sequence[Float64[np.ndarray, "branches features"]],
    profiles: Profiles,
    draws: int,
    seed: int = 0,
) -> Tested:
    """Whether branches that look alike do alike: correlation of what they do, over all pairs of seeds.

    Branches are matched with those of the first seed by their features alone, and compared by their profiles,
    without the mean over branches and without each branch's own, which says no more than its size. The null
    orders the branches of each seed at random.

    Args:
        features: of every seed, what branches are matched by.
        profiles: of every seed, what each branch does, such as what its loss costs every class.
        draws: of the null.
        seed: of the draws.
    """
    matched = match_seeds(features)
    aligned = [_own(profile)[mine] for mine, profile in zip(matched, profiles, strict=True)]
    generator = np.random.default_rng(seed)
    null = [_agreement([generator.permutation(one) for one in aligned]) for _ in range(draws)]
    return Tested.of(_agreement(aligned), np.array(null))


def _own(profile: Float64[np.ndarray, "branches classes"]) -> Float64[np.ndarray, "branches classes"]:
    rest = profile - profile.mean(0)
    return np.asarray(rest - rest.mean(1, keepdims=True))


def _agreement(profiles: Profiles) -> float:
    flat = [one.ravel() for one in profiles]
    products = [a @ b / max(1e-12, np.sqrt((a @ a) * (b @ b))) for a, b in combinations(flat, 2)]
    return float(np.mean(products))
