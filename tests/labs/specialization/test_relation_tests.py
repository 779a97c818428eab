"""The null is kept, a planted relation is found, and one that follows from a third table is not."""

import numpy as np
import pytest

from neural_branching.errors import InputError
from neural_branching.labs.specialization.relation_tests import compare_ranks, mantel

Table = np.ndarray


def distances(generator: np.random.Generator, n: int = 10) -> Table:
    points = generator.normal(size=(n, 2))
    return np.asarray(np.linalg.norm(points[:, None] - points, axis=-1))


def lenient(generator: np.random.Generator, n: int = 10) -> Table:
    """Values of ordered pairs that depend on the row and the column: branches accept more or less."""
    rows, columns = generator.normal(size=(2, n))
    return np.asarray(rows[:, None] + columns + 0.5 * generator.normal(size=(n, n)))


def test_tables_without_a_relation_are_seldom_called_related() -> None:
    generator = np.random.default_rng(0)
    found = [mantel(distances(generator), lenient(generator), 99, seed).p for seed in range(1000)]
    assert 0.035 <= np.mean(np.array(found) <= 0.05) <= 0.065
    ranked = [compare_ranks(*generator.normal(size=(2, 10)), 99, seed).p for seed in range(2000)]
    assert 0.035 <= np.mean(np.array(ranked) <= 0.05) <= 0.065


def test_what_follows_from_a_third_table_is_seldom_called_related_given_it() -> None:
    generator = np.random.default_rng(1)
    partial, simple = [], []
    for seed in range(1000):
        given = distances(generator)
        one = given + 0.5 * distances(generator)
        other = given + 0.5 * lenient(generator)
        partial.append(mantel(one, other, 99, seed, given).p)
        if seed < 100:
            simple.append(mantel(one, other, 99, seed).p)
    assert np.mean(np.array(partial) <= 0.05) <= 0.065
    assert np.mean(np.array(simple) <= 0.05) > 0.8


def test_a_planted_relation_is_found_beside_the_third_table() -> None:
    generator = np.random.default_rng(2)
    given, one = distances(generator, 20), distances(generator, 20)
    other = one + given + 0.3 * lenient(generator, 20)
    assert mantel(one, other, 999).p == 0.001
    found = mantel(one, other, 999, given=given)
    assert found.p == 0.001
    assert found.value > 0.5 > found.null_edge
    assert mantel(-one, other, 999).p > 0.9  # large values count, not small ones
    values = generator.normal(size=20)
    assert compare_ranks(values, values**3, 999).value == pytest.approx(1)
    assert compare_ranks(values, values**3, 999).p == 0.001


def test_the_diagonal_and_the_scale_count_for_nothing() -> None:
    generator = np.random.default_rng(3)
    one, other = distances(generator), lenient(generator)
    assert mantel(one + np.diag(generator.normal(size=10)), other, 19) == mantel(one, other, 19)
    assert mantel(3 * one + 1, other, 19).value == pytest.approx(mantel(one, other, 19).value)


def test_tables_that_say_nothing_are_refused() -> None:
    table = np.arange(9.0).reshape(3, 3)
    with pytest.raises(InputError, match="There are 3 branches: permuting them takes 4 at least"):
        mantel(table, table, 19)
    with pytest.raises(InputError, match="is the same for all branches"):
        mantel(np.ones((4, 4)), np.arange(16.0).reshape(4, 4), 19)
    with pytest.raises(InputError, match="is the same for all branches"):
        compare_ranks(np.ones(4), np.arange(4.0), 19)
