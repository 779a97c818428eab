"""Readers of class folders and of CIFAR-100: same images, same table; what is wrong is named."""

import hashlib
import logging
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from neural_branching.data.hashes import FileHashes
from neural_branching.data.sources import cifar100
from neural_branching.data.sources.cifar100 import CLASSES, Cifar100
from neural_branching.data.sources.image_folder import ImageFolder
from neural_branching.data.sources.source import Source
from neural_branching.data.split import TEST, TRAIN, Split
from neural_branching.data.table import DataTable, ensure_table
from neural_branching.errors import InputError
from neural_branching.store.artifact_store import Store

PETS = ("cat", "dog")


@pytest.fixture
def hashes(tmp_path: Path) -> FileHashes:
    return FileHashes(tmp_path / "hashes")


def table_of(store: Path, source: Source, classes: tuple[str, ...]) -> DataTable:
    return ensure_table(Store(store), "test data", source, classes, Split())


# --- class folders: layouts ---------------------------------------------------------------------


def test_class_folders(class_folders: Callable, hashes: FileHashes) -> None:
    root = class_folders(PETS, train=3)
    source: Source = ImageFolder(str(root), image_size=8)
    assert source.class_names(hashes) == PETS
    images = source.read(("dog", "cat"))
    assert images.content.shape == (6, 3, 8, 8)
    assert (images.content.dtype, images.labels.dtype, images.split.dtype) == (np.uint8, np.int64, np.int8)
    assert sorted(images.labels) == [0, 0, 0, 1, 1, 1]
    assert set(images.split) == {TRAIN}
    assert images.skipped == []
    for label, name in enumerate(("dog", "cat")):
        found = {image.tobytes() for image in images.content[images.labels == label]}
        files = (root / name).iterdir()
        assert found == {np.asarray(Image.open(file)).transpose(2, 0, 1).tobytes() for file in files}


def test_train_and_test_folders(class_folders: Callable, hashes: FileHashes) -> None:
    source = ImageFolder(str(class_folders(PETS, train=3, test=2)), image_size=8)
    assert source.class_names(hashes) == PETS
    images = source.read(PETS)
    for label in (0, 1):
        assert (images.split == TEST)[images.labels == label].sum() == 2
        assert (images.split != TEST)[images.labels == label].sum() == 3


def test_a_train_folder_alone_has_no_test_images(class_folders: Callable, hashes: FileHashes) -> None:
    root = class_folders(PETS, train=3, test=2)
    shutil.rmtree(root / "test")
    source = ImageFolder(str(root), image_size=8)
    assert source.class_names(hashes) == PETS
    source.signature(PETS, hashes)
    assert set(source.read(PETS).split) == {TRAIN}


def test_only_the_classes_asked_for_are_read(class_folders: Callable, hashes: FileHashes) -> None:
    root = class_folders((*PETS, "emu"), train=2)
    (root / "emu" / "0.png").write_bytes(b"not an image")
    images = ImageFolder(str(root), image_size=8).read(PETS)
    assert len(images.labels) == 4
    ImageFolder(str(root)).signature(PETS, hashes)
    assert set(hashes.remembered(root)) == {"cat/0.png", "cat/1.png", "dog/0.png", "dog/1.png"}


def test_images_lie_at_any_depth_and_other_files_do_not_count(
    class_folders: Callable, hashes: FileHashes
) -> None:
    root = class_folders(PETS, train=1)
    for place in ("cat/deep/er/a.PNG", "dog/b.png"):
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / "cat" / "0.png", root / place)
    for place in ("cat/.hidden.png", "cat/.thumbs/t.png", ".cache/x.png", "beside.png", "cat/._0.png"):
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / "cat" / "0.png", root / place)
    for place in ("cat/notes.txt", "dog/labels.csv", "empty/readme.md"):
        (root / place).parent.mkdir(exist_ok=True)
        (root / place).write_text("no image")
    source = ImageFolder(str(root), image_size=8)
    assert source.class_names(hashes) == PETS
    source.signature(PETS, hashes)
    assert set(hashes.remembered(root)) == {"cat/0.png", "cat/deep/er/a.PNG", "dog/0.png", "dog/b.png"}
    assert sorted(source.read(PETS).labels) == [0, 0, 1, 1]


def test_a_linked_class_folder_counts(class_folders: Callable, hashes: FileHashes, tmp_path: Path) -> None:
    root = class_folders(PETS, train=1)
    elsewhere = tmp_path / "elsewhere"
    (root / "cat").rename(elsewhere)
    (root / "cat").symlink_to(elsewhere, target_is_directory=True)
    assert ImageFolder(str(root)).class_names(hashes) == PETS


def test_a_class_may_be_called_train(class_folders: Callable, hashes: FileHashes) -> None:
    # As one of CIFAR-100's is.
    source = ImageFolder(str(class_folders(("bus", "train"), train=2)))
    assert source.class_names(hashes) == ("bus", "train")
    assert sorted(source.read(("bus", "train")).labels) == [0, 0, 1, 1]


# --- class folders: decoding --------------------------------------------------------------------

GREY = (np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000) % 60013
RGB = np.random.default_rng(1).integers(0, 256, (8, 8, 3), dtype=np.uint8)
ALPHA = np.linspace(0, 255, 64).astype(np.uint8).reshape(8, 8, 1)
INDEX = np.arange(64, dtype=np.uint8).reshape(8, 8) % 4
PALETTE = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [9, 90, 200]], np.uint8)


def _palette() -> Image.Image:
    image = Image.new("P", (8, 8))
    image.putpalette(PALETTE.tobytes())
    image.frombytes(INDEX.tobytes())
    return image


def _grey(values: NDArray[np.integer]) -> NDArray[np.uint8]:
    return np.repeat(values.astype(np.uint8)[:, :, None], 3, axis=2)


MODES: dict[str, tuple[Image.Image, str, dict, NDArray[np.uint8]]] = {
    "RGB": (Image.fromarray(RGB), "png", {}, RGB),
    "bmp": (Image.fromarray(RGB), "bmp", {}, RGB),
    "L": (Image.fromarray((GREY >> 8).astype(np.uint8)), "png", {}, _grey(GREY >> 8)),
    "1": (Image.fromarray(GREY % 3000 > 1000), "png", {}, _grey((GREY % 3000 > 1000) * 255)),
    "P": (_palette(), "png", {}, PALETTE[INDEX]),
    "gif": (_palette(), "gif", {}, PALETTE[INDEX]),
    "P, one colour transparent": (_palette(), "png", {"transparency": 1}, PALETTE[INDEX]),
    "P, alpha per colour": (_palette(), "png", {"transparency": b"\x00\x80\xff\xff"}, PALETTE[INDEX]),
    "RGBA": (Image.fromarray(np.concatenate([RGB, ALPHA], axis=2)), "png", {}, RGB),
    "LA": (
        Image.fromarray(np.concatenate([RGB[:, :, :1], ALPHA], axis=2)), "png", {}, _grey(RGB[:, :, 0])
    ),
    "I;16 png": (Image.fromarray(GREY), "png", {}, _grey(GREY >> 8)),
    "I;16 tif": (Image.fromarray(GREY), "tif", {}, _grey(GREY >> 8)),
    "16-bit pgm": (Image.fromarray(GREY.astype(np.int32)), "pgm", {}, _grey(GREY >> 8)),
}  # fmt: skip


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    image, suffix, options, expected = MODES[mode]
    (tmp_path / "cat").mkdir()
    image.save(tmp_path / "cat" / f"a.{suffix}", **options)
    images = ImageFolder(str(tmp_path), image_size=8).read(("cat",))
    np.testing.assert_array_equal(images.content[0].transpose(1, 2, 0), expected)


def test_cmyk_photographs_become_rgb(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    Image.new("RGB", (8, 8), (200, 40, 90)).convert("CMYK").save(tmp_path / "cat" / "a.jpg", quality=95)
    pixels = ImageFolder(str(tmp_path), image_size=8).read(("cat",)).content[0]
    assert np.abs(pixels.astype(int) - np.reshape([200, 40, 90], (3, 1, 1))).max() <= 6


def test_the_camera_orientation_is_applied(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by a quarter clockwise to look at it
    Image.fromarray(RGB).save(tmp_path / "cat" / "a.png", exif=exif)
    pixels = ImageFolder(str(tmp_path), image_size=8).read(("cat",)).content[0]
    np.testing.assert_array_equal(pixels.transpose(1, 2, 0), np.rot90(RGB, -1))


@pytest.mark.parametrize("shape", [(24, 40), (5, 3), (8, 30)])
def test_other_sizes_are_resized_with_antialiasing(tmp_path: Path, shape: tuple[int, int]) -> None:
    (tmp_path / "cat").mkdir()
    original = np.random.default_rng(2).integers(0, 256, (*shape, 3), dtype=np.uint8)
    Image.fromarray(original).save(tmp_path / "cat" / "a.png")
    pixels = ImageFolder(str(tmp_path), image_size=8).read(("cat",)).content
    reference = torch.nn.functional.interpolate(
        torch.from_numpy(original).permute(2, 0, 1)[None].float(), (8, 8), mode="bilinear", antialias=True
    )
    assert np.abs(pixels - reference.numpy()).max() < 1.5


# --- class folders: faults ----------------------------------------------------------------------


@pytest.fixture
def damaged(class_folders: Callable) -> Path:
    """Ten images of two classes; a dog is cut off and a cat is no image at all."""
    root = class_folders(PETS, train=5)
    file = root / "dog" / "3.png"
    file.write_bytes(file.read_bytes()[:-40])
    (root / "cat" / "1.png").write_bytes(b"not an image")
    return root


def test_broken_images_are_refused_by_name(damaged: Path) -> None:
    with pytest.raises(InputError, match=r"images/cat/1\.png cannot be decoded .*broken=skip \(2 found\)"):
        ImageFolder(str(damaged), image_size=8).read(PETS)
    (damaged / "cat" / "1.png").unlink()
    with pytest.raises(InputError, match=r"images/dog/3\.png cannot be decoded .*broken=skip \(1 found\)"):
        ImageFolder(str(damaged), image_size=8).read(PETS)


def test_broken_images_are_left_out_and_counted(
    damaged: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    images = ImageFolder(str(damaged), broken="skip", image_size=8).read(PETS)
    assert images.skipped == ["cat/1.png", "dog/3.png"]
    assert len(images.content) == len(images.labels) == len(images.split) == 8
    [record] = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert "2 broken images" in record.getMessage()
    for file, label in (("cat/4.png", 0), ("dog/4.png", 1)):
        expected = np.asarray(Image.open(damaged / file)).transpose(2, 0, 1)
        [row] = np.flatnonzero((images.content == expected).all(axis=(1, 2, 3)))
        assert images.labels[row] == label


def test_broken_is_one_of_two_words(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="broken is 'ignore'"):
        ImageFolder(str(tmp_path), broken="ignore")


@pytest.mark.parametrize("source", [ImageFolder, Cifar100])
def test_a_root_that_is_no_path_is_refused(source: type) -> None:
    with pytest.raises(InputError, match="root"):
        source(None)


def test_a_missing_root_is_named(tmp_path: Path, hashes: FileHashes) -> None:
    for ask in (
        lambda source: source.class_names(hashes),
        lambda source: source.signature(PETS, hashes),
        lambda source: source.read(PETS),
    ):
        with pytest.raises(InputError, match=r"The data folder .*/gone does not exist: data\.root"):
            ask(ImageFolder(str(tmp_path / "gone")))


def test_a_root_without_images_is_named(tmp_path: Path, hashes: FileHashes) -> None:
    (tmp_path / "data" / "cat").mkdir(parents=True)
    (tmp_path / "data" / "stray.png").write_bytes(b"x")
    with pytest.raises(InputError, match=r"The data folder .*/data holds no images in class folders"):
        ImageFolder(str(tmp_path / "data")).class_names(hashes)


@pytest.mark.parametrize("lacking", ["train", "test"])
def test_a_class_that_one_folder_lacks_is_named(
    class_folders: Callable, hashes: FileHashes, lacking: str
) -> None:
    root = class_folders(PETS, train=2, test=2)
    shutil.rmtree(root / lacking / "dog")
    source = ImageFolder(str(root), image_size=8)
    assert source.class_names(hashes) == PETS
    with pytest.raises(InputError, match=rf"images/{lacking} has no images of class 'dog'"):
        source.signature(PETS, hashes)


def test_the_signature_follows_content_not_time(class_folders: Callable, hashes: FileHashes) -> None:
    root = class_folders(PETS, train=2)
    file = root / "cat" / "0.png"
    before = ImageFolder(str(root)).signature(PETS, hashes)
    file.write_bytes(file.read_bytes())
    assert ImageFolder(str(root)).signature(PETS, hashes) == before
    shutil.copy(root / "dog" / "0.png", file)
    assert ImageFolder(str(root)).signature(PETS, hashes) != before


# --- CIFAR-100 ----------------------------------------------------------------------------------

SOME = ("apple", "crab", "tulip")
OTHER = "worm"


def _rows(count: int, seed: int) -> tuple[NDArray[np.uint8], list[int]]:
    """``count`` random images of each of SOME and OTHER, as rows of channel planes."""
    labels = np.random.default_rng(seed).permutation(
        np.repeat([CLASSES.index(n) for n in (*SOME, OTHER)], count)
    )
    pixels = np.random.default_rng(seed + 1).integers(0, 256, (len(labels), 3072), dtype=np.uint8)
    return pixels, labels.tolist()


@pytest.fixture
def cifar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny CIFAR-100 that torchvision accepts."""
    from torchvision.datasets import CIFAR100

    root = tmp_path / "cifar"
    folder = root / cifar100.FOLDER
    folder.mkdir(parents=True)
    contents: dict[str, dict] = {"meta": {"fine_label_names": list(CLASSES)}}
    for name, count in (("train", 10), ("test", 3)):
        pixels, labels = _rows(count, seed=len(name))
        contents[name] = {"data": pixels, "fine_labels": labels}
    md5 = {}
    for name, content in contents.items():
        (folder / name).write_bytes(pickle.dumps(content))
        md5[name] = hashlib.md5((folder / name).read_bytes()).hexdigest()
    monkeypatch.setattr(CIFAR100, "train_list", [["train", md5["train"]]])
    monkeypatch.setattr(CIFAR100, "test_list", [["test", md5["test"]]])
    monkeypatch.setattr(CIFAR100, "meta", {**CIFAR100.meta, "md5": md5["meta"]})
    return root


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Downloads fail as they do without a network: after the folder has been made."""

    def fail(url: str, root: str, **_: object) -> None:
        Path(root).mkdir(parents=True, exist_ok=True)
        raise URLError("no network")

    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", fail)


def test_cifar100_reads_what_was_asked_for(cifar: Path, hashes: FileHashes) -> None:
    source: Source = Cifar100(str(cifar), download=False)
    assert source.class_names(hashes) == CLASSES
    assert len(CLASSES) == len(set(CLASSES)) == 100
    assert sorted(CLASSES) == list(CLASSES)
    images = source.read(("tulip", "crab"))
    for is_test, name in ((False, "train"), (True, "test")):
        pixels, labels = _rows({"train": 10, "test": 3}[name], seed=len(name))
        for label, fine in enumerate(("tulip", "crab")):
            expected = pixels[np.array(labels) == CLASSES.index(fine)].reshape(-1, 3, 32, 32)
            found = images.content[(images.labels == label) & ((images.split == TEST) == is_test)]
            np.testing.assert_array_equal(found, expected)
    assert len(images.labels) == 26


def test_cifar100_resizes(cifar: Path) -> None:
    assert Cifar100(str(cifar), download=False, image_size=16).read(SOME).content.shape == (39, 3, 16, 16)


def test_the_same_images_as_png_files_are_the_same_data(cifar: Path, tmp_path: Path) -> None:
    root = tmp_path / "png"
    for name, count in (("train", 10), ("test", 3)):
        pixels, labels = _rows(count, seed=len(name))
        for index, (row, label) in enumerate(zip(pixels, labels, strict=True)):
            file = root / name / CLASSES[label] / f"{997 * index % 101}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(row.reshape(3, 32, 32).transpose(1, 2, 0)).save(file)
    first = table_of(tmp_path / "first", Cifar100(str(cifar), download=False), SOME)
    second = table_of(tmp_path / "second", ImageFolder(str(root)), SOME)
    assert first.artifact.key == second.artifact.key
    assert first.split_key == second.split_key
    np.testing.assert_array_equal(first.labels, second.labels)
    np.testing.assert_array_equal(first.split, second.split)
    np.testing.assert_array_equal(first.examples(), second.examples())
    both = table_of(tmp_path / "first", ImageFolder(str(root)), SOME)
    assert not both.artifact.built


def test_cifar100_is_served_from_the_store_when_its_files_are_gone(
    cifar: Path, tmp_path: Path, offline: None
) -> None:
    first = table_of(tmp_path / "store", Cifar100(str(cifar)), SOME)
    shutil.rmtree(cifar)
    second = table_of(tmp_path / "store", Cifar100(str(cifar)), SOME)
    assert not second.artifact.built
    assert second.artifact.key == first.artifact.key
    with pytest.raises(InputError, match="CIFAR-100 could not be downloaded"):
        table_of(tmp_path / "store", Cifar100(str(cifar)), SOME[:2])


def test_a_missing_cifar100_is_one_sentence(tmp_path: Path) -> None:
    root = tmp_path / "data"
    with pytest.raises(InputError) as refused:
        table_of(tmp_path / "store", Cifar100(str(root), download=False), SOME)
    sentence = str(refused.value)
    assert "\n" not in sentence
    for part in ("is not there and download is off", str(root), "data/source=image_folder", "data=glyphs"):
        assert part in sentence
    assert not root.exists()


def test_a_damaged_cifar100_is_refused(cifar: Path, tmp_path: Path) -> None:
    file = cifar / cifar100.FOLDER / "train"
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(InputError, match="CIFAR-100 is not there"):
        table_of(tmp_path / "store", Cifar100(str(cifar), download=False), SOME)


@pytest.mark.parametrize("place", ["data", "outputs/data"])
def test_a_failing_download_is_one_sentence_and_leaves_no_folder(
    tmp_path: Path, offline: None, place: str
) -> None:
    with pytest.raises(
        InputError, match=r"could not be downloaded \(.*no network.*\): put cifar-100-python/"
    ):
        Cifar100(str(tmp_path / place)).signature(SOME, FileHashes(tmp_path / "hashes"))
    assert list(tmp_path.iterdir()) == []


def test_a_failing_download_leaves_the_users_folder_alone(tmp_path: Path, offline: None) -> None:
    with pytest.raises(InputError, match="could not be downloaded"):
        Cifar100(str(tmp_path)).signature(SOME, FileHashes(tmp_path / "hashes"))
    assert tmp_path.is_dir()
