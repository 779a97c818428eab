"""What a forward pass costs: multiply–accumulates and parameters along the executed path."""

import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from statistics import median
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from neural_branching.networks.readout import stages_of
from neural_branching.networks.standardized_network import StandardizedNetwork

log = logging.getLogger(__name__)

# Operations of torch by name that multiply matrices or convolve.
PRODUCTS = re.compile(
    r"mm(_|$)|^(add)?mv$|^v?dot$|^_?(bi|tri)?linear$|conv(?!ert)|attention|encoder_layer|rnn|lstm|gru|_fft_|cdist"
)


class Cost(NamedTuple):
    """The cost of one input's pass.

    Attributes:
        macs: multiply–accumulates; biases, norms and additions are not counted.
        parameters: how many parameters the output depends on.
    """

    macs: int
    parameters: int


def cost(model: StandardizedNetwork, blank: Tensor, until: str | None = None) -> Cost:
    """Cost of a pass up to a branch point, what its stages share being counted once.

    torch's formulas count two operations for each multiply–accumulate. What has none counts as nothing,
    which is logged by name; attention is taken apart into products that have one, since which fused
    operation stands for it, and whether that one has a formula, depends on torch's version.

    Args:
        model: parent or branch, left as it was; on the device "meta" nothing is computed but shapes.
        blank: one raw input, of which the shape alone matters, (1, …).
        until: name of a stage, or of several; None for the last of the network.
    """
    mine, training = list(model.parameters()), model.training
    with torch.inference_mode(False), torch.enable_grad(), _without_onednn():
        with sdpa_kernel(SDPBackend.MATH), _Counter() as counter:
            stages = stages_of(until or model.network.stage_names[-1])
            outputs = model.eval().walk(blank.to(model.device), stages)
            output = torch.stack([one.sum() for _, one in outputs]).sum()
        used = torch.autograd.grad(output, mine, allow_unused=True) if mine else ()
    model.train(training)
    count = sum(one.numel() for one, found in zip(mine, used, strict=True) if found is not None)
    return Cost(counter.operations // 2, count)


@contextmanager
def _without_onednn() -> Iterator[None]:
    """Its fused LSTM has no formula, and its convolutions may corrupt memory backwards (see ``ConvNet``)."""
    before = torch._C._get_mkldnn_enabled()
    torch._C._set_mkldnn_enabled(False)
    try:
        yield
    finally:
        torch._C._set_mkldnn_enabled(before)


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts operations by torch's formulas, and names what multiplies and has none.

    As ``FlopCounterMode`` does, but for tables of modules, operators of higher order, and the import of
    torch's compiler, which takes longer than most of what a run does when everything is in the store.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # that would import the compiler to keep it out

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        operation, named = func._overloadpacket, kwargs or {}
        if operation in flop_registry:
            result = func(*args, **named)
            self.operations += int(flop_registry[operation](*args, **named, out_val=result))
            return result
        with self:
            if (parts := func.decompose(*args, **named)) is not NotImplemented:
                return parts
        space, name = func.namespace, operation.__name__
        if space != "aten" or PRODUCTS.search(name):
            _say_uncounted(f"{space}.{name}")
        return func(*args, **named)


@cache  # once for all stages and runs of a process
def _say_uncounted(name: str) -> None:
    log.warning("Multiply–accumulates of the operation %s are not counted.", name)


def latencies(calls: Sequence[Callable[[], object]], device: torch.device, rounds: int = 30) -> list[float]:
    """Median milliseconds of several calls, made in turn so that what disturbs one disturbs all alike.

    Args:
        calls: what is timed, of modules in evaluation mode.
        device: where they compute.
        rounds: how often each is called, after a first time that does not count.
    """
    taken: list[list[float]] = [[] for _ in calls]
    with torch.inference_mode():
        for turn in range(1 + rounds):
            for call, mine in zip(calls, taken, strict=True):
                start = time.perf_counter()
                call()
                if device.type == "cuda":
                    torch.cuda.synchronize(device)
                if turn:
                    mine.append(time.perf_counter() - start)
    return [median(mine) * 1000 for mine in taken]


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
