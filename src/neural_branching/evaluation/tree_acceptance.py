"""Where a tree stops an example: a score and a threshold for every node, within one budget of errors."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from neural_branching.evaluation.acceptance import Acceptance, NothingToLearnError
from neural_branching.evaluation.scored_node import NodeAnswers, score_node
from neural_branching.routing.descent import FittedRouter, Visit, descend
from neural_branching.routing.hierarchy import Tree
from neural_branching.routing.node_outputs import NodeOutputs
from neural_branching.selection import Answers
from neural_branching.selection.array_types import Int64
from neural_branching.selection.scores.score import Score, Scorer
from neural_branching.selection.thresholds.plain import Fixed
from neural_branching.selection.thresholds.threshold import Choice, Shortage, Threshold


@dataclass(frozen=True)
class Rules:
    """How nodes accept.

    Attributes:
        scores: node → confidence in its answers.
        thresholds: node → how its threshold is chosen.
    """

    scores: Mapping[str, Score]
    thresholds: Mapping[str, Threshold]

    def __str__(self) -> str:
        return str(next(iter(self.thresholds.values())))


def fit_acceptances(
    tree: Tree, outputs: Mapping[str, NodeOutputs], fitted: FittedRouter, rules: Rules, *, back_off: bool
) -> dict[str, Acceptance]:
    """Fit the score and the threshold of every node that may stop an example.

    With back-off every node may, and the answer is the last label that was accepted. If it is wrong,
    some node has accepted a wrong label, at one of the tree's levels, and whatever a node accepts was
    accepted by the root. So the share of wrong answers is at most the sum over the levels of the
    largest selective risk at each: every node gets the target divided by the number of levels.
    Any certificate may fail: δ is divided by the number of nodes.

    What the exits of a cascade accept adds no level: each example is accepted by one of them, so that the
    risk of all is a mean of theirs.

    Who arrives at a node depends on the thresholds of the nodes that are asked before it, which were fitted
    on calibration examples. So that no certificate rests on examples that decided who arrives, nodes that
    are asked one after another have calibration examples of their own, every l-th of a class.

    Without back-off only leaves stop examples, so that the whole target is theirs, and an exit above them
    only hands them on; calibration examples are shared out to the nodes that do either.

    Args:
        tree: the tree.
        outputs: split → what the nodes put out for its examples: "validation", "calibration", and "train"
            if a score learns from it.
        fitted: the router; it may have learned from validation, not from calibration.
        rules: how nodes accept.
        back_off: whether less than a class is an answer.

    Returns:
        Name of each node that may stop an example → how it accepts; a node before those below it.
    """
    inside = {split: one.inside for split, one in outputs.items() if split != "test"}
    paths = {split: descend(tree, one, fitted) for split, one in inside.items()}
    levels = tree.levels if back_off else 1
    stopping = [node for node in tree.nodes.values() if back_off or node.leaf or node.defer_to]
    # How many of them are asked before each.
    turns = {
        node.name: sum(tree.nodes[one] in stopping for one in tree.before(node.name)) for node in stopping
    }
    parts = _parts(inside["calibration"], 1 + max(turns.values()))
    going = {split: {tree.root: np.ones(len(one), dtype=bool)} for split, one in inside.items()}
    acceptances: dict[str, Acceptance] = {}
    for name, node in tree.nodes.items():
        here = {split: going[split][name] & paths[split].goes_on(name) for split in inside}
        answers = {split: paths[split].answers(tree, one, node) for split, one in inside.items()}
        if node in stopping:
            mine = {**here, "calibration": here["calibration"] & (parts == turns[name])}
            rule = rules.thresholds[name].shared(levels, len(stopping))
            arrived = {split: answers[split][mine[split]] for split in mine}
            acceptances[name] = _fit(name, arrived, rules.scores[name], rule)
            here = {split: here[split] & acceptances[name].accepts(answers[split]) for split in inside}
        for split, one in paths.items():
            visit = Visit(node, going[split][name], here[split], one.routed(node, here[split]))
            visit.hand_on(going[split])
    return acceptances


def _fit(name: str, arrived: dict[str, Answers], score: Score, rule: Threshold) -> Acceptance:
    """A score fitted on examples that belong to the node, the threshold on all that arrive there."""
    try:
        node = score_node(NodeAnswers(arrived, {}), score, f"node {name!r}")
    except NothingToLearnError:
        nowhere = Scorer.of_logits(lambda logits: logits[:, 0] * 0)
        missing = f"the {score.learns_from} split, from which its score learns,"
        return Acceptance(score, nowhere, _nothing(missing), rule)
    if not (len(node.held_out.score) and len(arrived["validation"])) and not isinstance(rule, Fixed):
        return Acceptance(score, node.scorer, _nothing("the calibration or the validation split"), rule)
    return node.with_threshold(rule).acceptance


def _nothing(split: str) -> Choice:
    """No answer is accepted where there is nothing to fit on."""
    shortage = Shortage(None, None, f"No example of {split} arrives at the node.")
    return Choice(float("inf"), 0, shortage=shortage)


def _parts(seen: NodeOutputs, count: int) -> Int64[np.ndarray, " n"]:
    """The number of a part for every example, in turn among those of its class; groups stay together.

    Rows are ordered by the hash of their content, so that this is a draw; and always the same one.
    """
    labels = seen.labels
    if seen.groups is not None:
        place: Int64[np.ndarray, " n"] = np.unique(seen.groups, return_inverse=True)[1]
        return place % count
    parts = np.zeros(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        mine = np.flatnonzero(labels == label)
        parts[mine] = np.arange(len(mine)) % count
    return parts
