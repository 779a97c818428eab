"""Outlines: networks of which only stages, shapes and costs matter."""

import math
from collections.abc import Sequence
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from composed import composed
from neural_branching.artifacts.branch_cost import parent_cost
from neural_branching.artifacts.build_networks import (
    _outline,
    branch_outline,
    check_parent,
    input_width,
    outline,
)
from neural_branching.config.experiment import Experiment
from neural_branching.errors import InputError
from neural_branching.networks.standardize import Standardize
from neural_branching.networks.standardized_network import StandardizedNetwork
from neural_branching.networks.wrapped import as_network


@pytest.mark.parametrize(("widths", "device"), [([64, 32], "cpu"), ([4096, 2048], "meta")])
def test_small_outlines_are_computed_and_large_ones_are_not(widths: list[int], device: str) -> None:
    experiment = Experiment.from_config(composed("train", "subset=digits", f"parent.network.widths={widths}"))
    spec, branch = experiment.parent, experiment.usual.branch
    state = torch.get_rng_state()
    parent = outline(spec)
    assert input_width(spec, branch) == widths[-1]
    assert branch_outline(branch, widths[-1]).device.type == "cpu"
    assert torch.equal(torch.get_rng_state(), state)
    assert parent.device.type == device
    layers = [math.prod(spec.input.shape), *widths, len(spec.labels.names)]
    assert parent_cost(spec).macs == sum(n * m for n, m in pairwise(layers))


class Whitened(nn.Module):
    """Takes no blank example: its covariance has no inverse."""

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        return torch.linalg.cholesky(x.T @ x)[:1]


class Table(nn.Module):
    """Few parameters, and a large buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("table", torch.zeros(5_000_000))

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)


@pytest.mark.parametrize("module", [Whitened, Table, lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(3))])
def test_what_cannot_be_computed_cheaply_has_an_outline_without_weights(module) -> None:
    found = _outline(
        lambda: StandardizedNetwork(Standardize((1, 1, 1)), as_network(module())), torch.zeros(1, 1, 2, 2)
    )
    assert found.device.type == "meta"


class OneRow:
    """An augmentation that draws once for all images of a batch."""

    def draw(self, shape: Sequence[int], generator: torch.Generator) -> Tensor:
        return torch.rand(1, 3, generator=generator)

    def __call__(self, batch: Tensor, draws: Tensor) -> Tensor:
        return batch + draws.mean()


def test_an_augmentation_draws_a_row_for_every_example() -> None:
    own = f"parent.augment={{_target_: {__name__}.OneRow}}"
    experiment = Experiment.from_config(composed("train", own))
    with pytest.raises(
        InputError, match=r"parent\.augment\.draw gives 1 rows for 2 examples: it must give one"
    ):
        check_parent(experiment.parent)
