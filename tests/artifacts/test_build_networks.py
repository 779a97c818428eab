"""Outlines: networks of which only stages, shapes and costs matter."""

import math
from itertools import pairwise

import pytest
import torch

from composed import composed
from neural_branching.artifacts.branch_cost import parent_cost
from neural_branching.artifacts.build_networks import branch_outline, input_width, outline
from neural_branching.config.experiment import Experiment


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
