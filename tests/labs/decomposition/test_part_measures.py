"""Measures of parts against closed forms and brute force."""

import numpy as np
import pytest

from neural_branching.labs.decomposition.part_measures import (
    PartSums,
    by_class,
    centred,
    correlation,
    errors,
    mean_between,
    regions,
    spectrum,
)

RNG = np.random.default_rng(0)
PARTS = RNG.standard_normal((20, 3, 3, 8, 8)).astype(np.float32)


def wave(cycles: int, size: int = 16) -> np.ndarray:
    return np.cos(2 * np.pi * cycles * np.arange(size) / size)[None].repeat(size, 0)


def test_grey_has_no_chroma_and_opposed_colours_have_nothing_else() -> None:
    brightness = RNG.standard_normal((5, 1, 8, 8)).repeat(3, 1)
    hue = brightness * np.array([1, -1, 0])[:, None, None]
    parts = np.stack([brightness, hue], 1).astype(np.float32)
    found = PartSums.of(parts, {}).features()
    assert found["chroma"] == pytest.approx([0, 1], abs=1e-6)
    assert found["share"] == pytest.approx([3 / 5, 2 / 5], abs=1e-6)


def test_the_frequency_of_a_wave_is_its_own() -> None:
    parts = np.stack([np.stack([wave(c)] * 3) for c in (1, 4)])[None].astype(np.float32)
    assert PartSums.of(parts, {}).features()["frequency"] == pytest.approx([1 / 16, 4 / 16], abs=1e-6)
    power = spectrum(np.stack([wave(4)] * 3)[None].astype(np.float32))
    assert power.argmax() == 8  # of 16 rings up to half a cycle


def test_correlations_are_numpys() -> None:
    component = (PARTS[:, 1] + RNG.standard_normal(PARTS[:, 1].shape)).astype(np.float32)
    middle, known = centred(PARTS), component - component.mean(0)
    found = PartSums.of(middle, {"one": known}).correlations()
    expected = [np.corrcoef(middle[:, b].ravel(), known.ravel())[0, 1] for b in range(3)]
    assert found[:, 0] == pytest.approx(expected, abs=1e-3)  # whose means are not quite zero here
    table = correlation(middle)
    flat = middle.swapaxes(0, 1).reshape(3, -1)
    assert table == pytest.approx(np.corrcoef(flat), abs=1e-3)
    assert mean_between(table) == pytest.approx(table[[0, 0, 1], [1, 2, 2]].mean())


def test_an_error_without_a_branch_is_that_of_its_mean_image() -> None:
    target = RNG.standard_normal((20, 3, 8, 8)).astype(np.float32)
    whole, without = errors(PARTS, target)
    assert whole == pytest.approx(((target - PARTS.sum(1)) ** 2).mean((1, 2, 3)), rel=1e-5)
    replaced = PARTS.copy()
    replaced[:, 2] = PARTS[:, 2].mean(0)
    assert without[:, 2] == pytest.approx(((target - replaced.sum(1)) ** 2).mean((1, 2, 3)), rel=1e-4)
    factors = by_class(whole, without, np.repeat([0, 1], 10))
    assert factors.shape == (3, 2)
    assert factors[2, 1] == pytest.approx(without[10:, 2].mean() / whole[10:].mean())


def test_a_part_lies_where_it_varies() -> None:
    parts = np.zeros((4, 1, 3, 8, 8), np.float32)
    parts[::2, :, :, :2, 6:] = 1
    cells = regions(centred(parts))[0]
    assert cells[0, 3] == pytest.approx(1)
    assert cells.sum() == pytest.approx(1)


def test_branches_that_change_places_at_random_are_alike() -> None:
    parts = PARTS * np.array([1, 2, 4], np.float32)[:, None, None, None]
    sums = PartSums.of(parts.repeat(20, 0), {})
    shuffled = sums.shuffled(np.random.default_rng(1))
    assert shuffled.energy.sum() == pytest.approx(sums.energy.sum())
    assert np.ptp(sums.features()["share"]) > 0.6
    assert np.ptp(shuffled.features()["share"]) < 0.1
