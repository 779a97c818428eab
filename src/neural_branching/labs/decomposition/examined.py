"""The test images that a study takes apart, and what they were made of where their source says it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from neural_branching.data.sources.glyphs import Glyphs
from neural_branching.data.sources.source import Source
from neural_branching.data.table import DataTable
from neural_branching.selection.array_types import Float32, Int64, Shaped


@dataclass(frozen=True)
class Examined:
    """Images and labels.

    Attributes:
        images: raw, uint8.
        labels: the class of each, by its place among ``names``.
        names: of the classes.
        components: component → what the images were made of, without its mean image; empty where unknown.
    """

    images: Shaped[Tensor, "n c h w"]
    labels: Int64[np.ndarray, " n"]
    names: tuple[str, ...]
    components: Mapping[str, Float32[np.ndarray, "n c h w"]]

    @classmethod
    def of(cls, table: DataTable, source: Source, classes: Sequence[str], most: int) -> "Examined":
        """About so many test images at most, of every class as many, the same for every network.

        Args:
            table: the examples, with their content.
            source: where they come from.
            classes: those that are reconstructed.
            most: number of images.
        """
        labels, content, share = table.indices(classes), table.examples(), max(1, most // len(classes))
        rows = table.rows("test", classes)
        chosen = np.concatenate([rows[table.labels[rows] == label][:share] for label in labels])
        images = np.asarray(content[chosen])
        places = {int(label): place for place, label in enumerate(labels)}
        components = {}
        if isinstance(source, Glyphs):
            drawn, known = source.components(classes)
            row_of = {image.tobytes(): row for row, image in enumerate(drawn)}
            drawn_rows = [row_of[image.tobytes()] for image in images]
            components = {name: one[drawn_rows] - one[drawn_rows].mean(0) for name, one in known.items()}
        found = np.array([places[int(label)] for label in table.labels[chosen]], np.int64)
        return cls(torch.from_numpy(images), found, tuple(classes), components)
