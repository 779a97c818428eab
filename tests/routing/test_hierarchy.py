"""Trees over classes: what they are, and which are refused."""

import pytest

from neural_branching.errors import InputError
from neural_branching.routing.hierarchy import ROOT, Hierarchy

KNOWN = ("oak", "cat", "elm", "dog", "fir", "car", "bus")
SUPERCLASSES = {"pet": ["dog", "cat"], "tree": ["oak", "elm", "fir"], "vehicle": ["car", "bus"]}
THREE = {
    "living": {},
    "vehicle": {"superclass": "vehicle"},
    "pet": {"within": "living", "superclass": "pet", "branch_point": {"of": "branch", "stage": "hidden1"}},
    "tree": {"within": "living", "classes": ["fir", "oak", "elm"]},
}


def test_a_tree_of_three_levels() -> None:
    tree = Hierarchy("world", THREE).resolve(KNOWN, SUPERCLASSES)
    assert list(tree.nodes) == [ROOT, "living", "pet", "tree", "vehicle"]
    root, living, trees = tree.nodes[ROOT], tree.nodes["living"], tree.nodes["tree"]
    assert root.labels == ("living", "vehicle")
    assert root.groups == (("oak", "cat", "elm", "dog", "fir"), ("car", "bus"))
    assert (living.within, living.leaf, living.labels) == (ROOT, False, ("pet", "tree"))
    assert (trees.within, trees.leaf, trees.labels) == ("living", True, ("oak", "elm", "fir"))
    assert trees.groups == (("oak",), ("elm",), ("fir",))
    assert tree.nodes["pet"].settings == {"branch_point": {"of": "branch", "stage": "hidden1"}}
    assert tree.levels == 3
    assert [tree.depth(name) for name in tree.nodes] == [0, 1, 2, 2, 1]
    assert set(tree.classes) == set(KNOWN)
    assert [node.name for node in tree.named] == ["living", "pet", "tree", "vehicle"]


def test_classes_may_be_left_out_of_a_tree() -> None:
    nodes = {"pet": {"superclass": "pet"}, "tree": {"superclass": "tree"}}
    assert set(Hierarchy("some", nodes).resolve(KNOWN, SUPERCLASSES).classes) == set(KNOWN) - {"car", "bus"}


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        (
            {"pet": {"within": "living", "classes": ["cat", "oak"]}},
            "The class 'oak' is twice .*: below pet and tree",
        ),
        ({"pet": {"within": "livin", "superclass": "pet"}}, "within of node 'pet' is 'livin'.*'living'"),
        ({"living": {"within": "pet"}}, "goes round in a circle: living within pet within living"),
        ({"living": {"within": "living"}}, "goes round in a circle: living within living"),
        (
            {"living": {"classes": ["oak", "elm", "fir", "cat"]}},
            "'pet' .* holds 'dog', which is no class of 'living'",
        ),
        (
            {"living": {"classes": ["oak", "elm", "fir", "cat", "dog", "bus"]}},
            "The class 'bus' of node 'living' .* is in none of its nodes: pet, tree",
        ),
        ({"pet": {"within": "living", "classes": ["cat", "dgo"]}}, "a class of node 'pet' is 'dgo'.*'dog'"),
        ({"pet": {"within": "living", "classes": ["cat", "cat"]}}, "names the class 'cat' twice"),
        ({"pet": {"within": "living", "classes": ["cat"]}}, "The node 'pet' .* holds only cat"),
        ({"pet": {"within": "living", "classes": []}}, "The node 'pet' .* holds only nothing"),
        ({"pet": {"within": "living", "classes": "cat"}}, "give a list"),
        ({"pet": {"within": "living"}}, "The node 'pet' .* has neither classes nor nodes within it"),
        ({"pet": {"superclass": "pets", "within": "living"}}, "superclass of node 'pet' is 'pets'.*'pet'"),
        ({"pet": {"superclass": "pet", "classes": ["cat", "dog"]}}, "both classes and a superclass"),
        ({"pet": {"klasses": ["cat"]}}, "an option of node 'pet' is 'klasses'.*'classes'"),
        ({"root": {"classes": ["cat"]}}, "root is taken"),
        (
            {"uncertain": {"within": "living", "superclass": "pet"}, "pet": None},
            "'uncertain', which means",
        ),
        ({"pet": "cat"}, "nodes.pet is 'cat'"),
        ({"a b": {"classes": ["cat"]}}, "letters, digits"),
        (
            {"car": {"within": "living", "classes": ["cat", "dog"]}, "pet": None},
            "'car', which is a class too",
        ),
    ],
)
def test_impossible_trees_are_refused(changed: dict, sentence: str) -> None:
    nodes = {name: options for name, options in {**THREE, **changed}.items() if options is not None}
    with pytest.raises(InputError, match=sentence):
        Hierarchy("world", nodes).resolve(KNOWN, SUPERCLASSES)


@pytest.mark.parametrize("nodes", [{}, None, ["pet"]])
def test_a_hierarchy_needs_nodes(nodes: object) -> None:
    with pytest.raises(InputError, match="it must name at least two nodes"):
        Hierarchy("none", nodes)  # type: ignore[arg-type]
