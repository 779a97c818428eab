"""How many test examples have a duplicate among what was learned from, and accuracy without these."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neural_branching.artifacts.workspace import Workspace
from neural_branching.config.branch_spec import BranchSpec
from neural_branching.data.overlap import LIST, Overlap, ensure_list, read_duplicates
from neural_branching.evaluation.outcomes import Outcome
from neural_branching.selection import risk_coverage_curve
from neural_branching.selection.intervals import share_interval

Numbers = dict[str, Any]


def duplicates(
    workspace: Workspace,
    branch: BranchSpec,
    test: NDArray[np.int64],
    outcomes: Mapping[str, Outcome],
) -> Numbers:
    """The block "duplicates" of results.json; its "file" is named from the folder of the store.

    Args:
        workspace: parent and examples; ``table.duplicates`` is there.
        branch: what has learned from its training examples.
        test: int64 (n,), rows of the test examples.
        outcomes: names of models → what they get wrong of these; the first one is the run's own, whose
            numbers stand by themselves.
    """
    table, likeness = workspace.table, workspace.table.input.likeness
    assert table.duplicates is not None
    overlap = Overlap(read_duplicates(table.duplicates), table.labels, table.split)
    listed = (
        ensure_list(workspace.store, table.duplicates, overlap, table.classes, table.split_key, table.input)
        if overlap
        else None
    )
    numbers: Numbers = {
        "correlation": likeness["correlation"],
        "mirrored": likeness["mirror"],
        "split": workspace.data.split.duplicates,
        "complete": overlap.found.complete,
        "left_out": overlap.left_out,
        "file": f"{listed.kind}/{listed.key}/{LIST}" if listed else None,
        **overlap.counts(),
    }
    again = {
        split: overlap.among(test, _used(workspace, branch, split))
        for split in ("train", "validation", "calibration")
    }
    alone = ~again["train"][0]
    return numbers | {
        "test": {
            "n": len(test),
            **{
                split: {"examples": int(near.sum()), "exact": int(exact.sum())}
                for split, (near, exact) in again.items()
            },
        },
        "without": _without(outcomes, alone),
    }


def _used(workspace: Workspace, branch: BranchSpec, split: str) -> NDArray[np.int64]:
    """Rows of a split that the branch, or the parent if it was trained here, has seen."""
    table, parent = workspace.table, workspace.parent
    rows = table.rows(split, branch.classes, per_class=branch.examples_per_class)
    if parent.learns:
        rows = np.union1d(rows, table.rows(split, tuple(parent.labels.of), training_source="parent"))
    return rows


def _without(outcomes: Mapping[str, Outcome], alone: NDArray[np.bool_]) -> Numbers:
    """Accuracy and AURC on the test examples that have no duplicate among the training examples.

    Args:
        outcomes: as for ``duplicates``.
        alone: which these are, bool (n,).
    """
    n, numbers = int(alone.sum()), {}
    for name, one in outcomes.items():
        error, score = one.error[alone], one.score[alone]
        groups = None if one.groups is None else one.groups[alone]
        curve = risk_coverage_curve(score, error) if n else None
        numbers[name] = {
            "accuracy": float(curve.accuracy()) if curve else None,
            "aurc": float(curve.aurc()) if curve else None,
            "intervals": {"accuracy": share_interval(~error, groups) if n else None},
        }
    own, *others = outcomes
    return {"n": n, **numbers[own], **{name: numbers[name] for name in others}}
