"""One table per content of images: the same whatever the files are called, and kept in the store."""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from neural_branching.data.hashes import FileHashes
from neural_branching.data.inputs.image_inputs import ImageInputs
from neural_branching.data.labels import Labels
from neural_branching.data.sources.image_folder import ImageFolder
from neural_branching.data.sources.source import Examples
from neural_branching.data.split import SPLITS, TEST, TRAIN, Split
from neural_branching.data.table import DataTable, ensure_table
from neural_branching.data.training_examples import ExampleDataModule
from neural_branching.errors import InputError
from neural_branching.store.artifact_store import Store, key_of

PETS = ("cat", "dog")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


def table_of(store: Path, root: Path, **changes: Any) -> DataTable:
    """The table as a new process would ask for it."""
    arguments = {"classes": PETS, "split": Split(), "broken": "refuse", "size": 8, **changes}
    source = ImageFolder(str(root), arguments.pop("broken"), image_size=arguments.pop("size"))
    return ensure_table(Store(store), "pets", source, **arguments)


def same(first: DataTable, second: DataTable) -> bool:
    return first.artifact.key == second.artifact.key and first.split_key == second.split_key


class Fake:
    """Random images; ``signature`` and pixels are set apart, to play a source that changes."""

    input = ImageInputs(8)

    def __init__(self, seed: int = 0, signature: int = 0, duplicates: bool = False) -> None:
        self.seed, self.mark, self.duplicates = seed, signature, duplicates

    def class_names(self, hashes: FileHashes) -> tuple[str, ...]:
        return PETS

    def signature(self, classes: Sequence[str], hashes: FileHashes) -> int:
        return self.mark

    def read(self, classes: Sequence[str]) -> Examples:
        rng = np.random.default_rng(self.seed)
        pixels = rng.integers(0, 256, (40, 3, 8, 8), dtype=np.uint8)
        if self.duplicates:
            pixels[:] = pixels[0]
        order = rng.permutation(40)
        split = np.where(order >= 32, TEST, TRAIN).astype(np.int8)
        return Examples(pixels, (order % 2).astype(np.int64), split)


# --- rows ---------------------------------------------------------------------------------------


def test_rows_are_ordered_by_class_and_content(class_folders: Callable, store: Path) -> None:
    root = class_folders(PETS, train=10, test=3)
    table = table_of(store, root)
    assert len(table) == 26
    images = table.examples()
    assert isinstance(images, np.memmap)
    order = [
        (label, hashlib.sha256(image.tobytes()).digest())
        for label, image in zip(table.labels, images, strict=True)
    ]
    assert order == sorted(order)
    for label, name in enumerate(PETS):
        files = root.glob(f"*/{name}/*.png")
        expected = {np.asarray(Image.open(file)).transpose(2, 0, 1).tobytes() for file in files}
        assert {image.tobytes() for image in images[table.labels == label]} == expected


def test_rows_by_split_and_class(class_folders: Callable, store: Path) -> None:
    root = class_folders(PETS, train=10, test=3)
    table = table_of(store, root)
    everything = np.concatenate([table.rows(split) for split in SPLITS])
    assert sorted(everything) == list(range(26))
    for split in SPLITS:
        rows = table.rows(split)
        assert rows.dtype == np.int64
        assert list(rows) == sorted(rows)
        cats = table.rows(split, ["cat"])
        assert set(cats) == {row for row in rows if table.labels[row] == 0}
        np.testing.assert_array_equal(table.rows(split, ["dog", "cat"]), rows)
    assert [len(table.rows(split, ["dog"])) for split in SPLITS] == [7, 1, 2, 3]
    tests = {table.examples()[row].tobytes() for row in table.rows("test")}
    files = (root / "test").glob("*/*.png")
    assert tests == {np.asarray(Image.open(file)).transpose(2, 0, 1).tobytes() for file in files}


def test_the_order_of_reading_does_not_matter(store: Path) -> None:
    class Backwards(Fake):
        def read(self, classes: Sequence[str]) -> Examples:
            found = super().read(classes)
            return Examples(found.content[::-1], found.labels[::-1], found.split[::-1])

    for duplicates in (False, True):
        first, second = (
            ensure_table(Store(store / str(duplicates) / kind.__name__), "x", source, PETS, Split())
            for kind in (Fake, Backwards)
            for source in [kind(duplicates=duplicates)]
        )
        assert same(first, second)
        np.testing.assert_array_equal(first.split, second.split)


def test_pixels_for_training_are_the_tables(class_folders: Callable, store: Path) -> None:
    table = table_of(store, class_folders(PETS, train=10))
    data = ExampleDataModule(table, Labels("fine", "all", PETS, PETS[:1], {}), batch_size=4, seed=0)
    data.setup("fit")
    for split, (x, y) in (("train", data.train), ("validation", data.validation)):
        assert x.dtype == torch.uint8
        np.testing.assert_array_equal(x.numpy(), table.examples()[table.rows(split)])
        np.testing.assert_array_equal(y.numpy(), table.labels[table.rows(split)])


# --- keys ---------------------------------------------------------------------------------------


def test_found_again_without_decoding(
    class_folders: Callable, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = class_folders()
    first = table_of(store, root)
    assert first.artifact.built
    monkeypatch.setattr(ImageFolder, "read", None)
    second = table_of(store, root, content=True)
    assert same(first, second)
    assert not second.artifact.built


def test_names_of_files_do_not_matter(class_folders: Callable, store: Path) -> None:
    root = class_folders()
    first = table_of(store, root)
    for index, file in enumerate(sorted(root.rglob("*.png"), reverse=True)):
        file.rename(file.with_name(f"photo_{index}.png"))
    second = table_of(store, root)
    assert same(first, second)
    assert not second.artifact.built
    root.rename(root.with_name("moved"))
    assert same(first, table_of(store, root.with_name("moved")))


def test_what_changes_the_key(class_folders: Callable, store: Path) -> None:
    root = class_folders()
    first = table_of(store, root)
    others = [table_of(store, root, size=9), table_of(store, root, classes=PETS[::-1])]
    Image.new("RGB", (8, 8)).save(root / "cat" / "new.png")
    others.append(table_of(store, root))
    assert len(others[-1]) == len(first) + 1
    assert len({table.artifact.key for table in (first, *others)}) == 4


def test_an_image_changed_in_place_is_noticed(class_folders: Callable, store: Path) -> None:
    root = class_folders()
    first = table_of(store, root)
    file = root / "cat" / "0.png"
    before = file.stat()
    Image.new("RGB", (8, 8), (1, 2, 3)).save(file)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    second = table_of(store, root)
    assert second.artifact.key != first.artifact.key
    assert (second.examples() == np.reshape([1, 2, 3], (1, 3, 1, 1))).all(axis=(1, 2, 3)).sum() == 1


def test_a_split_is_another_key_on_the_same_data(class_folders: Callable, store: Path) -> None:
    root = class_folders(train=20)
    first = table_of(store, root)
    for split in (Split(seed=1), Split(0.5, 0.25, 0.25)):
        other = table_of(store, root, split=split)
        assert other.artifact.key == first.artifact.key
        assert other.split_key != first.split_key
        assert (other.split != first.split).any()
    assert same(first, table_of(store, root, split=Split()))


# --- faults -------------------------------------------------------------------------------------


def test_what_is_kept_of_a_reading_does_not_grow_with_the_files(class_folders: Callable, store: Path) -> None:
    for train in (10, 40):
        table_of(store, class_folders(train=train, root=f"images of {train}"))
    manifests = [json.loads(file.read_text()) for file in store.glob("reading/*/manifest.json")]
    first, second = (len(json.dumps(manifest["identity"])) for manifest in manifests)
    assert first == second


def test_a_source_that_is_gone_is_served_from_the_store(
    class_folders: Callable, store: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = class_folders(PETS, train=10, test=3)
    first = table_of(store, root)
    shutil.rmtree(root)
    with caplog.at_level(logging.INFO):
        second = table_of(store, root, content=True)
    assert same(first, second)
    np.testing.assert_array_equal(first.examples(), second.examples())
    assert "is gone" in caplog.text
    with pytest.raises(InputError, match="does not exist"):
        table_of(store, root, size=16)


def test_of_a_source_that_is_gone_the_last_state_counts(class_folders: Callable, store: Path) -> None:
    root = class_folders()
    table_of(store, root)
    (root / "cat" / "0.png").unlink()
    last = table_of(store, root)
    shutil.rmtree(root)
    assert same(table_of(store, root), last)


def test_a_damaged_table_is_rebuilt_from_the_source(class_folders: Callable, store: Path) -> None:
    root = class_folders()
    file = table_of(store, root).artifact.path / "examples.npy"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    rebuilt = table_of(store, root, content=True)
    assert rebuilt.artifact.built
    assert file.read_bytes() != content
    file.write_bytes(content)
    shutil.rmtree(root)
    with pytest.raises(InputError, match="does not exist"):
        table_of(store, root, content=True)


def test_images_that_change_while_they_are_read_are_refused(store: Path) -> None:
    first = ensure_table(Store(store), "x", Fake(), PETS, Split())
    shutil.rmtree(first.artifact.path)
    with pytest.raises(InputError, match="The images of 'x' changed while they were being read"):
        ensure_table(Store(store), "x", Fake(seed=1), PETS, Split())
    assert same(ensure_table(Store(store), "x", Fake(), PETS, Split()), first)


def test_skipped_images_are_counted_whether_read_or_found(class_folders: Callable, store: Path) -> None:
    root = class_folders()
    (root / "cat" / "0.png").write_bytes(b"not an image")
    with pytest.raises(InputError, match=r"0\.png cannot be decoded"):
        table_of(store, root)
    for _ in range(2):
        table = table_of(store, root, broken="skip")
        assert table.skipped == 1
        assert len(table) == 19


def test_a_class_with_too_few_images_is_refused_with_its_name(class_folders: Callable, store: Path) -> None:
    with pytest.raises(InputError, match="split has no example of class 'cat', which has 3 examples"):
        table_of(store, class_folders(train=3))
    assert not list(store.glob("split/*"))


def test_a_store_that_cannot_be_written_is_one_sentence(class_folders: Callable, store: Path) -> None:
    root = class_folders()
    store.write_text("in the way")
    with pytest.raises(InputError, match=r"The store .* cannot be written"):
        table_of(store, root)


# --- images of parent and branch ------------------------------------------------------------------


def test_parent_and_branch_may_have_images_of_their_own(class_folders: Callable, store: Path) -> None:
    root = class_folders(PETS, train=23)
    together, apart = (table_of(store, root, split=Split(disjoint=disjoint)) for disjoint in (False, True))
    assert together.artifact.key == apart.artifact.key  # the images are the same, and decoded once
    assert together.split_key != apart.split_key
    np.testing.assert_array_equal(together.rows("train", training_source="parent"), together.rows("train"))
    parent, branch = (apart.rows("train", training_source=source) for source in ("parent", "branch"))
    assert not set(parent) & set(branch)
    np.testing.assert_array_equal(np.union1d(parent, branch), together.rows("train"))
    np.testing.assert_array_equal(apart.rows("train"), branch)
    for split in SPLITS[1:]:
        for source in ("parent", "branch"):
            np.testing.assert_array_equal(apart.rows(split, training_source=source), together.rows(split))
    for name in PETS:
        assert (
            len(apart.rows("train", [name], training_source="parent")) >= len(apart.rows("train", [name])) > 0
        )


def test_a_split_that_keeps_nothing_apart_is_stored_as_before(class_folders: Callable, store: Path) -> None:
    table = table_of(store, class_folders(PETS, train=10), split=Split(disjoint=False))
    assert set(table.split) <= set(range(len(SPLITS)))
    [kept] = (store / "split").iterdir()
    identity = {"recipe": 2, "data": table.artifact.key, "shares": Split().shares, "seed": 0}
    assert kept.name == key_of("split", identity)


def test_pixels_are_the_parents_own_of_the_classes_that_it_tells_apart(
    class_folders: Callable, store: Path
) -> None:
    classes = ("cat", "dog", "emu")
    root = class_folders(classes, train=12)
    table = table_of(store, root, classes=classes, split=Split(disjoint=True), content=True)
    data = ExampleDataModule(table, Labels("fine", ["emu", "cat"], classes, ["dog"], {}), 4, 0)
    data.setup("fit")
    for split, (x, y) in (("train", data.train), ("validation", data.validation)):
        rows = table.rows(split, ("cat", "emu"), training_source="parent")
        assert len(rows) > 0
        np.testing.assert_array_equal(x.numpy(), table.examples()[rows])
        assert [("cat", "emu")[target] for target in y] == [classes[table.labels[row]] for row in rows]
