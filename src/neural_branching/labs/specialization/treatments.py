"""What a study can do to the training of its networks: freeze, swap or plant units, or change the loss."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from itertools import accumulate, combinations
from typing import Any

import numpy as np
import torch
from torch import Tensor

from neural_branching.errors import ArgumentError, InputError, number, one_of, whole
from neural_branching.labs.permutation_tests import explained_variance
from neural_branching.labs.specialization.filter_features import chroma
from neural_branching.labs.specialization.partition import FEWEST_UNITS
from neural_branching.networks.branched import LAYERS, BranchedNet
from neural_branching.networks.network import Network
from neural_branching.selection.array_types import Float, Float64, Int64, Shaped
from neural_branching.training.treatment import Treatment

RECIPE = 1  # raised with every change of what a treatment does
FIRST = LAYERS[0]
# Weights of the channels of planted filters, which add up to 0: red against green, blue against yellow.
OPPONENTS = ((1.0, -1.0, 0.0), (-0.5, -0.5, 1.0))

Filters = Sequence[Float64[np.ndarray, "n c k k"]]


class StudyTreatment(Treatment):
    """A treatment of a ``BranchedNet``, and what is measured because of it."""

    @property
    @abstractmethod
    def name(self) -> str:
        """What it is called."""

    def identity(self) -> Mapping[str, Any]:
        """See ``Treatment.identity``."""
        options = {name: value for name, value in vars(self).items() if not name.startswith("_")}
        return {"recipe": RECIPE, "name": self.name, **options}

    @abstractmethod
    def check(self, network: BranchedNet, epochs: int) -> None:
        """Check what only the network and its recipe know.

        Args:
            network: what will be trained with it.
            epochs: of its training.

        Raises:
            InputError: naming the option that does not fit.
        """

    def forced(self, network: BranchedNet) -> Mapping[str, range]:
        """Stage → units that are as it has made them, so that they say nothing of what follows from it."""
        return {}

    def measures(self, network: BranchedNet, filters: Filters) -> Mapping[str, float]:
        """What is measured because of it, of a network that was trained with it or without: name → value.

        Args:
            network: the network.
            filters: of its first layer, before the first epoch and after each.
        """
        return {}


class Freeze(StudyTreatment):
    """The first layer keeps its initial weights; its batch norm applies its initial statistics."""

    name = "freeze"

    def check(self, network: BranchedNet, epochs: int) -> None:
        """See ``StudyTreatment.check``: every network has a first layer."""

    def begin(self, network: Network) -> None:
        """See ``Treatment.begin``."""
        _branched(network).layer(FIRST).requires_grad_(False)

    def before_epoch(self, epoch: int, network: Network, optimizer: torch.optim.Optimizer) -> None:
        """See ``Treatment.before_epoch``: no statistics of batches."""
        _branched(network).layer(FIRST).eval()


class Swap(StudyTreatment):
    """Before an epoch, units of the first layer change places with as many of the next branch.

    Filters, batch norm and the optimiser's moments go with them; the layers above do not.

    Args:
        epoch: the epoch, from 2.
        share: share of the smallest branch that changes places, within (0, 1].

    Raises:
        InputError: for values outside their ranges.
    """

    name = "swap"

    def __init__(self, epoch: int, share: float = 0.5) -> None:
        self.epoch = whole(epoch, "epoch", 2)
        self.share = number(share, "share", 0, 1, open_low=True)

    def check(self, network: BranchedNet, epochs: int) -> None:
        """See ``StudyTreatment.check``."""
        if self.epoch > epochs:
            raise ArgumentError("epoch", f"is {self.epoch}: parent.fit.epochs is {epochs}.")
        kernels = [one.shape[-1] for one in network.layer(FIRST).weights]
        if len(set(kernels)) > 1:
            sizes = ", ".join(map(str, kernels))
            raise InputError(
                f"parent.network.kernel is {sizes}: treatment=swap exchanges kernels of one size."
            )

    def order(self, network: BranchedNet) -> Int64[Tensor, " units"]:
        """The unit that comes to each unit's place."""
        sizes = network.layer(FIRST).sizes
        starts = [0, *accumulate(sizes)][:-1]
        moved = torch.arange(max(1, round(self.share * min(sizes))))
        order = torch.arange(sum(sizes))
        for branch, start in enumerate(starts):
            order[start + moved] = starts[branch - 1] + moved
        return order

    def before_epoch(self, epoch: int, network: Network, optimizer: torch.optim.Optimizer) -> None:
        """See ``Treatment.before_epoch``."""
        if epoch == self.epoch:
            branched = _branched(network)
            rearrange(branched, self.order(branched), optimizer)

    def measures(self, network: BranchedNet, filters: Filters) -> Mapping[str, float]:
        """η² of chroma before the swap, right after it and at the end; see ``StudyTreatment.measures``."""
        owners = np.repeat(np.arange(len(network.shares)), network.layer(FIRST).sizes)[None]
        before = chroma(filters[self.epoch - 1])
        swapped = before[self.order(network).numpy()]
        values = {"before the swap": before, "right after it": swapped, "at the end": chroma(filters[-1])}
        return {
            f"η² of chroma {when}": float(explained_variance(value[:, None], owners)[0, 0])
            for when, value in values.items()
        }


class Plant(StudyTreatment):
    """Some units of the first branch are colour-opponent filters from the start, which do not change.

    They have the median norm of all filters, and no answer to grey. Their batch norm learns.

    Args:
        units: their number.

    Raises:
        InputError: for none.
    """

    name = "plant"

    def __init__(self, units: int) -> None:
        self.units = whole(units, "units", 1)
        self._planted = torch.zeros(0)

    def check(self, network: BranchedNet, epochs: int) -> None:
        """See ``StudyTreatment.check``."""
        size = network.layer(FIRST).sizes[0]
        if self.units > size - FEWEST_UNITS:
            raise ArgumentError(
                "units",
                f"is {self.units}: the first branch has {size} units, of which {FEWEST_UNITS} must be left.",
            )

    def begin(self, network: Network) -> None:
        """See ``Treatment.begin``."""
        branched = _branched(network)
        filters = branched.filters().detach()
        self._planted = opponent_filters(
            self.units,
            branched.layer(FIRST).weights[0].shape[-1],
            float(filters.flatten(1).norm(dim=1).median()),
        )
        self.after_step(network)

    def after_step(self, network: Network) -> None:
        """See ``Treatment.after_step``: what the optimiser has changed is put back."""
        weights = _branched(network).layer(FIRST).weights[0].data
        weights[: self.units] = self._planted.to(weights)

    def forced(self, network: BranchedNet) -> Mapping[str, range]:
        """See ``StudyTreatment.forced``."""
        return {FIRST: range(self.units)}

    def measures(self, network: BranchedNet, filters: Filters) -> Mapping[str, float]:
        """Whether the other units of the branch see more colour; see ``StudyTreatment.measures``."""
        size, colours = network.layer(FIRST).sizes[0], chroma(filters[-1])
        lead = colours[self.units : size].mean() - colours[size:].mean()
        return {"chroma of units beside the planted − of other branches": float(lead)}


class _Loss(StudyTreatment):
    """Something that is added to the loss, of the outputs of a divided stage.

    Args:
        weight: what it is multiplied by, above 0.
        stage: the stage.

    Raises:
        InputError: for values outside their ranges.
    """

    def __init__(self, weight: float, stage: str) -> None:
        self.weight = number(weight, "weight", 0, float("inf"), open_low=True)
        self.stage = stage

    @property
    def stages(self) -> tuple[str, ...]:
        """See ``Treatment``."""
        return (self.stage,)

    def check(self, network: BranchedNet, epochs: int) -> None:
        """See ``StudyTreatment.check``."""
        one_of(self.stage, network.branch_units(), "stage")

    def penalty(self, outputs: Mapping[str, Shaped[Tensor, "n ..."]], network: Network) -> Float[Tensor, ""]:
        """See ``Treatment.penalty``."""
        answers = outputs[self.stage].float()
        pooled = answers.mean((2, 3)) if answers.ndim == 4 else answers
        units = _branched(network).branch_units()[self.stage].values()
        return self.weight * self.term([pooled[:, mine.start : mine.stop] for mine in units])

    @staticmethod
    @abstractmethod
    def term(branches: Sequence[Float[Tensor, "n _"]]) -> Float[Tensor, ""]:
        """The term of the loss for the pooled outputs of each branch."""


class Decorrelation(_Loss):
    """The squared correlation of units of different branches over a batch joins the loss."""

    name = "decorrelation"

    @staticmethod
    def term(branches: Sequence[Float[Tensor, "n _"]]) -> Float[Tensor, ""]:
        """Mean r² over all pairs of units of different branches; silent units correlate with none."""
        scaled = []
        for branch in branches:
            centred = branch - branch.mean(0)
            scaled.append(centred / (centred.square().sum(0) + 1e-8).sqrt())
        squares = [(one.T @ other).square().flatten() for one, other in combinations(scaled, 2)]
        return torch.cat(squares).mean()


class SparseGroups(_Loss):
    """The norms of the branches' outputs join the loss, so that an example activates few of them.

    That is the group lasso (Yuan & Lin, 2006), of outputs in place of coefficients.
    """

    name = "sparse_groups"

    @staticmethod
    def term(branches: Sequence[Float[Tensor, "n _"]]) -> Float[Tensor, ""]:
        """Σ ‖outputs of a branch‖ / √units, averaged over examples."""
        norms = [torch.linalg.vector_norm(one, dim=1) / one.shape[1] ** 0.5 for one in branches]
        return torch.stack(norms).sum(0).mean()


def opponent_filters(count: int, size: int, norm: float) -> Float[Tensor, "count 3 size size"]:
    """Bell-shaped filters that see colours alone: red–green and blue–yellow in turn, then their negatives."""
    across = (torch.arange(size) - (size - 1) / 2) / max(1, size / 4)
    bell = torch.exp(-(across[:, None] ** 2 + across**2) / 2)
    channels = torch.tensor([[(-1) ** (i // 2) * one for one in OPPONENTS[i % 2]] for i in range(count)])
    filters = channels[:, :, None, None] * bell
    scaled: Tensor = filters * (norm / filters.flatten(1).norm(dim=1))[:, None, None, None]
    return scaled


def rearrange(
    network: BranchedNet, order: Int64[Tensor, " units"], optimizer: torch.optim.Optimizer | None = None
) -> None:
    """Give every unit of the first layer the filter and batch norm of another one.

    Args:
        network: a network whose kernels are of one size.
        order: the unit that comes to each unit's place.
        optimizer: moves the moments of the weights too.
    """
    layer = network.layer(FIRST)
    norm = layer.norm
    trained: list[list[Tensor]] = [layer.weights, [norm.weight], [norm.bias]]
    assert norm.running_mean is not None
    assert norm.running_var is not None
    for tensors in (*trained, [norm.running_mean], [norm.running_var]):
        _reorder(tensors, order)
    for tensors in trained if optimizer else ():
        states = [optimizer.state[one] for one in tensors]  # type: ignore[union-attr]
        for moment in ("exp_avg", "exp_avg_sq"):
            if all(moment in one for one in states):  # there are none before the first step
                _reorder([one[moment] for one in states], order)


def _reorder(tensors: Sequence[Tensor], order: Int64[Tensor, " units"]) -> None:
    """Reorder what lies in several tensors along their first axis, in place."""
    with torch.no_grad():
        moved = torch.cat(list(tensors))[order.to(tensors[0].device)]
        for one, part in zip(tensors, torch.split(moved, [len(one) for one in tensors]), strict=True):
            one.copy_(part)


def _branched(network: Network) -> BranchedNet:
    assert isinstance(network, BranchedNet)
    return network
