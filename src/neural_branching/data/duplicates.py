"""Which examples are equal, or nearly, and what that links into groups."""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Duplicates:
    """Which of n examples are equal, or nearly.

    Attributes:
        first: int64 (n,), the first row of the very same content; an example without equals is its own.
        pairs: int64 (m, 2), near duplicates, both of them first rows, the smaller one before.
        correlation: float64 (m,), of their content; the larger one if both ways are near.
        mirrored: bool (m,), whether it is that of one with the other mirrored.
        group: int64 (n,), the first row of all that duplicates, and duplicates of duplicates, link.
        complete: whether ``pairs`` are all; otherwise they are at least enough to link the groups.
    """

    first: Rows
    pairs: Rows
    correlation: NDArray[np.float64]
    mirrored: NDArray[np.bool_]
    group: Rows
    complete: bool


def equal_examples(content: NDArray[Any]) -> Duplicates:
    """Examples of equal content, and no near ones.

    Args:
        content: shape (n, …), in memory or mapped from a file.
    """
    first, none = first_equals(content), np.empty((0, 2), np.int64)
    return Duplicates(first, none, np.empty(0), np.empty(0, np.bool_), first, complete=True)


def first_equals(content: NDArray[Any]) -> Rows:
    """First row of the same content as each row's, int64 (n,)."""
    seen: dict[bytes, int] = {}
    digests = (hashlib.sha256(example.tobytes()).digest() for example in content)
    return np.array([seen.setdefault(digest, row) for row, digest in enumerate(digests)], dtype=np.int64)


def linked(pairs: Rows, count: int) -> NDArray[np.int32]:
    """The group of each of ``count`` rows that pairs (m, 2) link, numbered in any order."""
    # Slow to import, and wanted by few.
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(pairs), np.bool_), (pairs[:, 0], pairs[:, 1])), (count, count))
    group: NDArray[np.int32] = connected_components(graph, directed=False)[1]
    return group


def first_rows(group: NDArray[Any]) -> Rows:
    """First row of each row's group, int64 (n,), for groups that are numbered or named in any way."""
    _, first, place = np.unique(group, return_index=True, return_inverse=True)
    rows: Rows = first[place]
    return rows
