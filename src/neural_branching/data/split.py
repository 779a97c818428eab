"""One split of the images, made once per data set, before anything is trained."""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from neural_branching.errors import ArgumentError, InputError, number, whole

SPLITS = ("train", "validation", "calibration", "test")


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
    ) -> None:
        shares = {"train": train, "validation": validation, "calibration": calibration, "test": test}
        self.shares = {name: number(share, name, 0, 1, open_low=True) for name, share in shares.items()}
        total = sum(share for name, share in self.shares.items() if name != "test")
        if abs(total - 1) > 1e-6:
            raise ArgumentError(
                "train", f"+ validation + calibration is {total:g}: the three must add up to 1."
            )
        self.seed = whole(seed, "seed", 0)

    def assign(
        self, labels: NDArray[np.int64], is_test: NDArray[np.bool_], classes: Sequence[str]
    ) -> NDArray[np.int8]:
        """Assign every image to a split.

        Args:
            labels: int64, shape (n,), indices into ``classes``.
            is_test: bool, shape (n,), the source's own test images; all false if it has none.
            classes: class names.

        Returns:
            int8, shape (n,), indices into ``SPLITS``.

        Raises:
            InputError: if a split would have no image of some class.
        """
        assignment = np.full(len(labels), -1, dtype=np.int8)
        assignment[is_test] = SPLITS.index("test")
        for label, name in enumerate(classes):
            rows = np.flatnonzero((labels == label) & ~is_test)
            digest = hashlib.sha256(f"{self.seed}/{name}".encode()).digest()
            rows = np.random.default_rng(int.from_bytes(digest[:8], "big")).permutation(rows)
            if not is_test.any():
                held_out = round(self.shares["test"] * len(rows))
                assignment[rows[:held_out]] = SPLITS.index("test")
                rows = rows[held_out:]
            validation = round(self.shares["validation"] * len(rows))
            calibration = round(self.shares["calibration"] * len(rows))
            assignment[rows[:validation]] = SPLITS.index("validation")
            assignment[rows[validation : validation + calibration]] = SPLITS.index("calibration")
            assignment[rows[validation + calibration :]] = SPLITS.index("train")
            for code, split in enumerate(SPLITS):
                if not np.any(assignment[labels == label] == code):
                    raise InputError(
                        f"The {split} split has no image of class {name!r}, which has "
                        f"{int(np.sum(labels == label))} images in all: "
                        f"raise data.split.{split} or add images of that class."
                    )
        return assignment
