"""Heads of attention as units, which ``nn.MultiheadAttention`` does not give."""

from copy import deepcopy
from typing import Any

from torch import Tensor, nn

_ENCODERS = (nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)  # these look into their attention


def with_separate_heads(module: nn.Module) -> nn.Module:
    """A copy of a model in which the outputs of attention heads can be read before they are mixed.

    ``nn.MultiheadAttention`` returns the projection of its heads, in which every unit is a mixture of all of
    them. In the copy it returns the heads one after another, and a linear layer after it projects them: the
    stages of attention heads that ``graph_partitions`` finds then hold units of heads, and the model's output
    is the same.

    Args:
        module: any model; it stays as it is. Layers of ``nn.TransformerEncoder`` and
            ``nn.TransformerDecoder`` are copied without a change.
    """
    copy = deepcopy(module)
    for parent in list(copy.modules()):
        if not isinstance(parent, _ENCODERS):
            for name, child in parent.named_children():
                if isinstance(child, nn.MultiheadAttention):
                    setattr(parent, name, _SeparateHeads(child))
    return copy


class _SeparateHeads(nn.Module):
    """Attention whose projection is a layer of its own."""

    def __init__(self, attention: nn.MultiheadAttention) -> None:
        super().__init__()
        self.projection = attention.out_proj
        identity = deepcopy(attention.out_proj).requires_grad_(False)
        nn.init.eye_(identity.weight)
        if identity.bias is not None:
            nn.init.zeros_(identity.bias)
        attention.out_proj = identity
        self.attention = attention

    def forward(self, *inputs: Any, **options: Any) -> tuple[Tensor, Tensor | None]:
        heads, weights = self.attention(*inputs, **options)
        return self.projection(heads), weights
