"""What a forward pass costs: multiply–accumulates and parameters along the executed path."""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from neural_branching.classifier import Classifier


def macs(model: Classifier, shape: Sequence[int], until: str | None = None) -> int:
    """Multiply–accumulates of one input's pass up to a stage; biases, norms and additions not counted.

    ``FlopCounterMode`` counts two operations for each and what it does not know as nothing; with
    gradients on, attention is not fused into an operation that it does not know.

    Args:
        model: parent or branch; neither changed nor run, only copied without its values.
        shape: shape of one raw input.
        until: name of the last stage; None for the logits.
    """
    with FlopCounterMode(display=False) as counter:
        _pass(_blank(model), shape, until)
    return int(counter.get_total_flops()) // 2


def parameters(model: Classifier, shape: Sequence[int], until: str | None = None) -> int:
    """Number of parameters that the output of a stage depends on.

    Args:
        model: parent or branch.
        shape: shape of one raw input.
        until: name of the last stage; None for the logits.
    """
    blank = _blank(model)
    mine = list(blank.parameters())
    gradients = torch.autograd.grad(_pass(blank, shape, until).sum(), mine, allow_unused=True)
    return sum(one.numel() for one, found in zip(mine, gradients, strict=True) if found is not None)


def _blank(model: Classifier) -> Classifier:
    return copy.deepcopy(model).to("meta").eval()


def _pass(model: Classifier, shape: Sequence[int], until: str | None) -> Tensor:
    output: Tensor = model(torch.zeros(1, *shape, device="meta"), until=until)
    return output
