"""Duplicates in the store, and what splits and classes have in common through them."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from neural_branching.data.duplicates import Duplicates, Rows
from neural_branching.data.inputs.adapter import InputAdapter
from neural_branching.data.split import CODES, LEFT_OUT
from neural_branching.files.csv_text import write_table
from neural_branching.files.progress import progress
from neural_branching.store.artifact_store import Artifact, Facts, Store

log = logging.getLogger(__name__)

RECIPE = 2
LIST = "duplicates.csv"
HEADER = ("row_a", "row_b", "split_a", "split_b", "class_a", "class_b", "correlation", "mirrored", "exact")
_ARRAYS = tuple(one.name for one in fields(Duplicates) if one.name != "complete")


def ensure_duplicates(
    store: Store, data: str, adapter: InputAdapter, content: Callable[[], NDArray[Any]]
) -> Artifact:
    """Find the duplicates of a data set in the store, or among its examples.

    Args:
        store: where they are kept.
        data: key of the stored table.
        adapter: what its examples are.
        content: gives their content, verified; called only if it is needed.
    """

    def build(folder: Path) -> Facts:
        examples = content()
        with progress(f"Looking for duplicates among {len(examples):,} {adapter.name}") as show:
            found = adapter.find_duplicates(examples, show)
        for name in _ARRAYS:
            np.save(folder / f"{name}.npy", getattr(found, name))
        return {"complete": found.complete}

    identity = {"recipe": RECIPE, "data": data, **adapter.likeness}
    return store.fetch("duplicates", identity, build, needs=[f"{name}.npy" for name in _ARRAYS])


def read_duplicates(artifact: Artifact) -> Duplicates:
    """Duplicates that ``ensure_duplicates`` has found."""
    arrays = {name: np.load(artifact.path / f"{name}.npy") for name in _ARRAYS}
    return Duplicates(**arrays, complete=artifact.facts["complete"])


@dataclass(frozen=True)
class Overlap:
    """The duplicates of a data set beside its split and its classes.

    Attributes:
        found: the duplicates.
        labels: int64 (n,).
        split: int8 (n,), indices into ``CODES``.
    """

    found: Duplicates
    labels: NDArray[np.int64]
    split: NDArray[np.int8]

    def __bool__(self) -> bool:
        """Whether there is any duplicate at all."""
        return len(self._rows) > 0

    @property
    def left_out(self) -> int:
        """Number of examples that are in no split."""
        return int((self.split == LEFT_OUT).sum())

    @cached_property
    def _rows(self) -> Rows:
        """Rows that have a duplicate."""
        return np.flatnonzero(np.bincount(self.found.group)[self.found.group] > 1)

    def counts(self) -> dict[str, dict[str, int]]:
        """Pairs and examples with a duplicate, exact and near, in all and across.

        Examples that are left out of all splits do not count. If ``found`` is not complete, near pairs
        and what they cross are at least as many as these.
        """
        rows = self._rows[self.split[self._rows] != LEFT_OUT]
        different, place = np.unique(self.found.first[rows], return_inverse=True)
        pairs = self.found.pairs[np.isin(self.found.pairs, different).all(axis=1)]
        p, q = np.searchsorted(different, pairs).T
        near = _matrix(np.concatenate([p, q]), np.concatenate([q, p]), len(different), len(different))
        equals = np.bincount(place, minlength=len(different))
        neighbours = near @ equals
        counts = {
            "exact": {"pairs": equals @ (equals - 1) // 2, "examples": (equals[place] > 1).sum()},
            "near": {"pairs": equals[p] @ equals[q], "examples": (neighbours[place] > 0).sum()},
        }
        for what, codes in (("splits", self.split[rows]), ("classes", self.labels[rows])):
            # How many examples of each split, or class, are equal to each of the different ones.
            inside = _matrix(place, codes, len(different), 1 + int(codes.max(initial=0)))
            own, close = (np.asarray(one[place, codes]).ravel() for one in (inside, near @ inside))
            for kind, pairs_inside, others in (
                ("exact", inside.data @ (inside.data - 1) // 2, equals[place] - own),
                ("near", inside[p].multiply(inside[q]).sum(), neighbours[place] - close),
            ):
                counts[kind][f"pairs_across_{what}"] = counts[kind]["pairs"] - pairs_inside
                counts[kind][f"examples_across_{what}"] = (others > 0).sum()
        return {kind: {name: int(count) for name, count in mine.items()} for kind, mine in counts.items()}

    def among(self, rows: Rows, others: Rows) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Which examples have a duplicate among others, and which have an equal one.

        If ``found`` is not complete, all of a group count as duplicates.

        Args:
            rows: int64 (m,).
            others: int64 (k,), none of them in ``rows``.

        Returns:
            Two of bool (m,).
        """
        found, n = self.found, len(self.labels)
        there = np.zeros(n, dtype=np.bool_)
        there[found.first[others]] = True
        exact, near = there[found.first[rows]], there.copy()
        for mine, theirs in (found.pairs.T, found.pairs.T[::-1]):
            np.logical_or.at(near, mine, there[theirs])
        if not found.complete:
            groups = np.zeros(n, dtype=np.bool_)
            groups[found.group[others]] = True
            near |= groups[found.group]
        return near[found.first[rows]], exact

    def write(self, file: Path, classes: Sequence[str]) -> None:
        """List all duplicates as CSV: equal examples with the first of them, then pairs of first ones.

        Args:
            file: the file.
            classes: class names.
        """
        found = self.found
        again = np.flatnonzero(found.first != np.arange(len(found.first)))
        closest = np.argsort(-found.correlation, kind="stable")
        rows = [
            (*self._places(a, b, classes), 1, 0, 1)
            for a, b in zip(found.first[again].tolist(), again.tolist(), strict=True)
        ]
        rows += [
            (*self._places(a, b, classes), f"{correlation:.4f}", int(mirrored), 0)
            for (a, b), correlation, mirrored in zip(
                found.pairs[closest].tolist(),
                found.correlation[closest].tolist(),
                found.mirrored[closest].tolist(),
                strict=True,
            )
        ]
        write_table(file, HEADER, rows)

    def _places(self, a: int, b: int, classes: Sequence[str]) -> tuple[Any, ...]:
        splits = (CODES[self.split[row]] for row in (a, b))
        return a, b, *splits, *(classes[self.labels[row]] for row in (a, b))


def _matrix(rows: Rows, columns: NDArray[Any], height: int, width: int) -> csr_matrix:
    """How often each row meets each column."""
    return csr_matrix((np.ones(len(rows), np.int64), (rows, columns)), (height, width))


def ensure_list(
    store: Store,
    duplicates: Artifact,
    overlap: Overlap,
    classes: Sequence[str],
    split_key: str,
    adapter: InputAdapter,
) -> Artifact:
    """The list of a data set's duplicates for one split; whoever makes it says what is in it."""

    def build(folder: Path) -> Facts:
        overlap.write(folder / LIST, classes)
        return {}

    identity = {"recipe": RECIPE, "duplicates": duplicates.key, "split": split_key}
    listed = store.fetch("overlap", identity, build, needs=(LIST,))
    if listed.built:
        log.info("%s Listed in %s.", _sentence(overlap, adapter), listed.path / LIST)
    return listed


def _sentence(overlap: Overlap, adapter: InputAdapter) -> str:
    exact, near = overlap.counts().values()
    at_least = "" if overlap.found.complete else "at least "
    left_out = f" ({overlap.left_out:,} more left out)" if overlap.left_out else ""
    among = f"{len(overlap.labels) - overlap.left_out:,} {adapter.name}{left_out}"
    correlation = adapter.likeness["correlation"]
    close = "" if correlation is None else (
        f" and {at_least}{near['pairs']:,} near pairs (correlation ≥ {correlation:g})"
    )  # fmt: skip
    return (
        f"Duplicates among {among}: {exact['pairs']:,} exact{close or ' pairs'}, "
        f"{exact['pairs_across_splits'] + near['pairs_across_splits']:,} of them across splits, "
        f"{exact['pairs_across_classes'] + near['pairs_across_classes']:,} across classes."
    )
