"""Image files as pixels."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})


def decode(file: Path, size: int) -> NDArray[np.uint8]:
    """Read an image file as RGB pixels.

    Transparency is dropped, 16-bit grey is scaled to 8 bits, the EXIF orientation is applied; the image
    is resized, bilinear with anti-aliasing, to a square.

    Args:
        file: the file.
        size: side of the square in pixels.

    Returns:
        uint8, shape (3, size, size).

    Raises:
        Exception: of many kinds, by Pillow's plugins, for a damaged file.
    """
    from PIL import Image, ImageOps

    with Image.open(file) as opened:
        opened.load()
        image: Image.Image = ImageOps.exif_transpose(opened)
        if image.mode.startswith("I"):
            # Pillow clips 16-bit grey at 255 when it converts; keep the upper byte instead.
            image = Image.fromarray((np.asarray(image) >> 8).clip(0, 255).astype(np.uint8))
        if image.mode == "F":
            raise ValueError("floating-point pixels have no agreed range")
        image.info.pop("transparency", None)  # dropped anyway, and Pillow warns of some kinds
        image = image.convert("RGB")
        if image.size != (size, size):
            image = image.resize((size, size), Image.Resampling.BILINEAR)
        return np.asarray(image, dtype=np.uint8).transpose(2, 0, 1)
