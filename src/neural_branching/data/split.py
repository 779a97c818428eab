"""One split of the images, made once per data set, before anything is trained."""

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from neural_branching.errors import ArgumentError, InputError, number, one_of, whole

SPLITS = ("train", "validation", "calibration", "test")
# How splits are stored: the next two stand in for "train" where parent and branch share no image, and
# the last is for images that no split has.
CODES = (*SPLITS, "parent", "branch", "left_out")
LEFT_OUT = CODES.index("left_out")
DUPLICATES = ("report", "together", "drop")


class Split:
    """Shares of the training images, by image and stratified by class.

    A class is shuffled by a generator of its own, seeded by ``seed`` and the class's name, so that
    its images fall into the same splits whatever other classes stand beside it.

    Args:
        train: share that parents and branches learn from.
        validation: share that chooses the best epoch.
        calibration: share that thresholds are fitted on; no model ever sees it.
        test: share of *all* images, taken first, if the source has no test images of its own.
        seed: seed of the split, apart from the seeds of models.
        disjoint: give each half of the training images to the parent alone and to branches alone:
            what a parent has memorised is then not what its branches learn from.

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
        if not isinstance(disjoint, bool):
            raise ArgumentError("disjoint", f"is {disjoint!r}: it must be true or false.")
        self.disjoint = disjoint
        self.duplicates = one_of(duplicates, DUPLICATES, "duplicates")

    @property
    def moves_duplicates(self) -> bool:
        """Whether duplicates have a say in which split an image falls into."""
        return self.duplicates != "report"

    def check(self, counts: Mapping[str, tuple[int, int]]) -> None:
        """Refuse shares that leave a split without any image of some class, before images are read.

        Args:
            counts: class → number of training images, number of test images.

        Raises:
            InputError: naming the split and the class.
        """
        own_test = any(test for _, test in counts.values())
        for name, (train, test) in counts.items():
            sizes = self._sizes(train, own_test)
            _refuse_empty(sizes | ({"test": test} if own_test else {}), name, train + test)

    def training(self, counts: Mapping[str, tuple[int, int]]) -> dict[str, int]:
        """Number of images of each class that a branch can learn from.

        Args:
            counts: class → number of training images, number of test images.
        """
        own_test = any(test for _, test in counts.values())
        learner = "branch" if self.disjoint else "train"
        return {name: self._sizes(train, own_test)[learner] for name, (train, _) in counts.items()}

    def assign(
        self,
        labels: NDArray[np.int64],
        is_test: NDArray[np.bool_],
        classes: Sequence[str],
        groups: NDArray[np.int64] | None = None,
    ) -> NDArray[np.int8]:
        """Assign every image to a split.

        Args:
            labels: int64, shape (n,), indices into ``classes``.
            is_test: bool, shape (n,), the source's own test images; all false if it has none.
            classes: class names.
            groups: int64, shape (n,), the first row of the images that duplicates link, or the row
                itself; needed unless they are only reported.

        Returns:
            int8, shape (n,), indices into ``CODES``.

        Raises:
            InputError: if a split would have no image of some class.
        """
        assignment = np.full(len(labels), CODES.index("test"), dtype=np.int8)
        own_test = bool(is_test.any())
        ends = np.cumsum(np.bincount(labels, minlength=len(classes)))[:-1]
        by_class = np.split(np.argsort(labels, kind="stable"), ends)
        for name, everyone in zip(classes, by_class, strict=True):
            rows = everyone[~is_test[everyone]]
            digest = hashlib.sha256(f"{self.seed}/{name}".encode()).digest()
            rows = np.random.default_rng(int.from_bytes(digest[:8], "big")).permutation(rows)
            start, sizes = 0, self._sizes(len(rows), own_test)
            for split, size in sizes.items():
                assignment[rows[start : start + size]] = CODES.index(split)
                start += size
        if groups is not None:
            self._settle(assignment, is_test, groups)
        splits = {*self._sizes(len(labels), own_test), "test"}
        for name, everyone in zip(classes, by_class, strict=True):
            mine = assignment[everyone]
            found = {split: int(np.sum(mine == CODES.index(split))) for split in CODES if split in splits}
            _refuse_empty(found, name, len(mine), left_out=int(np.sum(mine == LEFT_OUT)))
        return assignment

    def _settle(
        self, assignment: NDArray[np.int8], is_test: NDArray[np.bool_], groups: NDArray[np.int64]
    ) -> None:
        """Move images with duplicates, or leave them out, but none of the source's own test images."""
        tested = np.isin(groups, groups[is_test])
        if self.duplicates == "together":
            assignment[:] = np.where(is_test, assignment, assignment[groups])
        else:
            assignment[~is_test & (groups != np.arange(len(groups)))] = LEFT_OUT
        assignment[tested & ~is_test] = LEFT_OUT

    def _sizes(self, images: int, own_test: bool) -> dict[str, int]:
        """Sizes of the splits that a class's training images are shared out to, in drawing order."""
        test = 0 if own_test else round(self.shares["test"] * images)
        rest = images - test
        validation = round(self.shares["validation"] * rest)
        calibration = round(self.shares["calibration"] * rest)
        sizes = {} if own_test else {"test": test}
        train = rest - validation - calibration
        halves = {"parent": train - train // 2, "branch": train // 2} if self.disjoint else {"train": train}
        return sizes | {"validation": validation, "calibration": calibration} | halves


def _refuse_empty(sizes: Mapping[str, int], name: str, images: int, left_out: int = 0) -> None:
    for split, size in sizes.items():
        if size <= 0:
            share = split if split in SPLITS else "train"
            without = f", {left_out} of them left out as duplicates" if left_out else ""
            raise InputError(
                f"The {split} split has no image of class {name!r}, which has {images} images in all"
                f"{without}: raise data.split.{share} or add images of that class."
            )
