"""Anyone's ``nn.Module`` as a network with branch points."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property

import torch
from torch import OutOfMemoryError, Tensor, nn

from neural_branching.errors import ArgumentError, InputError
from neural_branching.networks.network import Network, Stays
from neural_branching.selection.array_types import Shaped

ELEMENT = ":"  # between a submodule and which of the things it returns


class WrappedModule(Network):
    """A module whose branch points are the names of its submodules.

    Of a submodule that returns several things ``NAME:0`` is the first, ``NAME:hidden`` the one of that
    name. A stage's output is what the submodule returns when it is *first* called; the pass is broken off
    as soon as the last stage asked for has been seen, so that later layers cost nothing. Control flow
    may depend on anything but the values in a tensor: large ones are followed without any.
    The last stage is what the module itself returns.

    Args:
        module: maps a batch of inputs (n, …) to logits (n, classes), or to something else.
        last: name of the last stage: "logits", or "output" of a module that gives no label's.
    """

    pass_recipe = 2  # 1 handed out what later layers had changed in place

    def __init__(self, module: nn.Module, last: str = "logits") -> None:
        super().__init__()
        self.module = module
        self.last = last

    @cached_property  # every answer asks in which order stages come
    def stage_names(self) -> tuple[str, ...]:
        """Names of all submodules as ``named_modules`` gives them, then the last stage."""
        return (*(name for name, _ in self.module.named_modules() if name not in ("", self.last)), self.last)

    @property
    def main_stages(self) -> tuple[str, ...]:
        """Submodules of the first level, then the last stage."""
        return (*(name for name, _ in self.module.named_children() if name != self.last), self.last)

    @property
    def bare(self) -> nn.Module:
        """The module itself."""
        return self.module

    def place(self, stage: str, argument: str = "stage") -> int:
        """As in ``Network``; of an element the place of its submodule."""
        if "/" in stage:
            raise ArgumentError(
                argument, f"is {stage!r}: a stage becomes the name of a file, so no / is allowed."
            )
        return super().place(stage.partition(ELEMENT)[0], argument)

    def compute(self, x: Shaped[Tensor, "n ..."]) -> object:
        """What the module makes of a batch."""
        return self.module(x)

    def element(self, stage: str, output: object) -> object:
        """What of a submodule's output a stage without an element means."""
        return output

    def walk(
        self, x: Shaped[Tensor, "n ..."], stages: Sequence[str]
    ) -> Iterator[tuple[str, Shaped[Tensor, "n ..."]]]:
        """Name and output of some stages, once the pass has reached the last of them.

        Raises:
            InputError: if the pass never calls a stage, or a stage returns no tensor.
        """
        seen: dict[str, Tensor] = {}
        missing = set(stages)
        # An exporter loses its place where a pass is broken off, and leaves out by itself what nobody reads.
        whole = torch.compiler.is_compiling()

        def keep(name: str, output: object) -> None:
            if name in seen:
                return
            output = self._element(name, output)
            if output.ndim < 2 or output.shape[0] != x.shape[0]:
                raise InputError(
                    f"The stage {name!r} of {type(self.module).__name__} returns shape "
                    f"{tuple(output.shape)} for {len(x)} inputs: it must return one entry per input, (n, …)."
                )
            missing.discard(name)
            # Later layers may work in place, as many a ReLU does.
            seen[name] = output.clone() if missing or whole else output
            if not missing and not whole:
                raise _StageReachedError

        with self._hooked(stages, keep):
            whole_output = self.compute(x)
            if self.last in missing:
                keep(self.last, whole_output)
        self._refuse_uncalled(missing)
        yield from seen.items()

    def walk_while(self, x: Shaped[Tensor, "n ..."], stages: Sequence[str], stays: Stays) -> None:
        """As in ``Network``; what has left is computed no further.

        Later layers are handed what goes on instead of what a submodule has returned.

        Raises:
            InputError: if the pass never calls a stage or a stage returns no tensor; and where later layers
                take other things from before a stage than what it returns, of which nobody has left.
        """
        left, here, raised = set(stages), len(x), list[Exception]()

        def thin(name: str, output: object) -> object:
            nonlocal here
            if name not in left:
                return None
            if name != next(one for one in stages if one in left):
                raise InputError(
                    f"The stage {name!r} of {type(self.module).__name__} is computed before stages that are "
                    "registered before it, so that nothing can leave its pass in their order."
                )
            tensor = self._element(name, output)
            if tensor.ndim < 2 or len(tensor) != here:
                raise InputError(
                    f"The stage {name!r} of {type(self.module).__name__} returns shape {tuple(tensor.shape)} "
                    f"for {here} inputs, after others have left."
                )
            left.discard(name)
            try:
                going = stays(name, tensor)
            except Exception as error:
                raised.append(error)
                raise
            here = int(going.sum())
            if not left or not here:
                raise _StageReachedError
            return None if going.all() else _thinned(output, going)

        with self._hooked(stages, thin):
            try:
                output = self.compute(x)
            except Exception as error:
                if (
                    here == len(x)
                    or raised
                    or isinstance(error, _StageReachedError | InputError | OutOfMemoryError)
                ):
                    raise
                raise InputError(
                    f"{type(self.module).__name__} cannot go on with some of its inputs "
                    f"({type(error).__name__}: {error})."
                ) from error
            if self.last in left:
                thin(self.last, output)
        if here:
            self._refuse_uncalled(left)

    @contextmanager
    def _hooked(self, stages: Sequence[str], see: Callable[[str, object], object]) -> Iterator[None]:
        """Inside, submodules hand what they return to ``see``, which may change it, or end the pass."""
        hooks = [
            self.module.get_submodule(name.partition(ELEMENT)[0]).register_forward_hook(
                lambda module, inputs, output, name=name: see(name, output)
            )
            for name in stages
            if name != self.last
        ]
        try:
            yield
        except _StageReachedError:
            pass
        finally:
            for hook in hooks:
                hook.remove()

    def _refuse_uncalled(self, stages: Iterable[str]) -> None:
        for name in sorted(stages):
            raise InputError(
                f"The stage {name!r} of {type(self.module).__name__} is never called in a forward pass."
            )

    def _element(self, stage: str, output: object) -> Tensor:
        """The tensor that a stage is, of what its submodule returned.

        Raises:
            InputError: if it is none.
        """
        name, chosen, element = stage.partition(ELEMENT)
        found = output if chosen else self.element(stage, output)
        names = _elements(output)
        if chosen:
            if element not in names:
                raise InputError(
                    f"The stage {name!r} of {type(self.module).__name__} has no element {element!r}: it "
                    f"returns {_described(output)}."
                )
            found = names[element]
        if not isinstance(found, Tensor):
            tensors = [f"{name}{ELEMENT}{one}" for one, part in names.items() if isinstance(part, Tensor)]
            choose = f", such as {tensors[0]}" if tensors else ""
            raise InputError(
                f"The stage {stage!r} of {type(self.module).__name__} returns {_described(found)}: a branch "
                f"point must return one tensor{choose}."
            )
        return found


def _thinned(output: object, going: Tensor) -> object:
    """What a submodule returned, of some of the inputs."""
    if isinstance(output, Tensor):
        return output[going] if len(output) == len(going) else output
    if type(output) in (tuple, list):
        return type(output)(_thinned(part, going) for part in output)  # type: ignore[call-arg,attr-defined]
    if isinstance(output, dict):
        return type(output)({name: _thinned(part, going) for name, part in output.items()})
    return output


def _elements(output: object) -> dict[str, object]:
    """The things that a submodule returned together, by name or by number."""
    if isinstance(output, Mapping):
        return {str(name): part for name, part in output.items()}
    if isinstance(output, tuple | list):
        return {str(number): part for number, part in enumerate(output)}
    return {}


def _described(output: object) -> str:
    names = _elements(output)
    of = f" of {', '.join(names)}" if names else ""
    return f"a {type(output).__name__}{of}"


class _StageReachedError(Exception):
    """The last stage asked for has been computed."""


def as_network(module: nn.Module) -> Network:
    """The module itself if it names its stages, else wrapped so that its submodules do."""
    return module if isinstance(module, Network) else WrappedModule(module)
