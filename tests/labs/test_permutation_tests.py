"""Each statistic equals an independent one, and its p-value is as often small as it may be."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2
from scipy.stats.contingency import association, crosstab
from sklearn.metrics import roc_auc_score, silhouette_score

from neural_branching.errors import InputError
from neural_branching.labs.permutation_tests import (
    check_draws,
    compare_features,
    compare_labels,
    compare_separation,
    compare_silhouette,
    cramers_v,
    explained_variance,
    fisher,
    holm,
    localise,
    permuted,
    separation,
    silhouettes,
)
from neural_branching.labs.specialization.power import p_values, planted, power


def units(n: int, branches: int, seed: int) -> tuple[np.random.Generator, np.ndarray]:
    generator = np.random.default_rng(seed)
    owners = np.arange(n) % branches
    generator.shuffle(owners)
    return generator, owners


@pytest.mark.parametrize("branches", [2, 3, 5])
def test_statistics_equal_independent_ones(branches: int) -> None:
    generator, owners = units(30, branches, branches)
    values = generator.normal(size=(30, 2))
    found = explained_variance(values, owners[None])[0]
    for column, value in zip(values.T, found, strict=True):
        means = np.array([column[owners == owner].mean() for owner in owners])
        assert value == pytest.approx(
            ((means - column.mean()) ** 2).sum() / ((column - column.mean()) ** 2).sum()
        )
    labels = generator.integers(0, 4, 30)
    assert cramers_v(labels, owners[None])[0] == pytest.approx(
        association(crosstab(labels, owners).count, method="cramer")
    )
    responses = generator.normal(size=(50, 30))
    distances = 1 - np.corrcoef(responses.T)
    np.fill_diagonal(distances, 0)
    assert silhouettes(distances, owners[None])[0] == pytest.approx(
        silhouette_score(distances, owners, metric="precomputed")
    )


def test_separation_is_the_area_whichever_branch_is_larger() -> None:
    generator, owners = units(30, 2, 0)
    values = np.round(generator.normal(size=30), 1)  # with ties
    area = roc_auc_score(owners, values)
    assert separation(values, owners[None])[0] == pytest.approx(max(area, 1 - area))
    assert np.isnan(separation(values, (np.arange(30) % 3)[None])[0])
    assert compare_separation(values, np.arange(30) % 3, 19) is None


def test_localisation_has_the_published_values() -> None:
    branches = {"pool": np.arange(32), "others": np.arange(32, 256)}
    one = localise({"black and white or colour": np.arange(9)}, branches)[0]
    assert (one.branch, one.found, one.labelled, one.size) == ("pool", 9, 9, 32)
    assert one.p == pytest.approx(2.4847e-9, rel=1e-4)
    branches = {"5x5": np.arange(96), "others": np.arange(96, 480)}
    assert localise({"curves": np.arange(30)}, branches)[0].p == pytest.approx(1.6794e-23, rel=1e-4)


def test_corrections_equal_their_definitions() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    p = [0.01, 0.2, 0.6]
    assert fisher(p) == pytest.approx(chi2.sf(-2 * np.log(p).sum(), 6))


def test_a_planted_division_gets_the_smallest_p_there_is() -> None:
    generator = np.random.default_rng(0)
    owners = np.repeat([0, 1], 16)
    values = np.stack([planted(32, 12, 12, generator), generator.normal(size=32)], 1)
    (colour, noise), together = compare_features(values, owners, 999)
    assert colour.p == 1 / 1000
    assert noise.p > 0.05 > together.p
    assert np.median(p_values(32, 12, 9, 200)) == pytest.approx(0.04, abs=0.01)


def test_ten_seeds_find_what_one_misses() -> None:
    one, ten = power(32, 12, 8, 1, 200), power(32, 12, 8, 10, 200)
    assert one < 0.2
    assert ten > 0.7


@pytest.mark.parametrize("kind", ["feature", "together", "separation", "silhouette"])
def test_without_an_effect_p_is_small_as_often_as_it_may(kind: str) -> None:
    count, small = 1000 if kind == "silhouette" else 2000, 0
    for seed in range(count):
        generator, owners = units(24, 2, seed)
        if kind == "silhouette":
            p = compare_silhouette(generator.normal(size=(12, 24)), owners, 99, seed + 1).p
        elif kind == "separation":
            tested = compare_separation(generator.normal(size=24), owners, 99, seed + 1)
            assert tested
            p = tested.p
        else:
            (first, *_), together = compare_features(generator.normal(size=(24, 3)), owners, 99, seed + 1)
            p = first.p if kind == "feature" else together.p
        small += p <= 0.05
    # Continuous statistics are exact; 1000 draws have a deviation of .007.
    assert (
        (0.03 if kind == "silhouette" else 0.035) <= small / count <= 0.065 + 0.005 * (kind == "silhouette")
    )


def test_labels_are_conservative_without_an_effect() -> None:
    small = 0
    for seed in range(1000):
        generator, owners = units(24, 2, seed)
        small += compare_labels(generator.integers(0, 3, 24), owners, 99, seed + 1).p <= 0.05
    assert small / 1000 <= 0.065


@given(st.integers(2, 5), st.integers(0, 100))
@settings(max_examples=25, deadline=None)
def test_permutations_keep_what_each_branch_has(branches: int, seed: int) -> None:
    _, owners = units(20, branches, seed)
    for row in permuted(owners, 10, seed):
        assert np.array_equal(np.bincount(row), np.bincount(owners))


def test_what_cannot_be_tested_is_refused() -> None:
    owners = np.arange(8) % 2
    with pytest.raises(InputError, match="the same for every unit"):
        compare_features(np.stack([np.arange(8.0), np.full(8, 3.0)], 1), owners, 19)
    with pytest.raises(InputError, match="one label"):
        compare_labels(np.zeros(8, dtype=np.int64), owners, 19)
    with pytest.raises(InputError, match="leave dead units out"):
        compare_silhouette(np.zeros((4, 8)), owners, 19)
    with pytest.raises(InputError, match="needs at least 119"):
        check_draws(118, 6)
    check_draws(119, 6)
    with pytest.raises(InputError, match="no room"):
        planted(32, 20, 17, np.random.default_rng(0))
