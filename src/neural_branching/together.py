"""The branches that several runs need, trained before the runs: those of one shape at once.

A run asks the store for its branch and finds it there. So nothing about a run changes, whether its
branch was trained alone or in a stack, and whoever changes the one way changes the other with it.
"""

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from neural_branching.activations import fits_memory, stage_widths
from neural_branching.artifacts import (
    HISTORY,
    WEIGHTS,
    branch_data,
    branch_identity,
    ensure_data,
    ensure_parent,
    save,
)
from neural_branching.branch import Branch
from neural_branching.data.batches import TensorDataModule
from neural_branching.models import image_shape, new_branch, new_parent
from neural_branching.networks.mlp import MLP
from neural_branching.networks.standardize import Standardize
from neural_branching.settings import Settings
from neural_branching.stack import Member, fit_together
from neural_branching.store import Build, Facts, canonical, store_at
from neural_branching.training import History

log = logging.getLogger(__name__)

MEMBERS = 64  # of a stack at most: more are no faster, and memory grows with them


def train_together(wanted: Iterable[Settings]) -> None:
    """Train the branches that are missing from the store, where at least two have one shape.

    Branches have one shape if they have the same network on vectors of the same length for as many
    labels, equally many training and validation rows, and recipes that differ at most in learning rate
    and weight decay. All others are left to their own runs; so is what fails, for its run to report.

    Args:
        wanted: settings of the branches; one that grows from another branch is trained after it.
    """
    distinct = {_signature(one): one for one in wanted if one.compute.together}
    for _, level in groupby(sorted(distinct.values(), key=_depth), key=_depth):
        shapes: dict[str, list[Settings]] = {}
        for one in level:
            try:
                shapes.setdefault(_shape(one), []).append(one)
            except Exception as error:  # whatever it is, the branch's own run meets it again and reports it
                log.debug("%s is left to its own run: %s", one.subset.name, error)
        for members in shapes.values():
            for start in range(0, len(members) if len(members) > 1 else 0, MEMBERS):
                _train(members[start : start + MEMBERS])


def _train(members: Sequence[Settings]) -> None:
    """Train those of some branches that are missing at once, into the store."""
    first = members[0]
    first.compute.apply()
    store = store_at(first.outputs / "store")
    needed, identities = [], []
    for one in members:
        try:
            table = ensure_data(one, store)
            parent = ensure_parent(one, store, table)
            identities.append(branch_identity(one, store, table, parent))
            needed.append((one, table, parent))
        except Exception as error:  # as above
            log.debug("%s is left to its own run: %s", one.subset.name, error)

    def build(missing: list[int]) -> list[Build | None]:
        if len(missing) == 1:
            return [None]  # alone it is trained by its own run
        shared: dict[str, _Rows] = {}
        stack, held = {}, 0
        for place in missing:
            settings, table, parent = needed[place]
            key = _rows(settings)
            if key not in shared:
                data = branch_data(settings, store, table, parent)
                count, width = data.train[0].shape
                if not fits_memory(held + count, width):
                    continue  # its own run trains it by itself
                held += count
                shared[key] = _Rows.of(data)
            stack[place] = _member(settings, shared[key])
        if len(stack) < 2:
            return [None for _ in missing]
        title = f"{len(stack)} branches of one shape"
        log.info("Training %s at once.", title)
        histories = fit_together(list(stack.values()), first.compute, title)
        writers = {
            place: _writer(one.branch, history)
            for (place, one), history in zip(stack.items(), histories, strict=True)
            if history is not None
        }
        return [writers.get(place) for place in missing]

    store.fetch_together("branch", identities, build, needs=(WEIGHTS, HISTORY))


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


def _member(settings: Settings, rows: _Rows) -> Member:
    """A new branch as its own fit would start it."""
    pl.seed_everything(settings.branch_seed, verbose=False)
    branch = new_branch(settings, rows.train[0].shape[1])
    branch.standardize.load_state_dict(rows.statistics)
    device = settings.compute.device()
    dropout = torch.Generator(device)
    if device.type == "cpu":
        dropout.set_state(torch.get_rng_state())  # what the branch's own fit would draw from now on
    else:
        dropout.manual_seed(settings.branch_seed)
    order = torch.Generator().manual_seed(settings.branch_seed)
    return Member(branch, rows.train, rows.validation, order, dropout)


def _writer(branch: Branch, history: History) -> Build:
    def write(folder: Path) -> Facts:
        return save(branch, history, folder)

    return write


def _depth(settings: Settings) -> int:
    return 1 + _depth(settings.trunk) if settings.trunk else 0


def _rows(settings: Settings) -> str:
    """What decides the rows that a branch learns from; the labels too, where they are shuffled."""
    seed = settings.branch_seed if settings.random_labels else None
    trunk = _signature(settings.trunk) if settings.trunk else None
    parts = [settings.config[name] for name in ("data", "parent", "views")]
    rest = (settings.stage, settings.readout.kind, settings.groups, settings.images_per_class, trunk, seed)
    return json.dumps(canonical([*parts, *rest]), sort_keys=True)


def _signature(settings: Settings) -> str:
    """What decides a branch, as far as settings tell."""
    parts = [settings.config["branch"]["network"], vars(settings.branch_fit), settings.branch_seed]
    return json.dumps(canonical([_rows(settings), *parts]), sort_keys=True)


def _shape(settings: Settings) -> str:
    """What branches of one stack have in common.

    Raises:
        Exception: if it cannot be told.
    """
    network = settings.config["branch"]["network"]
    if network["_target_"] != f"{MLP.__module__}.{MLP.__name__}":
        return _signature(settings)  # only perceptrons are stacked: every other one is a shape of its own
    table = ensure_data(settings, store_at(settings.outputs / "store"))
    classes = [name for group in settings.groups for name in group]
    splits = ("train", "validation")
    rows = [len(table.rows(split, classes, per_class=settings.images_per_class)) for split in splits]
    recipe = {**vars(settings.branch_fit), "lr": None, "weight_decay": None}
    inputs: Any = settings.stage, settings.trunk and settings.trunk.config["branch"]["network"]
    if not settings.trunk:
        with torch.device("meta"):
            parent, stages = new_parent(settings), (settings.stage,)
            inputs = stage_widths(parent, image_shape(settings), stages, settings.readout)[settings.stage]
    common = (
        network,
        recipe,
        inputs,
        len(settings.groups),
        rows,
        settings.views.count,
        vars(settings.compute),
    )
    return json.dumps(canonical(common), sort_keys=True)
