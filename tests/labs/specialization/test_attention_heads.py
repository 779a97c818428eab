"""Attention heads can be read before they are mixed, and the model answers as before."""

import math

import torch
from torch import Tensor, nn
from torchvision.models.feature_extraction import create_feature_extractor

from neural_branching.labs.specialization.attention_heads import with_separate_heads
from neural_branching.labs.specialization.graph_partitions import graph_partitions


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(12, 3, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        mixed, _ = self.attention(x, x, x, need_weights=False)
        return x + mixed


def test_separate_heads_are_not_mixed() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(Block()).eval()
    separate = with_separate_heads(model)
    attention = model[0].attention
    tokens = torch.rand(2, 5, 12)
    one, _ = graph_partitions(separate, tokens)
    (stage,) = one.stages
    with torch.inference_mode():
        assert torch.allclose(separate(tokens), model(tokens), atol=1e-6)
        heads = create_feature_extractor(separate, [stage])(tokens)[stage]
        q, k, v = nn.functional.linear(tokens, attention.in_proj_weight, attention.in_proj_bias).chunk(3, -1)
        for units in map(torch.from_numpy, one.partition.branches.values()):
            weights = torch.softmax(q[..., units] @ k[..., units].mT / math.sqrt(len(units)), -1)
            assert torch.allclose(heads[..., units], weights @ v[..., units], atol=1e-6)
    assert [one.kind for one in graph_partitions(model, tokens)] == ["attention heads", "residual addition"]


def test_layers_that_look_into_their_attention_are_copied() -> None:
    layer = nn.TransformerEncoderLayer(12, 3, 16, batch_first=True).eval()
    tokens = torch.rand(2, 5, 12)
    with torch.inference_mode():
        assert torch.allclose(with_separate_heads(layer)(tokens), layer(tokens), atol=1e-5)
