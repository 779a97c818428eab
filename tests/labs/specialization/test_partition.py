"""Units are divided among branches, or a sentence says why not."""

import numpy as np
import pytest

from neural_branching.errors import InputError
from neural_branching.labs.specialization.partition import Partition


def test_units_know_their_branch() -> None:
    partition = Partition.of("s", {"a": [5, 1, 3], "b": [0, 2, 4]}, 6)
    assert partition.units.tolist() == [0, 1, 2, 3, 4, 5]
    assert partition.owners.tolist() == [1, 0, 1, 0, 1, 0]
    assert partition.owner_of[3] == "a"


def test_a_random_division_has_the_same_sizes_and_units() -> None:
    partition = Partition.of("s", {"a": range(3), "b": range(3, 10)}, 12)
    generator = np.random.default_rng(0)
    divisions = [partition.shuffled(generator) for _ in range(50)]
    for one in divisions:
        assert one.units.tolist() == partition.units.tolist()
        assert [len(units) for units in one.branches.values()] == [3, 7]
    assert len({tuple(one.branches["a"]) for one in divisions}) > 20


def test_dead_units_are_left_out() -> None:
    partition, dead = Partition.even("s", 8, 2), np.zeros(8, dtype=np.bool_)
    dead[1] = True
    assert partition.without(dead).branches["0"].tolist() == [0, 2, 3]
    dead[2] = True
    with pytest.raises(InputError, match="'0' of the stage 's' has 2 live units"):
        partition.without(dead)


@pytest.mark.parametrize(
    ("branches", "said"),
    [
        ({"a": [0, 1, 2]}, "a single branch"),
        ({}, "no branches"),
        ({"a": [0, 1, 2], "b": [3, 4]}, "'b' of the stage 's' has 2 units"),
        ({"a": [0, 1, 2], "b": [2, 3, 4]}, "unit 2 of the stage 's' is of the branches 'a' and 'b'"),
        ({"a": [0, 1, 2], "b": [3, 4, 9]}, "has a unit 9: the stage has the units 0 to 8"),
    ],
)
def test_what_is_no_partition_is_refused(branches: dict[str, list[int]], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Partition.of("s", branches, 9)


def test_units_that_cannot_be_divided_evenly_are_refused() -> None:
    with pytest.raises(InputError, match="9 units of the stage 's' cannot be divided among 2"):
        Partition.even("s", 9, 2)
