"""Images: square RGB pixels of eight bits."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from neural_branching.data.decode import as_pixels, decode
from neural_branching.data.duplicates import Duplicates
from neural_branching.data.files import decoded, image_files
from neural_branching.data.inputs.adapter import Batch, InputAdapter, Statistics
from neural_branching.data.inputs.near_duplicates import CORRELATION, find_near_duplicates
from neural_branching.errors import InputError, one_of, switch, whole

if TYPE_CHECKING:
    from torch import Tensor

NORMALIZE = ("channel", "pixel", "imagenet", "none")
# Means and deviations of ImageNet's training images that torchvision's weights expect, for pixels 0 … 255.
IMAGENET_MEAN, IMAGENET_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


@dataclass(frozen=True)
class ImageInputs(InputAdapter):
    """Images as uint8 of shape (3, size, size), RGB.

    Attributes:
        size: side in pixels, at least 8.
        mirror_keeps_class: whether mirroring an image left to right keeps its class, as it does not with
            writing. Mirror images then count as duplicates.

    Raises:
        InputError: for another size or a switch that is neither true nor false.
    """

    name: ClassVar[str] = "images"
    dtype: ClassVar[str] = "uint8"

    size: int
    mirror_keeps_class: bool = True

    def __post_init__(self) -> None:
        whole(self.size, "image_size", 8)
        switch(self.mirror_keeps_class, "mirror_keeps_class")

    @property
    def shape(self) -> tuple[int, int, int]:
        """(3, size, size)."""
        return 3, self.size, self.size

    @property
    def identity(self) -> Mapping[str, Any]:
        """The size; the versions of decoders are the source's to say."""
        return {"size": self.size}

    def statistics(self, normalize: str) -> Statistics:
        """See ``InputAdapter.statistics``.

        Args:
            normalize: "channel" for one mean and deviation per colour channel, "pixel" for one of every
                pixel and channel, both learned from the training images; "imagenet" for the constants
                that weights from ImageNet were trained with; "none" for networks that do it themselves.
        """
        one_of(normalize, NORMALIZE, "normalize")
        if normalize == "none":
            return (1, 1, 1), ((0.0,), (1.0,))
        if normalize == "imagenet":
            return (3, 1, 1), (IMAGENET_MEAN, IMAGENET_STD)
        return self.shape if normalize == "pixel" else (3, 1, 1), None

    @property
    def likeness(self) -> Mapping[str, Any]:
        """Pixels that correlate, those of mirror images too where that keeps the class."""
        return {"correlation": CORRELATION, "mirror": self.mirror_keeps_class}

    def find_duplicates(self, content: NDArray[Any], progress: Callable[[float], None]) -> Duplicates:
        """Exact and near duplicates; see ``find_near_duplicates``."""
        return find_near_duplicates(content, mirror=self.mirror_keeps_class, progress=progress)

    def picture(self, example: NDArray[Any]) -> NDArray[np.uint8]:
        """The image itself."""
        pixels: NDArray[np.uint8] = example.transpose(1, 2, 0)
        return pixels

    def checked(self, batch: "NDArray[Any] | Tensor | Sequence[Any]") -> "Tensor":
        """A batch of images as a tensor; also one or several files or Pillow's images, which are decoded.

        Raises:
            InputError: for another shape or type than the table's, and a file that cannot be decoded.
        """
        from PIL import Image

        if not hasattr(batch, "dtype"):
            one = isinstance(batch, (str, PathLike, Image.Image))
            some = [batch] if one else list(batch) if isinstance(batch, Iterable) else [batch]
            decoded = [one if hasattr(one, "dtype") else self._decoded(one) for one in some]
            batch = np.stack(decoded) if decoded else np.empty((0, *self.shape), np.uint8)
        return super().checked(batch)

    def _decoded(self, one: Any) -> NDArray[np.uint8]:
        from PIL import Image

        if not isinstance(one, (str, PathLike, Image.Image)):
            raise InputError(
                f"{one!r} is no image: give files, Pillow's images, or uint8 of shape (n, 3, {self.size}, "
                f"{self.size})."
            )
        try:
            return as_pixels(one, self.size) if isinstance(one, Image.Image) else decode(Path(one), self.size)
        except Exception as error:  # Pillow's plugins raise many kinds
            raise InputError(f"{one!r} cannot be decoded as an image ({error}).") from error

    def read_files(self, places: Sequence[Path], batch: int, max_pixels: int) -> tuple[int, Iterator[Batch]]:
        """Image files, and those below folders, decoded while earlier ones are worked on."""
        files = image_files(places)
        return -(-len(files) // batch), decoded(files, self.size, batch, max_pixels)
