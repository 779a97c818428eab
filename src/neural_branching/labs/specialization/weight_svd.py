"""Are there hidden branches in a layer that has none? The singular vectors of what it sends to the next.

Voss et al. (2021) order the units of a layer by the singular vectors of the weights to the next one. Summing
absolute weights over the kernel is our choice.
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from neural_branching.errors import InputError
from neural_branching.labs.permutation_tests import Tested
from neural_branching.selection.array_types import Float64


@dataclass(frozen=True)
class SingularVector:
    """The first left singular vector beside the features of the units.

    Attributes:
        share: of the squared singular values.
        vector: one entry per unit.
        features: name → |Spearman's ρ| with it, against weights whose every column is permuted.
    """

    share: float
    vector: Float64[np.ndarray, " units"]
    features: dict[str, Tested]


def connections(
    weights: Float64[np.ndarray, "next units k k"], units: int
) -> Float64[np.ndarray, "units next"]:
    """Σ|w| over the kernel from every unit to every unit of the next layer.

    Raises:
        InputError: for a grouped layer, which sees no more than its part of the units.
    """
    if weights.shape[1] != units:
        raise InputError(
            f"The next layer is grouped: each of its units sees {weights.shape[1]} of {units}. Singular "
            "vectors look for branches in a layer without any."
        )
    return np.asarray(np.abs(weights).sum((2, 3)).T)


def singular_vectors(
    table: Float64[np.ndarray, "units next"],
    features: dict[str, Float64[np.ndarray, " units"]],
    draws: int,
    seed: int = 0,
) -> dict[str, SingularVector]:
    """The first singular vectors of the weights as they are and with columns centred, "raw" and "centred".

    Args:
        table: ``connections``.
        features: name → one value per unit; filter norm among them, by which large weights explain
            themselves.
        draws: permutations of the null.
        seed: of the permutations.
    """
    generator = np.random.default_rng(seed)
    shuffled = [generator.permuted(table, axis=0) for _ in range(draws)]
    found = {}
    for kind in ("raw", "centred"):
        vector, share = _first(table, kind)
        null = _ranks(np.stack([_first(one, kind)[0] for one in shuffled]))
        mine = _ranks(vector)
        ranked = {name: _ranks(values) for name, values in features.items()}
        tested = {name: Tested.of(abs(mine @ ranks), np.abs(null @ ranks)) for name, ranks in ranked.items()}
        found[kind] = SingularVector(share, vector, tested)
    return found


def _first(
    table: Float64[np.ndarray, "units next"], kind: str
) -> tuple[Float64[np.ndarray, " units"], float]:
    left, values, _ = np.linalg.svd(
        table - table.mean(0) if kind == "centred" else table, full_matrices=False
    )
    return left[:, 0], float(values[0] ** 2 / (values**2).sum())


def _ranks(values: Float64[np.ndarray, "... n"]) -> Float64[np.ndarray, "... n"]:
    """Ranks along the last axis, centred and of length 1, so that Spearman's ρ is their product."""
    ranks = rankdata(values, axis=-1)
    centred = ranks - ranks.mean(-1, keepdims=True)
    return np.asarray(centred / np.sqrt((centred**2).sum(-1, keepdims=True)))
