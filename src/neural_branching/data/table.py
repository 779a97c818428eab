"""One table of images for everything downstream, decoded once and memory-mapped.

Rows are ordered by (class, content of the pixels), so that the same images give the same rows and
the same keys whichever reader brought them.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from neural_branching.data.hashes import FileHashes
from neural_branching.data.overlap import ensure_duplicates, read_duplicates
from neural_branching.data.sources.source import Images, Source
from neural_branching.data.split import CODES, Split
from neural_branching.errors import InputError
from neural_branching.store.artifact_store import Artifact, Facts, Store

RECIPE = 1


@dataclass(frozen=True)
class DataTable:
    """Labels and splits of all images, in memory, and the pixels, on disk.

    Attributes:
        artifact: the stored table; its key stands for the content of the images.
        classes: class names; labels are indices into them.
        labels: int64, shape (n,).
        split: int8, shape (n,), indices into ``CODES``.
        split_key: checksum of the stored split.
        skipped: number of broken images that the source left out.
        duplicates: what ``data.overlap.ensure_duplicates`` found; None if it was not asked for.
    """

    artifact: Artifact
    classes: tuple[str, ...]
    labels: NDArray[np.int64]
    split: NDArray[np.int8]
    split_key: str
    skipped: int
    duplicates: Artifact | None = None

    def rows(
        self,
        split: str,
        classes: Sequence[str] | None = None,
        *,
        learner: str = "branch",
        per_class: int | None = None,
    ) -> NDArray[np.int64]:
        """Row numbers of a split, of all classes or of some, ascending (int64).

        Args:
            split: "train", "validation", "calibration" or "test".
            classes: class names; None for all.
            learner: whose training images "train" means, "parent" or "branch", where the split keeps
                them apart.
            per_class: only so many training images of each class, the first in the order of their
                content's hash, so that few are among more; None for all. Other splits stay whole.
        """
        chosen = self.split == CODES.index(split)
        if split == "train":
            chosen |= self.split == CODES.index(learner)
        if classes is not None:
            wanted = np.zeros(len(self.classes), dtype=np.bool_)
            wanted[self.indices(classes)] = True
            chosen &= wanted[self.labels]
        rows = np.flatnonzero(chosen)
        if split == "train" and per_class is not None:
            labels = self.labels[rows]
            by_class = np.argsort(labels, kind="stable")
            first = np.searchsorted(labels[by_class], labels[by_class])  # of the same class
            rows = np.sort(rows[by_class[np.arange(len(rows)) - first < per_class]])
        return rows

    def indices(self, classes: Sequence[str]) -> NDArray[np.int64]:
        """Labels of some classes, int64."""
        return np.array([self._index[name] for name in classes], dtype=np.int64)

    @cached_property
    def _index(self) -> dict[str, int]:
        return {name: label for label, name in enumerate(self.classes)}

    def images(self) -> NDArray[np.uint8]:
        """All images, uint8 (n, 3, size, size), memory-mapped."""
        return _images(self.artifact)

    def __len__(self) -> int:
        return len(self.labels)


def ensure_table(
    store: Store,
    name: str,
    source: Source,
    classes: Sequence[str],
    size: int,
    split: Split,
    *,
    pixels: bool = False,
    duplicates: bool = False,
) -> DataTable:
    """Find or make the table of a data set and its split.

    Args:
        store: where both are kept.
        name: how the data set is called in messages.
        source: reader of the images; not asked to decode anything that the store has.
        classes: class names in the order of the labels.
        size: side of the square images in pixels.
        split: how images are shared out.
        pixels: whether the caller will read the images, which are then verified too.
        duplicates: whether the caller will ask for duplicates, which are then looked for.

    Raises:
        InputError: if the source is missing, an image is broken, or a split lacks a class.
    """
    hashes = hash_memory(store)
    names = tuple(classes)
    decoded: dict[str, tuple[Images, str]] = {}

    def decode() -> tuple[Images, str]:
        if not decoded:
            images = _ordered(source.read(names, size))
            decoded["once"] = images, _fingerprint(images, names)
        return decoded["once"]

    def read(folder: Path) -> Facts:
        images, fingerprint = decode()
        (folder / "skipped.json").write_text(json.dumps(images.skipped), encoding="utf-8")
        return {"pixels": fingerprint, "skipped": len(images.skipped)}

    def write(folder: Path) -> Facts:
        images, fingerprint = decode()
        if fingerprint != reading.facts["pixels"]:
            raise InputError(
                f"The images of {name!r} changed while they were being read: run the same command again."
            )
        np.save(folder / "images.npy", images.pixels)
        np.save(folder / "labels.npy", images.labels)
        np.save(folder / "is_test.npy", images.is_test)
        return {"images": len(images.labels), "classes": list(names)}

    identity = {
        "recipe": RECIPE,
        "source": type(source).__name__,
        "signature": source.signature(names, hashes),
        "classes": names,
        "size": size,
    }
    reading = store.fetch("reading", identity, read)
    identity = {"recipe": RECIPE, "pixels": reading.facts["pixels"]}

    def fetch(*needs: str) -> Artifact:
        return store.fetch("data", identity, write, needs=("labels.npy", "is_test.npy", *needs))

    table = fetch(*(["images.npy"] if pixels else []))
    labels = np.load(table.path / "labels.npy")
    is_test = np.load(table.path / "is_test.npy")

    found = None
    if duplicates or split.moves_duplicates:
        found = ensure_duplicates(
            store, table.key, lambda: _images(fetch("images.npy")), source.mirror_keeps_class
        )

    def assign(folder: Path) -> Facts:
        groups = read_duplicates(found).group if found and split.moves_duplicates else None
        np.save(folder / "split.npy", split.assign(labels, is_test, names, groups))
        return {}

    share = {"recipe": RECIPE, "data": table.key, "shares": split.shares, "seed": split.seed}
    share |= {"disjoint": True} if split.disjoint else {}
    if found and split.moves_duplicates:
        share |= {"duplicates": split.duplicates, "groups": found.sha("group.npy")}
    splits = store.fetch("split", share, assign, needs=("split.npy",))
    return DataTable(
        artifact=table,
        classes=names,
        labels=labels,
        split=np.load(splits.path / "split.npy"),
        split_key=splits.sha("split.npy"),
        skipped=reading.facts["skipped"],
        duplicates=found,
    )


def hash_memory(store: Store) -> FileHashes:
    """The memory of file checksums that lives beside the artifacts of a store."""
    return FileHashes(store.root / "hashes")


def _images(table: Artifact) -> NDArray[np.uint8]:
    images: NDArray[np.uint8] = np.load(table.path / "images.npy", mmap_mode="r")
    return images


def _ordered(images: Images) -> Images:
    content = [hashlib.sha256(image.tobytes()).digest() for image in images.pixels]
    # Equal images of one class are told apart by the split they came in, and are otherwise alike.
    order = sorted(
        range(len(content)), key=lambda row: (images.labels[row], content[row], images.is_test[row])
    )
    return Images(images.pixels[order], images.labels[order], images.is_test[order], images.skipped)


def _fingerprint(images: Images, classes: Sequence[str]) -> str:
    digest = hashlib.sha256(json.dumps([list(classes), list(images.pixels.shape)]).encode())
    for array in (images.pixels, images.labels, images.is_test):
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
