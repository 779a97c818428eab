"""Named columns of safetensors, npy and parquet files. None of them can hold code."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neural_branching.errors import InputError, printable

# Types of safetensors → kind as numpy has it.
_KINDS = {"F": "f", "B": "f", "I": "i", "U": "u"}


class Columns(ABC):
    """What a file holds, by name; only what is asked for is read.

    Attributes:
        files: every file that is read.
        shapes: name → shape, the first number being that of the rows.
        kinds: name → "f" for floating-point numbers, "i" and "u" for whole ones, "U" for text.
        types: name → type, for messages.
        metadata: further texts by name.
    """

    files: list[Path]
    shapes: dict[str, tuple[int, ...]]
    kinds: dict[str, str]
    types: dict[str, str]
    metadata: Mapping[str, str]

    @abstractmethod
    def column(self, name: str) -> NDArray[Any]:
        """One value per row, shape (n,)."""

    @abstractmethod
    def matrix(self, name: str) -> NDArray[Any]:
        """Floating-point numbers, shape (n, d); in memory or mapped."""


def open_columns(path: Path) -> Columns:
    """Look at a file of vectors, by its suffix, or a folder of ``.npy`` files.

    Raises:
        InputError: if there is nothing of a known format, or it cannot be read.
    """
    readers: dict[str, type[Columns]] = {".safetensors": Safetensors, ".parquet": Parquet}
    reader = NumpyFolder if path.is_dir() else readers.get(path.suffix) if path.is_file() else None
    if reader is None:
        state = "holds no vectors" if path.exists() else "does not exist"
        raise InputError(
            f"{printable(path)} {state}: give a .safetensors file, a .parquet file or a folder of .npy files."
        )
    with readable(path):
        return reader(path)  # type: ignore[call-arg]


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """One sentence for whatever a reader says of a damaged file.

    Raises:
        InputError: instead of any other exception.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # readers raise many kinds
        reason = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
        raise InputError(f"{printable(path)} cannot be read: {reason}.") from error


class Safetensors(Columns):
    """A safetensors file: a tensor for each name."""

    def __init__(self, path: Path) -> None:
        from safetensors import safe_open

        self.files = [path]
        self.shapes, self.kinds, self.types = {}, {}, {}
        with safe_open(path, framework="numpy") as file:
            self.metadata = file.metadata() or {}
            for name in file.keys():  # noqa: SIM118, no mapping
                part = file.get_slice(name)
                self.shapes[name] = tuple(part.get_shape()) or (1,)
                self.types[name] = str(part.get_dtype())
                self.kinds[name] = "b" if self.types[name] == "BOOL" else _KINDS.get(self.types[name][0], "?")

    def column(self, name: str) -> NDArray[Any]:
        """See ``Columns.column``."""
        from safetensors import safe_open

        with safe_open(self.files[0], framework="numpy") as file:
            values: NDArray[Any] = file.get_tensor(name)
        return values

    def matrix(self, name: str) -> NDArray[Any]:
        """See ``Columns.matrix``; by torch, since numpy has no bfloat16."""
        from safetensors import safe_open

        with safe_open(self.files[0], framework="pt") as file:
            values: NDArray[Any] = file.get_tensor(name).float().numpy()
        return values


class NumpyFolder(Columns):
    """A folder of ``NAME.npy`` files, without pickles, and a file ``classes.json``."""

    def __init__(self, path: Path) -> None:
        arrays = {file.stem: file for file in sorted(path.glob("*.npy"))}
        texts = {file.stem: file for file in path.glob("*.json")}
        self.files = [*arrays.values(), *texts.values()]
        self._arrays = {name: _mapped(file) for name, file in arrays.items()}
        self.shapes = {name: array.shape or (1,) for name, array in self._arrays.items()}
        self.kinds = {name: array.dtype.kind for name, array in self._arrays.items()}
        self.types = {name: str(array.dtype) for name, array in self._arrays.items()}
        self.metadata = {name: file.read_text(encoding="utf-8") for name, file in texts.items()}

    def column(self, name: str) -> NDArray[Any]:
        """See ``Columns.column``."""
        return np.array(self._arrays[name])

    def matrix(self, name: str) -> NDArray[Any]:
        """See ``Columns.matrix``."""
        return self._arrays[name]


def _mapped(file: Path) -> NDArray[Any]:
    if not file.is_file():
        raise ValueError(f"{file.name} is no regular file")
    # Mapped, so that a header that promises more than the file holds makes no array of that size.
    array = np.load(file, mmap_mode="r", allow_pickle=False)
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{file.name} is an archive and no array")
    return array


class Parquet(Columns):
    """A parquet file: a list column for each matrix, or numeric columns NAME.0, NAME.1 and so on."""

    def __init__(self, path: Path) -> None:
        try:
            from pyarrow import parquet
        except ImportError as error:
            raise InputError(
                f"{printable(path)} needs the package pyarrow: pip install 'neural-branching[parquet]'."
            ) from error

        self.files = [path]
        self._file = parquet.ParquetFile(path, memory_map=True)
        self._rows: int = self._file.metadata.num_rows
        self.shapes, self.kinds, self.types = {}, {}, {}
        self._parts: dict[str, list[str]] = {}
        schema = self._file.schema_arrow
        self.metadata = {
            key.decode(): value.decode()
            for key, value in (schema.metadata or {}).items()
            if key == b"classes"
        }
        for name in schema.names:
            (stem, dot, place), kind = name.rpartition("."), schema.field(name).type
            if name.startswith("__index_level_"):  # in which pandas keeps the numbers of its rows
                continue
            if dot and place.isdigit() and not _is_list(kind):
                self._parts.setdefault(stem, []).append(name)
            else:
                self._add(name, kind)
        for stem, names in self._parts.items():
            self._add_parts(stem, names, [schema.field(name).type for name in names])

    def _add(self, name: str, kind: Any) -> None:
        from pyarrow import types

        self.types[name] = str(kind)
        listed = _is_list(kind)
        self.kinds[name] = _arrow_kind(kind.value_type if listed else kind)
        if not listed:
            self.shapes[name] = (self._rows,)
        elif types.is_fixed_size_list(kind):
            self.shapes[name] = (self._rows, kind.list_size)
        else:
            first = (
                next(self._file.iter_batches(1, columns=[name])).column(0)[0].as_py() if self._rows else ()
            )
            self.shapes[name] = (self._rows, len(first or ()))

    def _add_parts(self, stem: str, names: list[str], kinds: list[Any]) -> None:
        if stem in self.shapes or {f"{stem}.{place}" for place in range(len(names))} != set(names):
            raise InputError(
                f"{printable(self.files[0])} has {', '.join(names[:3])}, …: the columns of a matrix are "
                f"called {stem}.0 to {stem}.{len(names) - 1}, each once."
            )
        self._parts[stem] = [f"{stem}.{place}" for place in range(len(names))]
        self.shapes[stem], self.types[stem] = (self._rows, len(names)), str(kinds[0])
        found = {_arrow_kind(kind) for kind in kinds}
        self.kinds[stem] = found.pop() if len(found) == 1 else "?"

    def column(self, name: str) -> NDArray[Any]:
        """See ``Columns.column``."""
        values = self._whole([name]).column(0)
        return np.array(values.to_pylist(), dtype=np.str_ if self.kinds[name] == "U" else np.int64)

    def matrix(self, name: str) -> NDArray[Any]:
        """See ``Columns.matrix``."""
        from pyarrow import compute

        shape = self.shapes[name]
        if name in self._parts:
            return np.stack([one.to_numpy() for one in self._whole(self._parts[name]).columns], axis=1)
        rows = self._whole([name]).column(0).combine_chunks()
        values = rows.flatten()
        lengths = compute.list_value_length(rows).to_numpy(zero_copy_only=False)
        if (lengths != shape[1]).any() or values.null_count:
            raise InputError(
                f"{printable(self.files[0])} has rows of {name!r} that do not hold {shape[1]} numbers, as "
                "the first does."
            )
        matrix: NDArray[Any] = values.to_numpy(zero_copy_only=False).reshape(shape)
        return matrix

    def _whole(self, names: list[str]) -> Any:
        table = self._file.read(columns=names, use_threads=False)
        table = table.select(names)
        for name, column in zip(names, table.columns, strict=True):
            if column.null_count:
                raise InputError(
                    f"{printable(self.files[0])} has nothing in some rows of {name!r}: each row needs a "
                    "value."
                )
        return table


def _is_list(kind: Any) -> bool:
    from pyarrow import types

    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def _arrow_kind(kind: Any) -> str:
    """Kind of a type as numpy has it, of categories that of their names; "?" for others."""
    from pyarrow import types

    if types.is_dictionary(kind):
        return _arrow_kind(kind.value_type)
    if types.is_floating(kind):
        return "f"
    if types.is_integer(kind):
        return "i"
    return "U" if types.is_string(kind) or types.is_large_string(kind) else "?"
