"""Images in class folders: ``<root>/{train,test}/<class>/*`` or ``<root>/<class>/*``."""

import hashlib
import logging
from collections import ChainMap, Counter
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import numpy as np

from neural_branching.data.class_folders import Look, Place, forget, look_at, remembered
from neural_branching.data.decode import MAX_PIXELS, decode
from neural_branching.data.hashes import FileHashes, stamps_of
from neural_branching.data.inputs.image_inputs import ImageInputs
from neural_branching.data.sources.source import Counts, Examples, Source, root_folder
from neural_branching.data.split import TEST, TRAIN
from neural_branching.data.tasks import in_tasks
from neural_branching.errors import InputError, one_of, printable, whole

log = logging.getLogger(__name__)

RECIPE = 3


class ImageFolder(Source):
    """Class folders of images of any size and mode.

    Images are converted to RGB (transparency is dropped, 16-bit grey is scaled to 8 bits, the EXIF
    orientation is applied) and resized, bilinear with anti-aliasing, to a square.

    Args:
        root: the folder. With a sub-folder ``train`` its layout is ``{train,test}/<class>/``
            (``test`` may be absent), otherwise ``<class>/``; images may lie deeper inside a class.
        broken: "refuse" names the first image that cannot be decoded; "skip" leaves such images
            out and counts them.
        mirror_keeps_class: whether mirror images count as duplicates; not for writing, for example.
        max_pixels: an image of more pixels, width × height, is as one that cannot be decoded.
        image_size: side of the squares in pixels.

    Raises:
        InputError: for a value that an option does not have.
    """

    def __init__(
        self,
        root: str,
        broken: str = "refuse",
        mirror_keeps_class: bool = True,
        max_pixels: int = MAX_PIXELS,
        image_size: int = 32,
    ) -> None:
        self.root = root_folder(root)
        self.broken = one_of(broken, ("refuse", "skip"), "broken")
        self._input = ImageInputs(image_size, mirror_keeps_class)
        self.max_pixels = whole(max_pixels, "max_pixels", 1)
        # What the last signature spoke of.
        self._look: Look | None = None

    @property
    def input(self) -> ImageInputs:
        """Images of ``image_size``; see ``Source.input``."""
        return self._input

    def class_names(self, hashes: FileHashes) -> tuple[str, ...]:
        """Names of the class folders, sorted; see ``Source.class_names``."""
        return tuple(sorted({place.name for place in self._seen(hashes).files}))

    def counts(self, classes: Sequence[str], hashes: FileHashes) -> Counts:
        """Number of image files by class, broken ones included; see ``Source.counts``."""
        found: Counter[tuple[str, bool]] = Counter()
        for place, files in self._seen(hashes).files.items():
            found[place.name, place.split == "test"] += len(files)
        return {name: {"train": found[name, False], "test": found[name, True]} for name in classes}

    def signature(self, classes: Sequence[str], hashes: FileHashes) -> Any:
        """Checksum of names and content of the files of ``classes``; see ``Source.signature``."""
        self._look = look = self._seen(hashes)
        asked = hashes.folder, tuple(classes)
        if asked not in look.signatures:
            look.signatures[asked] = self._checksum(look, classes, hashes)
        # Decoders of lossy formats and resizing change their last bits between versions.
        return {
            "recipe": RECIPE,
            "files": look.signatures[asked],
            "broken": self.broken,
            "max_pixels": self.max_pixels,
            "pillow": version("pillow"),
        }

    def _checksum(self, look: Look, classes: Sequence[str], hashes: FileHashes) -> str:
        for split in sorted({place.split for place in look.files}):
            for name in classes:
                if Place(split, name) not in look.files:
                    raise InputError(
                        f"The data folder {self.root / split} has no images of class {name!r}: "
                        "each class needs some there."
                    )
        files = _files_of(look, classes)
        if self.root.is_dir():
            content = hashes.of(self.root, files, look.stamps)
        else:
            content = hashes.remembered(self.root)
            log.info("The data folder %s is gone: using what was read from it before.", self.root)
        lines = "".join(f"{file}\0{content[file]}" for file in files)
        return hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()

    def read(self, classes: Sequence[str]) -> Examples:
        """Decode the images of ``classes``; see ``Source.read``."""
        if not self.root.is_dir():
            raise self._missing()
        look, index = self._look or look_at(self.root), {name: label for label, name in enumerate(classes)}
        places = [place for place in look.files if place.name in index]
        files = [file for place in places for file in look.files[place]]
        pixels = np.empty((len(files), *self.input.shape), dtype=np.uint8)

        def some(rows: range) -> dict[str, str]:
            """Decode some of the files; which of them are broken, and why."""
            problems = {}
            for row in rows:
                try:
                    pixels[row] = decode(self.root / files[row], self.input.size, self.max_pixels)
                except Exception as error:  # Pillow's plugins raise many kinds for a damaged file
                    problems[files[row]] = f"{type(error).__name__}: {error}"
            return problems

        broken = dict(ChainMap(*in_tasks(some, len(files), "Decoding")))
        self._check_unchanged(look, files)
        if broken and self.broken == "refuse":
            file, problem = min(broken.items())
            raise InputError(
                f"The image {printable(self.root / file)} cannot be decoded ({problem}): replace or remove "
                f"it, or leave out such images with data.source.broken=skip ({len(broken)} found)."
            )
        if broken:
            log.warning("Left out %d broken images, the first is %s.", len(broken), printable(min(broken)))
        good = np.array([file not in broken for file in files], dtype=np.bool_)
        sizes = [len(look.files[place]) for place in places]
        labels = np.array([index[place.name] for place in places], dtype=np.int64)
        split = np.array([TEST if place.split == "test" else TRAIN for place in places], dtype=np.int8)
        return Examples(
            content=pixels if good.all() else pixels[good],
            labels=np.repeat(labels, sizes)[good],
            split=np.repeat(split, sizes)[good],
            skipped=sorted(broken),
            names=[printable(file) for file in files if file not in broken],
        )

    def _check_unchanged(self, look: Look, files: Sequence[str]) -> None:
        """Refuse images other than those that the signature speaks of."""
        now = stamps_of(self.root, files)
        for file in files:
            if now.get(file) != look.stamps[file]:
                forget(self.root)
                raise InputError(
                    f"The image {printable(self.root / file)} changed while images were being read: "
                    "run the same command again."
                )

    def _seen(self, hashes: FileHashes) -> Look:
        """What lies in the folder; from memory if it is gone."""
        look = look_at(self.root) if self.root.is_dir() else remembered(hashes.stamps(self.root))
        if not look.files:
            raise self._missing()
        return look

    def _missing(self) -> InputError:
        state = "holds no images in class folders" if self.root.is_dir() else "does not exist"
        return InputError(
            f"The data folder {self.root.absolute()} {state}: data.root must contain "
            "{train,test}/<class>/ or <class>/ folders of images."
        )


def _files_of(look: Look, classes: Sequence[str]) -> list[str]:
    """The image files of some classes, sorted."""
    wanted = set(classes)
    return sorted(file for place, files in look.files.items() if place.name in wanted for file in files)
