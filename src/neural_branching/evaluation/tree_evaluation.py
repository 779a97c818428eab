"""A whole tree evaluated on test: routers side by side, every node, and what examples are answered."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from neural_branching.evaluation.acceptance import Acceptance
from neural_branching.evaluation.outcomes import Outcome, accuracy_difference
from neural_branching.evaluation.tree_acceptance import Rules, fit_acceptances
from neural_branching.routing.descent import (
    FittedRouter,
    RoutingPaths,
    answer,
    answers_of,
    descend,
    right,
    visits,
)
from neural_branching.routing.hierarchy import UNCERTAIN, Tree
from neural_branching.routing.node_outputs import NodeOutputs
from neural_branching.routing.routers import Router
from neural_branching.selection import augrc, aurc
from neural_branching.selection.array_types import Bool, Float, Int64
from neural_branching.selection.intervals import share_interval
from neural_branching.selection.scores.from_logits import softmax

Numbers = dict[str, Any]
BACK_OFF, OUTRIGHT = "back_off", "outright"
PARENT_ALONE = "parent alone"


@dataclass(frozen=True)
class TreeAtThreshold:
    """A tree under one threshold for each of its nodes.

    Attributes:
        numbers: an entry of the block "thresholds" of results.json.
        given: answer to each test example with back-off, an index into ``answers_of(tree)``.
        acceptances: where the tree stops an example, with back-off.
    """

    numbers: Numbers
    given: Int64[np.ndarray, " n"]
    acceptances: Mapping[str, Acceptance]


@dataclass(frozen=True)
class TreeEvaluation:
    """The numbers of a tree and what is drawn from.

    Attributes:
        numbers: the blocks "validation", "parent_alone", "routers" and "thresholds" of results.json.
        outputs: the test examples of the tree's classes.
        paths: where the chosen router sends them.
        router: the chosen router, fitted.
        thresholds: what its nodes' thresholds make of them.
        outcomes: every router and the parent alone → what it gets wrong without thresholds.
    """

    numbers: Numbers
    outputs: NodeOutputs
    paths: RoutingPaths
    router: FittedRouter
    thresholds: Sequence[TreeAtThreshold]
    outcomes: Mapping[str, Outcome]


def evaluate_tree(
    tree: Tree,
    outputs: Mapping[str, NodeOutputs],
    routers: Mapping[str, Router],
    chosen: str,
    rules: Sequence[Rules],
    parent: Float[np.ndarray, "n classes"] | None,
) -> TreeEvaluation:
    """Fit routers on validation and thresholds on calibration, and evaluate everything on test.

    Args:
        tree: the tree.
        outputs: split → what the nodes say of its examples, those of classes outside the tree included;
            "train" is there if a score learns from it.
        routers: kind → router, all that are compared.
        chosen: kind of the one that thresholds are fitted for.
        rules: how nodes accept; each is evaluated by itself.
        parent: the parent's own logits of the tree's classes for all test examples; None if it does not
            know them.

    Raises:
        InputError: if the chosen router, or a score, lacks what it needs.
    """
    test, validation = outputs["test"].inside, outputs["validation"].inside
    fitted = {
        kind: FittedRouter.of(tree, router, validation)
        for kind, router in routers.items()
        if kind == chosen or outputs["test"].root is not None or not router.asks_node
    }
    paths = {kind: descend(tree, test, one) for kind, one in fitted.items()}
    outcomes = {
        kind: Outcome(one.classes != test.labels, one.confidence, test.groups) for kind, one in paths.items()
    }
    alone = None
    if parent is not None:
        logits = parent[outputs["test"].labels >= 0]
        alone = Outcome(logits.argmax(1) != test.labels, softmax(logits).max(1), test.groups)
    evaluated = [_at_threshold(tree, outputs, fitted[chosen], paths[chosen], one) for one in rules]
    before = descend(tree, validation, fitted[chosen])
    numbers = {
        "validation": {"n": len(validation), "accuracy": float((before.classes == validation.labels).mean())},
        "parent_alone": _outcome(alone) if alone else None,
        "routers": {
            kind: {
                **_outcome(outcomes[kind]),
                "bound": routers[kind].bound,
                **_routed(tree, test, one, outcomes[kind]),
                "regret": outcomes["oracle"].accuracy - outcomes[kind].accuracy
                if "oracle" in paths
                else None,
                "lead_on_parent": _lead(outcomes[kind], alone),
                "lead_on_parent_mass": _lead(outcomes[kind], outcomes.get("parent_mass")),
            }
            for kind, one in paths.items()
        },
        "thresholds": [one.numbers for one in evaluated],
    }
    return TreeEvaluation(
        numbers,
        test,
        paths[chosen],
        fitted[chosen],
        evaluated,
        {PARENT_ALONE: alone, **outcomes} if alone else outcomes,
    )


def _at_threshold(
    tree: Tree,
    outputs: Mapping[str, NodeOutputs],
    router: FittedRouter,
    paths: RoutingPaths,
    rules: Rules,
) -> TreeAtThreshold:
    """Fit thresholds for a router and count what test examples are answered.

    Args:
        tree: the tree.
        outputs: as for ``evaluate_tree``.
        router: the fitted router.
        paths: where it sends the test examples of the tree's classes.
        rules: how nodes accept.
    """
    test, foreign = outputs["test"].inside, outputs["test"][outputs["test"].labels < 0]
    acceptances = {
        BACK_OFF: fit_acceptances(tree, outputs, router, rules, back_off=True),
        OUTRIGHT: fit_acceptances(tree, outputs, router, rules, back_off=False),
    }
    foreign_paths = descend(tree, foreign, router)
    answers, given = {}, {}
    for kind, mine in acceptances.items():
        given[kind] = _given(tree, test, paths, mine, back_off=kind == BACK_OFF)
        others = _given(tree, foreign, foreign_paths, mine, back_off=kind == BACK_OFF)
        answers[kind] = {
            **_answers(tree, given[kind], test),
            **_promise(mine, rules),
            "foreign": {"n": len(foreign), "answered": _share(others > 0)},
        }
    numbers = {
        "threshold": {"rule": str(rules), "settings": dict(vars(rules.thresholds[tree.root]))},
        "answers": answers,
        "arrivals": _arrivals(tree, test, paths, acceptances),
    }
    return TreeAtThreshold(numbers, given[BACK_OFF], acceptances[BACK_OFF])


def _promise(acceptances: Mapping[str, Acceptance], rules: Rules) -> Numbers:
    """What holds for the answers of the whole tree to examples of its classes, and how far."""
    kept = {(type(rules.thresholds[name]), str(rules.thresholds[name])) for name in acceptances}
    first = rules.thresholds[next(iter(acceptances))]
    if len(kept) > 1 or first.guarantee == "none":
        return {"promise": None, "guarantee": "none"}
    return {"promise": first.promise, "guarantee": first.guarantee}


def _outcome(one: Outcome) -> Numbers:
    """How often a paths through the tree ends at the right class, and how well it knows."""
    return {
        "n": len(one.error),
        "accuracy": one.accuracy,
        "accuracy_interval": share_interval(~one.error, one.groups),
        "aurc": aurc(one.score, one.error),
        "augrc": augrc(one.score, one.error),
    }


def _routed(tree: Tree, outputs: NodeOutputs, paths: RoutingPaths, outcome: Outcome) -> Numbers:
    """Which branch each example is sent to, and where those that end wrongly were lost."""
    leaves = [node for node in tree.nodes.values() if node.leaf and not node.defer_to]
    belongs = np.stack([outputs.truth(tree, node) >= 0 for node in leaves])
    arrived = np.stack([paths.arrived[node.name] for node in leaves])
    right_branch = (belongs & arrived).any(axis=0)
    return {
        "routing_accuracy": float(right_branch.mean()),
        "lost_by_router": float((outcome.error & ~right_branch).mean()),
        "lost_by_branch": float((outcome.error & right_branch).mean()),
        "load": {node.name: float(paths.arrived[node.name].mean()) for node in tree.named},
    }


def _regret(outcomes: Mapping[str, Outcome], kind: str) -> float | None:
    """How much less accurate than the oracle."""
    return outcomes["oracle"].accuracy - outcomes[kind].accuracy if "oracle" in outcomes else None


def _lead(mine: Outcome, theirs: Outcome | None) -> Numbers | None:
    """How much more accurate, paired on the same examples."""
    if theirs is None:
        return None
    return accuracy_difference(mine, theirs)


def _given(
    tree: Tree,
    outputs: NodeOutputs,
    paths: RoutingPaths,
    acceptances: Mapping[str, Acceptance],
    *,
    back_off: bool,
) -> Int64[np.ndarray, " n"]:
    """Each example's answer under some thresholds."""

    def accepts(name: str) -> Bool[np.ndarray, " n"]:
        if name not in acceptances:
            return np.ones(len(outputs), dtype=bool)
        return acceptances[name].accepts(paths.answers(tree, outputs, tree.nodes[name]))

    given: Int64[np.ndarray, " n"] = answer(tree, paths, accepts, back_off=back_off)
    return given


def _answers(tree: Tree, given: Int64[np.ndarray, " n"], test: NodeOutputs) -> Numbers:
    """How many examples are answered at each level, how many of them rightly, and how much that says.

    Hierarchical coverage (Goren et al., 2024) counts an answer by what it leaves open: 1 for a class, 0
    for none, 1 − log m / log M for one of m classes out of M in between.
    """
    names, correct = answers_of(tree), right(tree, given, test.labels)
    depths = np.array([0, *(tree.depth(node.name) for node in tree.named), *[-1] * len(tree.classes)])
    sizes = [len(tree.classes), *(len(node.classes) for node in tree.named), *[1] * len(tree.classes)]
    said = 1 - np.log(sizes) / np.log(len(tree.classes))
    answered, depth = given > 0, depths[given]
    groups = None if test.groups is None else test.groups[answered]
    levels = {"class": answered & (depth < 0), UNCERTAIN: ~answered}
    levels |= {f"level {one}": answered & (depth == one) for one in range(tree.levels - 1, 0, -1)}
    return {
        "n": len(given),
        "answered": float(answered.mean()),
        "selective_accuracy": _share(correct[answered]),
        "selective_accuracy_interval": share_interval(correct[answered], groups) if answered.any() else None,
        "hierarchical_coverage": float(said[given].mean()),
        "levels": {
            name: {
                "n": int(chosen.sum()),
                "share": float(chosen.mean()),
                "accuracy": None if name == UNCERTAIN else _share(correct[chosen]),
            }
            for name, chosen in levels.items()
        },
        "by_answer": {
            name: {"n": int((given == index).sum()), "accuracy": _share(correct[given == index])}
            for index, name in enumerate(names)
            if index and (given == index).any()
        },
    }


def _arrivals(
    tree: Tree, outputs: NodeOutputs, paths: RoutingPaths, acceptances: Mapping[str, Mapping[str, Acceptance]]
) -> Numbers:
    """What happens to the examples that arrive at each node, with back-off."""
    answered = {name: paths.answers(tree, outputs, node) for name, node in tree.nodes.items()}
    numbers: Numbers = {}
    for visit in visits(tree, paths, lambda name: acceptances[BACK_OFF][name].accepts(answered[name])):
        node, here, on = visit.node, visit.here, visit.accepted
        name, answers = node.name, answered[node.name]
        lost = here & ~paths.goes_on(name)
        numbers[name] = {
            "n": int(here.sum()),
            "belong": int((here & (answers.targets >= 0)).sum()),
            "accuracy": _share(~answers.error[here]),
            "lost": int(lost.sum()),
            "rejected": int((here & ~lost & ~on).sum()),
            "accepted": int(on.sum()),
            "selective_accuracy": _share(~answers.error[on]),
            "routed": {label: int(chosen.sum()) for label, chosen in visit.routed.items()},
            "thresholds": {kind: mine[name].numbers() for kind, mine in acceptances.items() if name in mine},
        }
    return numbers


def _share(chosen: Bool[np.ndarray, " n"]) -> float | None:
    """Share of true values; None of none."""
    return float(chosen.mean()) if len(chosen) else None
