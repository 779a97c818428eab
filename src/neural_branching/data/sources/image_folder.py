"""Images in class folders: ``<root>/{train,test}/<class>/*`` or ``<root>/<class>/*``."""

import logging
import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from neural_branching.data.decode import SUFFIXES, decode
from neural_branching.data.hashes import FileHashes
from neural_branching.data.sources.base import Images, root_folder
from neural_branching.errors import ArgumentError, InputError, one_of

log = logging.getLogger(__name__)

RECIPE = 2


class ImageFolder:
    """Class folders of images of any size and mode.

    Images are converted to RGB (transparency is dropped, 16-bit grey is scaled to 8 bits, the EXIF
    orientation is applied) and resized, bilinear with anti-aliasing, to a square.

    Args:
        root: the folder. With a sub-folder ``train`` its layout is ``{train,test}/<class>/``
            (``test`` may be absent), otherwise ``<class>/``; images may lie deeper inside a class.
        broken: "refuse" names the first image that cannot be decoded; "skip" leaves such images
            out and counts them.
        mirror_keeps_class: whether mirror images count as duplicates; not for writing, for example.

    Raises:
        InputError: if ``broken`` or ``mirror_keeps_class`` is none of its values.
    """

    def __init__(self, root: str, broken: str = "refuse", mirror_keeps_class: bool = True) -> None:
        self.root = root_folder(root)
        self.broken = one_of(broken, ("refuse", "skip"), "broken")
        if not isinstance(mirror_keeps_class, bool):
            raise ArgumentError("mirror_keeps_class", f"is {mirror_keeps_class!r}: it must be true or false.")
        self.mirror_keeps_class = mirror_keeps_class
        self._files: list[str] | None = None

    def class_names(self, hashes: FileHashes) -> tuple[str, ...]:
        """Names of the class folders, sorted; see ``Source.class_names``."""
        return tuple(sorted({_class_of(file) for file in self._list(hashes)}))

    def counts(self, classes: Sequence[str], hashes: FileHashes) -> dict[str, tuple[int, int]]:
        """Number of image files by class, broken ones included; see ``Source.counts``."""
        found = Counter((_class_of(file), _split_of(file) == "test") for file in self._list(hashes))
        return {name: (found[name, False], found[name, True]) for name in classes}

    def signature(self, classes: Sequence[str], hashes: FileHashes) -> Any:
        """Checksum of every image file of ``classes``; see ``Source.signature``."""
        files = [file for file in self._list(hashes) if _class_of(file) in set(classes)]
        for split in sorted({_split_of(file) for file in files}):
            present = {_class_of(file) for file in files if _split_of(file) == split}
            for name in classes:
                if name not in present:
                    raise InputError(
                        f"The data folder {self.root / split} has no images of class {name!r}: "
                        f"each of {', '.join(classes)} needs some there."
                    )
        if self.root.is_dir():
            content = hashes.of(self.root, files)
        else:
            content = {file: sha for file, sha in hashes.remembered(self.root).items() if file in set(files)}
            log.info("The data folder %s is gone: using what was read from it before.", self.root)
        # Decoders of lossy formats and resizing change their last bits between versions.
        return {"recipe": RECIPE, "files": content, "broken": self.broken, "pillow": version("pillow")}

    def read(self, classes: Sequence[str], size: int) -> Images:
        """Decode the images of ``classes``; see ``Source.read``."""
        if not self.root.is_dir():
            raise self._missing()
        index = {name: label for label, name in enumerate(classes)}
        files = [file for file in self._list(None) if _class_of(file) in index]
        pixels = np.empty((len(files), 3, size, size), dtype=np.uint8)

        def decode_into(row: int) -> str | None:
            try:
                pixels[row] = decode(self.root / files[row], size)
            except Exception as error:  # Pillow's plugins raise many kinds for a damaged file
                return f"{type(error).__name__}: {error}"
            return None

        with ThreadPoolExecutor() as pool:
            problems = list(pool.map(decode_into, range(len(files))))
        broken = {file: problem for file, problem in zip(files, problems, strict=True) if problem}
        if broken and self.broken == "refuse":
            file, problem = next(iter(broken.items()))
            raise InputError(
                f"The image {self.root / file} cannot be decoded ({problem}): replace or remove it, "
                f"or leave out such images with data.source.broken=skip ({len(broken)} found)."
            )
        if broken:
            log.warning("Left out %d broken images, the first is %s.", len(broken), next(iter(broken)))
        good = np.array([file not in broken for file in files], dtype=np.bool_)
        return Images(
            pixels=pixels if good.all() else pixels[good],
            labels=np.array([index[_class_of(file)] for file in files], dtype=np.int64)[good],
            is_test=np.array([_split_of(file) == "test" for file in files], dtype=np.bool_)[good],
            skipped=list(broken),
        )

    def _list(self, hashes: FileHashes | None) -> list[str]:
        """Image files relative to the root, sorted; from memory if the root is gone."""
        if self._files is None:
            if self.root.is_dir():
                self._files = self._walk()
            else:
                self._files = sorted(hashes.remembered(self.root)) if hashes else []
            if not self._files:
                raise self._missing()
        return self._files

    def _walk(self) -> list[str]:
        train = self.root / "train"
        # A class may be called "train" too: then its images, not folders, lie in it.
        splits = train.is_dir() and any(inner.is_dir() for inner in train.glob("[!.]*"))
        files = []
        for top in ("train", "test") if splits else ("",):
            for place, folders, names in os.walk(self.root / top, followlinks=True):
                folders[:] = [name for name in folders if not name.startswith(".")]
                if Path(place) == self.root / top:
                    continue
                for name in names:
                    if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES:
                        files.append(Path(place, name).relative_to(self.root).as_posix())
        return sorted(files)

    def _missing(self) -> InputError:
        state = "holds no images in class folders" if self.root.is_dir() else "does not exist"
        return InputError(
            f"The data folder {self.root.absolute()} {state}: data.root must contain "
            "{train,test}/<class>/ or <class>/ folders of images."
        )


def _split_of(file: str) -> str:
    """The top folder, "train" or "test", or "" in a layout without it."""
    top = file.split("/", 1)[0]
    return top if top in ("train", "test") and file.count("/") >= 2 else ""


def _class_of(file: str) -> str:
    parts = file.split("/")
    return parts[1] if _split_of(file) else parts[0]
