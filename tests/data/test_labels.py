"""What a parent tells apart: classes or superclasses, in the order of the data."""

import time

import numpy as np
import pytest

from neural_branching.data.labels import Labels
from neural_branching.data.subset import Subset
from neural_branching.errors import InputError
from neural_branching.evaluation.foreign import Foreign

KNOWN = ("oak", "cat", "elm", "dog", "fir")
SUPERCLASSES = {"pet": ["dog", "cat"], "tree": ["oak", "elm", "fir"]}
PETS = ("cat", "dog")


def labels(kind: str = "fine", classes: object = "all") -> Labels:
    return Labels(kind, classes, KNOWN, PETS, SUPERCLASSES)  # type: ignore[arg-type]


def test_fine_labels_of_all_classes_are_the_labels_of_the_data() -> None:
    found = labels()
    assert found.names == KNOWN
    assert found.of == {name: name for name in KNOWN}
    np.testing.assert_array_equal(found.targets(KNOWN), np.arange(5))
    assert found.columns(PETS) == [1, 3]
    assert found.columns(("dog", "oak")) == [3, 0]


def test_coarse_labels_are_the_superclasses() -> None:
    found = labels("coarse")
    assert found.names == ("pet", "tree")
    assert found.targets(KNOWN).tolist() == [1, 0, 1, 0, 1]
    assert found.targets(KNOWN).dtype == np.int64
    assert found.columns(PETS) is None


def test_classes_may_be_held_out_for_the_branch() -> None:
    found = labels(classes="others")
    assert found.names == ("oak", "elm", "fir")
    assert found.targets(KNOWN).tolist() == [0, -1, 1, -1, 2]
    assert found.columns(PETS) is None
    assert found.columns(("fir", "oak")) == [2, 0]


def test_a_list_is_taken_in_the_order_of_the_data() -> None:
    found = labels(classes=["dog", "oak", "cat"])
    assert found.names == ("oak", "cat", "dog")
    assert found.columns(PETS) == [1, 2]
    assert labels(classes=["fir", "oak", "cat"]).columns(PETS) is None  # one of them is unknown to it
    coarse = labels("coarse", ["fir", "cat"])
    assert coarse.of == {"cat": "pet", "fir": "tree"}
    assert coarse.targets(KNOWN).tolist() == [-1, 0, -1, -1, 1]


@pytest.mark.parametrize(
    ("kind", "classes", "message"),
    [
        ("medium", "all", r"^labels is 'medium', which is unknown: allowed are fine, coarse"),
        ("fine", "rest", r"^classes is 'rest', which is unknown: allowed are all, others"),
        ("fine", ["cat", "dgo"], r"'dgo', which is unknown: did you mean 'dog'"),
        ("fine", ["cat"], r"^classes leaves the parent with cat to tell apart: it needs at least two labels"),
        ("fine", [], r"^classes leaves the parent with nothing to tell apart"),
        ("coarse", ["oak", "elm"], r"^classes leaves the parent with tree to tell apart"),
        ("coarse", "others", r"^classes leaves the parent with tree to tell apart"),
    ],
)
def test_what_cannot_be_told_apart_is_refused(kind: str, classes: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        labels(kind, classes)


def test_a_subset_of_everything_leaves_no_others() -> None:
    with pytest.raises(InputError, match="leaves the parent with nothing"):
        Labels("fine", "others", KNOWN, KNOWN, SUPERCLASSES)


@pytest.mark.parametrize(
    ("superclasses", "state"),
    [
        ({"pet": ["cat", "dog"]}, "class 'oak' belongs to none of data.superclasses"),
        (SUPERCLASSES | {"furry": ["cat"]}, "class 'cat' belongs to pet and furry of data.superclasses"),
        ({}, "class 'oak' belongs to none"),
    ],
)
def test_coarse_labels_need_exactly_one_superclass_each(superclasses: dict, state: str) -> None:
    with pytest.raises(InputError, match=rf"parent\.labels is 'coarse', and {state}"):
        Labels("coarse", "all", KNOWN, PETS, superclasses)
    Labels("fine", "all", KNOWN, PETS, superclasses)  # which do not matter then


def test_a_parent_without_logits_tells_nothing_apart() -> None:
    labels = Labels("none", "all", KNOWN, PETS, SUPERCLASSES)
    assert (labels.of, labels.names) == ({}, ())
    assert labels.columns(PETS) is None
    assert labels.columns_of([PETS]) is None
    assert set(labels.targets(KNOWN)) == {-1}


def test_twenty_thousand_classes_are_looked_up_at_once() -> None:
    """Half of them are the subset's; every look-up through a list would take minutes."""
    known = [f"class_{index:05d}" for index in range(20_000)]
    start = time.process_time()
    subset = Subset("half", known[::2]).resolve(known, {})
    found = Labels("fine", "all", known, subset, {})
    assert found.columns(subset) == list(range(0, 20_000, 2))
    assert found.columns_of([[name] for name in subset]) == [[column] for column in range(0, 20_000, 2)]
    assert found.targets(known).tolist() == list(range(20_000))
    assert len(Labels("fine", "others", known, subset, {}).names) == 10_000
    assert len(Foreign.of(subset, known, {}).classes) == 10_000
    assert time.process_time() - start < 2
