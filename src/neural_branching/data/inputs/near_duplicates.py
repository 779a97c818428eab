"""Near duplicates among images, found without comparing all pairs.

Two images are near duplicates if their pixels correlate by at least ``CORRELATION``. For x and y
centred and of length 1, and P an orthonormal projection, ⟨x, y⟩ ≤ ⟨Px, Py⟩ + √((1−|Px|²)(1−|Py|²)).
The bound is itself the inner product of two *sketches* (Px, √(1−|Px|²)), so that candidates are
neighbours among sketches of a few dozen numbers. Three sieves look for them: boxes around groups of
alike sketches, the leading numbers of the sketches, and all of them. What passes is compared pixel
by pixel.
"""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from neural_branching.data.duplicates import Duplicates, Rows, first_equals, first_rows, linked

CORRELATION = 0.95
# Near pairs that are listed; beyond, only those that join two groups.
LIMIT = 500_000

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]

# Images that the projection is made from, its directions, and how many of these lead.
_SAMPLE, _WIDTH, _LEADING = 512, 64, 24
# Sketches in a box, and columns of one matrix product.
_LEAF, _COLUMNS = 256, 4096
# Candidates that are settled at once, and pixel values that are held at once.
_BATCH, _HELD = 50_000, 1_000_000
# Sketches are float32: what they leave out is rounded up, and their products have a margin.
_ROUNDING, _MARGIN = 1e-5, 1e-4


def find_near_duplicates(
    images: Pixels,
    *,
    mirror: bool = False,
    limit: int = LIMIT,
    progress: Callable[[float], None] = lambda share: None,
) -> Duplicates:
    """Find every pair of images that are equal or correlate by at least ``CORRELATION``.

    The correlation is that of the pixels of all channels, each image centred on its own mean. Images
    of one value everywhere have none: they are duplicates of their equals alone.

    Args:
        images: uint8 (n, c, h, w), in memory or mapped from a file; they are read a few at a time.
        mirror: whether to compare images with mirror images, left to right, too.
        limit: how many near pairs are listed before only those are that join two groups.
        progress: told the share of the work that is done, now and then.
    """
    first = first_equals(images)
    # The products are small: more threads gain little, and lose much where other processes work too.
    with threadpool_limits(1, user_api="blas"):
        search = _Search(images, np.flatnonzero(first == np.arange(len(images))), mirror, limit)
        for share in search.run():
            progress(share)
    return search.found(first)


def correlations(images: Pixels, first: Rows, second: Rows, *, mirrored: bool = False) -> NDArray[np.float64]:
    """Correlation of the pixels of pairs of images, float64 (m,); nan for images of one value.

    Sums of products of whole numbers are exact in float64: every machine finds the same.

    Args:
        images: uint8 (n, c, h, w).
        first: int64 (m,), rows.
        second: int64 (m,), rows.
        mirrored: whether to take the mirror images of the second.
    """
    size = int(np.prod(images.shape[1:]))
    step = max(1, _HELD // size)
    found = np.empty(len(first))
    for start in range(0, len(first), step):
        chunk = slice(start, start + step)
        x = images[first[chunk]].reshape(-1, size).astype(np.float64)
        y = images[second[chunk]][..., :: -1 if mirrored else 1].reshape(-1, size).astype(np.float64)

        def spread(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
            joint: NDArray[np.float64] = size * np.einsum("nd,nd->n", a, b)
            joint -= a.sum(axis=1) * b.sum(axis=1)
            return joint

        with np.errstate(invalid="ignore"):
            found[chunk] = spread(x, y) / np.sqrt(spread(x, x) * spread(y, y))
    return found


class _Search:
    """Near pairs among different images.

    Images have a place in an order that puts alike ones into one leaf.

    Args:
        images: uint8 (n, c, h, w).
        rows: int64 (m,), those to compare.
        mirror: whether to compare with mirror images too.
        limit: how many pairs are enough.
    """

    def __init__(self, images: Pixels, rows: Rows, mirror: bool, limit: int) -> None:
        directions = _directions(images, rows, mirror)
        sketches = [_sketches(images, rows, directions)]
        if mirror:
            sketches.append(_sketches(images, rows, directions, mirrored=True))
        leaves = _leaves(_shortened(sketches[0]))
        order = np.concatenate(leaves)
        self._images, self._rows, self._limit = images, rows[order], limit
        self._starts = np.cumsum([0, *map(len, leaves)])
        self._sketches = [one[order] for one in sketches]
        self._pairs = [np.empty((0, 2), np.int64)]
        self._correlations = [np.empty(0)]
        self._mirrored = [np.empty(0, np.bool_)]
        self._count = 0
        self._group: NDArray[np.int32] | None = None  # once there are pairs enough

    def run(self) -> Iterator[float]:
        """Compare everything, each image with those behind it; yields the share that is done."""
        theirs = _shortened(self._sketches[0])
        leaves = len(self._starts) - 1
        for side, sketches in enumerate(self._sketches):
            mine = _shortened(sketches)
            for leaf, near in enumerate(_near_leaves(mine, theirs, self._starts)):
                begin, end = self._starts[leaf : leaf + 2]
                for start, stop in near:
                    if self._are_linked(slice(begin, end), slice(start, stop)):
                        continue
                    bound = mine[begin:end] @ theirs[start:stop].T
                    p, q = np.divmod(np.flatnonzero(bound >= CORRELATION - _MARGIN), stop - start)
                    p, q = p + begin, q + start
                    self._settle(p[p < q], q[p < q], side)
                yield (side + 1 - (1 - (leaf + 1) / leaves) ** 2) / len(self._sketches)

    def _are_linked(self, mine: slice, theirs: slice) -> bool:
        """Whether all are of one group already, and there are pairs enough."""
        if self._group is None:
            return False
        group = self._group[mine.start]
        return bool((self._group[mine] == group).all() and (self._group[theirs] == group).all())

    def _settle(self, p: Rows, q: Rows, side: int) -> None:
        """Compare candidates, given by their places; once there are pairs enough, of other groups only."""
        while len(p):
            if self._group is None:
                some = np.arange(min(len(p), _BATCH))
            else:
                apart = self._group[p] != self._group[q]
                p, q = p[apart], q[apart]
                joints = self._group[p].astype(np.int64) * len(self._rows) + self._group[q]
                # Two groups need to be joined once; where that fails, others of them are tried.
                once = np.unique(joints, return_index=True)[1][:_BATCH]
                some = np.union1d(once, np.arange(min(len(p), _BATCH // 10)))
            self._compare(p[some], q[some], side)
            p, q = np.delete(p, some), np.delete(q, some)

    def _compare(self, p: Rows, q: Rows, side: int) -> None:
        bound = np.einsum("nd,nd->n", self._sketches[side][p], self._sketches[0][q])
        p, q = (one[bound >= CORRELATION - _MARGIN] for one in (p, q))
        first, second = self._rows[p], self._rows[q]
        correlation = correlations(self._images, first, second, mirrored=bool(side))
        near = correlation >= CORRELATION
        if not near.any():
            return
        self._pairs.append(np.stack([p, q], axis=1)[near])
        self._correlations.append(correlation[near])
        self._mirrored.append(np.full(int(near.sum()), bool(side)))
        self._count += int(near.sum())
        if self._count >= self._limit:
            self._group = linked(np.concatenate(self._pairs), len(self._rows))

    def found(self, first: Rows) -> Duplicates:
        """The result, after the run; ``first`` as there."""
        pairs = np.sort(self._rows[np.concatenate(self._pairs)], axis=1)
        correlation, mirrored = np.concatenate(self._correlations), np.concatenate(self._mirrored)
        # Of two that are near both ways the closer one is first, and stays.
        order = np.lexsort((mirrored, -correlation, pairs[:, 1], pairs[:, 0]))
        pairs = pairs[order]
        new = np.ones(len(pairs), dtype=np.bool_)
        new[1:] = (pairs[1:] != pairs[:-1]).any(axis=1)
        everything = np.concatenate([pairs, np.stack([first, np.arange(len(first))], axis=1)])
        group = linked(everything, len(first))
        return Duplicates(
            first=first,
            pairs=pairs[new],
            correlation=correlation[order][new],
            mirrored=mirrored[order][new],
            group=first_rows(group),
            complete=self._group is None,
        )


def _units(images: Pixels) -> Floats:
    """Images centred and of length 1, float32 (n, d); zeros for those of one value."""
    x = images.reshape(len(images), -1).astype(np.float32)
    x -= x.mean(axis=1, keepdims=True, dtype=np.float64)
    length = np.sqrt(np.einsum("nd,nd->n", x, x))
    x /= np.where(length > 0, length, 1)[:, None]
    return x


def _directions(images: Pixels, rows: Rows, mirror: bool) -> Floats:
    """Orthonormal directions, float32 (d, k): the principal ones of some images, the first lead."""
    some = images[rows[np.unique(np.linspace(0, len(rows) - 1, _SAMPLE).astype(np.int64))]]
    x = _units(np.concatenate([some, some[..., ::-1]]) if mirror else some)
    main = np.linalg.eigh(x @ x.T)[1][:, ::-1][:, :_WIDTH]
    directions: Floats = np.linalg.qr(x.T @ main)[0]
    return directions


def _sketches(images: Pixels, rows: Rows, directions: Floats, *, mirrored: bool = False) -> Floats:
    """(Px, √(1−|Px|²)) of each image, or of its mirror image: float32 (m, k + 1)."""
    sketches = np.zeros((len(rows), directions.shape[1] + 1), np.float32)
    step = max(1, _HELD // len(directions))
    for start in range(0, len(rows), step):
        some = images[rows[start : start + step]]
        x = _units(some[..., ::-1] if mirrored else some)
        mine = sketches[start : start + step]
        mine[:, :-1] = x @ directions
        rest = 1 - np.einsum("nd,nd->n", mine, mine)
        mine[:, -1] = np.where(x.any(axis=1), np.sqrt(rest.clip(0) + _ROUNDING), 0)
    return sketches


def _shortened(sketches: Floats) -> Floats:
    """Sketches of the leading directions alone, float32 (m, l + 1)."""
    rest = np.linalg.norm(sketches[:, _LEADING:], axis=1)
    return np.column_stack([sketches[:, :_LEADING], rest])


def _leaves(sketches: Floats) -> list[Rows]:
    """Places of alike sketches together: halves of halves, along the number that varies most."""
    todo, leaves = [np.arange(len(sketches))], []
    while todo:
        mine = todo.pop()
        if len(mine) <= _LEAF:
            leaves.append(mine)
            continue
        values = sketches[mine]
        order = np.argpartition(values[:, values.var(axis=0).argmax()], len(mine) // 2)
        todo += [mine[half] for half in np.split(order, [len(mine) // 2])]
    return leaves


def _near_leaves(mine: Floats, theirs: Floats, starts: Rows) -> Iterator[list[tuple[int, int]]]:
    """For every leaf, ranges of places at or behind it whose boxes are near enough to hold duplicates."""
    (my_low, my_high), (low, high) = (
        (np.minimum.reduceat(one, starts[:-1]), np.maximum.reduceat(one, starts[:-1]))
        for one in (mine, theirs)
    )
    reach = 2 * (1 - CORRELATION + 2 * _MARGIN)  # squared distance of sketches
    for leaf in range(len(low)):
        gap = np.maximum(low[leaf:] - my_high[leaf], my_low[leaf] - high[leaf:]).clip(0)
        near = leaf + np.flatnonzero(np.einsum("ld,ld->l", gap, gap) <= reach)
        ends = np.flatnonzero(np.diff(near, append=-1) != 1)
        firsts = near[[0, *ends[:-1] + 1]] if len(near) else near
        yield [
            (start, min(start + _COLUMNS, int(starts[last + 1])))
            for first, last in zip(firsts, near[ends], strict=True)
            for start in range(int(starts[first]), int(starts[last + 1]), _COLUMNS)
        ]
