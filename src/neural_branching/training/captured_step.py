"""Training steps captured once and replayed: a small network on a GPU waits for launches otherwise."""

import gc
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache, partial
from typing import Protocol

import torch
from torch import Tensor, nn

from neural_branching.errors import InputError
from neural_branching.training.compute import Compute

REHEARSALS = 2  # steps of every shape that run before one is captured: libraries set themselves up in them

Step = Callable[..., Tensor]


class Capturer(Protocol):
    """What runs steps of fixed shapes and memory, and captures them."""

    def rehearse(self, run: Callable[[], Tensor]) -> Tensor:
        """Run a step as one that is to be captured must run before."""

    def capture(self, run: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
        """What does everything again that a step does, in the same memory, and where its result then lies.

        Nothing is done yet.
        """


class CudaGraphs:
    """Captures CUDA graphs (https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs), in one memory.

    Args:
        device: where the steps run.
    """

    def __init__(self, device: torch.device) -> None:
        self._stream, self._memory = _stream_on(device), torch.cuda.graph_pool_handle()

    def rehearse(self, run: Callable[[], Tensor]) -> Tensor:
        """Run a step on the stream that captures."""
        here = torch.cuda.current_stream(self._stream.device)
        self._stream.wait_stream(here)
        with torch.cuda.stream(self._stream):
            result = run()
        here.wait_stream(self._stream)
        return result

    def capture(self, run: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
        """As a graph."""
        graph, collects = torch.cuda.CUDAGraph(), gc.isenabled()
        gc.disable()  # what it would free of the device meanwhile could invalidate the graph
        try:
            with torch.cuda.graph(graph, pool=self._memory, stream=self._stream):
                result = run()
        finally:
            if collects:
                gc.enable()
        return graph.replay, result


@cache  # libraries keep a workspace for every stream that they have seen
def _stream_on(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


@dataclass(frozen=True)
class _Captured:
    """A captured step: where it takes its inputs from, and where it leaves its result and gradients."""

    inputs: tuple[Tensor, ...]
    replay: Callable[[], None]
    result: Tensor
    gradients: list[Tensor | None]


class CapturedStep:
    """A step that is captured once for every shape of what it takes, as of full batches and of the last.

    Args:
        step: does everything on the device, in memory that stays where it is, and asks the device for
            nothing. What it takes are tensors; its result is one.
        capturer: how it is captured.
        parameters: whose gradients a step leaves behind.
    """

    def __init__(self, step: Step, capturer: Capturer, parameters: Iterable[nn.Parameter]) -> None:
        self._step, self._capturer, self._parameters = step, capturer, list(parameters)
        self._rehearsed: Counter[tuple[torch.Size, ...]] = Counter()
        self._captured: dict[tuple[torch.Size, ...], _Captured] = {}

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Do one step.

        Raises:
            InputError: if the step cannot be captured.
        """
        shapes = tuple(one.shape for one in inputs)
        if self._rehearsed[shapes] < REHEARSALS:
            self._rehearsed[shapes] += 1
            return self._capturer.rehearse(lambda: self._step(*inputs))
        if shapes not in self._captured:
            self._captured[shapes] = self._capture(inputs)
        captured = self._captured[shapes]
        for mine, given in zip(captured.inputs, inputs, strict=True):
            mine.copy_(given)
        captured.replay()
        for parameter, gradient in zip(self._parameters, captured.gradients, strict=True):
            parameter.grad = gradient
        return captured.result.clone()  # the next step writes over it

    def _capture(self, inputs: tuple[Tensor, ...]) -> _Captured:
        kept = tuple(one.clone() for one in inputs)
        try:
            replay, result = self._capturer.capture(lambda: self._step(*kept))
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            first: BaseException = error  # the others say that something had gone wrong before
            while first.__context__ is not None:
                first = first.__context__
            reason = (str(first).splitlines() or [type(first).__name__])[0].rstrip(".")
            raise InputError(
                f"A training step cannot be captured as a CUDA graph ({reason}): in a new process, "
                "trainer.cuda_graphs=false launches every operation anew."
            ) from error
        return _Captured(kept, replay, result, [one.grad for one in self._parameters])


def capturer_of(compute: Compute) -> Callable[[], Capturer] | None:
    """What makes a capturer of steps where they run; None where each runs as it is."""
    device = compute.device()
    return partial(CudaGraphs, device) if device.type == "cuda" and compute.cuda_graphs else None


def prepared(
    step: Step,
    capturer: Callable[[], Capturer] | None,
    parameters: Iterable[nn.Parameter],
    optimizer: torch.optim.Optimizer,
) -> Step:
    """A step as it is to be run.

    Args:
        step: as for ``CapturedStep``; it may step the optimiser.
        capturer: makes what captures it, whose memory is the step's own; None to run it as it is.
        parameters: as for ``CapturedStep``.
        optimizer: of these parameters; it is told that its step may be captured.
    """
    if capturer is None:
        return step
    for group in optimizer.param_groups:  # not when it is built: a checkpoint may come from elsewhere
        group["capturable"] = True
    return CapturedStep(step, capturer(), parameters)
