"""Classes of the user's own: where they are found, and what their code is.

What their code is goes into keys, so that nothing is found again that older code has made. It is read from
the source and not from what has been imported: values change while a program runs, its source does not.
"""

import ast
import hashlib
import importlib.util
import site
import symtable
import sys
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from neural_branching.config.build import object_of
from neural_branching.errors import InputError

_INSTALLED = {sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")}
_INSTALLED = {str(Path(place).resolve()) for place in {*_INSTALLED, site.getusersitepackages()}}
_EVERY = "*"  # every name of a module


def find_own_modules(values: Mapping[str, Any]) -> None:
    """Let modules of the working folder be imported, as of a script, if some are named that nobody else has.

    The folder comes last, so that it hides nothing that is installed.

    Args:
        values: plain values of a configuration that the user has written.
    """
    for name in sorted(_targets(values)):
        module, folder = name.partition(".")[0], Path.cwd()
        there = (folder / f"{module}.py").is_file() or (folder / module).is_dir()
        known = module in sys.modules or not module.isidentifier() or importlib.util.find_spec(module)
        if there and not known:
            sys.path.append(str(folder))
            return


def with_code(values: Mapping[str, Any], *, trusted: bool) -> dict[str, Any]:
    """Class and options as they go into a key: with the code of classes that are the user's own.

    Args:
        values: plain values with a ``_target_``, perhaps of other packages.
        trusted: whether these may be imported.

    Returns:
        The values, and under "code" for every ``_target_`` that is neither of this package nor installed the
        sha256 of its source and of all own source that it names: bases, functions, classes, values. Comments,
        docstrings and layout do not count.

    Raises:
        InputError: if there is no source, as of what was typed at a prompt.
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


def _fingerprint(target: str) -> str | None:
    if target.partition(".")[0] == __name__.partition(".")[0]:
        return None
    try:
        object_of(target)
    except Exception:  # which building it reports
        return None
    parts = target.split(".")
    module = next(
        ".".join(parts[:end]) for end in range(len(parts) - 1, 0, -1) if ".".join(parts[:end]) in sys.modules
    )
    if not _is_own(module):
        return None
    name = target.removeprefix(f"{module}.").partition(".")[0]
    texts: set[tuple[str, str]] = set()
    waiting, sources = [(module, name)], _Sources()
    seen = set(waiting)
    while waiting:
        module, name = waiting.pop()
        for statement in sources.definitions(module).get(name, ()):
            texts.add((module, ast.unparse(statement)))
            for one in _named(statement, module):
                if one not in seen and _is_own(one[0]):
                    seen.add(one)
                    waiting.append(one)
    return hashlib.sha256(repr(sorted(texts)).encode()).hexdigest()


def _is_own(module: str) -> bool:
    """Whether a module lies in no installed package, as a script and what lies beside it."""
    if module.partition(".")[0] == __name__.partition(".")[0]:
        return False
    file = _file_of(module)
    if file is None:
        return module == "__main__"  # a notebook
    return file.suffix == ".py" and not any(file.is_relative_to(place) for place in _INSTALLED)


def _file_of(module: str) -> Path | None:
    """Where a module's source lies; None if it has none, or is not there."""
    if module in sys.modules:
        file = getattr(sys.modules[module], "__file__", None)
    else:
        try:
            spec = importlib.util.find_spec(module)
        except (ImportError, ValueError):
            return None
        file = spec.origin if spec else None
    return Path(file).resolve() if file and Path(file).is_file() else None


class _Sources:
    """The statements of modules, by the names that they define."""

    def __init__(self) -> None:
        self._known: dict[str, dict[str, list[ast.stmt]]] = {}

    def definitions(self, module: str) -> dict[str, list[ast.stmt]]:
        """Name → the statements at the top of a module that bind or change it, in their order.

        Raises:
            InputError: if the module has no source.
        """
        if module not in self._known:
            found: dict[str, list[ast.stmt]] = {_EVERY: []}
            for statement in _body(module):
                plain = _without_docstrings(statement)
                for name in {*_bound(plain), _EVERY}:
                    found.setdefault(name, []).append(plain)
            self._known[module] = found
        return self._known[module]


def _body(module: str) -> list[ast.stmt]:
    file = _file_of(module)
    if file is not None:
        return ast.parse(file.read_text(encoding="utf-8")).body
    cells = getattr(sys.modules.get(module), "In", None)  # of a notebook
    if cells is None:
        raise InputError(
            "A class that is typed at a prompt has no source: define it in a file or a notebook."
        )
    body: list[ast.stmt] = []
    for cell in cells:
        try:
            body += ast.parse(cell).body
        except SyntaxError:  # a magic command
            continue
    return body


def _without_docstrings(statement: ast.stmt) -> ast.stmt:
    for node in ast.walk(statement):
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and ast.get_docstring(
            node
        ):
            node.body = node.body[1:] or [ast.Pass()]
    return statement


def _bound(statement: ast.stmt) -> Iterator[str]:
    """The names that a statement binds, or whose content it changes, as ``kinds.update(…)`` does."""
    if isinstance(statement, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
        yield statement.name
        return
    for node in ast.walk(statement):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield from (alias.asname or alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node.name
        elif isinstance(node, (ast.Name, ast.Attribute, ast.Subscript)) and isinstance(node.ctx, ast.Store):
            yield _root(node)
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            yield _root(node.value.func)


def _root(node: ast.AST) -> str:
    while isinstance(node, (ast.Attribute, ast.Subscript)):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def _named(statement: ast.stmt, module: str) -> Iterator[tuple[str, str]]:
    """What a statement names: names of its own module, and what it imports."""
    table = symtable.symtable(ast.unparse(statement), module, "exec")
    yield from ((module, name) for name in _globals(table))
    for node in ast.walk(statement):
        if isinstance(node, ast.Import):
            for alias in node.names:
                parts = alias.name.split(".")
                yield from ((".".join(parts[:end]), _EVERY) for end in range(1, len(parts) + 1))
        elif isinstance(node, ast.ImportFrom):
            origin = _origin(node, module)
            for alias in node.names:
                yield origin, alias.name
                yield f"{origin}.{alias.name}", _EVERY  # if it is a module itself


def _globals(table: symtable.SymbolTable) -> Iterator[str]:
    """Names that are looked up in the module, and in no function."""
    top = table.get_type() == "module"
    for symbol in table.get_symbols():
        if symbol.is_referenced() and (top or symbol.is_global()):
            yield symbol.get_name()
    for inner in table.get_children():
        yield from _globals(inner)


def _origin(node: ast.ImportFrom, module: str) -> str:
    """The module that something is imported from, absolute."""
    if not node.level:
        return node.module or ""
    package = getattr(sys.modules.get(module), "__package__", None) or module.rpartition(".")[0]
    above = package.split(".")[: len(package.split(".")) - node.level + 1]
    return ".".join([*above, *([node.module] if node.module else [])])
