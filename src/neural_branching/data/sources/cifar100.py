"""CIFAR-100 (Krizhevsky, 2009) as torchvision downloads it."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from neural_branching.data.hashes import FileHashes
from neural_branching.data.inputs.image_inputs import ImageInputs
from neural_branching.data.sources.source import Counts, Examples, Source, root_folder
from neural_branching.data.split import TEST, TRAIN
from neural_branching.errors import InputError

RECIPE = 1
FOLDER = "cifar-100-python"
FILES = (f"{FOLDER}/train", f"{FOLDER}/test", f"{FOLDER}/meta")

# fmt: off
CLASSES = (
    "apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle", "bottle",
    "bowl", "boy", "bridge", "bus", "butterfly", "camel", "can", "castle", "caterpillar", "cattle",
    "chair", "chimpanzee", "clock", "cloud", "cockroach", "couch", "crab", "crocodile", "cup", "dinosaur",
    "dolphin", "elephant", "flatfish", "forest", "fox", "girl", "hamster", "house", "kangaroo", "keyboard",
    "lamp", "lawn_mower", "leopard", "lion", "lizard", "lobster", "man", "maple_tree", "motorcycle",
    "mountain", "mouse", "mushroom", "oak_tree", "orange", "orchid", "otter", "palm_tree", "pear",
    "pickup_truck", "pine_tree", "plain", "plate", "poppy", "porcupine", "possum", "rabbit", "raccoon",
    "ray", "road", "rocket", "rose", "sea", "seal", "shark", "shrew", "skunk", "skyscraper", "snail",
    "snake", "spider", "squirrel", "streetcar", "sunflower", "sweet_pepper", "table", "tank", "telephone",
    "television", "tiger", "tractor", "train", "trout", "tulip", "turtle", "wardrobe", "whale",
    "willow_tree", "wolf", "woman", "worm",
)
# fmt: on


class Cifar100(Source):
    """CIFAR-100: 100 classes of 500 training and 100 test images, 32 × 32.

    Args:
        root: folder that holds, or will hold, ``cifar-100-python/``.
        download: fetch the data set there if it is missing (about 170 MB).
        image_size: side in pixels that images are resized to.
    """

    def __init__(self, root: str, download: bool = True, image_size: int = 32) -> None:
        self.root = root_folder(root)
        self.download = download
        self._input = ImageInputs(image_size)

    @property
    def input(self) -> ImageInputs:
        """Images of ``image_size``; see ``Source.input``."""
        return self._input

    def class_names(self, hashes: FileHashes) -> tuple[str, ...]:
        """The 100 fine class names in the data set's own order."""
        return CLASSES

    def counts(self, classes: Sequence[str], hashes: FileHashes) -> Counts:
        """500 and 100 images of every class."""
        return {name: {"train": 500, "test": 100} for name in classes}

    def signature(self, classes: Sequence[str], hashes: FileHashes) -> Any:
        """Checksums of the three files, which are downloaded first if that is allowed and needed."""
        remembered = hashes.remembered(self.root)
        if not all((self.root / file).is_file() for file in FILES):
            if set(remembered) >= set(FILES):
                return {"recipe": RECIPE, "files": {file: remembered[file] for file in FILES}}
            self._load(train=True)
        return {"recipe": RECIPE, "files": hashes.of(self.root, FILES)}

    def read(self, classes: Sequence[str]) -> Examples:
        """Decode the images of ``classes``, resized if they are not 32 wide; see ``Source.read``."""
        pixels, labels, split, names = [], [], [], []
        for train in (True, False):
            dataset = self._load(train)
            index = np.full(len(dataset.classes), -1, dtype=np.int64)
            for label, name in enumerate(classes):
                index[dataset.class_to_idx[name]] = label
            label = index[np.asarray(dataset.targets)]
            pixels.append(dataset.data[label >= 0])
            labels.append(label[label >= 0])
            names += [f"{'train' if train else 'test'}[{row}]" for row in np.flatnonzero(label >= 0)]
            split.append(np.full(len(labels[-1]), TRAIN if train else TEST, dtype=np.int8))
        images = np.concatenate(pixels)
        if self.input.size != images.shape[1]:
            images = _resized(images, self.input.size)
        return Examples(
            content=np.ascontiguousarray(images.transpose(0, 3, 1, 2)),
            labels=np.concatenate(labels),
            split=np.concatenate(split),
            names=names,
        )

    def _load(self, train: bool) -> Any:
        from torchvision.datasets import CIFAR100

        missing = [place for place in (self.root, *self.root.absolute().parents) if not place.exists()]
        try:
            return CIFAR100(str(self.root), train=train, download=self.download)
        except (OSError, RuntimeError) as error:
            # torchvision leaves an empty folder behind when the download cannot start.
            for place in missing:
                with suppress(OSError):  # not there, or not empty
                    place.rmdir()
            attempt = "could not be downloaded" if self.download else "is not there and download is off"
            raise InputError(
                f"CIFAR-100 {attempt} ({error}): put {FOLDER}/ with train, test and meta into "
                f"{self.root.absolute()}, or read class folders with data/source=image_folder "
                "data.root=FOLDER, or use the embedded data with data=glyphs."
            ) from error


def _resized(images: np.ndarray[Any, np.dtype[np.uint8]], size: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    from PIL import Image

    shape = (size, size)
    return np.stack(
        [np.asarray(Image.fromarray(image).resize(shape, Image.Resampling.BILINEAR)) for image in images]
    )
