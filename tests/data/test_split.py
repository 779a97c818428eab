"""Splits have the published sizes, and an image's place depends on its own class alone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from neural_branching.data.split import CODES, LEFT_OUT, SPLITS, TEST, TRAIN, Split
from neural_branching.errors import InputError

CLASSES = ("crab", "shark", "tulip")


def labels_of(*counts: int) -> NDArray[np.int64]:
    return np.repeat(np.arange(len(counts)), counts)


def sizes(assignment: NDArray[np.int8]) -> dict[str, int]:
    return {name: int(np.sum(assignment == code)) for code, name in enumerate(SPLITS)}


def no_test(labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    return np.zeros(len(labels), np.bool_)


def given_of(is_test: NDArray[np.bool_]) -> NDArray[np.int8]:
    """The splits of a source that has at most test examples of its own."""
    return np.where(is_test, TEST, TRAIN).astype(np.int8)


def own(train: int, test: int) -> dict[str, int]:
    return {"train": train, "test": test}


def test_sizes_of_cifar100() -> None:
    labels = labels_of(600, 600, 600)
    is_test = np.tile(np.arange(600) >= 500, 3)
    assignment = Split().assign(labels, given_of(is_test), CLASSES)
    assert assignment.dtype == np.int8
    assert assignment.shape == labels.shape
    for label in range(3):
        expected = {"train": 350, "validation": 50, "calibration": 100, "test": 100}
        assert sizes(assignment[labels == label]) == expected
    np.testing.assert_array_equal(assignment == SPLITS.index("test"), is_test)


@given(
    counts=st.lists(st.integers(20, 60), min_size=1, max_size=3),
    shares=st.sampled_from([(0.7, 0.1, 0.2), (0.5, 0.25, 0.25), (0.75, 0.125, 0.125)]),
    test=st.sampled_from([0.1, 0.2, 0.5]),
    seed=st.integers(0, 5),
)
def test_without_test_images_a_share_of_all_comes_first(counts, shares, test, seed) -> None:
    labels = np.random.default_rng(seed).permutation(labels_of(*counts))
    assignment = Split(*shares, test=test, seed=seed).assign(
        labels, given_of(no_test(labels)), CLASSES[: len(counts)]
    )
    assert set(assignment) == {0, 1, 2, 3}
    for label, n in enumerate(counts):
        found = sizes(assignment[labels == label])
        rest = n - round(test * n)
        assert found["test"] == n - rest
        assert abs(found["validation"] - shares[1] * rest) <= 0.5
        assert abs(found["calibration"] - shares[2] * rest) <= 0.5
        assert sum(found.values()) == n


def test_the_test_share_is_unused_beside_own_test_images() -> None:
    labels = labels_of(30, 30)
    is_test = np.tile(np.arange(30) % 5 == 0, 2)
    first, second = (Split(test=share).assign(labels, given_of(is_test), CLASSES[:2]) for share in (0.1, 0.9))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("own_test", [False, True])
def test_a_class_is_split_alike_whatever_stands_beside_it(own_test: bool) -> None:
    labels = labels_of(50, 40, 60)
    is_test = np.arange(150) % 5 == 0 if own_test else no_test(labels)
    whole = Split().assign(labels, given_of(is_test), CLASSES)
    for label, name in enumerate(CLASSES):
        own = labels == label
        alone = Split().assign(np.zeros(own.sum(), np.int64), given_of(is_test[own]), (name,))
        np.testing.assert_array_equal(whole[own], alone)
    other_order = Split().assign(2 - labels, given_of(is_test), CLASSES[::-1])
    np.testing.assert_array_equal(whole, other_order)


def test_seed_and_name_decide_and_calls_repeat() -> None:
    labels = labels_of(50, 50)
    first, again, other = (
        Split(seed=seed).assign(labels, given_of(no_test(labels)), CLASSES[:2]) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert sizes(first) == sizes(other)
    assert (first != other).any()
    assert (first[:50] != first[50:]).any()


def test_rows_are_shuffled_before_they_are_dealt_out() -> None:
    labels = labels_of(1000)
    assignment = Split().assign(labels, given_of(no_test(labels)), CLASSES[:1])
    for code in range(len(SPLITS)):
        # Mean row of a uniform sample of at least 80 of 1000: standard error at most 31.
        assert abs(np.flatnonzero(assignment == code).mean() - 499.5) < 150


@pytest.mark.parametrize(
    ("counts", "own_test", "split", "name"),
    [
        ((30, 4), False, "validation", "shark"),
        ((0, 30), False, "train", "crab"),
        ((30, 30), True, "test", "shark"),
    ],
)
def test_an_empty_split_is_refused_with_class_and_split(
    counts: tuple[int, ...], own_test: bool, split: str, name: str
) -> None:
    labels = labels_of(*counts)
    is_test = (labels == 0) & (np.arange(len(labels)) < 5) & own_test
    with pytest.raises(InputError, match=rf"The {split} split has no example of class '{name}'"):
        Split().assign(labels, given_of(is_test), CLASSES[:2])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"train": 0.8}, r"train \+ validation \+ calibration is 1\.1"),
        ({"train": 0.9, "validation": 0.1, "calibration": 0}, "calibration is 0"),
        ({"train": -0.1, "validation": 0.1, "calibration": 1.0}, r"train is -0\.1"),
        ({"test": 1.5}, r"test is 1\.5"),
        ({"test": float("nan")}, "test is nan"),
        ({"validation": "0.1"}, r"validation is '0\.1'"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 0.5}, r"seed is 0\.5"),
    ],
)
def test_bad_arguments_are_refused_by_name(arguments: dict, message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}"):
        Split(**arguments)


def test_an_empty_split_is_known_from_the_counts_alone() -> None:
    with pytest.raises(InputError, match=r"The validation split has no example of class 'a', which has 30"):
        Split(train=0.79, validation=0.01, calibration=0.2).check({"a": own(20, 10), "b": own(400, 10)})
    with pytest.raises(InputError, match=r"The test split has no example of class 'b'"):
        Split().check({"a": own(20, 10), "b": own(20, 0)})
    Split().check({"a": own(20, 0), "b": own(20, 0)})


@pytest.mark.parametrize("own_test", [False, True])
def test_disjoint_halves_the_training_images_alone(own_test: bool) -> None:
    labels = labels_of(50, 41)
    is_test = np.arange(91) % 5 == 0 if own_test else no_test(labels)
    together = Split().assign(labels, given_of(is_test), CLASSES[:2])
    apart = Split(disjoint=True).assign(labels, given_of(is_test), CLASSES[:2])
    train = SPLITS.index("train")
    halves = np.isin(apart, [CODES.index("parent"), CODES.index("branch")])
    np.testing.assert_array_equal(halves, together == train)
    np.testing.assert_array_equal(apart[~halves], together[~halves])
    for label in range(2):
        parent, branch = (
            int(np.sum(apart[labels == label] == CODES.index(part))) for part in ("parent", "branch")
        )
        assert parent - branch in (0, 1)


def test_disjoint_needs_an_example_for_each_part() -> None:
    split = Split(train=0.2, validation=0.4, calibration=0.4)
    split.check({"a": own(5, 5)})
    apart = Split(train=0.2, validation=0.4, calibration=0.4, disjoint=True)
    with pytest.raises(InputError, match=r"The branch split has no example of class 'a'.*data\.split\.train"):
        apart.check({"a": own(5, 5)})


@pytest.mark.parametrize("value", ["yes", 1, None])
def test_disjoint_is_true_or_false(value: object) -> None:
    with pytest.raises(InputError, match=r"^disjoint is .*: it must be true or false\.$"):
        Split(disjoint=value)  # type: ignore[arg-type]


# --- duplicates ---------------------------------------------------------------------------------


def grouped(seed: int, own_test: bool) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.int64]]:
    """Three classes of 150 images of which many have duplicates, in other classes and splits too."""
    rng = np.random.default_rng(seed)
    labels = labels_of(150, 150, 150)
    is_test = (np.arange(450) % 6 == 0) & own_test
    groups = np.arange(450)
    for group in rng.permutation(450)[:90].reshape(-1, 3):
        groups[group] = group.min()
    return labels, is_test, groups


@given(seed=st.integers(0, 1000), own_test=st.booleans(), disjoint=st.booleans())
def test_duplicates_are_kept_together_or_dropped(seed: int, own_test: bool, disjoint: bool) -> None:
    labels, is_test, groups = grouped(seed, own_test)
    splits = {
        rule: Split(disjoint=disjoint, duplicates=rule).assign(
            labels, given_of(is_test), CLASSES, duplicates=None if rule == "report" else groups
        )
        for rule in ("report", "together", "drop")
    }
    before = splits.pop("report")
    np.testing.assert_array_equal(before, Split(disjoint=disjoint).assign(labels, given_of(is_test), CLASSES))
    alone = np.bincount(groups)[groups] == 1
    tested = np.isin(groups, groups[is_test])
    for rule, split in splits.items():
        np.testing.assert_array_equal(split[alone | is_test], before[alone | is_test])
        assert np.all(split[tested & ~is_test] == LEFT_OUT)
        free = ~alone & ~tested
        for group in np.unique(groups[free]):
            mine = split[groups == group]
            if rule == "together":
                assert set(mine) == {before[group]}
            else:
                assert mine[0] == before[group]
                assert set(mine[1:]) == {LEFT_OUT}


def test_without_duplicates_nothing_changes() -> None:
    labels = labels_of(30, 30)
    expected = Split().assign(labels, given_of(no_test(labels)), CLASSES[:2])
    for rule in ("together", "drop"):
        found = Split(duplicates=rule).assign(
            labels, given_of(no_test(labels)), CLASSES[:2], duplicates=np.arange(60)
        )
        np.testing.assert_array_equal(found, expected)


def test_a_class_of_copies_alone_is_refused() -> None:
    labels = labels_of(20, 20)
    groups = np.where(labels == 1, 20, np.arange(40))
    sentence = r"split has no example of class 'shark', which has 20 examples in all, 19 of them left out as "
    with pytest.raises(InputError, match=sentence + "duplicates"):
        Split(duplicates="drop").assign(labels, given_of(no_test(labels)), CLASSES[:2], duplicates=groups)


def test_what_becomes_of_duplicates_is_checked() -> None:
    with pytest.raises(InputError, match=r"duplicates is 'keep'.* report, together, drop"):
        Split(duplicates="keep")
