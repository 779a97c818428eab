"""Classes of the user's own: where they are found, and what their code is.

What their code is goes into keys, so that nothing is found again that older code has made.
"""

import hashlib
import importlib.util
import inspect
import sys
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from enum import Enum
from functools import partial
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

from neural_branching.config.build import object_of

_INSTALLED = tuple(
    {str(Path(sysconfig.get_path(name)).resolve()) for name in ("stdlib", "purelib", "platlib")}
)
_PLAIN = (bool, int, float, complex, str, bytes, type(None), type(...))
_NO_CODE = {
    "__doc__",
    "__module__",
    "__firstlineno__",
    "__static_attributes__",
    "__annotations__",
    "__dict__",
}
_NO_CODE |= {
    "__weakref__",
    "__annotate__",
    "__annotate_func__",
    "__annotations_cache__",
    "__dataclass_fields__",
}


def find_own_modules(values: Mapping[str, Any]) -> None:
    """Let modules of the working folder be imported, as of a script, if some are named that nobody else has.

    The folder comes last, so that it hides nothing that is installed.

    Args:
        values: plain values of a configuration that the user has written.
    """
    for name in sorted(_targets(values)):
        module, folder = name.partition(".")[0], Path.cwd()
        there = (folder / f"{module}.py").is_file() or (folder / module).is_dir()
        if module.isidentifier() and there and importlib.util.find_spec(module) is None:
            sys.path.append(str(folder))
            return


def with_code(values: Mapping[str, Any], *, trusted: bool) -> dict[str, Any]:
    """Class and options as they go into a key: with the code of classes that are the user's own.

    Args:
        values: plain values with a ``_target_``, perhaps of other packages.
        trusted: whether these may be imported.

    Returns:
        The values, and under "code" for every ``_target_`` that is neither of this package nor installed the
        sha256 of its compiled code and of all own code that it names: bases, functions, classes and plain
        constants. Comments and line numbers do not count.
    """
    names = sorted(_targets(values)) if trusted else []
    code = {name: found for name in names if (found := _fingerprint(name))}
    return {**values, "code": code} if code else dict(values)


def _targets(values: Any) -> set[str]:
    if isinstance(values, Mapping):
        mine = {str(values["_target_"])} if "_target_" in values else set()
        return mine.union(*map(_targets, values.values()))
    if isinstance(values, Sequence) and not isinstance(values, str):
        return set().union(*map(_targets, values))
    return set()


def _fingerprint(name: str) -> str | None:
    if name.partition(".")[0] == __name__.partition(".")[0]:
        return None
    try:
        thing = object_of(name)
    except Exception:  # which building it reports
        return None
    if not _is_own(thing):
        return None
    parts: list[tuple[str, list[str]]] = []
    waiting, seen = [thing], {id(thing)}  # two functions may have one name, as behind a decorator
    while waiting:
        one = waiting.pop()
        named = list(_of_class(one) if inspect.isclass(one) else _of_function(one))
        place = f"{one.__module__}.{one.__qualname__}"
        parts.append((place, [part for part in named if isinstance(part, str)]))
        for part in named:
            if not isinstance(part, str) and id(part) not in seen:
                seen.add(id(part))
                waiting.append(part)
    return hashlib.sha256(repr(sorted(parts)).encode()).hexdigest()


def _is_own(thing: Any) -> bool:
    """Whether something is a class or function that lies in no installed package, as in a script."""
    if not isinstance(thing, FunctionType) and not inspect.isclass(thing):
        return False
    module = sys.modules.get(thing.__module__)
    return module is not None and _is_own_module(module)


def _is_own_module(module: ModuleType) -> bool:
    if module.__name__.partition(".")[0] == __name__.partition(".")[0] or module.__name__ == "builtins":
        return False
    file = getattr(module, "__file__", None)
    if file is None:  # a notebook, or a part of the interpreter
        return module.__name__ == "__main__"
    return not str(Path(file).resolve()).startswith(_INSTALLED)


def _of_class(kind: type) -> Iterator[Any]:
    """Its members as text, and own classes and functions that they name."""
    yield from filter(_is_own, kind.__mro__[1:])
    yield repr([f"{base.__module__}.{base.__qualname__}" for base in kind.__bases__])
    for name, member in sorted(vars(kind).items()):
        if name not in _NO_CODE:
            yield name
            yield from _of_value(member)


def _of_function(function: FunctionType) -> Iterator[Any]:
    """Its code and defaults as text, and own classes and functions that it names."""
    for value in (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()):
        yield from _of_value(value)
    yield from _of_code(function.__code__, function.__globals__)
    for cell in function.__closure__ or ():
        with suppress(ValueError):  # it is empty
            yield from _of_value(cell.cell_contents)


def _of_code(code: CodeType, known: Mapping[str, Any]) -> Iterator[Any]:
    yield repr((code.co_code, code.co_names, code.co_varnames, code.co_freevars))
    for constant in code.co_consts:
        yield from _of_code(constant, known) if isinstance(constant, CodeType) else (_text(constant),)
    # What is imported within a function is no global of it.
    found = [known.get(name, sys.modules.get(name)) for name in code.co_names]
    for value in found:
        if isinstance(value, ModuleType):
            if _is_own_module(value):  # of whose attributes the code names some, perhaps through a package
                found += [vars(value)[name] for name in code.co_names if name in vars(value)]
        else:
            yield from _of_value(value)


def _of_value(value: Any) -> Iterator[Any]:
    """A function or class with its code, if it is own, else its name; plain values as text."""
    if isinstance(value, property):
        yield from (part for one in (value.fget, value.fset) for part in _of_value(one))
        return
    if isinstance(value, partial):
        yield _text([one for one in (*value.args, *value.keywords.items()) if _is_plain(one)])
    for wrapped in ("__func__", "__wrapped__", "func"):  # of methods, caches and partial functions
        if not isinstance(value, (type, FunctionType)) and hasattr(value, wrapped):
            value = getattr(value, wrapped)
    if isinstance(value, FunctionType) and "<locals>" in value.__qualname__:
        yield from _of_function(value)  # of which there may be several of one name
    elif _is_own(value):
        yield value
    elif isinstance(value, (type, FunctionType)):  # under another name, perhaps
        yield f"{value.__module__}.{value.__qualname__}"
    elif isinstance(value, Enum):
        yield repr(value)
    elif _is_plain(value):
        yield _text(value)
    elif _is_own(type(value)):
        yield type(value)
        yield _text({name: one for name, one in getattr(value, "__dict__", {}).items() if _is_plain(one)})


def _is_plain(value: Any) -> bool:
    if isinstance(value, (tuple, list, set, frozenset)):
        return all(map(_is_plain, value))
    if isinstance(value, dict):
        return all(map(_is_plain, [*value, *value.values()]))
    return isinstance(value, _PLAIN)


def _text(value: Any) -> str:
    """A plain value as text that is the same in every process."""
    if isinstance(value, (set, frozenset)):
        return f"{{{sorted(map(_text, value))}}}"
    if isinstance(value, (tuple, list)):
        return f"[{[*map(_text, value)]}]"
    return repr(value)
