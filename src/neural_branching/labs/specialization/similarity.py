"""How alike branches respond, and how sparsely: linear CKA, mean correlation, Treves–Rolls."""

from collections.abc import Sequence
from itertools import combinations, combinations_with_replacement

import numpy as np

from neural_branching.labs.permutation_tests import Tested
from neural_branching.labs.specialization.partition import Partition
from neural_branching.selection.array_types import Float64


def similarity_of(covariance: Float64[np.ndarray, "width width"], partition: Partition) -> float:
    """Mean linear CKA over pairs of branches, within [0, 1].

    Linear centred kernel alignment (Kornblith et al., 2019): ‖YᵀX‖² / (‖XᵀX‖·‖YᵀY‖) of centred responses.

    Args:
        covariance: products of the centred responses of every two units, all of these norms' matrices.
        partition: the units.
    """
    blocks = [
        np.linalg.norm(covariance[np.ix_(a, b)]) ** 2
        / (np.linalg.norm(covariance[np.ix_(a, a)]) * np.linalg.norm(covariance[np.ix_(b, b)]))
        for a, b in combinations(partition.branches.values(), 2)
    ]
    return float(np.mean(blocks))


def similarities(
    responses: Sequence[Float64[np.ndarray, "examples _"]],
) -> Float64[np.ndarray, "branches branches"]:
    """Linear CKA of every two branches that are given apart, within [0, 1].

    Args:
        responses: of each branch, centred.
    """
    n = len(responses)
    table = np.zeros((n, n))
    for i, j in combinations_with_replacement(range(n), 2):
        table[i, j] = table[j, i] = np.linalg.norm(responses[i].T @ responses[j]) ** 2
    norms = np.sqrt(np.diag(table))
    return np.asarray(table / np.outer(norms, norms).clip(1e-24))


def compare_similarity(
    responses: Float64[np.ndarray, "examples width"], partition: Partition, draws: int, seed: int = 0
) -> Tested:
    """CKA between branches against the same units divided at random; small values speak for an effect.

    Returns:
        The CKA itself, and where it ranks among those of random divisions from below.
    """
    generator = np.random.default_rng(seed)
    centred = responses - responses.mean(0)
    covariance = centred.T @ centred
    null = np.array([similarity_of(covariance, partition.shuffled(generator)) for _ in range(draws)])
    value = similarity_of(covariance, partition)
    below = Tested.of(-value, -null)
    return Tested(value, below.p, float(null.mean()), -below.null_edge)


def mean_correlation(
    responses: Float64[np.ndarray, "examples width"], partition: Partition
) -> tuple[float, float]:
    """Mean |correlation| of responses of two units of one branch, and of two branches."""
    table, owners = np.abs(np.corrcoef(responses[:, partition.units].T)), partition.owners
    same = owners[:, None] == owners
    pairs = np.triu(np.ones_like(same), 1).astype(bool)
    return float(table[same & pairs].mean()), float(table[~same & pairs].mean())


def treves_rolls(responses: Float64[np.ndarray, "examples width"]) -> float:
    """How evenly units share the activity, (Σr/n)² / (Σr²/n) averaged over examples, within [0, 1].

    1 is every unit alike, 1/n a single one (Treves & Rolls, 1991); examples without activity count for
    nothing.
    """
    power = (responses**2).mean(1)
    return float(np.mean(responses.mean(1)[power > 0] ** 2 / power[power > 0]))
