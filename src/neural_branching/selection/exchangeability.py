"""Are calibration and test scores of one source? A two-sample test that looks at no label.

What is promised of a threshold rests on it: calibration and new examples, or groups of them, have to be
exchangeable. The test sees a shift of the scores. It cannot see that groups tell less than their rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from neural_branching.selection.array_types import Bool, Float64, Int64
from neural_branching.selection.arrays import Floats
from neural_branching.selection.multiple_tests import holm

PERMUTATIONS, LEVEL = 999, 0.01
# Where none of these reaches what was observed, so many further ones: the p-values of a sweep of a hundred
# runs can then still be told from chance. Whatever the first have said, P(p ≤ t) stays at most t.
FURTHER = 9_000
_HELD = 250_000  # numbers of the permutations that are looked at together: they fit into caches


@dataclass(frozen=True)
class Exchangeability:
    """A permutation test of two samples of scores.

    Attributes:
        distance: energy distance of the two, in the unit of the scores; 0 for equal distributions.
        p_value: share of the permutations with at least this distance, the observed one among them.
        units: how many examples, or groups, were permuted.
    """

    distance: float
    p_value: float
    units: int

    @property
    def shifted(self) -> bool:
        """Whether the two are told apart at the level of 1 %."""
        return self.p_value < LEVEL


def exchangeability(
    first: Float64[np.ndarray, " n"],
    second: Float64[np.ndarray, " m"],
    groups: tuple[Int64[np.ndarray, " n"], Int64[np.ndarray, " m"]] | None = None,
    seed: int = 0,
) -> Exchangeability:
    """Test whether two samples of scores come from one source, by their energy distance.

    The energy distance (Székely & Rizzo, 2013) of numbers is twice the integrated square of the difference of
    their distribution functions. Whole groups change sides, as many as there are on either.

    Args:
        first: scores, such as those of calibration; at least one.
        second: scores, such as those of test; at least one.
        groups: of both; None where each example is by itself.
        seed: of the permutations.
    """
    scores = np.concatenate([first, second])
    inside = np.arange(len(scores)) < len(first)
    if groups is None:
        place, sides = np.arange(len(scores)), inside
    else:
        # A group is one of its own sample: names of both may be the same.
        names = np.stack([np.concatenate(groups), inside.astype(np.int64)])
        unique, place = np.unique(names, axis=1, return_inverse=True)
        place, sides = place.ravel(), unique[1].astype(bool)
    order = np.argsort(scores, kind="stable")
    gaps, place = np.diff(scores[order]), place[order]
    observed = float(_distances(sides[None, place], gaps)[0])
    generator = np.random.default_rng(seed)
    block, total = max(1, _HELD // len(scores)), PERMUTATIONS

    def reached(permutations: int) -> int:
        found = 0
        for start in range(0, permutations, block):
            drawn = generator.permuted(np.tile(sides, (min(block, permutations - start), 1)), axis=1)
            # Equal up to rounding is equal.
            found += int((_distances(drawn[:, place], gaps) >= observed * (1 - 1e-9)).sum())
        return found

    as_far = reached(PERMUTATIONS)
    if not as_far:
        as_far, total = reached(FURTHER), PERMUTATIONS + FURTHER
    return Exchangeability(observed, (1 + as_far) / (1 + total), len(sides))


def shifts(p_values: Sequence[float]) -> list[bool]:
    """Which of several tests see a shift at the level of 1 % for all of them together (Holm, 1979)."""
    return [p < LEVEL for p in holm(p_values)]


def _distances(first: Bool[np.ndarray, "k n"], gaps: Float64[np.ndarray, " n-1"]) -> Floats:
    """Energy distances of the ascending scores on either side, of which the gaps are known."""
    difference = np.cumsum(first, axis=1, dtype=np.float64)
    here = difference[:, -1:].copy()
    there = first.shape[1] - here
    # inside / here - outside / there, without an array for each
    difference *= 1 / here + 1 / there
    difference -= np.arange(1, first.shape[1] + 1) / there
    return np.asarray(2 * np.square(difference[:, :-1]) @ gaps)
