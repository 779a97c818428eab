"""Whether results hold what reports compute with, checked before anything is computed."""

import math
from collections.abc import Mapping
from typing import Any


class Maybe:
    """What may be None or missing.

    Args:
        shape: of what is there otherwise.
    """

    def __init__(self, shape: Any) -> None:
        self.shape = shape


class Each:
    """A mapping of any names.

    Args:
        shape: of every value.
    """

    def __init__(self, shape: Any) -> None:
        self.shape = shape


NUMBER = float


def misfit(value: Any, shape: Any, place: str = "") -> str:
    """What of a value has another shape than it should; "" if nothing has.

    Args:
        value: plain values, such as results.json holds.
        shape: a type (``float`` is any finite number); a mapping of names to shapes, beside which further
            names may stand; a list of shapes, one for each item; a tuple of one shape for all items;
            ``Maybe`` or ``Each``.
        place: where the value stands, for the answer.
    """
    match shape:
        case Maybe():
            return "" if value is None else misfit(value, shape.shape, place)
        case Each() if isinstance(value, Mapping):
            return _first(misfit(inner, shape.shape, f"{place}.{name}") for name, inner in value.items())
        case dict() if isinstance(value, Mapping):
            return _first(misfit(value.get(name), one, f"{place}.{name}") for name, one in shape.items())
        case list() if isinstance(value, list | tuple) and len(value) == len(shape):
            pairs = enumerate(zip(value, shape, strict=True))
            return _first(misfit(inner, one, f"{place}[{index}]") for index, (inner, one) in pairs)
        case tuple() if isinstance(value, list):
            return _first(misfit(inner, shape[0], f"{place}[{index}]") for index, inner in enumerate(value))
        case type() if _is(value, shape):
            return ""
    return f"{place.lstrip('.') or 'it'} is {str(value)[:40]!r}, which is not what results have there"


def _first(found: Any) -> str:
    return next((one for one in found if one), "")


def _is(value: Any, kind: type) -> bool:
    if kind is not float:
        return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # an integer of hundreds of digits
        return False
