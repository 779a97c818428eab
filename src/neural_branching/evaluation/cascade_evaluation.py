"""A cascade as one: exits chosen on validation, the dial certified on calibration, the rest read on test."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from neural_branching.evaluation.acceptance import Acceptance
from neural_branching.evaluation.outcomes import Outcome, accuracy_difference
from neural_branching.routing.exit_choice import ExitChoice, Plan
from neural_branching.routing.exits import ExitCosts, Exits, Leaving
from neural_branching.routing.hierarchy import Tree
from neural_branching.routing.node_outputs import NodeOutputs
from neural_branching.routing.promises import Dial, Promise
from neural_branching.selection import augrc, aurc
from neural_branching.selection.array_types import Bool
from neural_branching.selection.intervals import share_interval
from neural_branching.selection.scores import formulas
from neural_branching.selection.scores.score import INFINITY, Score, Scorer
from neural_branching.selection.thresholds.guaranteed import LEVELS
from neural_branching.selection.thresholds.plain import thresholds_at_coverages

Numbers = dict[str, Any]
CASCADE, LAST = "cascade", "last exit"
NOWHERE = "refused"  # beside the names of exits
PLANS = 10  # of a search that are reported


@dataclass(frozen=True)
class CascadeEvaluation:
    """The numbers of a cascade and what is drawn from.

    Attributes:
        numbers: the block "cascade" of results.json.
        tree: its exits, those that were chosen.
        outputs: the test examples.
        held_out: split → what the exits say of its examples; "test" among them.
        leaving: where these leave at the certified dial.
        acceptances: exit → score and threshold.
        outcomes: the cascade and its last exit → what each gets wrong; what is refused counts by the last
            exit's answer.
    """

    numbers: Numbers
    tree: Tree
    outputs: NodeOutputs
    held_out: Mapping[str, Exits]
    leaving: Leaving
    acceptances: Mapping[str, Acceptance]
    outcomes: Mapping[str, Outcome]


def evaluate_cascade(
    tree: Tree,
    outputs: Mapping[str, NodeOutputs],
    scores: Mapping[str, Score],
    scorers: Mapping[str, Scorer],
    promise: Promise,
    choice: ExitChoice | None,
    costs: Mapping[str, ExitCosts],
) -> CascadeEvaluation:
    """Choose exits on validation, fit the dial on calibration, and evaluate on test.

    Args:
        tree: exits that defer to each other, the first first.
        outputs: "validation", "calibration" and "test" → what the exits say of its examples.
        scores: exit → confidence in its answers.
        scorers: the same, fitted on validation.
        promise: what the dial keeps.
        choice: how exits are chosen among all; None to keep them all.
        costs: of all exits: "macs", and "milliseconds" if these are minimised.
    """
    every = {split: _exits(tree, one.inside, scorers) for split, one in outputs.items()}
    names, plans = list(tree.nodes), []
    kept = tuple(range(len(names)))
    if choice:
        plans = choice.plans(every["validation"], costs[choice.minimise], promise)
        kept = plans[0].exits
    mine = {split: one[kept] for split, one in every.items()}
    prices = {unit: one[kept] for unit, one in costs.items()}
    dial = promise.fit(mine["validation"], mine["calibration"])
    leaving = dial.leaving(mine["test"])
    chosen = Tree.cascade(tree.name, [tree.nodes[names[index]] for index in kept])
    test = mine["test"]
    outcomes = {
        CASCADE: Outcome(leaving.predictions != test.targets, leaving.confidence, test.groups),
        LAST: Outcome(test.predictions[-1] != test.targets, test.confidence[-1], test.groups),
    }
    numbers: Numbers = {
        "exits": list(chosen.nodes),
        "choice": _chosen(choice, plans, names, costs) if choice else None,
        "promise": {
            "rule": str(promise),
            "kind": promise.kind,
            "settings": dict(vars(promise)),
            "promise": promise.promise,
            "guarantee": promise.guarantee,
        },
        "dial": {
            "value": dial.choice.value,
            "refuses": dial.refuses,
            "n": dial.choice.n,
            "unit": dial.choice.unit,
            "certificate": asdict(dial.choice.certificate) if dial.choice.certificate else None,
            "shortage": asdict(dial.choice.shortage) if dial.choice.shortage else None,
        },
        "validation": at(dial.leaving(mine["validation"]), prices),
        "calibration": at(dial.leaving(mine["calibration"]), prices),
        "test": {
            **at(leaving, prices),
            "last_accuracy": outcomes[LAST].accuracy,
            "lead_on_last": _lead(outcomes, leaving.answered),
        },
        "by_exit": _by_exit(leaving, list(chosen.nodes)),
        "alone": {name: _alone(every["test"], index, costs) for index, name in enumerate(names)},
        "path": [
            {
                **asdict(point),
                "test": at(test.leaving(point.value, refuses=promise.refuse), prices),
            }
            for point in dial.path
        ],
        "entropy": _by_entropy(tree, outputs, kept, prices),
    }
    return CascadeEvaluation(
        numbers,
        chosen,
        outputs["test"].inside,
        mine,
        leaving,
        _acceptances(chosen, scores, scorers, promise, dial),
        outcomes,
    )


def at(leaving: Leaving, costs: Mapping[str, ExitCosts]) -> Numbers:
    """How a cascade does on some examples, and what it costs on average.

    Args:
        leaving: where they leave.
        costs: unit → costs of its exits.
    """
    answered, right, groups = leaving.answered, ~leaving.wrong & leaving.answered, leaving.exits.groups
    numbers: Numbers = {
        "n": len(answered),
        "answered": float(answered.mean()),
        "accuracy": float(right.mean()),
        "selective_accuracy": float(right[answered].mean()) if answered.any() else None,
        "differs": float(leaving.differs.mean()),
        "wrong": float(leaving.wrong.mean()),
        "aurc": aurc(leaving.confidence[answered], ~right[answered]) if answered.any() else None,
        "augrc": augrc(leaving.confidence[answered], ~right[answered]) if answered.any() else None,
        "intervals": {
            "accuracy": share_interval(right, groups),
            "differs": share_interval(leaving.differs, groups),
            "selective_accuracy": share_interval(
                right[answered], None if groups is None else groups[answered]
            )
            if answered.any()
            else None,
        },
    }
    return numbers | {unit: _cost(leaving, one) for unit, one in costs.items()}


def _lead(outcomes: Mapping[str, Outcome], answered: Bool[np.ndarray, " n"]) -> Numbers | None:
    """How much more accurate than the last exit, paired on what the cascade answers; None of nothing."""
    if not answered.any():
        return None
    pair = [
        Outcome(
            one.error[answered], one.score[answered], None if one.groups is None else one.groups[answered]
        )
        for one in (outcomes[CASCADE], outcomes[LAST])
    ]
    return accuracy_difference(*pair)


def _cost(leaving: Leaving, costs: ExitCosts) -> Numbers:
    mean = float(costs.of(leaving).mean())
    return {"mean": mean, "share": mean / float(costs.alone[-1])}


def _exits(tree: Tree, outputs: NodeOutputs, scorers: Mapping[str, Scorer]) -> Exits:
    """What the exits answer, and how sure they are."""
    answers = {name: outputs.answers(tree, node) for name, node in tree.nodes.items()}
    return Exits(
        np.stack([scorers[name](one) for name, one in answers.items()]),
        np.stack([one.predictions for one in answers.values()]),
        answers[tree.root].targets,
        outputs.groups,
    )


def _acceptances(
    tree: Tree,
    scores: Mapping[str, Score],
    scorers: Mapping[str, Scorer],
    promise: Promise,
    dial: Dial,
) -> dict[str, Acceptance]:
    found = {}
    for name, node in tree.nodes.items():
        value = dial.threshold(last=node.defer_to is None)
        choice = replace(dial.choice, value=value)
        found[name] = Acceptance(scores[name], scorers[name], choice, promise)
    return found


def _by_exit(leaving: Leaving, names: Sequence[str]) -> Numbers:
    """What leaves at each exit, and how right it is there."""
    places = {name: leaving.at == index for index, name in enumerate(names)}
    places[NOWHERE] = ~leaving.answered
    return {
        name: {
            "n": int(here.sum()),
            "share": float(here.mean()),
            "accuracy": _share(~leaving.wrong[here & leaving.answered]),
            "differs": _share(leaving.differs[here & leaving.answered]),
        }
        for name, here in places.items()
    }


def _alone(exits: Exits, index: int, costs: Mapping[str, ExitCosts]) -> Numbers:
    """An exit that answers everything by itself."""
    error = exits.predictions[index] != exits.targets
    numbers: Numbers = {
        "n": len(error),
        "accuracy": float(1 - error.mean()),
        "aurc": aurc(exits.confidence[index], error),
        "intervals": {"accuracy": share_interval(~error, exits.groups)},
    }
    for unit, one in costs.items():
        mean = float(one.alone[index])
        numbers[unit] = {"mean": mean, "share": mean / float(one.alone[-1])}
    return numbers


def _by_entropy(
    tree: Tree, outputs: Mapping[str, NodeOutputs], kept: Sequence[int], costs: Mapping[str, ExitCosts]
) -> list[Numbers]:
    """The same exits with a threshold on entropy, as in BranchyNet (Teerapittayanon et al., 2016).

    It is uncalibrated, one for all exits, and certifies nothing: its whole curve on test stands beside.
    """

    def sure(outputs: NodeOutputs) -> Exits:
        answers = [outputs.answers(tree, node) for node in tree.nodes.values()]
        confidence = [formulas.negative_entropy(one.logits.astype(np.float64)) for one in answers]
        predictions = [one.predictions for one in answers]
        return Exits(np.stack(confidence), np.stack(predictions), answers[0].targets, outputs.groups)[kept]

    validation, test = sure(outputs["validation"].inside), sure(outputs["test"].inside)
    early = len(kept) > 1
    values = thresholds_at_coverages(validation.strength(refuses=False), LEVELS) if early else []
    return [
        {"entropy": -value, **at(test.leaving(value, refuses=False), costs)}
        for value in (INFINITY, *dict.fromkeys(values))
    ]


def _chosen(
    choice: ExitChoice, plans: Sequence[Plan], names: Sequence[str], costs: Mapping[str, ExitCosts]
) -> Numbers:
    """What the search has looked at, the best first."""
    whole = float(costs[choice.minimise].alone[-1])
    return {
        "minimised": choice.minimise,
        "budget": choice.budget,
        "among": list(names),
        "cascades": len(plans),
        "best": [
            {
                "exits": [names[index] for index in plan.exits],
                "validation": {
                    "broken": plan.broken,
                    "accuracy": plan.accuracy,
                    "answered": plan.answered,
                    "cost_share": plan.cost / whole,
                },
            }
            for plan in plans[:PLANS]
        ],
    }


def _share(chosen: Bool[np.ndarray, " n"]) -> float | None:
    return float(chosen.mean()) if len(chosen) else None
