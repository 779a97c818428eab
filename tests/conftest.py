"""Tiny inputs that several test files share."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ClassFolders = Callable[..., Path]


@pytest.fixture
def class_folders(tmp_path: Path) -> ClassFolders:
    """Write noisy one-colour PNG images: ``<class>/``, or ``{train,test}/<class>/`` if ``test`` > 0."""

    def write(
        classes: Sequence[str] = ("cat", "dog"),
        train: int = 10,
        test: int = 0,
        size: int = 8,
        root: str = "images",
    ) -> Path:
        rng = np.random.default_rng(0)
        folder = tmp_path / root
        for top, count in (("train" if test else "", train), ("test", test)):
            for label, name in enumerate(classes):
                colour = np.array([60 + 50 * label, 200 - 50 * label, 120])
                for index in range(count):
                    file = folder / top / name / f"{index}.png"
                    file.parent.mkdir(parents=True, exist_ok=True)
                    pixels = colour + rng.integers(-20, 21, (size, size, 3))
                    Image.fromarray(pixels.astype(np.uint8)).save(file)
        return folder

    return write
