"""What a forward pass costs: multiply–accumulates and parameters along the executed path."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from neural_branching.classifier import Classifier


class Cost(NamedTuple):
    """The cost of one input's pass.

    Attributes:
        macs: multiply–accumulates; biases, norms and additions are not counted.
        parameters: how many parameters the output depends on.
    """

    macs: int
    parameters: int


def cost(model: Classifier, shape: Sequence[int], until: str | None = None) -> Cost:
    """Cost of a pass up to a stage.

    ``FlopCounterMode`` counts two operations for each multiply–accumulate and what it does not know
    as nothing; with gradients on, attention is not fused into an operation that it does not know.

    Args:
        model: parent or branch, left as it was; on the device "meta" nothing is computed but shapes.
        shape: shape of one raw input.
        until: name of the last stage; None for the logits.
    """
    mine, training = list(model.parameters()), model.training
    with torch.inference_mode(False), torch.enable_grad(), FlopCounterMode(display=False) as counter:
        output = model.eval()(torch.zeros(1, *shape, device=model.device), until=until).sum()
    used = torch.autograd.grad(output, mine, allow_unused=True)
    model.train(training)
    count = sum(one.numel() for one, found in zip(mine, used, strict=True) if found is not None)
    return Cost(int(counter.get_total_flops()) // 2, count)


def latency(forward: Callable[[Tensor], Tensor], x: Tensor) -> float:
    """Median milliseconds of a pass, on the device of its input with torch's own threads.

    Args:
        forward: the pass, of modules in evaluation mode.
        x: a batch of inputs.
    """
    from torch.utils.benchmark import Timer  # slow to import, and only wanted here

    with torch.inference_mode():
        timer = Timer("forward(x)", globals={"forward": forward, "x": x}, num_threads=torch.get_num_threads())
        return float(timer.blocked_autorange(min_run_time=0.3).median) * 1000
