"""Deep linear branches: closed form against descent, invariants, depth, and steps that are too large."""

import numpy as np
import pytest

from neural_branching.labs.decomposition.linear_branches import (
    descend,
    final_strengths,
    invariant,
    stability_limit,
)

INITIAL = np.array([0.011, 0.010])


@pytest.mark.parametrize(("depth", "share"), [(2, 0.523810), (3, 0.585096), (4, 0.654550)])
def test_shares_are_those_of_the_reference(depth: int, share: float) -> None:
    assert final_strengths(INITIAL, depth)[0] == pytest.approx(share, abs=1e-6)
    done = descend(INITIAL, depth, 0.01)
    assert done.settled
    assert done.strengths[0] == pytest.approx(share, abs=1e-3)
    assert done.strengths.sum() == pytest.approx(1, abs=1e-9)


def test_depth_amplifies_a_lead() -> None:
    shares = [final_strengths(INITIAL, depth)[0] for depth in (1, 2, 3, 4, 6)]
    assert shares == sorted(shares)


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_small_steps_keep_the_invariant(depth: int) -> None:
    small, large = descend(INITIAL, depth, 0.01), descend(INITIAL, depth, 0.1)
    assert small.drift < 0.01
    assert depth < 3 or small.drift == pytest.approx(large.drift / 10, rel=0.2)  # of first order in the rate
    kept = invariant(INITIAL, depth)
    on_the_way = np.abs(invariant(large.path, depth) / kept - 1).max()  # the end included, not the maximum
    assert large.drift >= on_the_way - 1e-12
    assert invariant(small.path, depth) == pytest.approx(
        np.broadcast_to(kept, (len(small.path), 1)), rel=0.01
    )


def test_three_branches_follow_the_flow() -> None:
    initial = np.array([0.02, 0.015, 0.01])
    assert descend(initial, 3, 0.01).strengths == pytest.approx(final_strengths(initial, 3), abs=2e-3)


@pytest.mark.parametrize("depth", [3, 4])
def test_steps_beyond_the_stability_limit_restore_symmetry(depth: int) -> None:
    done = descend(INITIAL, depth, 1.2 * stability_limit(INITIAL, depth))
    assert not done.settled
    assert done.strengths[0] == pytest.approx(done.strengths[1], rel=1e-6)


def test_at_depth_two_no_step_does() -> None:
    done = descend(INITIAL, 2, 1.2 * stability_limit(INITIAL, 2))
    assert done.strengths[0] / done.strengths[1] == pytest.approx(1.1)
