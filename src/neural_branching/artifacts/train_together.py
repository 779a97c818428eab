"""The branches that several runs need, trained before the runs: those of one shape at once.

A run asks the store for its branch and finds it there. So nothing about a run changes, whether its
branch was trained alone or in a stack; a change of one has to be made in the other.
"""

import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from neural_branching.artifacts.build_networks import input_width
from neural_branching.artifacts.ensure_branch import branch_identity
from neural_branching.artifacts.ensure_data import ensure_data
from neural_branching.artifacts.trained_weights import HISTORY, WEIGHTS
from neural_branching.artifacts.workspace import Workspace, store_of
from neural_branching.config.branch_spec import BranchSpec
from neural_branching.config.experiment import Experiment
from neural_branching.data.table import DataTable
from neural_branching.networks.mlp import MLP
from neural_branching.store.artifact_store import Build, canonical

log = logging.getLogger(__name__)

# Of a stack at most: more are no faster, and memory grows with them.
MEMBERS = {"cpu": 64, "cuda": 128}


@dataclass(frozen=True)
class _Wanted:
    """A branch of an experiment."""

    experiment: Experiment
    branch: BranchSpec

    @property
    def rows(self) -> str:
        """What decides the rows that it learns from; the labels too, where they are shuffled."""
        mine = self.experiment.data.text, self.experiment.parent.text
        return json.dumps([*mine, canonical(self.branch.rows)], sort_keys=True)

    @property
    def signature(self) -> tuple[str, str, str]:
        """What decides its weights, as far as settings tell."""
        return self.experiment.data.text, self.experiment.parent.text, self.branch.text


def train_together(experiments: Iterable[Experiment]) -> None:
    """Train the branches that are missing from the store, where at least two have one shape.

    Branches have one shape if they have the same network on vectors of the same length for as many
    labels, equally many training and validation rows, and recipes that differ at most in learning rate
    and weight decay. All others are left to their own runs; so is what fails, for its run to report.

    Args:
        experiments: whose branches are wanted; one that grows from another is trained after it.
    """
    wanted = (
        _Wanted(experiment, branch)
        for experiment in experiments
        if experiment.compute.together
        for branch in (*experiment.branches.values(), *experiment.gates.values())
    )
    distinct = {one.signature: one for one in wanted}
    for _, level in groupby(sorted(distinct.values(), key=_depth), key=_depth):
        shapes: dict[Any, list[_Wanted]] = {}
        for one in level:
            try:
                shapes.setdefault(_shape(one), []).append(one)
            except Exception as error:  # whatever it is, the branch's own run meets it again and reports it
                log.debug("%s is left to its own run: %s", one.branch.name, error)
        for members in shapes.values():
            size = MEMBERS.get(members[0].experiment.compute.device().type, MEMBERS["cpu"])
            for start in range(0, len(members) if len(members) > 1 else 0, size):
                _train(members[start : start + size])


def _train(members: Sequence[_Wanted]) -> None:
    """Train those of some branches that are missing at once, into the store."""
    first = members[0].experiment
    first.compute.apply()
    store = store_of(first)
    needed, identities = [], []
    for one in members:
        try:
            workspace = Workspace.of(one.experiment, ensure_data(one.experiment.data, store))
            identities.append(branch_identity(workspace, one.branch))
            needed.append((one, workspace))
        except Exception as error:  # as above
            log.debug("%s is left to its own run: %s", one.branch.name, error)

    def build(missing: list[int]) -> list[Build | None]:
        if len(missing) == 1:
            return [None]  # alone it is trained by its own run
        from neural_branching.artifacts.train_stack import Wanted, train_stack  # Lightning is slow to import

        wanted = [
            Wanted(one.branch, one.rows, workspace) for one, workspace in map(needed.__getitem__, missing)
        ]
        return train_stack(wanted, first.compute)

    store.fetch_together("branch", identities, build, needs=(WEIGHTS, HISTORY))


def _depth(wanted: _Wanted) -> int:
    trunk, depth = wanted.branch.trunk, 0
    while trunk:
        trunk, depth = trunk.trunk, depth + 1
    return depth


def _shape(wanted: _Wanted) -> Any:
    """What branches of one stack have in common.

    Raises:
        Exception: if it cannot be told.
    """
    experiment, branch = wanted.experiment, wanted.branch
    if branch.network["_target_"] != f"{MLP.__module__}.{MLP.__name__}":
        return wanted.signature  # only perceptrons are stacked: every other one is a shape of its own
    table = ensure_data(experiment.data, store_of(experiment))
    rows = [_count(table, branch, split) for split in ("train", "validation")]
    common = (
        branch.network,
        {**vars(branch.recipe), "lr": None, "weight_decay": None},
        input_width(experiment.parent, branch),
        len(branch.groups),
        rows,
        branch.views.count,
        {**vars(experiment.compute), "logger": None},  # a stack shows no curves
    )
    return json.dumps(canonical(common), sort_keys=True)


def _count(table: DataTable, branch: BranchSpec, split: str) -> int:
    return len(table.rows(split, branch.classes, per_class=branch.examples_per_class))
