"""The two-sample test is its closed form, keeps its level, and sees a shift."""

import numpy as np
import pytest
from scipy.stats import energy_distance

from neural_branching.selection.exchangeability import FURTHER, LEVEL, PERMUTATIONS, exchangeability, shifts


def test_the_distance_is_the_energy_distance() -> None:
    generator = np.random.default_rng(0)
    first, second = generator.random(30), np.round(generator.random(41), 1)
    found = exchangeability(first, second)
    assert found.distance == pytest.approx(energy_distance(first, second) ** 2)
    pairs = [np.abs(a[:, None] - b).mean() for a, b in ((first, second), (first, first), (second, second))]
    assert found.distance == pytest.approx(2 * pairs[0] - pairs[1] - pairs[2])
    assert found.units == 71


def test_equal_samples_are_not_told_apart() -> None:
    assert exchangeability(np.ones(5), np.ones(9)).p_value == 1


def test_it_keeps_its_level() -> None:
    generator = np.random.default_rng(1)
    p = [exchangeability(generator.random(40), generator.random(60)).p_value for _ in range(400)]
    assert np.mean(np.array(p) <= 0.05) <= 0.05 + 3 * (0.05 * 0.95 / 400) ** 0.5


def test_it_sees_a_shift() -> None:
    generator = np.random.default_rng(2)
    found = exchangeability(generator.normal(size=200), generator.normal(0.7, size=200))
    assert found.shifted
    assert found.p_value < LEVEL


def clustered_p(draws: int, *, grouped: bool) -> np.ndarray:
    """p-values of samples of 20 groups of 10 rows each that hardly differ within a group."""
    generator, found = np.random.default_rng(3), []
    groups = np.repeat(np.arange(20), 10)
    for _ in range(draws):
        first, second = (
            np.repeat(generator.normal(size=20), 10) + 0.1 * generator.normal(size=200) for _ in range(2)
        )
        found.append(exchangeability(first, second, (groups, groups) if grouped else None).p_value)
    return np.array(found)


def test_groups_change_sides_as_a_whole() -> None:
    assert np.mean(clustered_p(200, grouped=True) <= 0.05) <= 0.05 + 3 * (0.05 * 0.95 / 200) ** 0.5
    assert np.mean(clustered_p(50, grouped=False) <= 0.05) > 0.3


def test_a_clear_shift_is_seen_among_many_tests() -> None:
    generator = np.random.default_rng(4)
    clear = exchangeability(generator.normal(size=200), generator.normal(3, size=200)).p_value
    assert clear == 1 / (1 + PERMUTATIONS + FURTHER)
    others = generator.random(89)
    assert shifts([*others, clear]) == [False] * 89 + [True]
    assert shifts([0.002, 0.5]) == [True, False]
    assert shifts([0.006, 0.5]) == [False, False]  # alone it would be one


def test_further_permutations_keep_the_level() -> None:
    generator = np.random.default_rng(5)
    p = np.array([exchangeability(*generator.random((2, 6))).p_value for _ in range(3000)])
    for level in (0.001, 0.01, 0.05):
        assert np.mean(p <= level) <= level + 3 * (level * (1 - level) / 3000) ** 0.5
