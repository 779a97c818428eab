"""The walk through class folders: every real directory once, every image under one class, nothing else."""

import logging
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from neural_branching.data import class_folders as module
from neural_branching.data.class_folders import Place, look_at
from neural_branching.data.files import image_files
from neural_branching.data.hashes import FileHashes
from neural_branching.data.sources.image_folder import ImageFolder
from neural_branching.data.sources.source import Counts
from neural_branching.errors import InputError

PETS, ALL_TRAIN = ("cat", "dog"), {"train": 3, "test": 0}


@pytest.fixture
def hashes(tmp_path: Path) -> FileHashes:
    return FileHashes(tmp_path / "hashes")


@pytest.fixture
def root(class_folders: Callable) -> Path:
    folder: Path = class_folders(PETS, train=3)
    return folder


def counts(root: Path, hashes: FileHashes) -> Counts:
    source = ImageFolder(str(root), image_size=8)
    return source.counts(source.class_names(hashes), hashes)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


# --- links --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "target", [".", "..", "../..", "/", "../dog", "../../images/cat", "deep", "../cat/deep"]
)
def test_a_link_to_what_is_read_already_or_holds_it_adds_nothing(
    root: Path, hashes: FileHashes, caplog: pytest.LogCaptureFixture, target: str
) -> None:
    (root / "cat" / "deep").mkdir()
    (root / "cat" / "0.png").rename(root / "cat" / "deep" / "0.png")
    (root / "cat" / "loop").symlink_to(target, target_is_directory=True)
    for _ in range(3):
        assert counts(root, hashes) == {"cat": ALL_TRAIN, "dog": ALL_TRAIN}
    [said] = warnings(caplog)
    assert said.startswith("Skipped 1 links to folders that are read already or hold them in")
    assert said.endswith("the first is cat/loop.")


def test_links_are_followed_from_wherever_they_lead(root: Path, hashes: FileHashes, tmp_path: Path) -> None:
    """A class folder and what is in it may lie elsewhere, in folders that link to one another."""
    elsewhere = tmp_path / "elsewhere"
    (root / "cat").rename(elsewhere)
    (root / "cat").symlink_to(elsewhere)
    more = tmp_path / "more" / "inner"
    more.mkdir(parents=True)
    (root / "dog" / "0.png").rename(more / "0.png")
    (elsewhere / "more").symlink_to(tmp_path / "more")
    (more / "back").symlink_to(elsewhere)
    (more / "up").symlink_to("..")
    assert look_at(root).files == {
        Place("", "cat"): ["cat/0.png", "cat/1.png", "cat/2.png", "cat/more/inner/0.png"],
        Place("", "dog"): ["dog/1.png", "dog/2.png"],
    }


def test_folders_to_predict_are_walked_in_the_same_way(
    root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Linked folders are followed, as training follows them, and each is read once."""
    elsewhere = tmp_path / "elsewhere"
    (root / "cat").rename(elsewhere)
    (root / "cat").symlink_to(elsewhere)
    (root / "cat again").symlink_to(elsewhere)
    (elsewhere / "back").symlink_to(root)
    (elsewhere / "0.png").rename(root / "0.png")
    (root / "dog" / ".hidden").mkdir()
    (root / "dog" / "0.png").rename(root / "dog" / ".hidden" / "0.png")
    os.mkfifo(root / "pipe.png")
    (elsewhere / "gone.png").symlink_to("nowhere.png")
    inside, outside = ["1.png", "2.png"], ["0.png", "dog/1.png", "dog/2.png"]
    found = [file.relative_to(root).as_posix() for file in image_files([root])]
    assert found == [outside[0], *(f"cat/{name}" for name in (*inside, "gone.png")), *outside[1:]]
    found = [file.relative_to(root / "cat").as_posix() for file in image_files([root / "cat"])]
    assert found == [*inside, *(f"back/{name}" for name in outside), "gone.png"]
    assert any("that are called images and are no regular files" in said for said in warnings(caplog))


def test_links_to_image_files_are_images(root: Path, hashes: FileHashes, tmp_path: Path) -> None:
    (root / "cat" / "0.png").rename(tmp_path / "0.png")
    (root / "cat" / "0.png").symlink_to(tmp_path / "0.png")
    assert counts(root, hashes) == {"cat": ALL_TRAIN, "dog": ALL_TRAIN}
    assert len(ImageFolder(str(root), image_size=8).read(PETS).labels) == 6


@pytest.mark.parametrize("target", ["cat", "../elsewhere"])
def test_classes_that_share_a_folder_are_refused(
    root: Path, hashes: FileHashes, tmp_path: Path, target: str
) -> None:
    if target != "cat":
        (root / "cat").rename(tmp_path / "elsewhere")
        (root / "cat").symlink_to(target)
    (root / "emu").symlink_to(target)
    with pytest.raises(InputError, match="one folder under two names, cat and emu: an image has one class"):
        counts(root, hashes)


def test_a_folder_for_training_and_testing_is_refused(class_folders: Callable, hashes: FileHashes) -> None:
    root = class_folders(PETS, train=2)
    (root / "train").mkdir()
    for name in PETS:
        (root / name).rename(root / "train" / name)
    (root / "test").symlink_to("train")
    with pytest.raises(InputError, match=r"test leads to .*train: an image is either"):
        counts(root, hashes)
    (root / "test").unlink()
    (root / "test" / "dog").parent.mkdir()
    (root / "test" / "dog").symlink_to("../train/dog")
    with pytest.raises(InputError, match="train/dog and test/dog"):
        counts(root, hashes)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    folders=st.lists(st.sampled_from("abc"), min_size=1, max_size=6),
    links=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=4),
)
def test_every_image_is_found_once_under_the_class_it_stands_in(
    tmp_path_factory: pytest.TempPathFactory, folders: list[str], links: list[tuple[int, int]]
) -> None:
    """Random trees with random links among their directories, which take and give nothing."""
    root = tmp_path_factory.mktemp("tree")
    places = [root / "x", root / "y"]
    for name in folders:
        places.append(places[len(places) // 2] / name)
    for place in places:
        place.mkdir(parents=True, exist_ok=True)
        (place / "i.png").write_bytes(b"1")
    expected = {str(file.relative_to(root)) for file in root.rglob("i.png")}
    for index, (start, end) in enumerate(links):
        link = places[start % len(places)] / f"link{index}"
        link.symlink_to([*places, root, root.parent][end % (len(places) + 2)])
    look = look_at(root)
    assert sorted(file for files in look.files.values() for file in files) == sorted(expected)
    assert all(file.startswith(place.name) for place, files in look.files.items() for file in files)


# --- what is no image ---------------------------------------------------------------------------


def test_pipes_and_sockets_that_are_called_images_are_never_opened(
    root: Path, hashes: FileHashes, caplog: pytest.LogCaptureFixture
) -> None:
    os.mkfifo(root / "cat" / "x.png")
    (root / "dog" / "y.png").symlink_to("/dev/zero")
    source = ImageFolder(str(root), image_size=8)
    assert counts(root, hashes) == {"cat": ALL_TRAIN, "dog": ALL_TRAIN}
    source.signature(PETS, hashes)
    assert len(source.read(PETS).labels) == 6
    [said] = warnings(caplog)
    assert said.startswith("Skipped 2 files that are called images and are no regular files in")
    assert said.endswith("the first is cat/x.png.")


def test_a_link_to_nothing_and_a_closed_folder_are_named(root: Path, hashes: FileHashes) -> None:
    (root / "cat" / "gone.png").symlink_to("nowhere.png")
    with pytest.raises(InputError, match=r"cat/gone\.png cannot be read: No such file"):
        counts(root, hashes)


def test_file_names_need_not_be_utf8_and_class_names_must_be(
    root: Path, hashes: FileHashes, caplog: pytest.LogCaptureFixture
) -> None:
    odd = os.fsdecode(b"caf\xe9.png")
    (root / "cat" / "0.png").rename(root / "cat" / odd)
    source = ImageFolder(str(root), broken="skip", image_size=8)
    before = source.signature(PETS, hashes)
    assert hashes.remembered(root)[f"cat/{odd}"]
    assert ImageFolder(str(root), broken="skip").signature(PETS, FileHashes(hashes.folder)) == before
    (root / "cat" / odd).write_bytes(b"not an image")
    source.signature(PETS, hashes)
    assert source.read(PETS).skipped == [f"cat/{odd}"]
    assert warnings(caplog) == [r"Left out 1 broken images, the first is cat/caf\udce9.png."]
    with pytest.raises(InputError, match=r"cat/caf\\udce9\.png cannot be decoded"):
        ImageFolder(str(root), image_size=8).read(PETS)
    (root / "cat").rename(root / os.fsdecode(b"\xe9"))
    with pytest.raises(InputError, match=r"The class folder .*\\udce9 is not called in UTF-8: rename it"):
        counts(root, hashes)


# --- looking again ------------------------------------------------------------------------------


@pytest.fixture
def walks(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The folders that were really walked through."""
    walked = []
    walk = module._Walk

    def counted(root: Path) -> module._Walk:
        walked.append(root)
        return walk(root)

    monkeypatch.setattr(module, "_Walk", counted)
    return walked


def test_a_small_folder_is_looked_at_each_time(root: Path, hashes: FileHashes, walks: list[Path]) -> None:
    before = ImageFolder(str(root)).signature(PETS, hashes)
    (root / "cat" / "0.png").write_bytes((root / "dog" / "0.png").read_bytes())
    assert ImageFolder(str(root)).signature(PETS, hashes) != before
    assert len(walks) == 2


@pytest.mark.parametrize(("believed", "looks"), [(1e9, 1), (0, 5)])
def test_jobs_of_a_process_share_a_look_at_a_large_folder_for_a_while(
    root: Path,
    hashes: FileHashes,
    walks: list[Path],
    monkeypatch: pytest.MonkeyPatch,
    believed: float,
    looks: int,
) -> None:
    monkeypatch.setattr(module, "MANY", 6)
    monkeypatch.setattr(module, "BELIEVED", believed)
    for _ in range(5):
        assert ImageFolder(str(root)).class_names(hashes) == PETS
    assert len(walks) == looks
    assert ImageFolder(str(root)).signature(PETS, hashes) == ImageFolder(str(root)).signature(PETS, hashes)


def test_images_that_change_between_look_and_reading_are_refused(root: Path, hashes: FileHashes) -> None:
    """Or the store would keep their pixels under the checksum of others."""
    source = ImageFolder(str(root), image_size=8)
    source.signature(PETS, hashes)
    (root / "cat" / "1.png").write_bytes((root / "dog" / "0.png").read_bytes() + b" ")
    with pytest.raises(InputError, match=r"cat/1\.png changed while images were being read: run the same"):
        source.read(PETS)
    source.signature(PETS, hashes)
    np.testing.assert_array_equal(np.bincount(source.read(PETS).labels), [3, 3])
