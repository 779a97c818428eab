"""Does one relation between branches predict another? Permutation tests over tables of pairs."""

import numpy as np
from scipy.stats import rankdata

from neural_branching.errors import InputError
from neural_branching.labs.permutation_tests import Tested
from neural_branching.selection.array_types import Float64

FEWEST_BRANCHES = 4  # of which there are 24 orders: with three no p-value could be below 1/6


def mantel(
    one: Float64[np.ndarray, "n n"],
    other: Float64[np.ndarray, "n n"],
    draws: int,
    seed: int = 0,
    given: Float64[np.ndarray, "n n"] | None = None,
) -> Tested:
    """Correlation of two tables over ordered pairs (Mantel, 1967), one-sided: large values count.

    Pairs that share a branch are not independent, so that whole branches are permuted: rows and columns
    together. Given a third table this is the partial test, which permutes what the third table leaves of the
    first (Legendre, 2000). Values are correlated and not ranks, with which the partial test finds too much:
    ranks bend what is linear, and the bend is left over.

    Args:
        one: a value for each ordered pair; the diagonal counts for nothing.
        other: another.
        draws: number of permutations.
        seed: of the permutations.
        given: what both may follow from.

    Raises:
        InputError: for fewer than 4 branches, or a table that is the same for all pairs.
    """
    n = len(one)
    if n < FEWEST_BRANCHES:
        raise InputError(f"There are {n} branches: permuting them takes {FEWEST_BRANCHES} at least.")
    first, second = _standardized(one), _standardized(other)
    third = np.zeros((n, n)) if given is None else _standardized(given)
    first, second = _left_of(first, third), _left_of(second, third)
    generator = np.random.default_rng(seed)
    orders = generator.permuted(np.tile(np.arange(n), (draws, 1)), axis=1)
    permuted = first[orders[:, :, None], orders[:, None, :]]
    return Tested.of(_correlations(first[None], second, third)[0], _correlations(permuted, second, third))


def compare_ranks(
    one: Float64[np.ndarray, " n"], other: Float64[np.ndarray, " n"], draws: int, seed: int = 0
) -> Tested:
    """Spearman's ρ of two values per branch against permuted branches, one-sided: large values count.

    Raises:
        InputError: for a value that is the same for all branches.
    """
    first, second = _centred(rankdata(one)), _centred(rankdata(other))
    generator = np.random.default_rng(seed)
    orders = generator.permuted(np.tile(first, (draws, 1)), axis=1)
    return Tested.of(float(first @ second), orders @ second)


def _standardized(table: Float64[np.ndarray, "n n"]) -> Float64[np.ndarray, "n n"]:
    """Values of the pairs, centred and of norm 1; 0 on the diagonal."""
    pairs = ~np.eye(len(table), dtype=bool)
    standardized = np.zeros(table.shape)
    standardized[pairs] = _centred(table[pairs])
    return standardized


def _centred(values: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    centred = values - values.mean()
    norm = np.linalg.norm(centred)
    if norm <= 1e-9 * np.linalg.norm(values):
        raise InputError("A relation is the same for all branches: nothing can follow from it.")
    return np.asarray(centred / norm)


def _left_of(
    tables: Float64[np.ndarray, "... n n"], given: Float64[np.ndarray, "n n"]
) -> Float64[np.ndarray, "... n n"]:
    """What a table, standardised or 0, leaves of others."""
    explained = (tables * given).sum((-2, -1), keepdims=True)
    return np.asarray(tables - given * explained)


def _correlations(
    tables: Float64[np.ndarray, "draws n n"],
    other: Float64[np.ndarray, "n n"],
    given: Float64[np.ndarray, "n n"],
) -> Float64[np.ndarray, " draws"]:
    left = _left_of(tables, given)
    norms = np.linalg.norm(left, axis=(1, 2)) * np.linalg.norm(other)
    return np.asarray((left * other).sum((1, 2)) / np.maximum(1e-12, norms))
