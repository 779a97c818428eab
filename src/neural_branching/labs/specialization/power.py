"""How many units and seeds it takes to see a division: simulated before a study claims to have seen none."""

from math import ceil

import numpy as np
from scipy.stats import chi2

from neural_branching.errors import ArgumentError, whole
from neural_branching.labs.permutation_tests import (
    ALPHA,
    explained_variance,
    permuted,
)
from neural_branching.selection.array_types import Float64

NOISE = 0.2  # standard deviation of a feature around 0 and 1


def planted(
    units: int, marked: int, inside: int, generator: np.random.Generator
) -> Float64[np.ndarray, " units"]:
    """A feature of units of two equal branches, about 1 for the marked ones and about 0 for the rest.

    Args:
        units: number of units, even; the first half is the first branch.
        marked: how many of them are marked.
        inside: how many of these lie in the first branch.
        generator: of the noise.

    Raises:
        InputError: if a branch has no room for so many.
    """
    half = units // 2
    if not 0 <= inside <= marked or max(inside, marked - inside) > half:
        raise ArgumentError(
            "inside", f"is {inside} of {marked} marked units: a branch of {half} has no room."
        )
    feature = generator.normal(0, NOISE, units)
    feature[:inside] += 1
    feature[half : half + marked - inside] += 1
    return np.asarray(feature)


FEWEST_SEEDS = 5  # of four the smallest p-value by flipping signs is 1/16


def p_values(
    units: int, marked: int, inside: int, repeats: int, draws: int = 999, seed: int = 0
) -> Float64[np.ndarray, " repeats"]:
    """p-values of η² for a planted division, over draws of the noise."""
    generator = np.random.default_rng(seed)
    owners = np.repeat([0, 1], whole(units, "units", 2) // 2)
    features = np.stack([planted(len(owners), marked, inside, generator) for _ in range(repeats)], 1)
    value = explained_variance(features, owners[None])[0]
    null = explained_variance(features, permuted(owners, draws, seed))
    return np.asarray((1 + (null >= value - 1e-9).sum(0)) / (1 + draws))


def power(units: int, marked: int, inside: int, seeds: int, repeats: int = 1000) -> float:
    """Probability that Fisher's combination over seeds is at most .05 for a planted division."""
    p = p_values(units, marked, inside, repeats * whole(seeds, "seeds", 1)).reshape(repeats, seeds)
    combined = chi2.sf(-2 * np.log(p).sum(1), 2 * seeds)
    return float(np.mean(combined <= ALPHA))


def power_statement(stage: str, units: int, seeds: int) -> str:
    """What a study could have found: divisions of three units in eight, 2 : 1 and 3 : 1 between two branches.

    Args:
        stage: where.
        units: live ones; an odd one is left out.
        seeds: number of them.
    """
    even = units // 2 * 2
    marked = max(1, round(3 * even / 8))
    found = []
    for inside in (round(2 / 3 * marked), ceil(3 / 4 * marked)):
        chance = power(even, marked, inside, seeds, repeats=max(50, 500 // seeds))
        found.append(f"{inside} : {marked - inside} in {chance:.0%}")
    several = f"{seeds} seeds" if seeds > 1 else "one seed"
    few = f" With fewer than {FEWEST_SEEDS} seeds no gain over the untrained network can be seen."
    few = few if seeds < FEWEST_SEEDS else ""
    return (
        f"Power of η² alone: of {marked} coloured units among {even} at {stage}, studies of {several} find a "
        f"division {' and '.join(found)} (two equal branches, simulated).{few}"
    )
