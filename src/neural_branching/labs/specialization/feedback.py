"""Do two layers drive each other? Lag correlation of what they gain from epoch to epoch, over seeds."""

from itertools import permutations

import numpy as np

from neural_branching.labs.permutation_tests import Tested
from neural_branching.selection.array_types import Float64, Int64

FEWEST_EPOCHS = 4
FEWEST_SEEDS = 4  # 3 have 6 pairings, so that no p-value is below 1/6
_EXACT = 7  # seeds up to which all pairings are tried
_DRAWS = 5000

Series = Float64[np.ndarray, "seeds times"]


def compare_feedback(one: Series, other: Series) -> tuple[Tested, Tested]:
    """Whether gains of one series precede those of the other in the next epoch, and the other way round.

    The statistic is the correlation of Δone(t) with Δother(t + 1), pooled over seeds and epochs, each
    without its mean over seeds, which is the course that all trainings take. The null pairs series of
    different seeds: exact for up to 7 seeds, else 5,000 random pairings.

    Args:
        one: a series per seed.
        other: another series of the same networks at the same times.
    """
    gained, gained_other = np.diff(one, axis=1), np.diff(other, axis=1)
    orders = _orders(len(one))
    return _lagged(gained, gained_other, orders), _lagged(gained_other, gained, orders)


def _lagged(cause: Series, effect: Series, orders: Int64[np.ndarray, "draws seeds"]) -> Tested:
    before, after = cause[:, :-1], effect[:, 1:]
    before, after = before - before.mean(0), after - after.mean(0)
    products = before @ after.T  # of every two seeds
    scale = max(1e-12, float(np.sqrt((before**2).sum() * (after**2).sum())))
    null = products[np.arange(len(before)), orders].sum(1) / scale
    return Tested.of(float(np.trace(products)) / scale, null)


def _orders(seeds: int) -> Int64[np.ndarray, "draws seeds"]:
    """Pairings of seeds with seeds, without that of each with itself where all are listed."""
    if seeds <= _EXACT:
        return np.array(list(permutations(range(seeds))))[1:]
    generator = np.random.default_rng(0)
    return generator.permuted(np.tile(np.arange(seeds), (_DRAWS, 1)), axis=1)
