"""Image files are opened by a list of formats, up to a number of pixels, and only if they are files."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from neural_branching.data.decode import FORMATS, MAX_PIXELS, decode
from neural_branching.data.files import decoded
from neural_branching.data.hashes import FileHashes
from neural_branching.data.sources.image_folder import ImageFolder
from neural_branching.errors import InputError
from tiny import ClassFolders

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n%%EOF\n"


@pytest.mark.parametrize("name", FORMATS)
def test_every_listed_format_is_read_whatever_the_file_is_called(name: str, tmp_path: Path) -> None:
    Image.new("RGB", (8, 8), (200, 100, 50)).save(tmp_path / "image.png", format=name)
    pixels = decode(tmp_path / "image.png", 8)
    assert np.abs(pixels.reshape(3, -1).mean(1) - (200, 100, 50)).max() < 3


@pytest.mark.parametrize("name", ["EPS", "ICO", "PCX", "TGA", "PDF"])
def test_other_formats_are_not_opened(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("subprocess.check_call", lambda *_: pytest.fail("a program was started"))
    file = tmp_path / "image.png"
    if name == "EPS":
        file.write_bytes(EPS)
    else:
        Image.new("RGB", (8, 8)).save(file, format=name)
    with pytest.raises(OSError, match="cannot identify image file"):
        decode(file, 8)


def test_pixels_are_counted_before_they_are_read(tmp_path: Path) -> None:
    file = tmp_path / "image.png"
    Image.new("L", (400, 300)).save(file)
    assert decode(file, 8, max_pixels=120_000).shape == (3, 8, 8)
    file.write_bytes(file.read_bytes()[:60])  # its header alone
    with pytest.raises(ValueError, match="400 × 300 pixels, more than the limit of 119,999"):
        decode(file, 8, max_pixels=119_999)


def test_a_user_may_allow_more_than_pillow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    Image.new("L", (20, 20)).save(tmp_path / "image.png")
    assert decode(tmp_path / "image.png", 8, max_pixels=400).shape == (3, 8, 8)
    assert MAX_PIXELS > 50


def test_what_is_no_regular_file_is_named_and_the_others_go_on(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    Image.new("L", (8, 8)).save(tmp_path / "image.png")
    files = [tmp_path / name for name in ("pipe.png", "image.png", "folder.png")]
    [(good, images, broken)] = decoded(files, 8, 5)
    assert good == [str(tmp_path / "image.png")]
    assert images.shape == (1, 3, 8, 8)
    assert {Path(name).name: problem for name, problem in broken.items()} == dict.fromkeys(
        ("pipe.png", "folder.png"), "ValueError: it is not a regular file"
    )


def test_the_limit_of_a_folder_is_an_option(class_folders: ClassFolders, tmp_path: Path) -> None:
    root = class_folders(train=3)
    Image.new("RGB", (20, 20)).save(root / "cat" / "large.png")
    with pytest.raises(InputError, match=r"large\.png cannot be decoded .*20 × 20 pixels, more than"):
        ImageFolder(str(root), max_pixels=399, image_size=8).read(("cat", "dog"))
    assert ImageFolder(str(root), broken="skip", max_pixels=399, image_size=8).read(
        ("cat", "dog")
    ).skipped == ["cat/large.png"]
    assert not ImageFolder(str(root), max_pixels=400, image_size=8).read(("cat", "dog")).skipped
    with pytest.raises(InputError, match="max_pixels is 0: it must be a whole number of at least 1"):
        ImageFolder(str(root), max_pixels=0)
    hashes = FileHashes(tmp_path / "hashes")
    signatures = [
        ImageFolder(str(root), "skip", max_pixels=limit).signature(("cat", "dog"), hashes)
        for limit in (399, 400)
    ]
    assert signatures[0] != signatures[1]
