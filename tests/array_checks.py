"""Checks the arrays of calls in tests, by jaxtyping and beartype: their types and shapes are those announced.

Other annotations are left to mypy: tests pass wrong values on purpose, to see them refused.
"""

import dataclasses
import inspect
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache, wraps
from typing import Any, get_args

import jaxtyping
from beartype import beartype
from torch.fx import Proxy

# Of every function so many calls are checked in each test: a check takes longer than most calls, and tests
# of thousands of draws repeat them.
CALLS = 2

counted: Counter[Callable[..., Any]] = Counter()


def install(rooms: Sequence[str]) -> None:
    """Check functions, methods and dataclasses of some rooms, none of which has been imported yet."""
    jaxtyping.install_import_hook([f"neural_branching.{room}" for room in rooms], "array_checks.arrays_alone")
    _jaxtyped = jaxtyping.jaxtyped

    def first_calls(*, typechecker: Any) -> Callable[[Any], Any]:
        return lambda found: _first_calls(
            found, lambda function: _jaxtyped(function, typechecker=typechecker)
        )

    jaxtyping.jaxtyped = first_calls  # by which the hook decorates


def arrays_alone(function: Callable[..., Any]) -> Callable[..., Any]:
    """Check those annotations of a function in which arrays occur."""
    hints = {name: hint for name, hint in function.__annotations__.items() if _has_array(hint)}
    function.__annotations__ = hints
    return beartype(function) if hints else function


def _first_calls(found: Any, check: Callable[[Any], Any]) -> Any:
    if inspect.isclass(found):
        if dataclasses.is_dataclass(found):
            found.__init__ = _first_calls(found.__init__, check)
        return found
    inner = "<locals>" in found.__qualname__  # made anew in every call of an outer function
    if inner or not any(map(_has_array, found.__annotations__.values())):
        return found
    checked = cache(lambda: check(found))  # of use only where it is called

    @wraps(found)
    def call(*args: Any, **kwargs: Any) -> Any:
        traced = any(isinstance(one, Proxy) for one in args)  # of which nothing is known
        if traced or counted[found] == CALLS:
            return found(*args, **kwargs)
        counted[found] += 1
        return checked()(*args, **kwargs)

    return call


def _has_array(hint: Any) -> bool:
    if isinstance(hint, type) and issubclass(hint, jaxtyping.AbstractArray):
        return True
    return any(_has_array(one) for one in get_args(hint))
