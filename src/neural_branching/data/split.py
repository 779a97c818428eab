"""One split of the examples, made once per data set, before anything is trained."""

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from neural_branching.data.duplicates import first_rows, linked
from neural_branching.errors import ArgumentError, InputError, number, one_of, switch, whole

SPLITS = ("train", "validation", "calibration", "test")
# How splits are stored: the next two stand in for "train" where parent and branch share no example, and
# the last is for examples that no split has.
CODES = (*SPLITS, "parent", "branch", "left_out")
TRAIN, TEST, LEFT_OUT = (CODES.index(name) for name in ("train", "test", "left_out"))
DUPLICATES = ("report", "together", "drop")


class Split:
    """Shares of the training examples, by example and stratified by class.

    A class is shuffled by a generator of its own, seeded by ``seed`` and the class's name, so that
    its examples fall into the same splits whatever other classes stand beside it. A split that the source
    itself has is taken as it is, and its share is not used.

    Args:
        train: share that parents and branches learn from.
        validation: share that chooses the best epoch.
        calibration: share that thresholds are fitted on; no model ever sees it.
        test: share of *all* examples, taken first, if the source has no test examples of its own.
        seed: seed of the split, apart from the seeds of models.
        disjoint: give each half of the training examples to the parent alone and to branches alone:
            what a parent has memorised is then not what its branches learn from.
        duplicates: "report" them, move them "together" into one split, or "drop" all but one of each.

    Raises:
        InputError: if a share is outside (0, 1] or the first three do not add up to 1.
    """

    def __init__(
        self,
        train: float = 0.7,
        validation: float = 0.1,
        calibration: float = 0.2,
        test: float = 0.2,
        seed: int = 0,
        disjoint: bool = False,
        duplicates: str = "report",
    ) -> None:
        shares = {"train": train, "validation": validation, "calibration": calibration, "test": test}
        self.shares = {name: number(share, name, 0, 1, open_low=True) for name, share in shares.items()}
        total = sum(share for name, share in self.shares.items() if name != "test")
        if abs(total - 1) > 1e-6:
            raise ArgumentError(
                "train", f"+ validation + calibration is {total:g}: the three must add up to 1."
            )
        self.seed = whole(seed, "seed", 0)
        self.disjoint = switch(disjoint, "disjoint")
        self.duplicates = one_of(duplicates, DUPLICATES, "duplicates")

    @property
    def moves_duplicates(self) -> bool:
        """Whether duplicates have a say in which split an example falls into."""
        return self.duplicates != "report"

    def check(self, counts: Mapping[str, Mapping[str, int]]) -> None:
        """Refuse shares that leave a split without any example of some class, before examples are read.

        Args:
            counts: class → split that the source itself has → number of examples.

        Raises:
            InputError: naming the split and the class.
        """
        own = _own(counts)
        for name, mine in counts.items():
            sizes = self._sizes(mine.get("train", 0), own)
            sizes |= {split: mine.get(split, 0) for split in SPLITS if split in own}
            _refuse_empty(sizes, name, sum(mine.values()))

    def training(self, counts: Mapping[str, Mapping[str, int]]) -> dict[str, int]:
        """Number of examples of each class that a branch can learn from.

        Args:
            counts: class → split that the source itself has → number of examples.
        """
        own, part = _own(counts), "branch" if self.disjoint else "train"
        return {name: self._sizes(mine.get("train", 0), own)[part] for name, mine in counts.items()}

    def assign(
        self,
        labels: NDArray[np.int64],
        given: NDArray[np.int8],
        classes: Sequence[str],
        *,
        groups: NDArray[np.int64] | None = None,
        duplicates: NDArray[np.int64] | None = None,
    ) -> NDArray[np.int8]:
        """Assign every example to a split.

        Args:
            labels: int64, shape (n,), indices into ``classes``.
            given: int8, shape (n,), indices into ``SPLITS``: the source's own splits; what is of "train"
                is shared out.
            classes: class names.
            groups: int64, shape (n,), the first row of the group that the source keeps together; None if
                it has no groups.
            duplicates: int64, shape (n,), the first row of the examples that duplicates link, or the row
                itself; needed unless they are only reported.

        Returns:
            int8, shape (n,), indices into ``CODES``.

        Raises:
            InputError: if a split would have no example of some class.
        """
        assignment, fixed = given.astype(np.int8), given != TRAIN
        own = {SPLITS[code] for code in np.unique(given[fixed])}
        ends = np.cumsum(np.bincount(labels, minlength=len(classes)))[:-1]
        by_class = np.split(np.argsort(labels, kind="stable"), ends)
        for name, everyone in zip(classes, by_class, strict=True):
            rows = everyone[~fixed[everyone]]
            digest = hashlib.sha256(f"{self.seed}/{name}".encode()).digest()
            rows = np.random.default_rng(int.from_bytes(digest[:8], "big")).permutation(rows)
            start, sizes = 0, self._sizes(len(rows), own)
            for split, size in sizes.items():
                assignment[rows[start : start + size]] = CODES.index(split)
                start += size
        moved = duplicates if self.duplicates == "together" else None
        if together := [one for one in (groups, moved) if one is not None]:
            _gather(assignment, fixed, _joined(together))
        if duplicates is not None and self.duplicates == "drop":
            _drop(assignment, fixed, duplicates)
        splits = {*self._sizes(len(labels), own), *own}
        for name, everyone in zip(classes, by_class, strict=True):
            mine = assignment[everyone]
            found = {split: int(np.sum(mine == CODES.index(split))) for split in CODES if split in splits}
            kept = None if groups is None else len(np.unique(groups[everyone]))
            _refuse_empty(found, name, len(mine), int(np.sum(mine == LEFT_OUT)), kept)
        return assignment

    def _sizes(self, examples: int, own: set[str]) -> dict[str, int]:
        """Sizes of the splits that a class's training examples are shared out to, in drawing order."""
        sizes: dict[str, int] = {}
        rest = examples
        for split in ("test", "validation", "calibration"):
            if split not in own:
                # Of all examples the share of test, of what is left those of the others.
                sizes[split] = round(self.shares[split] * (examples - sizes.get("test", 0)))
                rest -= sizes[split]
        halves = {"parent": rest - rest // 2, "branch": rest // 2} if self.disjoint else {"train": rest}
        return sizes | halves


def _own(counts: Mapping[str, Mapping[str, int]]) -> set[str]:
    """Splits that the source itself has."""
    return {split for mine in counts.values() for split, count in mine.items() if count} - {"train"}


def _joined(groupings: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """First row of what several groupings of the same rows link."""
    if len(groupings) == 1:
        return groupings[0]
    rows = np.arange(len(groupings[0]))
    pairs = np.concatenate([np.stack([group, rows], axis=1) for group in groupings])
    return first_rows(linked(pairs, len(rows)))


def _gather(assignment: NDArray[np.int8], fixed: NDArray[np.bool_], groups: NDArray[np.int64]) -> None:
    """Move every group into one split, but no example that the source has assigned itself.

    What is of one group with such an example is left out.
    """
    assignment[:] = np.where(fixed, assignment, assignment[groups])
    assignment[np.isin(groups, groups[fixed]) & ~fixed] = LEFT_OUT


def _drop(assignment: NDArray[np.int8], fixed: NDArray[np.bool_], groups: NDArray[np.int64]) -> None:
    """Leave out all but the first of every group, but no example that the source has assigned itself."""
    repeated = groups != np.arange(len(groups))
    assignment[~fixed & (repeated | np.isin(groups, groups[fixed]))] = LEFT_OUT


def _refuse_empty(
    sizes: Mapping[str, int], name: str, examples: int, left_out: int = 0, groups: int | None = None
) -> None:
    for split, size in sizes.items():
        if size <= 0:
            if groups is not None and not left_out:
                raise InputError(
                    f"The {split} split has no example of class {name!r}, whose {examples} examples are of "
                    f"{groups} groups, each in one split: choose another data.split.seed or add groups."
                )
            share = split if split in SPLITS else "train"
            without = f", {left_out} of them left out as duplicates or for their group" if left_out else ""
            raise InputError(
                f"The {split} split has no example of class {name!r}, which has {examples} examples in all"
                f"{without}: raise data.split.{share} or add examples of that class."
            )
