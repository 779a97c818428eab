"""Training steps captured once and replayed: a small network on a GPU waits for launches otherwise."""

import gc
import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import chain
from typing import Protocol

import torch
from torch import Tensor, nn

from neural_branching.errors import InputError
from neural_branching.training.compute import Compute

REHEARSALS = 2  # steps of every shape that run before one is captured: libraries set themselves up in them
# By how much of its size a replay's result and gradients, and what it changes, may differ from those of the
# step itself. Sums in another order do less, but Adam makes whole steps of gradients that should be 0.
ALIKE, CHANGED_ALIKE = 0.01, 0.25

Step = Callable[..., Tensor]
log = logging.getLogger(__name__)


class Capturer(Protocol):
    """What runs steps of fixed shapes and memory, and captures them."""

    def rehearse(self, run: Callable[[], Tensor]) -> Tensor:
        """Run a step as one that is to be captured must run before."""

    def capture(self, run: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
        """What does everything again that a step does, in the same memory, and where its result then lies.

        Nothing is done yet.
        """

    def try_out(self, replay: Callable[[], None]) -> None:
        """Replay, and forget what was drawn: the next draws are the same."""


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

    def try_out(self, replay: Callable[[], None]) -> None:
        """Replay, and set the device's generator back."""
        with torch.random.fork_rng([self._stream.device]):
            replay()


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

    The first replay is tried out beside the step itself. One that does something else, because Python has
    decided something anew or a device replays other than it should, is never used: the step runs as it is,
    with a warning.

    Args:
        step: does everything on the device, in memory that stays where it is, and asks the device for
            nothing. What it takes are tensors; its result is one.
        capturer: how it is captured.
        parameters: whose gradients a step leaves behind.
        state: gives everything that a step may write over, in kinds that are each of one size: weights,
            statistics, the optimiser's moments.
    """

    def __init__(
        self,
        step: Step,
        capturer: Capturer,
        parameters: Iterable[nn.Parameter],
        state: Callable[[], Iterable[Sequence[Tensor]]],
    ) -> None:
        self._step, self._capturer, self._parameters = step, capturer, list(parameters)
        self._state = state
        self._rehearsed: Counter[tuple[torch.Size, ...]] = Counter()
        self._captured: dict[tuple[torch.Size, ...], _Captured | None] = {}

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
            return self._tried_out(self._capture(inputs), shapes)
        captured = self._captured[shapes]
        if captured is None:
            return self._step(*inputs)
        for mine, given in zip(captured.inputs, inputs, strict=True):
            mine.copy_(given)
        captured.replay()
        for parameter, gradient in zip(self._parameters, captured.gradients, strict=True):
            parameter.grad = gradient
        return captured.result.clone()  # the next step writes over it

    @torch.no_grad()
    def _tried_out(self, captured: _Captured, shapes: tuple[torch.Size, ...]) -> Tensor:
        """Replay, take it back, do the step itself, and keep the replay if both have done the same."""
        kinds = [[one.detach() for one in kind] for kind in self._state()]
        before = [[one.clone() for one in kind] for kind in kinds]
        self._capturer.try_out(captured.replay)
        left = [captured.result, *(one for one in captured.gradients if one is not None)]
        replayed = [one.clone() for one in left]
        changes = [*map(_changes, kinds, before)]
        for kind, old in zip(kinds, before, strict=True):
            for one, value in zip(kind, old, strict=True):
                one.copy_(value)
        with torch.enable_grad():
            result = self._capturer.rehearse(lambda: self._step(*captured.inputs))
        done = [result, *(one.grad for one in self._parameters if one.grad is not None)]
        alike = _apart(replayed, done) <= ALIKE and all(
            _apart(change, really) <= CHANGED_ALIKE
            for change, really in zip(changes, map(_changes, kinds, before), strict=True)
        )
        self._captured[shapes] = captured if alike else None
        if not alike:
            log.warning(
                "A training step that was captured as a CUDA graph does something else than the step itself: "
                "every operation is launched anew, as with trainer.cuda_graphs=false. A network of your own "
                "must do the same in every step."
            )
        return result

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


def _changes(state: Sequence[Tensor], before: Sequence[Tensor]) -> list[Tensor]:
    return [one.double() - old.double() for one, old in zip(state, before, strict=True)]


def _apart(some: Sequence[Tensor], others: Sequence[Tensor]) -> float:
    """By how much of the others' size, over all of them, tensors differ; infinity if they are not as many.

    Of losses that are no longer finite nothing can be said, and 0 is.
    """
    if len(some) != len(others):
        return float("inf")
    distance, size = (
        sum((one.double().square().sum() for one in each), start=torch.zeros(())).sqrt()
        for each in (_changes(some, others), others)
    )
    return float(distance / size.clamp_min(1e-12)) if size.isfinite() else 0.0


def capturer_of(compute: Compute) -> Callable[[], Capturer] | None:
    """What makes a capturer of steps where they run; None where each runs as it is."""
    device = compute.device()
    return partial(CudaGraphs, device) if device.type == "cuda" and compute.cuda_graphs else None


def prepared(
    step: Step,
    capturer: Callable[[], Capturer] | None,
    module: nn.Module,
    parameters: Iterable[nn.Parameter],
    optimizer: torch.optim.Optimizer,
) -> Step:
    """A step as it is to be run.

    Args:
        step: as for ``CapturedStep``; it may step the optimiser.
        capturer: makes what captures it, whose memory is the step's own; None to run it as it is.
        module: what is trained.
        parameters: as for ``CapturedStep``.
        optimizer: of these parameters; it is told that its step may be captured.
    """
    if capturer is None:
        return step
    for group in optimizer.param_groups:  # not when it is built: a checkpoint may come from elsewhere
        group["capturable"] = True

    def state() -> Iterable[list[Tensor]]:
        kinds: defaultdict[str, list[Tensor]] = defaultdict(list, weights=[*module.parameters()])
        moments = (item for each in optimizer.state.values() for item in each.items())
        for name, one in chain(module.named_buffers(), moments):
            if isinstance(one, Tensor):
                kinds[name.rpartition(".")[2]].append(one)
        return kinds.values()

    return CapturedStep(step, capturer(), parameters, state)
