"""A small transformer: tokens of the expected shapes, at the cost of the closed form."""

from collections.abc import Iterator

import pytest
import torch
from torch.nn import functional as F

from neural_branching.artifacts.macs import cost
from neural_branching.errors import InputError
from neural_branching.networks.standardize import Standardize
from neural_branching.networks.standardized_network import StandardizedNetwork
from neural_branching.networks.vit import Block, VisionTransformer

IMAGE = (3, 16, 12)
TOKENS = 1 + 4 * 3
STAGES = ("patches", "block1", "block2", "norm", "logits")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def small(dropout: float = 0.0) -> VisionTransformer:
    torch.manual_seed(0)
    return VisionTransformer(IMAGE, 5, patch=4, width=8, depth=2, heads=2, dropout=dropout)


def images(n: int = 3) -> torch.Tensor:
    return torch.randn(n, *IMAGE, generator=torch.Generator().manual_seed(1))


def test_shapes_of_every_stage_for_images_that_are_not_square() -> None:
    network = small().eval()
    assert network.stage_names == network.main_stages == STAGES
    shapes = {name: tuple(output.shape) for name, output in network.walk(images(), STAGES)}
    tokens = dict.fromkeys(("patches", "block1", "block2"), (3, TOKENS, 8))
    assert shapes == {**tokens, "norm": (3, 8), "logits": (3, 5)}


def test_a_stage_is_that_of_a_full_pass_and_of_each_image_alone() -> None:
    network, x = small(dropout=0.5).eval(), images()
    outputs = dict(network.walk(x, STAGES))
    for name, output in outputs.items():
        assert torch.equal(network(x, until=name), output)
        torch.testing.assert_close(network(x[1:2], until=name)[0], output[1])
    assert torch.equal(network(x), outputs["logits"])


def test_only_the_stages_asked_for_are_given_in_order() -> None:
    network = small().eval()
    assert [name for name, _ in network.walk(images(), ("norm", "patches"))] == ["patches", "norm"]


def test_a_class_token_stands_for_the_image_once_it_has_seen_it() -> None:
    network = small().eval()
    for name, output in network.walk(images(), STAGES[:3]):
        differs = bool((output[:, 0].std(0) > 0).all())
        assert network.has_class_token(name) == differs == (name != "patches")


def test_patches_are_their_own_linear_map_with_a_class_token_in_front() -> None:
    network, x = small().eval(), images()
    stage = network.stages["patches"]
    found = network(x, until="patches") - stage.position
    torch.testing.assert_close(found[:, 0], stage.token[:, 0].expand(3, -1))
    # The patch in the second row of patches and the third column comes sixth.
    patch = x[:, :, 4:8, 8:12].flatten(1)
    expected = F.linear(patch, stage.embed.weight.flatten(1), stage.embed.bias)
    torch.testing.assert_close(found[:, 1 + 3 + 2], expected)


def test_attention_is_the_textbook_formula() -> None:
    torch.manual_seed(0)
    block, x = Block(8, 2, 0.0).eval(), torch.randn(3, 5, 8)
    q, k, v = F.linear(block.norm1(x), block.qkv.weight, block.qkv.bias).chunk(3, -1)
    heads = []
    for head in (slice(0, 4), slice(4, 8)):
        weights = (q[..., head] @ k[..., head].transpose(1, 2) / 2).softmax(-1)
        heads.append(weights @ v[..., head])
    x1 = x + block.project(torch.cat(heads, -1))
    torch.testing.assert_close(block(x), x1 + block.mlp(block.norm2(x1)))


def test_dropout_acts_in_training_alone() -> None:
    network = small(dropout=0.5)
    assert not torch.equal(network.train()(images()), network(images()))
    assert torch.equal(network.eval()(images()), network(images()))
    assert torch.equal(network(images()), small().eval()(images()))


@pytest.mark.parametrize("options", [{}, {"patch": 8, "width": 48, "depth": 3, "heads": 3}])
def test_macs_and_parameters_are_the_closed_form(options: dict[str, int]) -> None:
    shape = (3, 32, 32)
    p, d = options.get("patch", 4), options.get("width", 128)
    depth = options.get("depth", 6)
    patches = (32 // p) ** 2
    t = patches + 1
    blank = torch.zeros(1, *shape)
    parent = StandardizedNetwork(Standardize((3, 1, 1)), VisionTransformer(shape, 10, **options))
    block = t * d * 3 * d + 2 * t * t * d + t * d * d + 8 * t * d * d
    assert cost(parent, blank, "patches").macs == patches * 3 * p * p * d
    for i in range(1, depth + 1):
        assert cost(parent, blank, f"block{i}").macs == patches * 3 * p * p * d + i * block
    assert cost(parent, blank, "norm").macs == cost(parent, blank, f"block{depth}").macs
    assert cost(parent, blank).macs == cost(parent, blank, "norm").macs + d * 10

    embedding = 3 * p * p * d + d + d + t * d
    weights = 2 * 2 * d + (3 * d * d + 3 * d) + (d * d + d) + (4 * d * d + 4 * d) + (4 * d * d + d)
    assert cost(parent, blank, "patches").parameters == embedding
    assert cost(parent, blank, "block2").parameters == embedding + 2 * weights
    everything = embedding + depth * weights + 2 * d + d * 10 + 10
    assert cost(parent, blank).parameters == sum(p.numel() for p in parent.parameters()) == everything


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"patch": 5}, r"^patch is 5, which does not divide images of 16 × 12 pixels\.$"),
        ({"patch": 8}, r"^patch is 8, which does not divide images of 16 × 12"),
        ({"patch": 0}, r"^patch is 0: it must be a whole number of at least 1"),
        ({"heads": 3}, r"^heads is 3, which does not divide the width 128\.$"),
        ({"heads": 0}, r"^heads is 0"),
        ({"width": 2.5}, r"^width is 2\.5"),
        ({"depth": 0}, r"^depth is 0"),
        ({"dropout": 1}, r"^dropout is 1: it must be a number within \[0, 1\)"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        VisionTransformer(IMAGE, 5, **options)
