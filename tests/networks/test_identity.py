"""Given activations: every stage is a part of the input."""

import pytest
import torch

from neural_branching.artifacts.macs import Cost, cost
from neural_branching.errors import InputError
from neural_branching.networks.identity import Identity
from neural_branching.networks.standardize import Standardize
from neural_branching.networks.standardized_network import StandardizedNetwork

STAGES = {"early": 2, "late": 3, "logits": 4}


def test_stages_are_the_parts_of_the_input() -> None:
    x = torch.arange(18.0).view(2, 9)
    network = Identity((9,), STAGES)
    found = dict(network.walk(x, ("early", "logits")))
    assert found.keys() == {"early", "logits"}
    assert torch.equal(found["early"], x[:, :2])
    assert torch.equal(found["logits"], x[:, 5:])
    assert torch.equal(network(x, until="late"), x[:, 2:5])
    assert torch.equal(network(x), x[:, 5:])


def test_without_logits_the_last_stage_comes_last() -> None:
    network = Identity((5,), {"early": 2, "late": 3})
    assert network.stage_names == network.main_stages == ("early", "late")
    assert network(torch.zeros(1, 5)).shape == (1, 3)
    with pytest.raises(InputError, match="until is 'logits', which is unknown: allowed are early, late"):
        network(torch.zeros(1, 5), until="logits")


def test_it_costs_nothing() -> None:
    parent = StandardizedNetwork(Standardize((), ([0.0], [1.0])), Identity((9,), STAGES))
    assert cost(parent, torch.zeros(1, 9)) == cost(parent, torch.zeros(1, 9), "early") == Cost(0, 0)


def test_data_without_stages_are_refused() -> None:
    with pytest.raises(InputError, match="these data have none: choose data=vectors, or another parent"):
        Identity((3, 8, 8), {})


def test_it_has_no_weights_to_take() -> None:
    parent = StandardizedNetwork(Standardize((), ([0.0], [1.0])), Identity((9,), STAGES))
    with pytest.raises(InputError, match=r"The file has 'layer\.weight', which the network lacks"):
        parent.adopt({"layer.weight": torch.zeros(3)}, "The file")
