"""What is known of some images where the way splits: all that a router may look at."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neural_branching.selection.arrays import Floats


@dataclass(frozen=True)
class Crossing:
    """One inner node of a tree and n images, those included that belong elsewhere.

    Attributes:
        name: the node's name.
        rows: row numbers of the images in the data table, int64 (n,).
        truth: index of the node below that each image belongs to, int64 (n,); −1 if to none.
        targets: index of each image's label within the node below that it belongs to, int64 (n,).
        own: the node's own probability of each node below, float64 (n, k); None if it does not tell
            them apart. Rows may add up to less than 1: the rest is outside the tree.
        below: logits of the branch of each node below, k arrays (n, ·).
        reach: largest probability that any single class below each node has, given that node,
            float64 (n, k).
        gate: probabilities of the learned gate, float64 (n, k); None if none was trained. The rest
            is "none of them".
    """

    name: str
    rows: NDArray[np.int64]
    truth: NDArray[np.int64]
    targets: NDArray[np.int64]
    own: Floats | None
    below: Sequence[NDArray[np.float32]]
    reach: Floats
    gate: Floats | None = None
