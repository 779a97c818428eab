"""Readouts are their closed forms, and refuse what they do not fit."""

import pytest
import torch

from neural_branching.errors import InputError
from neural_branching.networks.readout import Readout

MAPS = torch.randn(5, 3, 8, 6, generator=torch.Generator().manual_seed(0))
TOKENS = torch.randn(5, 7, 4, generator=torch.Generator().manual_seed(0))
VECTORS = torch.randn(5, 9, generator=torch.Generator().manual_seed(0))


def test_flatten_keeps_every_value_in_order() -> None:
    for output in (MAPS, TOKENS, VECTORS):
        found = Readout("flatten")(output, "class_token")
        assert torch.equal(found, output.reshape(5, -1))


@pytest.mark.parametrize("n", [1, 2])
def test_pooling_is_the_mean_of_each_part(n: int) -> None:
    height, width = 8 // n, 6 // n
    parts = [
        MAPS[:, :, i * height : (i + 1) * height, j * width : (j + 1) * width].mean((2, 3))
        for i in range(n)
        for j in range(n)
    ]
    found = Readout(f"pool{n}")(MAPS, None)
    assert found.shape == (5, 3 * n * n)
    torch.testing.assert_close(found, torch.stack(parts, 2).flatten(1))


def test_pooling_to_the_size_of_the_maps_keeps_them() -> None:
    square = MAPS[..., :6, :]
    assert torch.equal(Readout("pool6")(square, None), square.flatten(1))


def test_tokens_are_averaged_or_the_first_is_taken() -> None:
    assert torch.equal(Readout("class_token")(TOKENS, "class_token"), TOKENS[:, 0])
    for token in (None, "class_token"):
        torch.testing.assert_close(Readout("mean_token")(TOKENS, token), TOKENS.sum(1) / 7)


@pytest.mark.parametrize(
    ("shape", "token", "kind"),
    [
        ((9,), None, "flatten"),
        ((7, 4), "class_token", "class_token"),
        ((7, 4), None, "mean_token"),
        ((3, 8, 6), "class_token", "pool2"),
        ((3, 3, 3), None, "pool2"),
        ((3, 2, 6), None, "flatten"),
        ((3, 1, 1), None, "flatten"),
        ((3, 4, 4, 4), None, "flatten"),
    ],
)
def test_auto_depends_on_the_shape(shape: tuple[int, ...], token: str | None, kind: str) -> None:
    assert Readout("auto").resolve(shape, token) == kind
    output = torch.randn(2, *shape)
    assert torch.equal(Readout("auto")(output, token), Readout(kind)(output, token))


@pytest.mark.parametrize("kind", ["pool", "pool0", "pool-1", "pool2.5", "mean", "Auto", "", "auto ", 2, None])
def test_an_unknown_kind_is_refused(kind: object) -> None:
    with pytest.raises(
        InputError, match=r"^readout is .*, which is unknown: allowed are auto, flatten, pool1"
    ):
        Readout(kind)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "shape", "message"),
    [
        ("pool2", (9,), r"^readout is 'pool2', which needs feature maps: this stage gives a vector of shape"),
        ("pool2", (7, 4), r"needs feature maps: this stage gives tokens of shape \(7, 4\)"),
        ("pool4", (3, 8, 3), r"'pool4', which would only repeat the values of 8 × 3 maps"),
        ("mean_token", (3, 8, 8), r"needs tokens: this stage gives feature maps of shape"),
        ("class_token", (9,), r"needs tokens: this stage gives a vector"),
        ("mean_token", (3, 4, 4, 4), r"this stage gives an output of shape"),
        (
            "class_token",
            (7, 4),
            r"^readout is 'class_token', and no token of this stage stands for the input: use mean_token\.$",
        ),
    ],
)
def test_a_readout_that_does_not_fit_is_refused(kind: str, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Readout(kind).resolve(shape, None)
    with pytest.raises(InputError, match=message):
        Readout(kind)(torch.zeros(2, *shape), None)
