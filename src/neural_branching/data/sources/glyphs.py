"""The embedded source: letters and digits drawn with the text fonts that matplotlib ships.

It needs no download, and it is hard in the right way: pairs such as 0 and O, I and l or C and c
differ in little but size and proportion, which turning, scaling and noise blur.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from neural_branching.data.inputs.image_inputs import ImageInputs
from neural_branching.data.sources.source import Counts, Examples, Source
from neural_branching.data.split import TEST, TRAIN
from neural_branching.errors import one_of, whole
from neural_branching.store.versions import version_of

if TYPE_CHECKING:
    from PIL import Image, ImageFont

    from neural_branching.data.hashes import FileHashes

CLASSES = (
    *(f"digit_{character}" for character in "0123456789"),
    *(f"upper_{character}" for character in "BCDGIKOPSVXZ"),
    *(f"lower_{character}" for character in "bcgiklopsvxz"),
)

# By name, because the symbol fonts in the same folder claim letters that they do not draw.
FONTS = (
    *(f"DejaVuSans{style}.ttf" for style in ("", "-Bold", "-Oblique", "-BoldOblique")),
    *(f"DejaVuSansMono{style}.ttf" for style in ("", "-Bold", "-Oblique", "-BoldOblique")),
    *(f"DejaVuSerif{style}.ttf" for style in ("", "-Bold", "-Italic", "-BoldItalic")),
    *(f"STIXGeneral{style}.ttf" for style in ("", "Bol", "Italic", "BolIta")),
    *(f"{name}.ttf" for name in ("cmr10", "cmb10", "cmss10", "cmtt10", "cmti10")),
)

# Raise it with every change that alters a pixel: it is what makes stored images stale.
RECIPE = 1

# Font size, and depth of the baseline below the centre, as parts of the image's side: from the top of
# the capitals to the foot of a g, every font then fits and leaves about equal margins.
FONT_SIZE = 0.85
BASELINE = 0.22

ROTATION = np.deg2rad(10)
SHIFT = 0.07
SCALE = (0.78, 1.05)
SHEAR = 0.1
# Every glyph is lighter than any background in every channel, so that polarity never flips.
GLYPH_COLOUR = (0.5, 1.0)
BACKGROUND = (0.0, 0.45)
NOISE = 0.15

# What an image is made of, as far as it is handed out.
COMPONENTS = ("shape", "gradient", "glyph colour", "noise")


@dataclass(frozen=True)
class Glyphs(Source):
    """Light characters on dark, noisy gradients, drawn afresh from ``seed`` whenever they are read.

    An image depends on the seed, its class, its place among the training or test images of that
    class and its size alone, so that asking for other classes or for more images never changes it.

    Attributes:
        train_per_class: training images of each class, at least 1.
        test_per_class: test images of each class, at least 0.
        seed: at least 0.
        image_size: side of an image in pixels.

    Raises:
        InputError: if an argument is outside its range.
    """

    train_per_class: int = 400
    test_per_class: int = 100
    seed: int = 0
    image_size: int = 32

    def __post_init__(self) -> None:
        whole(self.train_per_class, "train_per_class", 1)
        whole(self.test_per_class, "test_per_class", 0)
        whole(self.seed, "seed", 0)
        whole(self.image_size, "image_size", 8)

    @property
    def input(self) -> ImageInputs:
        """Images of writing; see ``Source.input``."""
        return ImageInputs(self.image_size, mirror_keeps_class=False)

    def class_names(self, hashes: FileHashes) -> tuple[str, ...]:
        """Digits, then upper case, then lower case; ``hashes`` is unused, as no images are on disk."""
        return CLASSES

    def counts(self, classes: Sequence[str], hashes: FileHashes) -> Counts:
        """As many of every class as the arguments say."""
        return {name: {"train": self.train_per_class, "test": self.test_per_class} for name in classes}

    def signature(self, classes: Sequence[str], hashes: FileHashes) -> dict[str, Any]:
        """The recipe, the arguments and the versions of the packages that choose or draw a pixel."""
        versions = {package: version_of(package) for package in ("matplotlib", "numpy", "pillow")}
        return {"recipe": RECIPE, **asdict(self), **versions}

    def read(self, classes: Sequence[str]) -> Examples:
        """Draw all images of ``classes``, class by class and the training images first.

        Args:
            classes: names out of ``CLASSES``, in the order of the labels.

        Raises:
            InputError: if a class is unknown.
        """
        size = self.image_size
        counts = (self.train_per_class, self.test_per_class)
        pixels = np.empty((len(classes), sum(counts), 3, size, size), np.uint8)
        for block, (stamps, train, test) in zip(pixels, self._of_each(classes), strict=True):
            block[: counts[0]] = _draw(stamps, counts[0], train)
            block[counts[0] :] = _draw(stamps, counts[1], test)
        return Examples(
            content=pixels.reshape(-1, 3, size, size),
            labels=np.repeat(np.arange(len(classes), dtype=np.int64), sum(counts)),
            split=np.tile(np.repeat(np.array([TRAIN, TEST], np.int8), counts), len(classes)),
        )

    def components(self, classes: Sequence[str]) -> tuple[NDArray[np.uint8], dict[str, NDArray[np.float32]]]:
        """The test images of some classes, and what they were made of.

        Args:
            classes: names out of ``CLASSES``.

        Returns:
            Images as ``read`` gives them, uint8 (n, 3, size, size); and component → float32 of the same
            shape, with images from 0 to 1: "shape" (the part of a pixel that ink covers), "gradient" (the
            background, under the ink too), "glyph colour" (ink without its brightness) and "noise".

        Raises:
            InputError: if a class is unknown.
        """
        images, found = [], []
        for stamps, _, test in self._of_each(classes):
            coverage, colour, background, noise = _ingredients(stamps, self.test_per_class, test)
            images.append(_blend(coverage, colour, background, noise))
            hue = (colour - colour.mean(1, keepdims=True)) * coverage
            found.append((np.repeat(coverage, 3, 1), background, hue, noise))
        each = (np.concatenate(one) for one in zip(*found, strict=True))
        return np.concatenate(images), dict(zip(COMPONENTS, each, strict=True))

    def _of_each(
        self, classes: Sequence[str]
    ) -> Iterator[tuple[list[Image.Image], np.random.Generator, np.random.Generator]]:
        """Stamps of a class, and what draws its training and its test images, class by class."""
        fonts = _fonts(FONT_SIZE * self.image_size)
        for name in classes:
            character = one_of(name, CLASSES, "data.classes")[-1]
            digest = sha256(f"{self.seed}/{name}".encode()).digest()
            train, test = np.random.default_rng(int.from_bytes(digest, "big")).spawn(2)
            yield [_stamp(character, font, self.image_size) for font in fonts], train, test


def _fonts(pixels: float) -> list[ImageFont.FreeTypeFont]:
    """Open every font of ``FONTS`` at one size, given in pixels."""
    import matplotlib
    from PIL import ImageFont

    folder = Path(matplotlib.get_data_path(), "fonts", "ttf")
    # The basic layout is the one that every build of Pillow has.
    return [ImageFont.truetype(folder / name, pixels, layout_engine=ImageFont.Layout.BASIC) for name in FONTS]


def _stamp(character: str, font: ImageFont.FreeTypeFont, size: int) -> Image.Image:
    """Draw one character upright, its ink centred from left to right and standing on the baseline.

    Returns:
        Grey image of ``size`` × ``size``: the part of each pixel that ink covers, 0 to 255.
    """
    from PIL import Image, ImageDraw

    # Not `font.getbbox`, which counts the space beside a character as part of it.
    mask, (start, _) = font.getmask2(character, "L", anchor="ls")
    left, _, right, _ = mask.getbbox()
    stamp = Image.new("L", (size, size))
    origin = ((size - left - right) / 2 - start, (0.5 + BASELINE) * size)
    ImageDraw.Draw(stamp).text(origin, character, fill=255, font=font, anchor="ls")
    return stamp


def _draw(stamps: Sequence[Image.Image], count: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draw ``count`` images, each from a random one of ``stamps``.

    Returns:
        uint8, shape (count, 3, size, size), RGB, where size is that of the stamps.
    """
    return _blend(*_ingredients(stamps, count, rng))


def _blend(
    coverage: NDArray[np.float32],
    colour: NDArray[np.float32],
    background: NDArray[np.float32],
    noise: NDArray[np.float32],
) -> NDArray[np.uint8]:
    """Images of their ingredients."""
    images = background + (colour - background) * coverage
    images += noise
    return (images.clip(0, 1) * 255 + 0.5).astype(np.uint8)


def _ingredients(
    stamps: Sequence[Image.Image], count: int, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """What images are made of, each from a random one of ``stamps``.

    Returns:
        Coverage (count, 1, s, s), glyph colour (count, 3, 1, 1), background and noise (count, 3, s, s).
    """
    size = stamps[0].width
    # Separate streams, each used image by image: the first images stay the same whatever the count.
    fonts, looks, noise = rng.spawn(3)
    pose, colour, knots = np.split(looks.random((count, 5 + 3 + 3 * 9), np.float32), (5, 8), axis=1)
    coverage = _coverage([stamps[font] for font in fonts.integers(len(stamps), size=count)], pose, size)

    weights = _bilinear(size)
    background: NDArray[Any] = weights @ _between(BACKGROUND, knots).reshape(count, 3, 3, 3) @ weights.T
    glyph = _between(GLYPH_COLOUR, colour).reshape(count, 3, 1, 1)
    grain = noise.standard_normal(background.shape, dtype=np.float32)
    grain *= NOISE
    return coverage, glyph, background, grain


def _coverage(stamps: Sequence[Image.Image], pose: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """Shear, scale, turn and shift each stamp about its centre.

    Args:
        stamps: one for each of n images.
        pose: shape (n, 5), within [0, 1): scale, shear, rotation, shift right, shift down.
        size: side of a stamp and of an image in pixels.

    Returns:
        float32, shape (n, 1, size, size), within [0, 1].
    """
    from PIL import Image

    scale = _between(SCALE, pose[:, 0])
    shear = _between((-SHEAR, SHEAR), pose[:, 1])
    angle = _between((-ROTATION, ROTATION), pose[:, 2])
    shift = _between((-SHIFT, SHIFT), pose[:, 3:])
    # Pillow wants the way back: where in the stamp a pixel of the image comes from.
    cos, sin = np.cos(angle) / scale, np.sin(angle) / scale
    back = np.stack([cos + shear * sin, sin - shear * cos, -sin, cos], axis=1).reshape(-1, 2, 2)
    offset = size * (0.5 - back @ (0.5 + shift)[:, :, None])
    coverage = np.empty((len(stamps), 1, size, size), np.float32)
    for image, stamp, matrix in zip(coverage, stamps, np.concatenate([back, offset], axis=2), strict=True):
        moved = stamp.transform(
            stamp.size, Image.Transform.AFFINE, matrix.ravel().tolist(), Image.Resampling.BILINEAR
        )
        image[0] = np.asarray(moved)
    coverage /= 255
    return coverage


def _bilinear(size: int) -> NDArray[np.float32]:
    """Weights, shape (size, 3), of three evenly spaced knots at each of ``size`` pixels in a row."""
    distance = np.abs(np.linspace(0, 2, size)[:, None] - np.arange(3))
    return (1 - distance).clip(0).astype(np.float32)


def _between(bounds: tuple[float, float], share: NDArray[np.float32]) -> NDArray[np.float32]:
    """Map [0, 1] linearly onto ``bounds``."""
    low, high = bounds
    return low + (high - low) * share
