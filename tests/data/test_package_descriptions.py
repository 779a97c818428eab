"""Descriptions of packages, from a list as apt-cache prints it."""

import stat
from pathlib import Path

import pytest

from neural_branching.data.hashes import FileHashes
from neural_branching.data.sources import package_descriptions
from neural_branching.data.sources.package_descriptions import LENGTH, PackageDescriptions
from neural_branching.errors import InputError

LIST = f"""\
Package: zoo
Section: games
Description: Second package of a source
Source: ark (1.0)

Package: ark
Section: games
Description: A game of animals: two of each
 and a second line
Tag: game::rpg,
 role::program

Package: chess
Section: games
Description: Chess

Package: horn
Section: sound
Description: Loud
Source: brass

Package: flute
Section: sound
Description: Not so loud

Package: long
Section: sound
Description: {"x" * (LENGTH + 1)}

Package: none
Section: sound
"""


@pytest.fixture(autouse=True)
def _anew() -> None:
    package_descriptions._packages.cache_clear()


@pytest.fixture
def _apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "list").write_text(LIST)
    program = tmp_path / "apt-cache"
    program.write_text(f"#!/bin/sh\nexec /bin/cat {tmp_path / 'list'}\n")
    program.chmod(program.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.mark.usefixtures("_apt")
def test_one_package_of_a_source_is_taken() -> None:
    source = PackageDescriptions(["games", "sound"], 2)
    found = source.read(("games", "sound"))
    texts = source.input.decoded(found.content)
    assert found.names is not None
    assert dict(zip(found.names, texts, strict=True)) == {
        "ark": "A game of animals: two of each",
        "chess": "Chess",
        "horn": "Loud",
        "flute": "Not so loud",
    }
    assert found.labels.tolist() == [0, 0, 1, 1]
    assert found.content.shape == (4, LENGTH)


@pytest.mark.usefixtures("_apt")
def test_the_signature_is_of_the_descriptions(tmp_path: Path) -> None:
    hashes = FileHashes(tmp_path)
    both = [PackageDescriptions(["games", "sound"], 1).signature(("games", "sound"), hashes) for _ in "ab"]
    package_descriptions._packages.cache_clear()
    (tmp_path / "list").write_text(LIST.replace("loud", "quiet").replace("Loud", "Quiet"))
    changed = PackageDescriptions(["games", "sound"], 1).signature(("games", "sound"), hashes)
    assert both[0] == both[1] != changed


@pytest.mark.usefixtures("_apt")
def test_too_few_are_refused() -> None:
    with pytest.raises(InputError, match=r"^apt-cache lists 2 descriptions of section 'games', and .* is 3"):
        PackageDescriptions(["games", "sound"], 3).read(("games",))


def test_a_system_without_apt_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    source = PackageDescriptions(["games", "sound"], 3)
    assert source.counts(("games",), FileHashes(tmp_path)) == {"games": {"train": 3}}
    with pytest.raises(
        InputError, match=r"^Package descriptions come from apt-cache, which this system does"
    ):
        source.signature(("games",), FileHashes(tmp_path))


@pytest.mark.parametrize("sections", ["games", ["games"], ["games", "games"]])
def test_sections_that_tell_nothing_apart_are_refused(sections: object) -> None:
    with pytest.raises(InputError, match=r"^sections is .*: it must list at least two different sections"):
        PackageDescriptions(sections, 3)  # type: ignore[arg-type]
