"""Files are written whole or not at all."""

import errno
from pathlib import Path

import pytest

from neural_branching.errors import printable
from neural_branching.files.writing import whole_file, write_atomically


def test_write_atomically_replaces_and_leaves_nothing_behind(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    write_atomically(file, "old")
    write_atomically(file, "new")
    assert file.read_text() == "new"
    assert list(tmp_path.iterdir()) == [file]
    with pytest.raises(UnicodeEncodeError):
        write_atomically(file, "\ud800")
    assert file.read_text() == "new"
    assert list(tmp_path.iterdir()) == [file]


def test_an_error_leaves_what_was_there_and_names_it(tmp_path: Path) -> None:
    file = tmp_path / "answers.csv"
    file.write_text("old")

    def fill() -> None:
        with whole_file(file) as temporary:
            temporary.write_text("half")
            assert temporary.suffix == ".csv"
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left") as full:
        fill()
    assert full.value.filename == str(file)
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_every_text_is_printable() -> None:
    name = b"caf\xe9.png".decode("utf-8", "surrogateescape")
    assert printable(name) == "caf\\udce9.png"
    assert printable("café 猫") == "café 猫"
