"""A planted feedback is found in both directions, and series that share a course alone show none."""

import numpy as np
import pytest

from neural_branching.labs.specialization.feedback import compare_feedback


def gains(seeds: int, times: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Two series of each seed, which have nothing but their course in common."""
    course = np.linspace(0, 3, times)
    first, second = generator.normal(0, 1, (2, seeds, times))
    return course + first.cumsum(1), course + second.cumsum(1)


def test_without_feedback_few_studies_find_one() -> None:
    generator = np.random.default_rng(1)
    p = np.array([[one.p for one in compare_feedback(*gains(5, 8, generator))] for _ in range(2000)])
    assert (p <= 0.05).mean(0) == pytest.approx(0.05, abs=0.02)
    assert ((p <= 0.05).mean(0) <= 0.065).all()
    assert (p.max(1) <= 0.05).mean() <= 0.02


def fed_back(seeds: int, times: int, back: float) -> tuple[np.ndarray, np.ndarray]:
    """What the first gains the second gains next, and what the second gains the first, if ``back``."""
    generator = np.random.default_rng(1)
    noise = generator.normal(0, 1, (2, seeds, times))
    first, second = noise.copy()
    for time in range(1, times):
        first[:, time] += back * second[:, time - 1]
        second[:, time] += 0.8 * first[:, time - 1]
    return first.cumsum(1), second.cumsum(1)


def test_planted_feedback_is_found_in_both_directions() -> None:
    both = compare_feedback(*fed_back(6, 20, 0.8))
    assert max(one.p for one in both) <= 0.05
    assert min(one.value for one in both) > 0.3
    forward, backward = compare_feedback(*fed_back(6, 20, 0.0))
    assert forward.p <= 0.05 < backward.p


def test_pairings_are_all_tried_where_seeds_are_few() -> None:
    series = fed_back(4, 20, 0.8)
    assert min(one.p for one in compare_feedback(*series)) == pytest.approx(1 / 24)
    many = compare_feedback(*fed_back(9, 20, 0.8))
    assert many[0].p <= 0.001


def test_a_common_course_is_no_feedback() -> None:
    course = np.linspace(0, 5, 10) ** 2
    still = np.tile(course, (5, 1))
    assert [one.p for one in compare_feedback(still, still)] == [1.0, 1.0]
