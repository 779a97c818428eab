"""Parents that learn with heads at several stages."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from neural_branching.errors import InputError
from neural_branching.networks.mlp import MLP
from neural_branching.networks.standardize import Standardize
from neural_branching.networks.standardized_network import StandardizedNetwork
from neural_branching.training.deep_supervision import DeeplySupervised
from neural_branching.training.recipe import Recipe
from tiny import GlyphRun, glyphs, recipe

FIT = Recipe(epochs=1, batch_size=5, lr=0.01)


def parent_of(seed: int = 0) -> StandardizedNetwork:
    torch.manual_seed(seed)
    return StandardizedNetwork(Standardize((6,)), MLP((6,), 3, (8, 4), 0.0)).eval()


def test_the_loss_is_the_weighted_mean_of_all_heads() -> None:
    parent = parent_of()
    module = DeeplySupervised(
        parent, FIT, {"hidden1": 0.5, "hidden2": 2.0}, {"hidden1": 8, "hidden2": 4}, 3
    ).eval()
    x, y = torch.randn(10, 6), torch.randint(3, (10,))
    losses = [F.cross_entropy(parent(x), y)]
    for head, stage in zip(module.heads, ("hidden1", "hidden2"), strict=True):
        losses.append(F.cross_entropy(head(parent(x, until=stage)), y))
    expected = (losses[0] + 0.5 * losses[1] + 2.0 * losses[2]) / 3.5
    torch.testing.assert_close(module.batch_loss(x, y), expected)


def test_shared_layers_learn_from_every_head() -> None:
    parent = parent_of()
    module = DeeplySupervised(parent, FIT, {"hidden1": 1.0}, {"hidden1": 8}, 3)
    x, y = torch.randn(10, 6), torch.randint(3, (10,))
    module.batch_loss(x, y).backward()
    first = next(iter(parent.network.stages["hidden1"].parameters())).grad.clone()
    parent.zero_grad()
    (F.cross_entropy(parent(x), y) / 2).backward()
    plain = next(iter(parent.network.stages["hidden1"].parameters())).grad
    assert not torch.allclose(first, plain)


def test_only_the_parent_is_kept(glyph_run: GlyphRun) -> None:
    settings = (*glyphs(), *recipe(epochs=3, lr=0.01))
    plain, exits = glyph_run(*settings), glyph_run(*settings, "parent.exits={hidden1:0.5,hidden2:1}")
    keys = [run.results["artifacts"]["parent"]["key"] for run in (plain, exits)]
    assert keys[0] != keys[1]
    assert plain.results["parent"]["parameters"] == exits.results["parent"]["parameters"]
    again = glyph_run(*settings, "parent.exits={hidden1:0.5,hidden2:1}", "branch.seed=1")
    assert not again.results["artifacts"]["parent"]["built"]
    assert np.isfinite(exits.results["parent"]["test_accuracy"])


@pytest.mark.parametrize(
    ("exits", "sentence"),
    [
        ("[hidden3]", r"parent\.exits is 'hidden3', which is unknown.*hidden1"),
        ("[logits]", r"parent\.exits has 'logits', which the parent learns by anyway"),
        ("{hidden1:0}", r"parent\.exits\.hidden1 is 0: it must be a number within \(0"),
        ("hidden1", r"parent\.exits is 'hidden1': it must be null, different stages"),
        ("[hidden1,hidden1]", r"parent\.exits is .*different stages"),
        ("[]", r"parent\.exits is \[\]"),
    ],
)
def test_what_is_no_exit_is_refused(glyph_run: GlyphRun, exits: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        glyph_run(*glyphs(), f"parent.exits={exits}")


def test_a_parent_that_does_not_learn_has_no_exits(glyph_run: GlyphRun) -> None:
    with pytest.raises(InputError, match=r"parent\.exits are learned by, and this parent is not trained"):
        glyph_run(*glyphs(), "parent.exits=[hidden1]", "parent.fit=null")
