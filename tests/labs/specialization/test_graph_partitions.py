"""Branches of models of torchvision and of one's own are found in their graphs."""

import warnings
from collections import Counter
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision import models
from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names

from neural_branching.errors import InputError
from neural_branching.labs.specialization.graph_partitions import FoundPartition, graph_partitions

# Their initialisation from a truncated normal distribution takes a minute.
SLOW_START = {"googlenet": {"init_weights": False}, "inception_v3": {"init_weights": False}}


@cache
def without_values(name: str) -> nn.Module:
    # RegNet computes its widths with tensors.
    with torch.device("cpu" if name.startswith("regnet") else "meta"):
        model: nn.Module = models.get_model(name, weights=None, **SLOW_START.get(name, {}))
    return model


@cache
def found_in(name: str) -> list[FoundPartition]:
    return found(without_values(name), 299 if name == "inception_v3" else 224)


def found(module: nn.Module, size: int = 224, channels: int = 3) -> list[FoundPartition]:
    return graph_partitions(module, torch.zeros(1, channels, size, size))


def widths(one: FoundPartition) -> dict[str, int]:
    return {name: len(units) for name, units in one.partition.branches.items()}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("googlenet", {("concatenation", 4): 9}),
        ("inception_v3", {("concatenation", 4): 9, ("concatenation", 2): 6}),
        ("squeezenet1_1", {("concatenation", 2): 8}),
        ("resnext50_32x4d", {("grouped convolution", 32): 16, ("residual addition", 2): 16}),
        ("vit_b_16", {("attention heads", 12): 12, ("residual addition", 2): 24}),
        ("resnet18", {("residual addition", 2): 8}),
        ("densenet121", {}),
        ("alexnet", {}),
    ],
)
def test_as_many_as_the_architecture_has(name: str, expected: dict[tuple[str, int], int]) -> None:
    assert Counter((one.kind, len(one.partition.branches)) for one in found_in(name)) == expected


@pytest.mark.parametrize("name", ["squeezenet1_1", "resnext50_32x4d", "vit_b_16"])
def test_stages_can_be_run(name: str) -> None:
    nodes = get_graph_node_names(without_values(name), suppress_diff_warning=True)[1]
    assert {stage for one in found_in(name) for stage in (one.partition.stage, *one.stages)} <= set(nodes)


def test_groups_of_a_block_that_is_one_node() -> None:
    ones = [one for one in found_in("regnet_y_400mf") if one.kind == "grouped convolution"]
    assert [len(one.partition.branches) for one in ones] == [6] + 3 * [13] + 6 * [26] + 6 * [55]
    assert all(set(widths(one).values()) == {8} for one in ones)
    assert ones[0].stages == ("trunk_output.block1.block1-0.f.b",)


def test_branches_are_named_after_their_modules() -> None:
    first = found_in("googlenet")[0]
    assert (first.partition.stage, first.axis) == ("inception3a.cat", 1)
    assert widths(first) == {"branch1": 64, "branch2": 128, "branch3": 32, "branch4": 32}
    assert np.array_equal(first.partition.branches["branch3"], np.arange(192, 224))
    last = found_in("inception_v3")[-1]
    assert widths(last) == {
        "branch1x1": 320,
        "branch3x3_2a+branch3x3_2b": 768,
        "branch3x3dbl_3a+branch3x3dbl_3b": 768,
        "branch_pool": 192,
    }


def test_the_stage_holds_what_the_branches_give() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        model = models.googlenet(weights=None, init_weights=False).eval()
    first = found(model, 64)[0].partition
    branch = model.inception3a.branch3
    # What the article calls 5×5 has 3×3 kernels here, so that kernels explain no difference from branch 2.
    assert branch[1].conv.kernel_size == model.inception3a.branch2[1].conv.kernel_size == (3, 3)
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    seen: list[Tensor] = []
    with torch.inference_mode():
        extractor = create_feature_extractor(model, [first.stage], suppress_diff_warning=True)
        stage = extractor(images)[first.stage]
        branch.register_forward_hook(lambda _, __, output: seen.append(output))
        model(images)
    assert torch.equal(stage[:, torch.from_numpy(first.branches["branch3"])], seen[0])


def test_a_model_stays_as_it_is() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Dropout()).train()
    model[2].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert found(model, 8) == []
    assert [one.training for one in model] == [True, True, False]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


class Of(nn.Module):
    """Layers by name, and what a model makes of them."""

    def __init__(self, forward: Callable[["Of", Tensor], Tensor], **layers: nn.Module) -> None:
        super().__init__()
        self.of = forward
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, x: Tensor) -> Tensor:
        return self.of(self, x)


def conv(before: int, width: int, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(before, width, 3, padding=1, groups=groups)


def test_what_feeds_another_input_is_no_branch() -> None:
    def skip(model: Of, x: Tensor) -> Tensor:
        early = model.first(x).relu()
        return torch.cat([early, model.second(early)], 1)

    def pooled(model: Of, x: Tensor) -> Tensor:
        x = model.first(x)
        return torch.cat([x.relu(), nn.functional.max_pool2d(x, 3, 1, 1)], 1)

    def nested(model: Of, x: Tensor) -> Tensor:
        early = model.first(x)
        both = torch.cat([early, model.third(x)], 1)
        return torch.cat([both, model.second(early)], 1)

    layers = {"first": conv(3, 8), "second": conv(8, 8), "third": conv(3, 4)}
    assert found(Of(skip, **layers), 8) == []
    assert found(Of(pooled, **layers), 8) == []
    assert [widths(one) for one in found(Of(nested, **layers), 8)] == [{"first": 8, "third": 4}]


def test_only_channels_of_convolutions_are_branches() -> None:
    def blocks(model: Of, x: Tensor) -> Tensor:
        return torch.concat(
            (x, model.a(x).relu(), model.few(x), model.b(nn.functional.avg_pool2d(x, 1))), dim=-3
        )

    def side_by_side(model: Of, x: Tensor) -> Tensor:
        return torch.cat([model.a(x), model.b(x)], -1)

    layers = {"a": conv(3, 8), "few": conv(3, 2), "b": conv(3, 8)}
    (one,) = found(Of(blocks, **layers), 8)
    assert {name: list(units) for name, units in one.partition.branches.items()} == {
        "a": list(range(3, 11)),
        "b": list(range(13, 21)),
    }
    assert found(Of(side_by_side, **layers), 8) == []


@pytest.mark.parametrize(
    ("width", "groups", "branches"),
    [(12, 1, None), (12, 6, None), (12, 4, 4), (6, 2, 2), (4, 2, None), (48, 12, None)],
)
def test_groups_of_three_units_at_least(width: int, groups: int, branches: int | None) -> None:
    """Twelve groups of twelve channels are a depthwise convolution, however many filters a channel has."""
    assert [len(one.partition.branches) for one in found(conv_only(width, groups), 8, 12)] == (
        [] if branches is None else [branches]
    )


def conv_only(width: int, groups: int) -> nn.Module:
    return nn.Sequential(conv(12, width, groups), nn.ReLU())


def test_summands_have_all_units_each() -> None:
    def block(model: Of, x: Tensor) -> Tensor:
        return x + model.norm(model.conv(x)).add(1)

    def parameter(model: Of, x: Tensor) -> Tensor:
        return model.conv(x) + model.conv.bias[:, None, None]

    def scaled(model: Of, x: Tensor) -> Tensor:
        y = model.conv(x)
        return x + y * y.mean((2, 3), keepdim=True).sigmoid()

    assert [one.stages for one in found(Of(scaled, conv=conv(4, 4)), 8, 4)] == [("x", "mul")]
    (one,) = found(Of(block, conv=conv(4, 4), norm=nn.BatchNorm2d(4)), 8, 4)
    assert (one.kind, one.stages, one.partition.stage, one.axis) == (
        "residual addition",
        ("x", "add"),
        "add_1",
        1,
    )
    assert {name: list(units) for name, units in one.partition.branches.items()} == {
        "x": [0, 1, 2, 3],
        "add": [4, 5, 6, 7],
    }
    assert found(Of(parameter, conv=conv(4, 4)), 8, 4) == []


class Attention(nn.Module):
    """Self-attention as many write it."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.num_heads = heads
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        n, tokens, width = x.shape
        q, k, v = self.qkv(x).reshape(n, tokens, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v)
        projected: Tensor = self.proj(mixed.transpose(1, 2).reshape(n, tokens, width))
        return projected


def test_heads_are_what_is_projected() -> None:
    model = nn.Sequential(Attention(12, 3))
    (one,) = graph_partitions(model, torch.zeros(1, 5, 12))
    assert (one.kind, one.axis) == ("attention heads", -1)
    assert [list(units) for units in one.partition.branches.values()] == [
        [0, 1, 2, 3],
        [4, 5, 6, 7],
        [8, 9, 10, 11],
    ]
    (stage,) = one.stages
    tokens = torch.rand(2, 5, 12, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        heads = create_feature_extractor(model, [stage])(tokens)[stage]
        assert torch.equal(model[0].proj(heads), model(tokens))


def test_what_cannot_be_traced_is_refused() -> None:
    def dynamic(model: Of, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x

    with pytest.raises(InputError, match=r"^Of cannot be traced by torch.fx \([^\n]+\): give [^\n]+\.$"):
        found(Of(dynamic), 8)
    with pytest.raises(
        InputError, match=r"^Sequential does not run on an input of shape \(1, 4, 8, 8\) \([^\n]+\)\.$"
    ):
        found(nn.Sequential(conv(3, 8)), 8, 4)
