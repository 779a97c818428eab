"""What a CUDA graph does, on a CPU: every operation again, on the same memory, without Python in between."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, UntypedStorage
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from neural_branching.training import captured_step

aten = torch.ops.aten
# What makes the host wait for a device, or sends numbers of the host to it.
FORBIDDEN = (
    *(aten._local_scalar_dense, aten.nonzero, aten.masked_select, aten._unique2, aten.equal),
    *(aten.lift_fresh, aten.is_nonzero),
)


def tensors(values: Any) -> Iterator[Tensor]:
    return (one for one in tree_leaves(values) if isinstance(one, Tensor))


def memory(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def copied(tensor: Tensor) -> tuple[UntypedStorage, UntypedStorage]:
    """The memory that a tensor shares with all views of it, and what is in it now."""
    storage = tensor.untyped_storage()
    return storage, storage.clone()


def writes(func: Any, argument: Any) -> bool:
    """Whether an operation writes over an argument; of batch norm the schema does not say it."""
    if func.overloadpacket is aten.native_batch_norm:
        return argument.name in ("running_mean", "running_var")
    return argument.alias_info is not None and argument.alias_info.is_write


def given_up(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was said of replays that did something else than their steps."""
    return [one.getMessage() for one in caplog.records if one.name == captured_step.__name__]


class _Recording(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.operations: list[tuple[Any, tuple, dict, list[tuple[int, Tensor]]]] = []
        self.before: dict[int, tuple[UntypedStorage, UntypedStorage]] = {}  # what a step writes over
        self.draws: dict[torch.Generator, Tensor] = {}
        self._new: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func.overloadpacket in FORBIDDEN:
            raise RuntimeError(f"{func} is not permitted while a graph is captured.")
        for place, argument in enumerate(func._schema.arguments):
            value = args[place] if place < len(args) else kwargs.get(argument.name)
            if isinstance(value, torch.Generator):
                self.draws.setdefault(value, value.get_state())
            if writes(func, argument):
                for written in tensors(value):
                    if memory(written) not in self._new:
                        self.before.setdefault(memory(written), copied(written))
        result = func(*args, **kwargs)
        taken = {memory(one) for one in tensors((args, kwargs))}
        made = [(at, one) for at, one in enumerate(tensors(result)) if memory(one) not in taken]
        self._new |= {memory(one) for _, one in made}
        self.operations.append((func, args, kwargs, made))
        return result


class Tape:
    """Captures steps on a CPU.

    Attributes:
        captured: number of steps that were captured.
        replayed: how often one was replayed.
    """

    def __init__(self) -> None:
        self.captured = self.replayed = 0
        self._drawn: list[torch.Generator] = []

    def rehearse(self, run: Callable[[], Tensor]) -> Tensor:
        return run()

    def capture(self, run: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
        self.captured += 1
        draws = torch.get_rng_state()
        with _Recording() as recording:
            result = run()
        self._drawn = [*recording.draws]
        # Capturing does nothing yet, and what it makes has no values.
        for _, _, _, made in recording.operations:
            for _, one in made:
                if one.is_floating_point():
                    one.fill_(torch.nan)
        torch.set_rng_state(draws)
        for generator, state in recording.draws.items():
            generator.set_state(state)
        for written, value in recording.before.values():
            written.copy_(value)

        @torch.no_grad()
        def replay() -> None:
            self.replayed += 1
            with torch.autocast("cpu", enabled=False):
                for func, args, kwargs, made in recording.operations:
                    results = list(tensors(func(*args, **kwargs)))
                    for place, one in made:
                        one.copy_(results[place])

        return replay, result

    def try_out(self, replay: Callable[[], None]) -> None:
        states = [one.get_state() for one in self._drawn]
        with torch.random.fork_rng([]):
            replay()
        for generator, state in zip(self._drawn, states, strict=True):
            generator.set_state(state)
