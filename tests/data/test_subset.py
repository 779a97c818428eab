"""Subsets are free lists of class names, or superclasses; mistakes are answered with a name."""

import pytest

from neural_branching.data.subset import Subset
from neural_branching.errors import InputError

KNOWN = ("apple", "crab", "shark", "sunflower", "tulip")
SUPERCLASSES = {"fish": ["shark", "crab", "trout"], "fruit": ["apple"], "all": list(KNOWN)}


def test_classes_come_in_the_order_of_the_data() -> None:
    assert Subset("s", ["tulip", "apple", "shark"]).resolve(KNOWN, {}) == ("apple", "shark", "tulip")
    assert Subset("s", ("shark", "apple")).resolve(KNOWN[::-1], {}) == ("shark", "apple")


def test_a_superclass_means_its_members_in_the_data() -> None:
    subset = Subset("s", superclass="fish")
    assert subset.resolve(KNOWN, SUPERCLASSES) == ("crab", "shark")
    assert Subset("s", superclass="all").resolve(KNOWN, SUPERCLASSES) == KNOWN


def test_all_are_the_classes_of_the_data() -> None:
    assert Subset("s", "all").resolve(KNOWN, {}) == KNOWN
    with pytest.raises(InputError, match="The subset 's' holds apple: a branch needs at least two"):
        Subset("s", "all").resolve(KNOWN[:1], {})


@pytest.mark.parametrize(
    ("subset", "message"),
    [
        (Subset("s", ["crab", "sharc"]), r"a class of subset 's' is 'sharc'.* did you mean 'shark'\?"),
        (Subset("s", ["crab", "?"]), r"a class of subset 's' is '\?', which is unknown: allowed are apple"),
        (Subset("s", superclass="fihs"), r"superclass is 'fihs'.* did you mean 'fish'\?"),
        (Subset("s", superclass="fruit"), r"The subset 's' holds apple:"),
    ],
)
def test_unusable_with_this_data(subset: Subset, message: str) -> None:
    with pytest.raises(InputError, match=message):
        subset.resolve(KNOWN, SUPERCLASSES)


def test_a_superclass_of_data_without_any_is_unknown() -> None:
    with pytest.raises(
        InputError, match=r"superclass is .fish., and the data set has no superclasses: name them"
    ):
        Subset("s", superclass="fish").resolve(KNOWN, {})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, r"either subset\.classes or subset\.superclass"),
        ({"classes": ["crab", "shark"], "superclass": "fish"}, r"either subset\.classes or subset\.superc"),
        ({"classes": []}, r"'s' holds no class:"),
        ({"classes": ["crab"]}, r"'s' holds crab:"),
        ({"classes": ["crab", "shark", "crab"]}, "'s' names the class 'crab' twice"),
        # What `subset.classes=crab` on the command line gives.
        ({"classes": "crab"}, "crab"),
    ],
)
def test_never_usable(arguments: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Subset("s", **arguments)
