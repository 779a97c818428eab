"""Routers against their formulas, and the paths of every example through a tree."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neural_branching.errors import InputError
from neural_branching.evaluation.tree_acceptance import Rules, fit_acceptances
from neural_branching.evaluation.tree_evaluation import evaluate_tree
from neural_branching.routing.descent import (
    UNCERTAIN,
    FittedRouter,
    NodeOutputs,
    answer,
    answers_of,
    descend,
    right,
)
from neural_branching.routing.hierarchy import ROOT, Hierarchy, Tree
from neural_branching.routing.routers import ROUTERS, Gate, MaxConfidence, ParentMass, Random, Router, Soft
from neural_branching.selection.scores.from_logits import MaxSoftmax, softmax
from neural_branching.selection.scores.learned import fit_temperature
from neural_branching.selection.thresholds.guaranteed import FixedSequence
from neural_branching.selection.thresholds.on_average import Conformal
from neural_branching.selection.thresholds.plain import Fixed, Risk
from neural_branching.selection.thresholds.random_walk import RandomWalk

SPLITS = ("validation", "calibration", "test")
KNOWN = ("a", "b", "c", "d", "e", "f", "g")
FLAT = {"low": {"classes": ["a", "b", "c"]}, "high": {"classes": ["d", "e"]}}
DEEP = {
    "letters": {},
    "rest": {"classes": ["f", "g"]},
    "low": {"within": "letters", "classes": ["a", "b", "c"]},
    "high": {"within": "letters", "classes": ["d", "e"]},
}
CASCADED = {
    "low": {"classes": ["a", "b", "c"], "defer_to": "low_deeper"},
    "low_deeper": {"defer_to": "low_deepest"},
    "low_deepest": {},
    "high": {"classes": ["d", "e"]},
}
# A branch decides at the root, and defers.
BRANCHED = {
    "top": {"defer_to": "top_deeper"},
    "top_deeper": {},
    "low": {"within": "top", "classes": ["a", "b", "c"], "defer_to": "low_deeper"},
    "low_deeper": {},
    "high": {"within": "top", "classes": ["d", "e"]},
}
TREES = [FLAT, DEEP, CASCADED, BRANCHED]


def tree_of(nodes: dict) -> Tree:
    return Hierarchy("letters", nodes).resolve(KNOWN, {})


def seen_of(tree: Tree, n: int = 300, seed: int = 0, noise: float = 2.0, foreign: int = 0) -> NodeOutputs:
    """Images whose nodes are right more often than not."""
    rng = np.random.default_rng(seed)
    labels = np.r_[rng.integers(len(tree.classes), size=n), np.full(foreign, -1)]
    blank = NodeOutputs(np.arange(n + foreign), labels, {}, {}, None, {})

    def logits(name: str) -> np.ndarray:
        truth = blank.truth(tree, tree.nodes[name])
        values = noise * rng.normal(size=(n + foreign, len(tree.nodes[name].labels)))
        values[truth >= 0, truth[truth >= 0]] += 3
        return values.astype(np.float32)

    spoken = {name: logits(name) for name in tree.nodes}
    gates = {name: softmax(spoken[name])[:, :] * 0.9 for name, node in tree.nodes.items() if not node.leaf}
    root = softmax(spoken.pop(ROOT)) if ROOT in spoken else None
    vectors = {name: np.zeros((n + foreign, 1), np.float32) for name in tree.nodes}
    return NodeOutputs(blank.rows, labels, spoken, vectors, root, gates)


def paths_of(tree: Tree, router: Router, outputs: NodeOutputs, validation: NodeOutputs | None = None):
    return descend(tree, outputs, FittedRouter.of(tree, router, validation or outputs))


def test_the_parents_mass_decides() -> None:
    tree = tree_of(FLAT)
    outputs = seen_of(tree)
    paths = paths_of(tree, ParentMass(), outputs)
    assert np.array_equal(paths.label[ROOT], outputs.root.argmax(1))
    for index, row in enumerate(zip(paths.label[ROOT], paths.classes, strict=True)):
        node = tree.nodes[("low", "high")[row[0]]]
        best = outputs.logits[node.name][index].argmax()
        assert tree.classes[row[1]] == node.labels[best]
        expected = outputs.root[index, row[0]] * softmax(outputs.logits[node.name][[index]]).max()
        assert paths.confidence[index] == pytest.approx(expected)


@pytest.mark.parametrize("nodes", [FLAT, DEEP])
def test_soft_routing_finds_the_most_probable_class_of_the_mixture(nodes: dict) -> None:
    tree = tree_of(nodes)
    outputs = seen_of(tree)
    mixture = np.zeros((len(outputs), len(tree.classes)))

    def spread(name: str, mass: np.ndarray) -> None:
        node = tree.nodes[name]
        share = outputs.root if name == ROOT else softmax(outputs.logits[name])
        for index, label in enumerate(node.labels):
            if node.leaf:
                mixture[:, tree.classes.index(label)] = mass * share[:, index]
            else:
                spread(label, mass * share[:, index])

    spread(ROOT, np.ones(len(outputs)))
    paths = paths_of(tree, Soft(), outputs)
    assert np.array_equal(paths.classes, mixture.argmax(1))
    np.testing.assert_allclose(paths.confidence, mixture.max(1), rtol=1e-9)


def test_a_mixture_that_is_unsure_of_the_class_loses_no_image() -> None:
    tree = tree_of(FLAT)
    outputs = seen_of(tree)
    for logits in outputs.logits.values():
        logits[:] /= 100  # no class is more probable than another, but the branches are known
    assert not paths_of(tree, Soft(), outputs).lost[ROOT].any()


def test_confidences_are_scaled_by_temperatures_of_validation() -> None:
    tree = tree_of(FLAT)
    outputs, validation = seen_of(tree), seen_of(tree, seed=1)
    validation.logits["low"][:] *= 10  # overconfident
    paths = paths_of(tree, MaxConfidence(), outputs, validation)
    surest = []
    for index, name in enumerate(("low", "high")):
        mine = validation.truth(tree, tree.nodes[ROOT]) == index
        targets = validation.truth(tree, tree.nodes[name])[mine]
        temperature = fit_temperature(validation.logits[name][mine], targets)
        surest.append(softmax(outputs.logits[name], temperature).max(1))
    assert np.array_equal(paths.label[ROOT], np.argmax(surest, axis=0))


def test_the_oracle_is_never_wrong_and_the_random_router_as_often_as_chance() -> None:
    tree = tree_of(DEEP)
    outputs = seen_of(tree, 4000)
    oracle = paths_of(tree, ROUTERS["oracle"](), outputs)
    for node in tree.nodes.values():
        assert np.array_equal(oracle.arrived[node.name], outputs.truth(tree, node) >= 0)
    drawn = paths_of(tree, Random(), outputs).label[ROOT]
    assert abs((drawn == outputs.truth(tree, tree.nodes[ROOT])).mean() - 0.5) < 0.03
    assert np.array_equal(drawn, paths_of(tree, Random(), outputs).label[ROOT])
    below = paths_of(tree, Random(), outputs).label["letters"]
    assert abs((below[drawn == 0] == 0).mean() - 0.5) < 0.05  # whatever the label above


def test_a_gate_may_say_none_of_them() -> None:
    tree = tree_of(FLAT)
    outputs = seen_of(tree, 4)
    outputs.gates[ROOT][:] = [[0.5, 0.1], [0.3, 0.2], [0.49, 0.02], [0.0, 0.0]]
    paths = paths_of(tree, Gate(), outputs)
    assert paths.lost[ROOT].tolist() == [False, True, False, True]
    given = answer(tree, paths, lambda name: np.ones(4, bool), back_off=True)
    assert [answers_of(tree)[one] == UNCERTAIN for one in given] == [False, True, False, True]


def test_a_parent_that_does_not_know_the_branches_cannot_route() -> None:
    tree = tree_of(FLAT)
    outputs = seen_of(tree)
    blind = NodeOutputs(
        outputs.rows, outputs.labels, outputs.logits, outputs.activations, None, outputs.gates
    )
    with pytest.raises(InputError, match=r"router=parent_mass asks the parent .* below root apart"):
        paths_of(tree, ParentMass(), blind)
    with pytest.raises(InputError, match="router=soft"):
        paths_of(tree, Soft(), blind)
    assert len(paths_of(tree, Gate(), blind).classes) == len(outputs)


@given(st.integers(0, 1000), st.sampled_from(TREES), st.sampled_from(sorted(ROUTERS)), st.booleans())
def test_every_image_is_somewhere(seed: int, nodes: dict, kind: str, back_off: bool) -> None:
    tree = tree_of(nodes)
    outputs = seen_of(tree, 40, seed, foreign=5)
    paths = paths_of(tree, ROUTERS[kind](), outputs, outputs.inside)
    rng = np.random.default_rng(seed)
    accepts = {name: rng.random(len(outputs)) < 0.7 for name in tree.nodes}
    given_ = answer(tree, paths, accepts.__getitem__, back_off=back_off)
    leaves = [node for node in tree.nodes.values() if node.leaf and not node.defer_to]
    assert np.array_equal(sum(paths.arrived[node.name].astype(int) for node in leaves), np.ones(len(outputs)))
    names = answers_of(tree)
    for index, one in enumerate(given_):
        node, expected = tree.nodes[tree.root], UNCERTAIN
        while True:
            stopped = not accepts[node.name][index] or (
                node.name in paths.lost and paths.lost[node.name][index]
            )
            if stopped and node.defer_to:
                node = tree.nodes[node.defer_to]
                continue
            if stopped:
                break
            label = node.labels[paths.label[node.name][index]]
            if back_off or node.leaf:
                expected = label
            if node.leaf:
                break
            node = tree.nodes[label]
        assert names[one] == expected
    correct = right(tree, given_, outputs.labels)
    for index, one in enumerate(given_):
        below = tree.nodes[names[one]].classes if names[one] in tree.nodes else (names[one],)
        inside = outputs.labels[index] >= 0
        assert correct[index] == (inside and tree.classes[outputs.labels[index]] in below)


def rules(tree: Tree, rule) -> Rules:
    return Rules(dict.fromkeys(tree.nodes, MaxSoftmax()), dict.fromkeys(tree.nodes, rule))


def test_levels_and_nodes_share_the_budget() -> None:
    rule = FixedSequence(0.3, 0.1)
    assert vars(rule.shared(3, 5)) == pytest.approx({"target": 0.1, "delta": 0.02})
    assert Risk(0.3).shared(3, 5).target == pytest.approx(0.1)
    assert Conformal(0.3).shared(3, 5).target == pytest.approx(0.1)
    assert Fixed(0.9).shared(3, 5).value == 0.9
    tree = tree_of(DEEP)
    outputs = {split: seen_of(tree, 900, seed) for seed, split in enumerate(("validation", "calibration"))}
    fitted = FittedRouter.of(tree, ParentMass(), outputs["validation"])
    acceptances = fit_acceptances(tree, outputs, fitted, rules(tree, rule), back_off=True)
    assert list(acceptances) == list(tree.nodes)
    # A third of each class is the root's, whatever arrives below.
    assert acceptances[ROOT].choice.n == sum(
        -(-count // 3) for count in np.bincount(outputs["calibration"].labels)
    )
    assert {stop.rule.target for stop in acceptances.values()} == {0.3 / 3}
    outright = fit_acceptances(tree, outputs, fitted, rules(tree, rule), back_off=False)
    assert list(outright) == ["low", "high", "rest"]
    assert sum(stop.choice.n for stop in outright.values()) == 900
    assert {(stop.rule.target, stop.rule.delta) for stop in outright.values()} == {(0.3, 0.1 / 3)}


def test_nodes_that_are_asked_in_turn_have_calibration_examples_of_their_own() -> None:
    tree = tree_of(CASCADED)
    outputs = {split: seen_of(tree, 900, seed) for seed, split in enumerate(("validation", "calibration"))}
    fitted = FittedRouter.of(tree, ParentMass(), outputs["validation"])
    for back_off, parts in ((True, 4), (False, 3)):
        everyone = rules(tree, Fixed(0.0))  # all that comes is accepted, so that nobody arrives further on
        acceptances = fit_acceptances(tree, outputs, fitted, everyone, back_off=back_off)
        assert [len(tree.before(name)) for name in acceptances] == [0, 1, 2, 3, 1][-len(acceptances) :]
        rule = rules(tree, FixedSequence(0.5, 0.1))
        acceptances = fit_acceptances(tree, outputs, fitted, rule, back_off=back_off)
        first = acceptances["low"].choice.n
        assert first <= -(-900 // parts)
        assert {one.rule.target for one in acceptances.values()} == {0.5 / (2 if back_off else 1)}
        assert {one.rule.delta for one in acceptances.values()} == {0.1 / len(acceptances)}


@pytest.mark.parametrize("nodes", [FLAT, CASCADED, BRANCHED], ids=["flat", "cascaded", "branched"])
@pytest.mark.parametrize("back_off", [True, False])
def test_the_whole_tree_keeps_what_its_nodes_promise(back_off: bool, nodes: dict) -> None:
    """Over calibration draws, the risk on a large population exceeds the target in a share δ at most."""
    tree, target = tree_of(nodes), 0.25
    population, validation = seen_of(tree, 30_000, 99), seen_of(tree, 300, 98)
    fitted = FittedRouter.of(tree, ParentMass(), validation)
    paths = descend(tree, population, fitted)
    rng, failed, answered = np.random.default_rng(0), 0, []
    for _ in range(60):
        drawn = population[np.isin(np.arange(30_000), rng.choice(30_000, 800, replace=False))]
        outputs = {"validation": validation, "calibration": drawn}
        acceptances = fit_acceptances(
            tree, outputs, fitted, rules(tree, FixedSequence(target, 0.1)), back_off=back_off
        )

        def accepts(name: str, acceptances=acceptances) -> np.ndarray:
            if name not in acceptances:
                return np.ones(len(population), bool)
            return acceptances[name].accepts(paths.answers(tree, population, tree.nodes[name]))

        given_ = answer(tree, paths, accepts, back_off=back_off)
        correct = right(tree, given_, population.labels)
        answered.append((given_ > 0).mean())
        failed += bool((given_ > 0).any()) and 1 - correct[given_ > 0].mean() > target
    assert np.mean(answered) > 0.2  # or the promise would be cheap
    assert failed <= 6


@pytest.mark.parametrize("kind", sorted(ROUTERS))
def test_the_numbers_of_cascades_add_up(kind: str) -> None:
    tree = tree_of(BRANCHED)
    outputs = {split: seen_of(tree, 500, seed, foreign=20) for seed, split in enumerate(SPLITS)}
    routers = {name: router() for name, router in ROUTERS.items()}
    rule = rules(tree, Fixed(1.0))
    numbers = evaluate_tree(tree, outputs, routers, kind, [rule], None).numbers
    for one in numbers["routers"].values():
        assert one["accuracy"] + one["lost_by_router"] + one["lost_by_branch"] == pytest.approx(1)
        assert one["load"]["low"] + one["load"]["high"] == pytest.approx(1)
    arrivals = numbers["thresholds"][0]["arrivals"]
    for name, node in tree.nodes.items():
        if node.defer_to:  # those that are not accepted arrive there, and nobody else
            assert arrivals[node.defer_to]["n"] == arrivals[name]["n"] - arrivals[name]["accepted"]
    for label in ("low", "high"):
        sent = sum(arrivals[one]["routed"][label] for one in ("top", "top_deeper"))
        assert arrivals[label]["n"] == sent
    assert arrivals["top_deeper"]["n"] > 0 or kind == "oracle"


@pytest.mark.parametrize("kind", sorted(ROUTERS))
def test_the_numbers_of_a_system_add_up(kind: str) -> None:
    tree = tree_of(DEEP)
    outputs = {
        split: seen_of(tree, 500, seed, foreign=20)
        for seed, split in enumerate(("validation", "calibration", "test"))
    }
    routers = {name: router() for name, router in ROUTERS.items()}
    found = evaluate_tree(tree, outputs, routers, kind, [rules(tree, Risk(0.4))], None)
    numbers = found.numbers
    assert numbers["routers"]["oracle"]["routing_accuracy"] == 1
    assert numbers["routers"]["oracle"]["lost_by_router"] == 0
    for one in numbers["routers"].values():
        assert one["accuracy"] + one["lost_by_router"] + one["lost_by_branch"] == pytest.approx(1)
        assert one["load"]["letters"] + one["load"]["rest"] == pytest.approx(1)
        assert one["load"]["low"] + one["load"]["high"] == pytest.approx(one["load"]["letters"])
        assert one["regret"] == pytest.approx(numbers["routers"]["oracle"]["accuracy"] - one["accuracy"])
        assert one["lead_on_parent"] is None
    [judged] = numbers["thresholds"]
    for name, node in judged["arrivals"].items():
        assert node["n"] == node["lost"] + node["rejected"] + node["accepted"]
        assert node["accepted"] == sum(node["routed"].values())
        if within := tree.nodes[name].within:
            assert node["n"] == judged["arrivals"][within]["routed"][name]
    for kind_, answers in judged["answers"].items():
        assert sum(level["n"] for level in answers["levels"].values()) == answers["n"] == 500
        assert answers["answered"] == pytest.approx(1 - answers["levels"][UNCERTAIN]["share"])
        assert sum(one["n"] for one in answers["by_answer"].values()) == pytest.approx(
            answers["answered"] * 500
        )
        assert answers["foreign"]["n"] == 20
        if kind_ == "outright":
            assert answers["hierarchical_coverage"] == pytest.approx(answers["answered"])


def test_a_node_that_no_validation_image_reaches_accepts_nothing() -> None:
    tree = tree_of(FLAT)
    outputs = {split: seen_of(tree, 200, seed) for seed, split in enumerate(SPLITS)}
    outputs["validation"].root[:] = [1.0, 0.0]
    for rule in (FixedSequence(0.3), RandomWalk(0.3), Risk(0.3)):
        fitted = FittedRouter.of(tree, ParentMass(), outputs["validation"])
        acceptances = fit_acceptances(tree, outputs, fitted, rules(tree, rule), back_off=False)
        assert acceptances["high"].choice.value == np.inf


def test_hierarchical_coverage_counts_what_an_answer_leaves_open() -> None:
    tree = tree_of(FLAT)
    outputs = {
        split: seen_of(tree, 200, seed) for seed, split in enumerate(("validation", "calibration", "test"))
    }
    stop_at_leaves = Rules(
        dict.fromkeys(tree.nodes, MaxSoftmax()), {ROOT: Fixed(0.0), "low": Fixed(1.0), "high": Fixed(1.0)}
    )
    for logits in (one.logits for one in outputs.values()):
        logits["low"][:] = np.clip(logits["low"], -2, 2)
        logits["high"][:] = np.clip(logits["high"], -2, 2)
    found = evaluate_tree(tree, outputs, {"parent_mass": ParentMass()}, "parent_mass", [stop_at_leaves], None)
    judged = found.numbers["thresholds"][0]["answers"]
    answers = judged["back_off"]
    low = answers["by_answer"]["low"]["n"]
    expected = (low * (1 - np.log(3) / np.log(5)) + (200 - low) * (1 - np.log(2) / np.log(5))) / 200
    assert answers["hierarchical_coverage"] == pytest.approx(expected)
    assert answers["levels"]["level 1"]["share"] == 1
    assert judged["outright"]["answered"] == 0


def test_the_parent_stands_beside_the_routers() -> None:
    tree = tree_of(FLAT)
    outputs = {
        split: seen_of(tree, 200, seed) for seed, split in enumerate(("validation", "calibration", "test"))
    }
    parent = np.zeros((200, 5), np.float32)
    parent[np.arange(200), outputs["test"].labels] = 1
    routers = {"parent_mass": ParentMass(), "soft": Soft()}
    numbers = evaluate_tree(tree, outputs, routers, "soft", [rules(tree, Fixed(0.9))], parent).numbers
    assert numbers["parent_alone"]["accuracy"] == 1
    mine = numbers["routers"]["soft"]
    assert mine["lead_on_parent"]["difference"] == pytest.approx(mine["accuracy"] - 1)
    mass = numbers["routers"]["parent_mass"]["accuracy"]
    assert mine["lead_on_parent_mass"]["difference"] == pytest.approx(mine["accuracy"] - mass)
    assert mine["regret"] is None
