"""A stack of branches of one shape, from their cached activations to what the store keeps of each."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytorch_lightning as pl
import torch
from torch import Tensor

from neural_branching.artifacts.activations import fits_memory
from neural_branching.artifacts.build_networks import new_branch
from neural_branching.artifacts.ensure_branch import branch_data
from neural_branching.artifacts.trained_weights import save
from neural_branching.artifacts.workspace import Workspace
from neural_branching.config.branch_spec import BranchSpec
from neural_branching.data.tensor_data import TensorDataModule
from neural_branching.networks.standardize import Standardize
from neural_branching.store.artifact_store import Build, Facts
from neural_branching.training.compute import Compute
from neural_branching.training.history import History
from neural_branching.training.stack import Member, fit_together

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Wanted:
    """A branch that is to be trained with others.

    Attributes:
        branch: the branch.
        rows: equal for branches that learn from the same rows.
        workspace: what it grows from.
    """

    branch: BranchSpec
    rows: str
    workspace: Workspace


def train_stack(wanted: Sequence[Wanted], compute: Compute) -> list[Build | None]:
    """Train branches of one shape at once.

    Args:
        wanted: the branches.
        compute: where.

    Returns:
        What writes each of them; None for one that is left to its own run, as it diverged or does not fit
        into memory beside the others.
    """
    shared: dict[str, _Rows] = {}
    stack, held = {}, 0
    for place, one in enumerate(wanted):
        if one.rows not in shared:
            data = branch_data(one.workspace, one.branch)
            count, width = data.train[0].shape
            if not fits_memory(held + count, width):
                continue
            held += count
            shared[one.rows] = _Rows.of(data)
        stack[place] = _member(one.branch, one.workspace.compute, shared[one.rows])
    if len(stack) < 2:
        return [None for _ in wanted]
    title = f"{len(stack)} branches of one shape"
    log.info("Training %s at once.", title)
    histories = fit_together(list(stack.values()), compute, title)
    writers = {
        place: _writer(member, history)
        for (place, member), history in zip(stack.items(), histories, strict=True)
        if history is not None
    }
    return [writers.get(place) for place in range(len(wanted))]


@dataclass(frozen=True)
class _Rows:
    """What branches learn from, standardised once for all of them, and by which statistics."""

    train: tuple[Tensor, Tensor]
    validation: tuple[Tensor, Tensor]
    statistics: Mapping[str, Tensor]

    @classmethod
    def of(cls, data: TensorDataModule) -> "_Rows":
        (x, y), (held_out, targets) = data.train, data.validation
        standardize = Standardize(x.shape[1:])
        standardize.learn(x)
        return cls((standardize(x), y), (standardize(held_out), targets), standardize.state_dict())


def _member(spec: BranchSpec, compute: Compute, rows: _Rows) -> Member:
    """A new branch as its own fit would start it."""
    pl.seed_everything(spec.seed, verbose=False)
    branch = new_branch(spec, rows.train[0].shape[1])
    branch.standardize.load_state_dict(rows.statistics)
    device = compute.device()
    dropout = torch.Generator(device)
    if device.type == "cpu":
        dropout.set_state(torch.get_rng_state())  # what the branch's own fit would draw from now on
    else:
        dropout.manual_seed(spec.seed)
    order = torch.Generator().manual_seed(spec.seed)
    return Member(branch, spec.recipe, rows.train, rows.validation, order, dropout)


def _writer(member: Member, history: History) -> Build:
    def write(folder: Path) -> Facts:
        return save(member.branch, folder, (member.recipe, history))

    return write
