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


CASCADE = {
    "pet": {"superclass": "pet", "defer_to": "pet_deeper"},
    "pet_deeper": {"branch_point": {"stage": "hidden2"}, "defer_to": "pet_deepest"},
    "pet_deepest": {"superclass": "pet"},
    "tree": {"superclass": "tree"},
}


def test_a_cascade_has_one_place_in_a_tree() -> None:
    tree = Hierarchy("world", CASCADE).resolve(KNOWN, SUPERCLASSES)
    assert list(tree.nodes) == [ROOT, "pet", "pet_deeper", "pet_deepest", "tree"]
    assert tree.nodes[ROOT].labels == ("pet", "tree")
    assert [node.name for node in tree.named] == ["pet", "tree"]
    assert tree.exits("pet") == ("pet", "pet_deeper", "pet_deepest")
    assert tree.last("pet_deeper") == "pet_deepest"
    assert tree.last("tree") == "tree"
    for name in tree.exits("pet"):
        node = tree.nodes[name]
        assert (node.within, node.leaf, node.labels, tree.depth(name)) == (ROOT, True, ("cat", "dog"), 1)
    assert tree.before("pet_deepest") == (ROOT, "pet", "pet_deeper")
    assert tree.before("tree") == (ROOT,)
    assert tree.levels == 2
    assert tree.nodes["pet_deeper"].settings == {"branch_point": {"stage": "hidden2"}}


def test_what_lies_within_a_cascade_comes_after_all_its_exits() -> None:
    nodes = {
        "first": {"defer_to": "second"},
        "second": {},
        "pet": {"within": "first", "superclass": "pet"},
        "tree": {"within": "first", "superclass": "tree"},
    }
    tree = Hierarchy("world", nodes).resolve(KNOWN, SUPERCLASSES)
    assert tree.root == "first"  # which has the root for itself
    assert list(tree.nodes) == ["first", "second", "pet", "tree"]
    assert tree.nodes["second"].labels == tree.nodes["first"].labels == ("pet", "tree")
    assert tree.before("pet") == ("first", "second")
    assert tree.inner == ("first",)
    alone = Hierarchy("pets", {name: one for name, one in CASCADE.items() if name != "tree"})
    only = alone.resolve(KNOWN, SUPERCLASSES)
    assert list(only.nodes) == ["pet", "pet_deeper", "pet_deepest"]
    assert only.named == ()


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"pet_deepest": {"defer_to": "pet"}}, "circle: pet defer_to pet_deeper defer_to pet_deepest"),
        ({"tree": {"superclass": "tree", "defer_to": "tree"}}, "circle: tree defer_to tree"),
        ({"tree": {"superclass": "tree", "defer_to": "pet_deeper"}}, "'pet' and 'tree' .* both defer to"),
        ({"tree": {"superclass": "tree", "defer_to": "shrub"}}, "defer_to of node 'tree' is 'shrub'.*tree"),
        (
            {"pet_deepest": {"superclass": "tree"}},
            "'pet' .* defers to 'pet_deepest', which has other classes",
        ),
        (
            {"pet_deepest": {"within": "tree"}, "tree": {}},
            "'pet_deeper' .* defers to 'pet_deepest', which lies within 'tree'",
        ),
        (
            {"tree": {"within": "pet_deeper", "superclass": "tree"}},
            "'tree' .* lies within 'pet_deeper', to which 'pet' defers: let it lie within 'pet'",
        ),
        ({"tree": None, "pet": {"superclass": "pet"}, "pet_deeper": None, "pet_deepest": None}, "only pet"),
    ],
)
def test_impossible_cascades_are_refused(changed: dict, sentence: str) -> None:
    nodes = {name: options for name, options in {**CASCADE, **changed}.items() if options is not None}
    with pytest.raises(InputError, match=sentence):
        Hierarchy("world", nodes).resolve(KNOWN, SUPERCLASSES)


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
