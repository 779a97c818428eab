"""Training steps captured once and replayed: a small network on a GPU waits for launches otherwise."""

import gc
import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import chain
from typing import Protocol

import torch
from torch import Tensor, nn

from neural_branching.errors import InputError
from neural_branching.training.compute import Compute

REHEARSALS = 2  # steps of every shape that run before one is captured: libraries set themselves up in them
# By how much of its size what a replay leaves may differ from what the step itself does. Sums in another
# order differ by less, but Adam makes whole steps of gradients that should be 0.
RESULT_ALIKE, GRADIENTS_ALIKE, CHANGES_ALIKE = 0.001, 0.05, 0.25

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


@dataclass
class _Captured:
    """A captured step: where it takes its inputs from, and where it leaves its result and gradients."""

    inputs: tuple[Tensor, ...]
    replay: Callable[[], None]
    result: Tensor
    gradients: list[Tensor | None]
    tried: bool = False


class CapturedStep:
    """A step that is captured once for every shape of what it takes, as of full batches and of the last.

    The first replay is tried out beside the step itself, on another batch than it was captured with. If one
    does something else, because Python decides something anew or a device replays other than it should,
    none is used any more.

    Args:
        step: does everything on the device, in memory that stays where it is, and asks the device for
            nothing. What it takes are tensors; its result is one.
        capturer: how it is captured.
        parameters: whose gradients a step leaves behind.
        state: gives everything that a step may write over, in kinds that are each of one size: weights,
            statistics, the optimiser's moments.
        give_up: is told when a replay did something else.
    """

    def __init__(
        self,
        step: Step,
        capturer: Capturer,
        parameters: Iterable[nn.Parameter],
        state: Callable[[], Iterable[Sequence[Tensor]]],
        give_up: Callable[[], None],
    ) -> None:
        self._step, self._capturer, self._parameters = step, capturer, list(parameters)
        self._state, self._give_up = state, give_up
        self._rehearsed: Counter[tuple[torch.Size, ...]] = Counter()
        self._captured: dict[tuple[torch.Size, ...], _Captured] = {}
        self._trusted = True

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Do one step.

        Raises:
            InputError: if the step cannot be captured.
        """
        if not self._trusted:
            return self._step(*inputs)
        shapes = tuple(one.shape for one in inputs)
        if self._rehearsed[shapes] < REHEARSALS:
            self._rehearsed[shapes] += 1
            return self._capturer.rehearse(lambda: self._step(*inputs))
        if shapes not in self._captured:
            self._captured[shapes] = self._capture(inputs)
            return self._step(*inputs)
        captured = self._captured[shapes]
        for mine, given in zip(captured.inputs, inputs, strict=True):
            mine.copy_(given)
        if not captured.tried:
            captured.tried = True
            return self._tried_out(captured)
        captured.replay()
        for parameter, gradient in zip(self._parameters, captured.gradients, strict=True):
            parameter.grad = gradient
        return captured.result.clone()  # the next step writes over it

    @torch.no_grad()
    def _tried_out(self, captured: _Captured) -> Tensor:
        """Replay, take it back, do the step itself, and go on with replays if both have done the same."""
        kinds = [[one.detach() for one in kind] for kind in self._state()]
        before = [[one.clone() for one in kind] for kind in kinds]
        for one in (captured.result, *captured.gradients):
            if one is not None:
                one.fill_(torch.nan)  # so that what a replay does not write is seen
        self._capturer.try_out(captured.replay)
        replayed = captured.result.clone()
        gradients = [None if one is None else one.clone() for one in captured.gradients]
        changes = [*map(_changes, kinds, before)]
        for kind, old in zip(kinds, before, strict=True):
            for one, value in zip(kind, old, strict=True):
                one.copy_(value)
        with torch.enable_grad():
            result = self._step(*captured.inputs)
        if not (
            _alike([replayed], [result], RESULT_ALIKE)
            and _alike(gradients, [one.grad for one in self._parameters], GRADIENTS_ALIKE)
            and all(
                _alike(change, really, CHANGES_ALIKE) and _as_many_change(change, really)
                for change, really in zip(changes, map(_changes, kinds, before), strict=True)
            )
        ):
            self._trusted = False
            self._captured.clear()  # all at once: they share memory, and libraries' workspaces
            self._give_up()
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
    """What was added to each, as numbers with a fraction."""
    pairs = zip(state, before, strict=True)
    return [one - old if one.is_floating_point() else one.double() - old.double() for one, old in pairs]


def _alike(some: Sequence[Tensor | None], others: Sequence[Tensor | None], most: float) -> bool:
    """Whether tensors differ by no more than a share of the others' size, over all of them.

    Numbers that are not finite count as 0.
    """
    if [one is None or one.shape for one in some] != [one is None or one.shape for one in others]:
        return False
    pairs = [
        (torch.nan_to_num(one, 0, 0, 0), torch.nan_to_num(other, 0, 0, 0))
        for one, other in zip(some, others, strict=True)
        if one is not None and other is not None
    ]
    distance, size = _norm([one - other for one, other in pairs]), _norm([other for _, other in pairs])
    return distance <= most * size


def _norm(tensors: Sequence[Tensor]) -> float:
    norms = [torch.linalg.vector_norm(one, dtype=torch.float64) for one in tensors]
    return float(torch.stack(norms).norm()) if norms else 0.0


def _as_many_change(some: Sequence[Tensor], others: Sequence[Tensor]) -> bool:
    """Whether all tensors change that others do: a small one is nothing beside the rest."""
    return all(bool(one.any()) >= bool(other.any()) for one, other in zip(some, others, strict=True))


def capturer_of(compute: Compute) -> Callable[[], Capturer] | None:
    """What makes a capturer of steps where they run; None where each runs as it is."""
    device = compute.device()
    return partial(CudaGraphs, device) if device.type == "cuda" and compute.cuda_graphs else None


class Captures(Protocol):
    """What is trained by steps that may be captured.

    Attributes:
        capturer: makes what captures them, whose memory is the step's own; None to run each as it is.
    """

    capturer: Callable[[], Capturer] | None

    def parameters(self) -> Iterator[nn.Parameter]:
        """As a module has them."""

    def named_buffers(self) -> Iterator[tuple[str, Tensor]]:
        """As a module has them."""


def prepared(
    step: Step, module: Captures, parameters: Iterable[nn.Parameter], optimizer: torch.optim.Optimizer
) -> Step:
    """A step as it is to be run.

    Args:
        step: as for ``CapturedStep``; it may step the optimiser.
        module: what is trained; it captures no more once a replay did something else than its step.
        parameters: as for ``CapturedStep``.
        optimizer: of these parameters; it is told that its step may be captured.
    """
    if module.capturer is None:
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

    def give_up() -> None:
        module.capturer = None
        log.warning(
            "A training step that was captured as a CUDA graph does something else than the step itself: "
            "every operation is launched anew, as with trainer.cuda_graphs=false. A network of your own "
            "must do the same in every step."
        )

    return CapturedStep(step, module.capturer(), parameters, state, give_up)
