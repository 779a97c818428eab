"""One table of examples for everything downstream, read once and memory-mapped.

Rows are ordered by (class, content), so that the same examples give the same rows and the same keys
whichever source brought them.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neural_branching.data.duplicates import first_rows
from neural_branching.data.hashes import FileHashes
from neural_branching.data.inputs.adapter import InputAdapter
from neural_branching.data.overlap import ensure_duplicates, read_duplicates
from neural_branching.data.sources.source import Examples, Source
from neural_branching.data.split import CODES, Split
from neural_branching.errors import InputError
from neural_branching.files.reading import read_json
from neural_branching.store.artifact_store import Artifact, Facts, Store

RECIPE = 2
CONTENT, LABELS, SPLIT, GROUPS = "examples.npy", "labels.npy", "given_split.npy", "groups.npy"
NAMES, LARGEST = "names.json", 1 << 32  # bytes


@dataclass(frozen=True)
class DataTable:
    """Labels and splits of all examples, in memory, and their content, on disk.

    Attributes:
        artifact: the stored table; its key stands for the content of the examples.
        input: what an example is.
        classes: class names; labels are indices into them.
        labels: int64, shape (n,).
        split: int8, shape (n,), indices into ``CODES``.
        split_key: checksum of the stored split.
        groups: int64, shape (n,), the first row of each row's group; None if the source has no groups.
        skipped: number of broken examples that the source left out.
        duplicates: what ``data.overlap.ensure_duplicates`` found; None if it was not asked for.
        names_file: where the names of the examples stand, if they have any.
        read_seconds: how long reading the source took, when it was read.
    """

    artifact: Artifact
    input: InputAdapter
    classes: tuple[str, ...]
    labels: NDArray[np.int64]
    split: NDArray[np.int8]
    split_key: str
    skipped: int
    groups: NDArray[np.int64] | None = None
    duplicates: Artifact | None = None
    names_file: Path | None = None
    read_seconds: float = 0.0

    def rows(
        self,
        split: str,
        classes: Sequence[str] | None = None,
        *,
        training_source: str = "branch",
        per_class: int | None = None,
    ) -> NDArray[np.int64]:
        """Row numbers of a split, of all classes or of some, ascending (int64).

        Args:
            split: "train", "validation", "calibration" or "test".
            classes: class names; None for all.
            training_source: whose training examples "train" means, "parent" or "branch", where the split
                keeps them apart.
            per_class: only so many training examples of each class, the first in the order of their
                content's hash, so that few are among more; None for all. Other splits stay whole.
        """
        chosen = self.split == CODES.index(split)
        if split == "train":
            chosen |= self.split == CODES.index(training_source)
        if classes is not None:
            wanted = np.zeros(len(self.classes), dtype=np.bool_)
            wanted[self.indices(classes)] = True
            chosen &= wanted[self.labels]
        rows = np.flatnonzero(chosen)
        if split == "train" and per_class is not None:
            labels = self.labels[rows]
            by_class = np.argsort(labels, kind="stable")
            first = np.searchsorted(labels[by_class], labels[by_class])  # of the same class
            rows = np.sort(rows[by_class[np.arange(len(rows)) - first < per_class]])
        return rows

    def indices(self, classes: Sequence[str]) -> NDArray[np.int64]:
        """Labels of some classes, int64."""
        return np.array([self._index[name] for name in classes], dtype=np.int64)

    @cached_property
    def _index(self) -> dict[str, int]:
        return {name: label for label, name in enumerate(self.classes)}

    def examples(self) -> NDArray[Any]:
        """The content of all examples as the input adapter stores it, (n, …), memory-mapped."""
        return self.input.stored(self.artifact.path / CONTENT)

    @cached_property
    def names(self) -> Sequence[str]:
        """What the source calls every example, such as a file's name; empty where it has no names."""
        if self.names_file is None or not self.names_file.is_file():
            return [""] * len(self)
        return [str(name) for name in read_json(self.names_file, LARGEST)]

    def __len__(self) -> int:
        return len(self.labels)


def ensure_table(
    store: Store,
    name: str,
    source: Source,
    classes: Sequence[str],
    split: Split,
    *,
    content: bool = False,
    duplicates: bool = False,
) -> DataTable:
    """Find or make the table of a data set and its split.

    Args:
        store: where both are kept.
        name: how the data set is called in messages.
        source: reader of the examples; not asked to read anything that the store has.
        classes: class names in the order of the labels.
        split: how examples are shared out.
        content: whether the caller will read the content of examples, which is then verified too.
        duplicates: whether the caller will ask for duplicates, which are then looked for.

    Raises:
        InputError: if the source is missing, an example is broken, or a split lacks a class.
    """
    names, adapter = tuple(classes), source.input
    reading, fetch = _reader(store, name, source, names)
    table = fetch(*([CONTENT] if content else []))
    labels, given = (np.load(table.path / file) for file in (LABELS, SPLIT))
    groups = np.load(table.path / GROUPS) if table.facts["groups"] else None

    found = None
    if duplicates or split.moves_duplicates:
        found = ensure_duplicates(
            store, table.key, adapter, lambda: adapter.stored(fetch(CONTENT).path / CONTENT)
        )

    def assign(folder: Path) -> Facts:
        linked = read_duplicates(found).group if found and split.moves_duplicates else None
        assignment = split.assign(labels, given, names, groups=groups, duplicates=linked)
        np.save(folder / "split.npy", assignment)
        return {}

    share = {"recipe": RECIPE, "data": table.key, "shares": split.shares, "seed": split.seed}
    share |= {"disjoint": True} if split.disjoint else {}
    if found and split.moves_duplicates:
        share |= {"duplicates": split.duplicates, "groups": found.sha("group.npy")}
    splits = store.fetch("split", share, assign, needs=("split.npy",))
    return DataTable(
        artifact=table,
        input=adapter,
        classes=names,
        labels=labels,
        split=np.load(splits.path / "split.npy"),
        split_key=splits.sha("split.npy"),
        skipped=reading.facts["skipped"],
        groups=groups,
        duplicates=found,
        names_file=reading.path / NAMES,
        read_seconds=reading.manifest["seconds"],
    )


def _reader(
    store: Store, name: str, source: Source, classes: tuple[str, ...]
) -> tuple[Artifact, Callable[..., Artifact]]:
    """What reading a source has found, and what fetches the table with the files that are needed."""
    read_once: list[tuple[Examples, str]] = []

    def read() -> tuple[Examples, str]:
        if not read_once:
            examples = _ordered(source.read(classes))
            read_once.append((examples, _fingerprint(examples, classes, source.input)))
        return read_once[0]

    def look(folder: Path) -> Facts:
        examples, fingerprint = read()
        (folder / "skipped.json").write_text(json.dumps(examples.skipped), encoding="utf-8")
        if examples.names is not None:
            (folder / NAMES).write_text(json.dumps(examples.names), encoding="utf-8")
        return {"content": fingerprint, "skipped": len(examples.skipped)}

    def write(folder: Path) -> Facts:
        examples, fingerprint = read()
        if fingerprint != reading.facts["content"]:
            raise InputError(
                f"The {source.input.name} of {name!r} changed while they were being read: run the same "
                "command again."
            )
        np.save(folder / CONTENT, examples.content)
        np.save(folder / LABELS, examples.labels)
        np.save(folder / SPLIT, examples.split)
        if examples.groups is not None:
            np.save(folder / GROUPS, examples.groups)
        count = len(examples.labels)
        return {"examples": count, "classes": list(classes), "groups": examples.groups is not None}

    identity = {
        "recipe": RECIPE,
        "source": type(source).__name__,
        "signature": source.signature(classes, hash_memory(store)),
        "classes": classes,
        **source.input.identity,
    }
    reading = store.fetch("reading", identity, look)

    def fetch(*needs: str) -> Artifact:
        identity = {"recipe": RECIPE, "content": reading.facts["content"]}
        return store.fetch("data", identity, write, needs=(LABELS, SPLIT, *needs))

    return reading, fetch


def hash_memory(store: Store) -> FileHashes:
    """The memory of file checksums that lives beside the artifacts of a store."""
    return FileHashes(store.root / "hashes")


def _ordered(examples: Examples) -> Examples:
    content = [hashlib.sha256(example.tobytes()).digest() for example in examples.content]
    # Equal examples of one class are told apart by the split they came in, and are otherwise alike.
    order = sorted(
        range(len(content)), key=lambda row: (examples.labels[row], content[row], examples.split[row])
    )
    return Examples(
        examples.content[order],
        examples.labels[order],
        examples.split[order],
        None if examples.groups is None else first_rows(examples.groups[order]),
        examples.skipped,
        None if examples.names is None else [examples.names[row] for row in order],
    )


def _fingerprint(examples: Examples, classes: Sequence[str], adapter: InputAdapter) -> str:
    """Checksum of everything that a table holds; groups are rows already, whatever they were called."""
    header = [list(classes), adapter.name, adapter.identity, list(examples.content.shape)]
    digest = hashlib.sha256(json.dumps(header).encode())
    for array in (examples.content, examples.labels, examples.split, examples.groups):
        if array is not None:
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
