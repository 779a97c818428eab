"""Checksums of source files: right, remembered while the file is unchanged, and only a memory."""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from neural_branching.data import hashes as module
from neural_branching.data.hashes import FileHashes, stamps_of
from neural_branching.errors import InputError

FILES = ("a.png", "deep/b.png")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    (folder / "deep").mkdir(parents=True)
    for name in FILES:
        (folder / name).write_text(name)
    return folder


@pytest.fixture
def memory(tmp_path: Path) -> Path:
    return tmp_path / "store" / "hashes"


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that were really read."""
    names: list[str] = []

    def counted(file: Path) -> str:
        names.append(file.name)
        return hashlib.sha256(file.read_bytes()).hexdigest()

    monkeypatch.setattr(module, "sha256_of", counted)
    return names


def expected(root: Path, *names: str) -> dict[str, str]:
    return {name: hashlib.sha256((root / name).read_bytes()).hexdigest() for name in names}


def test_checksums_are_right_and_unchanged_files_are_read_once(
    root: Path, memory: Path, read: list[str]
) -> None:
    first = FileHashes(memory).of(root, FILES)
    assert first == expected(root, *FILES)
    assert read == ["a.png", "b.png"]
    assert FileHashes(memory).of(root, FILES) == first
    assert len(read) == 2


@pytest.mark.parametrize("change", ["content", "time only", "size, at the same time"])
def test_a_changed_file_is_read_again(root: Path, memory: Path, read: list[str], change: str) -> None:
    FileHashes(memory).of(root, FILES)
    file = root / "a.png"
    time = file.stat().st_mtime_ns
    if change != "time only":
        file.write_text("A.png" if change == "content" else "longer")
    os.utime(file, ns=(time, time + (change != "size, at the same time")))
    assert FileHashes(memory).of(root, FILES) == expected(root, *FILES)
    assert read == ["a.png", "b.png", "a.png"]


def test_folders_are_kept_apart_and_parts_add_up(root: Path, memory: Path) -> None:
    hashes = FileHashes(memory)
    hashes.of(root, FILES[:1])
    hashes.of(root, FILES[1:])
    assert hashes.remembered(root) == expected(root, *FILES)
    assert hashes.remembered(root / "deep") == {}


def test_a_missing_file_is_refused_by_name(root: Path, memory: Path) -> None:
    with pytest.raises(InputError, match=r"The file .*gone\.png cannot be read"):
        FileHashes(memory).of(root, ["gone.png"])


def test_a_file_that_was_removed_is_forgotten(root: Path, memory: Path) -> None:
    hashes = FileHashes(memory)
    hashes.of(root, FILES)
    (root / "a.png").unlink()
    hashes.of(root, FILES[1:])
    assert hashes.remembered(root) == expected(root, *FILES[1:])


DAMAGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "a number": lambda memory: 3,
    "a list": lambda memory: [memory],
    "one by name": lambda memory: {name: [1, 2, "0" * 64] for name in memory["names"]},
    "an int for names": lambda memory: memory | {"names": 3},
    "an int among names": lambda memory: memory | {"names": [3, "deep/b.png"]},
    "a name lost": lambda memory: memory | {"names": memory["names"][1:]},
    "a size lost": lambda memory: memory | {"sizes": memory["sizes"][1:]},
    "a size of text": lambda memory: memory | {"sizes": ["5", 10]},
    "a time of lists": lambda memory: memory | {"times": [[], []]},
    "checksums cut off": lambda memory: memory | {"sha256": memory["sha256"][:-1]},
    "no checksums": lambda memory: memory | {"sha256": "x" * 128},
    "a number for checksums": lambda memory: memory | {"sha256": 5},
    "a column lost": lambda memory: {name: memory[name] for name in ("names", "sizes", "times")},
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_memory_costs_reading_only(root: Path, memory: Path, damage: str) -> None:
    hashes = FileHashes(memory)
    hashes.of(root, FILES)
    [file] = memory.iterdir()
    file.write_text(json.dumps(DAMAGES[damage](json.loads(file.read_text()))))
    assert hashes.remembered(root) == {}
    assert hashes.of(root, FILES) == expected(root, *FILES)
    assert hashes.remembered(root) == expected(root, *FILES)


@pytest.mark.parametrize("damage", [b"", b'{"a.png": [5,', b"\xff\xfe\x00", b"[" * 100_000])
def test_a_memory_that_is_no_json_costs_reading_only(root: Path, memory: Path, damage: bytes) -> None:
    hashes = FileHashes(memory)
    hashes.of(root, FILES)
    [file] = memory.iterdir()
    file.write_bytes(damage)
    assert hashes.of(root, FILES) == expected(root, *FILES)
    assert hashes.remembered(root) == expected(root, *FILES)


def test_files_that_were_just_looked_at_are_not_looked_at_again(
    root: Path, memory: Path, read: list[str]
) -> None:
    hashes = FileHashes(memory)
    stamps = stamps_of(root, FILES)
    assert hashes.of(root, FILES[:1], stamps) == expected(root, *FILES[:1])
    (root / "a.png").write_text("changed")
    assert hashes.of(root, FILES, stamps) == {
        "a.png": hashlib.sha256(b"a.png").hexdigest(),
        **expected(root, "deep/b.png"),
    }
    assert read == ["a.png", "b.png"]
    hashes.of(root, FILES[1:], stamps_of(root, FILES[1:]))
    assert hashes.stamps(root) == stamps_of(root, FILES[1:])


def test_a_memory_that_cannot_be_written_costs_reading_only(root: Path, tmp_path: Path) -> None:
    (tmp_path / "store").write_text("in the way")
    assert FileHashes(tmp_path / "store" / "hashes").of(root, FILES) == expected(root, *FILES)
