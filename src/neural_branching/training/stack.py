"""Many branches of one shape trained at once, as stacked weights in one LightningModule.

A small branch keeps no machine busy: most of a step is the cost of starting operations. K branches
that differ in their data, seed, learning rate or weight decay take the same steps, so that each
operation can do all of them. Each branch meets exactly what it would meet alone: its own rows in its
own order, its own dropout, its own best epoch and its own early stop.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from neural_branching.data.tensor_data import EpochLoader
from neural_branching.networks.mlp import MLP
from neural_branching.networks.standardized_network import StandardizedNetwork
from neural_branching.training.captured_step import Capturer, Step, capturer_of, prepared
from neural_branching.training.compute import Compute
from neural_branching.training.epoch_module import count_steps, optimizer_of
from neural_branching.training.fit import ProgressLine, new_trainer
from neural_branching.training.history import METRICS, History, best_epoch
from neural_branching.training.masks import Masks, drawn_ahead
from neural_branching.training.recipe import Recipe


@dataclass(frozen=True)
class Member:
    """One branch of a stack and what it learns from.

    Attributes:
        branch: the initialised branch, its network an ``MLP``; trained in place.
        recipe: how.
        train: standardised inputs float32 (n, width) and targets int64 (n,). Members may share them.
        validation: the same of the validation split.
        order: draws the order of the training rows.
        dropout: draws the dropout masks.
    """

    branch: StandardizedNetwork
    recipe: Recipe
    train: tuple[Tensor, Tensor]
    validation: tuple[Tensor, Tensor]
    order: torch.Generator
    dropout: torch.Generator


class StackedBatches:
    """Passes of branches over their own rows, in batches of shape (K, b, …).

    Args:
        pool: the rows of all branches, one set after the other; a set that several learn from is there
            once. Inputs float32 (rows, width) and targets int64 (rows,).
        starts: where the rows of each branch begin in the pool, int64 (K,).
        n: number of rows of each branch.
        batch_size: rows per batch and branch; the last may be smaller.
        orders: a generator for each branch that draws its order; None keeps the order.
    """

    def __init__(
        self,
        pool: tuple[Tensor, Tensor],
        starts: Tensor,
        n: int,
        batch_size: int,
        orders: Sequence[torch.Generator] | None = None,
    ) -> None:
        self.pool, self.starts, self.n = pool, starts, n
        self.batch_size, self.orders = batch_size, orders

    def draw(self, places: Sequence[int]) -> Iterator[Tensor]:
        """Rows of the pool (K, b), int64, of one pass of the branches at some places of the stack."""
        if self.orders is None:
            order = torch.arange(self.n).expand(len(places), -1)
        else:
            order = torch.stack([torch.randperm(self.n, generator=self.orders[one]) for one in places])
        rows = (order + self.starts[list(places), None]).to(self.pool[0].device)
        yield from torch.split(rows, self.batch_size, dim=1)

    def take(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs (K, b, width) and targets (K, b) of one batch that was drawn."""
        x, y = self.pool
        flat = rows.flatten()
        return x.index_select(0, flat).view(*rows.shape, -1), y.index_select(0, flat).view(rows.shape)


class StackedData(pl.LightningDataModule):
    """The rows of the members of a stack, on the trainer's device.

    Args:
        members: they have equally many training rows, and equally many validation rows.
        batch_size: rows per step and branch.
    """

    def __init__(self, members: Sequence[Member], batch_size: int) -> None:
        super().__init__()
        self.members, self.batch_size = members, batch_size

    @property
    def steps_per_epoch(self) -> int:
        """Number of optimiser steps in one epoch."""
        return -(-len(self.members[0].train[1]) // self.batch_size)

    def train_dataloader(self) -> EpochLoader[StackedBatches]:
        """The training epoch, every branch in a new order of its own."""
        orders = [member.order for member in self.members]
        return EpochLoader(self._batches([member.train for member in self.members], self.batch_size, orders))

    def val_dataloader(self) -> EpochLoader[StackedBatches]:
        """The validation epoch, in a fixed order."""
        return EpochLoader(self._batches([one.validation for one in self.members], max(self.batch_size, 512)))

    def _batches(
        self,
        sets: Sequence[tuple[Tensor, Tensor]],
        batch_size: int,
        orders: Sequence[torch.Generator] | None = None,
    ) -> StackedBatches:
        assert self.trainer is not None
        device, n = self.trainer.strategy.root_device, len(sets[0][1])
        distinct = {id(x): (x, y) for x, y in sets}
        place = {name: index * n for index, name in enumerate(distinct)}
        x, y = (torch.cat([one[part] for one in distinct.values()]).to(device) for part in (0, 1))
        starts = torch.tensor([place[id(x)] for x, _ in sets])
        return StackedBatches((x, y), starts, n, batch_size, orders)


class StackedBranches(pl.LightningModule):
    """Branches as stacked weights (K, inputs, outputs) and biases (K, outputs).

    Args:
        members: branches of the same shape, whose recipes differ in learning rate and weight decay alone.

    Attributes:
        places: which members are being trained, in the order of the stacked weights.
        metrics: of the last epoch and these members, (3, K): ``training.METRICS``.
        capturer: makes what captures steps and replays them; None to run each as it is.
    """

    def __init__(self, members: Sequence[Member]) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.members, self.recipe = members, members[0].recipe
        network = members[0].branch.network
        assert isinstance(network, MLP)
        self.names = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)]
        self.rate = network.dropout
        self.stacked = nn.ParameterList(
            torch.stack([_part(member, name, part) for member in members])
            for part in ("weight", "bias")
            for name in self.names
        )
        self.places = list(range(len(members)))
        self.metrics = torch.zeros(3, len(members))
        self.capturer: Callable[[], Capturer] | None = None
        self._step: Step | None = None
        self._masks: Masks | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Logits (K, b, classes) of standardised inputs (K, b, width)."""
        layers = len(self.names)
        for depth in range(layers):
            if depth:
                x = x.relu()
                if self.training and self.rate:
                    x = self._dropped(x, depth - 1)
            x = torch.baddbmm(self.stacked[layers + depth][:, None], x, self.stacked[depth])
        return x

    def _dropped(self, x: Tensor, layer: int) -> Tensor:
        """What dropout leaves of every branch, as alone, scaled by the share that is kept."""
        if self._masks is not None:
            return self._masks.keep(x, layer)
        mask = torch.empty(x.shape, device=self.device)
        for one, place in zip(mask, self.places, strict=True):
            one.bernoulli_(1 - self.rate, generator=self.members[place].dropout)
        return x * mask.div_(1 - self.rate)

    def training_step(self, epoch: StackedBatches, index: int) -> None:
        """Train on every batch of an epoch."""
        optimizer: torch.optim.Optimizer = self.optimizers(use_pl_optimizer=False)  # type: ignore[assignment]
        scheduler, steps = self.lr_schedulers(), 0
        if self._step is None:
            self._masks = self._masks_over(epoch)
            self._step = self._step_over(epoch, optimizer, whole=scheduler is None)
        total = torch.zeros(len(self.places), device=self.device)
        for rows in epoch.draw(self.places):
            if self._masks is not None:
                self._masks.begin(steps)
            total += self._step(rows) * rows.shape[1]
            steps += 1
            if scheduler is not None:
                optimizer.step()
                scheduler.step()  # type: ignore[union-attr]
        count_steps(self, steps)
        self.metrics = torch.zeros(3, len(self.places))
        self.metrics[0] = total.cpu() / epoch.n

    def release(self) -> None:
        """As ``EpochModule`` has it."""
        self._step = self._masks = None

    def _masks_over(self, epoch: StackedBatches) -> Masks | None:
        """The masks of these branches, if they are drawn ahead."""
        if not self.rate or not drawn_ahead(self.device):
            return None
        widths = [self.stacked[layer].shape[2] for layer in range(len(self.names) - 1)]
        generators = [self.members[place].dropout for place in self.places]
        return Masks(widths, self.rate, generators, epoch.n, epoch.batch_size, self.device)

    def _step_over(self, epoch: StackedBatches, optimizer: torch.optim.Optimizer, whole: bool) -> Step:
        """As ``EpochModule`` has it, with a mean loss for each branch."""
        views = [view for group in self._layout for view in group]

        def step(rows: Tensor) -> Tensor:
            self.zero_grad()
            x, y = epoch.take(rows)
            losses = self._losses(self(x), y, self.recipe.label_smoothing).mean(1)
            torch.autograd.backward(losses.sum())  # no branch has a share in another's loss
            for view in views:
                view.hand_over_gradient()
            if whole:
                optimizer.step()
            return losses.detach()

        return prepared(step, self, [view.view for view in views], optimizer)

    def validation_step(self, epoch: StackedBatches, index: int) -> None:
        """Loss (without label smoothing) and accuracy of every branch."""
        found = torch.zeros(2, len(self.places), device=self.device)
        for x, y in map(epoch.take, epoch.draw(self.places)):
            logits = self(x)
            found[0] += self._losses(logits, y).sum(1)
            found[1] += (logits.argmax(2) == y).sum(1)
        self.metrics[1:] = found.cpu() / epoch.n
        self.log("val/accuracy", self.metrics[2].mean(), batch_size=1)

    @staticmethod
    def _losses(logits: Tensor, y: Tensor, smoothing: float = 0.0) -> Tensor:
        """Loss of every row, (K, b)."""
        losses = F.cross_entropy(
            logits.flatten(0, 1), y.flatten(), reduction="none", label_smoothing=smoothing
        )
        return losses.view(y.shape)

    def configure_optimizers(self) -> Any:
        """The recipe's optimiser over views of the stacked weights, a group for each rate and decay."""
        self._layout = self._lay_out()
        groups = [
            {"params": [view.view for view in views], "lr": lr, "weight_decay": decay}
            for (lr, decay, _, _), views in zip(self._groups(), self._layout, strict=True)
        ]
        return optimizer_of(self, self.recipe, groups)

    @property
    def least_leaving(self) -> float:
        """How many must be done before they leave: a quarter, if the rest has to be captured anew."""
        return 1 if self.capturer is None else len(self.places) / 4

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with some rows of the stacked weights alone, and with their moments in the optimiser."""
        optimizer: torch.optim.Optimizer = self.optimizers(use_pl_optimizer=False)  # type: ignore[assignment]
        self._step = None  # which was of another number of branches
        self.places = [self.places[row] for row in rows]
        self.stacked = nn.ParameterList(parameter.detach()[list(rows)] for parameter in self.stacked)
        before, self._layout = self._layout, self._lay_out()
        for group, old, new in zip(optimizer.param_groups, before, self._layout, strict=True):
            states = [optimizer.state.pop(one.view) for one in old]
            for state, was, now in zip(states, old, new, strict=False):  # none where no row is left
                mine = [row - was.rows.start for row in rows if was.rows.start <= row < was.rows.stop]
                optimizer.state[now.view] = {
                    name: value[mine] if value.ndim else value for name, value in state.items()
                }
            group["params"] = [one.view for one in new]

    def _groups(self) -> list[tuple[float, float, Sequence[int], slice]]:
        """Of every group of the optimiser: rate, decay, which stacked parameters, and which of their rows.

        There are no rows where the branches of a group are no longer trained.
        """
        layers, rates = len(self.names), [_rates(self.members[place]) for place in self.places]
        everything, weights, biases = range(2 * layers), range(layers), range(layers, 2 * layers)
        groups: list[tuple[float, float, Sequence[int], slice]] = []
        for lr, decay in dict.fromkeys(map(_rates, self.members)):
            # Members are sorted by rate and decay, so that equal ones lie next to one another.
            start = rates.index((lr, decay)) if (lr, decay) in rates else 0
            rows = slice(start, start + rates.count((lr, decay)))
            if self.recipe.optimizer == "adam":
                groups.append((lr, decay, everything, rows))
            else:
                groups += [(lr, decay, weights, rows), (lr, 0.0, biases, rows)]
        return groups

    def _lay_out(self) -> list[list["_View"]]:
        """The views of every group of the optimiser."""
        return [
            [_View.of(self.stacked[index], rows) for index in indices] if rows.start < rows.stop else []
            for _, _, indices, rows in self._groups()
        ]


@dataclass(frozen=True)
class _View:
    """Some rows of stacked weights as a parameter of its own, sharing their memory."""

    view: nn.Parameter
    whole: Tensor
    rows: slice

    @classmethod
    def of(cls, whole: Tensor, rows: slice) -> "_View":
        return cls(nn.Parameter(whole.detach()[rows]), whole, rows)

    def hand_over_gradient(self) -> None:
        assert self.whole.grad is not None
        self.view.grad = self.whole.grad[self.rows]


def _rates(member: Member) -> tuple[float, float]:
    """Learning rate and weight decay."""
    return member.recipe.lr, member.recipe.weight_decay


def _part(member: Member, name: str, part: str) -> Tensor:
    """Weights (inputs, outputs) or biases (outputs,) of a layer."""
    parameter: Tensor = getattr(member.branch.network.get_submodule(name), part)
    return parameter.detach().t()


@dataclass
class _Recorder(pl.Callback):
    """Keeps every branch's epochs and best weights; branches that are done leave the stack.

    A branch whose loss is not finite has diverged: its history ends there.
    """

    histories: list[History]
    done: set[int] = field(default_factory=set)
    diverged: set[int] = field(default_factory=set)
    best: list[Tensor] = field(default_factory=list)

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        assert isinstance(module, StackedBranches)
        if not self.best:
            self.best = [parameter.detach().clone() for parameter in module.stacked]
        improved = []
        for row, (place, values) in enumerate(zip(module.places, module.metrics.T.tolist(), strict=True)):
            if place in self.done:
                continue
            history = self.histories[place]
            history.append(dict(zip(METRICS, values, strict=True)))
            if not all(map(math.isfinite, values)):
                self.diverged.add(place)
                self.done.add(place)
                continue
            best, patience = best_epoch(history, module.recipe), module.recipe.patience
            if best == len(history):
                improved.append(row)
            if patience is not None and len(history) - best >= patience:
                self.done.add(place)
        left = [row for row, place in enumerate(module.places) if place not in self.done]
        places = torch.tensor([module.places[row] for row in improved], device=module.device)
        for kept, parameter in zip(self.best, module.stacked, strict=True):
            kept.index_copy_(0, places.long(), parameter.detach()[improved])
        if not left:
            trainer.should_stop = True
        elif len(module.places) - len(left) >= module.least_leaving:
            module.keep(left)


def fit_together(members: Sequence[Member], compute: Compute, title: str) -> list[History | None]:
    """Fit the branches of a stack, each as ``training.fit`` would by itself.

    Args:
        members: the stack; the branches are trained in place, and end on the CPU.
        compute: where to run.
        title: what is being trained, for messages.

    Returns:
        A history for each member; None for one that diverged, whose weights are worth nothing.
    """
    # Next to one another, members of equal recipes share one view of the stacked weights.
    order = sorted(range(len(members)), key=lambda place: _rates(members[place]))
    stacked = [members[place] for place in order]
    module, recorder = StackedBranches(stacked), _Recorder([[] for _ in stacked])
    module.capturer = capturer_of(compute)
    recipe = module.recipe
    callbacks: list[pl.Callback] = [
        recorder,
        *([ProgressLine(title, recipe.epochs)] if compute.progress else []),
    ]
    with new_trainer(recipe, compute, callbacks) as trainer:
        try:
            trainer.fit(module, datamodule=StackedData(stacked, recipe.batch_size))
        finally:
            module.release()
    parameters = [parameter.cpu() for parameter in recorder.best]
    for index, member in enumerate(stacked):
        tensors = iter([one[index] for one in parameters])
        for part in ("weight", "bias"):
            for name in module.names:
                getattr(member.branch.network.get_submodule(name), part).data.copy_(next(tensors).t())
    histories = {
        place: None if index in recorder.diverged else recorder.histories[index]
        for index, place in enumerate(order)
    }
    return [histories[place] for place in range(len(members))]
