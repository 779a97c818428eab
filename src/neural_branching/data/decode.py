"""Image files as pixels."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL import Image

# Read with nothing but Pillow's own decoders: others hand a file to programs such as Ghostscript.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
MAX_PIXELS = 100_000_000  # of one image, unless told otherwise: 300 MB as RGB
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})


def decode(file: Path, size: int, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Read an image file as RGB pixels.

    Transparency is dropped, 16-bit grey is scaled to 8 bits, the EXIF orientation is applied; the image
    is resized, bilinear with anti-aliasing, to a square.

    Args:
        file: the file.
        size: side of the square in pixels.
        max_pixels: most pixels that the file may have, width × height.

    Returns:
        uint8, shape (3, size, size).

    Raises:
        ValueError: for what is no regular file, too many pixels, or pixels without an agreed range.
        Exception: of many kinds, by Pillow's plugins, for a damaged file or another format than ``FORMATS``.
    """
    from PIL import Image

    if not file.is_file():
        raise ValueError("it is not a regular file")
    if Image.MAX_IMAGE_PIXELS is not None and max_pixels > Image.MAX_IMAGE_PIXELS:
        Image.MAX_IMAGE_PIXELS = max_pixels  # Pillow's own limit gives way to what the user allows
    with Image.open(file, formats=FORMATS) as opened:
        if opened.width * opened.height > max_pixels:
            raise ValueError(
                f"it has {opened.width:,} × {opened.height:,} pixels, more than the limit of {max_pixels:,}"
            )
        opened.load()
        return as_pixels(opened, size)


def as_pixels(opened: "Image.Image", size: int) -> NDArray[np.uint8]:
    """An image of Pillow as RGB pixels; see ``decode``.

    Args:
        opened: left as it is.
        size: side of the square in pixels.

    Returns:
        uint8, shape (3, size, size).

    Raises:
        ValueError: for pixels without an agreed range.
    """
    from PIL import Image, ImageOps

    image = ImageOps.exif_transpose(opened)
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
