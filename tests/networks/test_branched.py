"""Branches do not see one another before they meet."""

import pytest
import torch

from neural_branching.errors import InputError
from neural_branching.networks.branched import BranchedNet

IMAGES = torch.rand(4, 3, 12, 12, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("join", ["conv2", "conv3", "logits"])
@pytest.mark.parametrize("branches", [2, [2, 1, 1]])
def test_what_a_branch_computes_is_its_own_until_they_meet(branches: int | list[int], join: str) -> None:
    torch.manual_seed(0)
    network = BranchedNet((3, 12, 12), 5, 8, branches, join).eval()
    before = dict(network.walk(IMAGES, network.stage_names))
    first = network.stages["conv1"].convolutions[0].weight  # type: ignore[union-attr, index]
    with torch.no_grad():
        first.mul_(-1)  # type: ignore[operator]
    after = dict(network.walk(IMAGES, network.stage_names))
    divided = network.branch_units()
    assert list(divided) == list(network.stage_names[: network.stage_names.index(join)])
    for stage, units in divided.items():
        assert not torch.equal(before[stage][:, units["0"]], after[stage][:, units["0"]])
        for name in list(units)[1:]:
            assert torch.equal(before[stage][:, units[name]], after[stage][:, units[name]])
        assert [len(mine) for mine in units.values()] == [
            share * network.unit_count(stage) // sum(network.shares) for share in network.shares
        ]
    if join != "logits":
        assert not torch.equal(before[join][:, -1], after[join][:, -1])


def test_equal_branches_are_grouped_convolutions() -> None:
    torch.manual_seed(0)
    network = BranchedNet((3, 12, 12), 5, 8, 2).eval()
    x = dict(network.walk(IMAGES, ("conv1",)))["conv1"]
    layer = network.stages["conv2"]
    grouped = torch.nn.functional.conv2d(x, network.next_weights(), padding=1, groups=2)
    assert torch.allclose(layer(x), layer.after(grouped), atol=1e-6)  # type: ignore[operator]


def test_a_plain_network_has_no_branches() -> None:
    network = BranchedNet((3, 12, 12), 5, 8, 1)
    assert network.branch_units() == {}
    assert network.filters().shape == (8, 3, 5, 5)


def test_kernels_of_unequal_size_stand_in_the_middle() -> None:
    network = BranchedNet((3, 12, 12), 5, 8, [2, 1, 1], kernel=[1, 3, 5])
    filters = network.filters()
    assert filters.shape == (8, 3, 5, 5)
    assert filters[0, :, 2, 2].abs().min() > 0
    assert filters[0].count_nonzero() == 3
    assert filters[4].count_nonzero() == 27


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"branches": 3}, "width is 8, which branches of 1 : 1 : 1 do not divide"),
        ({"branches": [3, 2]}, "width is 8, which branches of 3 : 2 do not divide"),
        ({"branches": 0}, "branches is 0"),
        ({"branches": "two"}, "branches is 'two'"),
        ({"join": "conv4"}, "join is 'conv4', which is unknown"),
        ({"kernel": 4}, "kernel is 4: a kernel has an odd size"),
        ({"kernel": [3, 5, 7]}, "kernel has 3 sizes for 2 branches"),
    ],
)
def test_what_cannot_be_built_is_refused(options: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said.replace("[", r"\[")):
        BranchedNet((3, 12, 12), 5, 8, **options)  # type: ignore[arg-type]
