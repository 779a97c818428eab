"""Where a tree stops an image: a score and a threshold for every node, within one budget of errors."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neural_branching.evaluation.fitted import Stop, fit_score, held_out
from neural_branching.routing.descent import Guide, Seen, travel
from neural_branching.routing.hierarchy import Tree
from neural_branching.selection import Answers
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


def fit_stops(
    tree: Tree, seen: Mapping[str, Seen], guide: Guide, rules: Rules, *, back_off: bool
) -> dict[str, Stop]:
    """Fit the score and the threshold of every node that may stop an image.

    With back-off every node stops images, and the answer is the last label that was accepted. If it
    is wrong, some node has accepted a wrong turn, at one of the tree's levels, and whatever a node
    accepts was accepted by the root. So the share of wrong answers is at most the sum over the levels
    of the largest selective risk at each: every node gets the target divided by the number of levels.
    Any certificate may fail: δ is divided by the number of nodes.

    Who arrives at a node depends on the thresholds above it, which were fitted on calibration images.
    So that no certificate rests on images that decided who arrives, each level has calibration images
    of its own, every l-th of a class.

    Without back-off only leaves stop images: all calibration images and the whole target are theirs.

    Args:
        tree: the tree.
        seen: split → what the nodes say of its images: "validation", "calibration", and "train" if a
            score learns from it.
        guide: who shows the way; it may have learned from validation, not from calibration.
        rules: how nodes accept.
        back_off: whether less than a class is an answer.

    Returns:
        Name of each node that stops images → how; a node before those below it.
    """
    inside = {split: one.inside for split, one in seen.items() if split != "test"}
    ways = {split: travel(tree, one, guide) for split, one in inside.items()}
    levels = tree.levels if back_off else 1
    level = _level(inside["calibration"].labels, levels)
    going = {split: {tree.root: np.ones(len(one), dtype=bool)} for split, one in inside.items()}
    stopping = [node for node in tree.nodes.values() if back_off or node.leaf]
    stops: dict[str, Stop] = {}
    for name, node in tree.nodes.items():
        here = {split: going[split][name] & ways[split].goes_on(name) for split in inside}
        answers = {split: ways[split].answers(tree, one, node) for split, one in inside.items()}
        if node in stopping:
            mine = {**here, "calibration": here["calibration"] & (level == tree.depth(name) % levels)}
            rule = rules.thresholds[name].shared(levels, len(stopping))
            arrived = {split: answers[split][mine[split]] for split in mine}
            stops[name] = _stop(arrived, rules.scores[name], rule)
            here = {split: here[split] & stops[name].accepts(answers[split]) for split in inside}
        if not node.leaf:
            for split, way in ways.items():
                going[split] |= way.routed(node, here[split])
    return stops


def _stop(answers: Mapping[str, Answers], score: Score, rule: Threshold) -> Stop:
    """Fit a score on images that belong to the node, the threshold on all that arrive there."""
    scorer, fitted_on = fit_score(score, answers)
    if scorer is None:
        nowhere = Scorer(lambda given: np.zeros(len(given)))
        return Stop(
            score, nowhere, _nothing(f"the {score.learns_from} split, from which its score learns,"), rule
        )
    calibration, validation = answers["calibration"][fitted_on], answers["validation"]
    if not (len(calibration) and len(validation)) and not isinstance(rule, Fixed):
        return Stop(score, scorer, _nothing("the calibration or the validation split"), rule)
    choice = rule.fit(held_out(scorer, calibration, validation, np.empty(0)))
    return Stop(score, scorer, choice, rule)


def _nothing(split: str) -> Choice:
    """No answer is accepted where there is nothing to fit on."""
    return Choice(float("inf"), 0, shortage=Shortage(None, None, f"No image of {split} arrives at the node."))


def _level(labels: NDArray[np.int64], levels: int) -> NDArray[np.int64]:
    """A level for every image, in turn among the images of its class, int64 (n,).

    Rows are ordered by the hash of their pixels, so that this is a draw; and always the same one.
    """
    level = np.zeros(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        mine = np.flatnonzero(labels == label)
        level[mine] = np.arange(len(mine)) % levels
    return level
