"""One look at the disk: which image files lie in class folders, and when they were written."""

import logging
import os
import stat
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from neural_branching.data.decode import SUFFIXES
from neural_branching.data.hashes import Stamp, stamp_of
from neural_branching.errors import InputError, printable

log = logging.getLogger(__name__)

# A look at so many files takes seconds: jobs of one process share it, for so many times as long as it took.
MANY, BELIEVED = 10_000, 10

_ENDINGS = tuple(SUFFIXES)


class Place(NamedTuple):
    """Where images belong.

    Attributes:
        split: "train" or "test"; "" in a layout without these folders.
        name: the class.
    """

    split: str
    name: str


@dataclass(frozen=True)
class Look:
    """What was seen in a folder of class folders.

    Attributes:
        files: place → its image files relative to the folder, sorted.
        stamps: file → size and time of its last change.
        signatures: what else was found out about these very files; whoever does keeps it here.
    """

    files: Mapping[Place, list[str]]
    stamps: Mapping[str, Stamp]
    signatures: dict[Any, Any] = field(default_factory=dict)


_looks: dict[Path, tuple[Look, float]] = {}


def look_at(root: Path) -> Look:
    """Look through a folder, or take the last look of this process if it is large and was just looked at.

    Raises:
        InputError: for a folder that cannot be listed, two classes that share a folder, or a class whose
            name is no UTF-8.
    """
    root = root.absolute()
    look, expires = _looks.get(root, (None, 0.0))
    start = time.monotonic()
    if look is None or start >= expires:
        look = _Walk(root).look()
        if len(look.stamps) >= MANY:
            end = time.monotonic()
            _looks[root] = look, end + BELIEVED * (end - start)
    return look


def forget(root: Path) -> None:
    """Look at a folder anew when it is asked for next."""
    _looks.pop(root.absolute(), None)


def images_below(folder: Path) -> list[Path]:
    """Every image file below a folder, sorted, by the same walk: whatever links lead to, each folder once.

    Links to files that are gone are among them: who opens them names them.

    Raises:
        InputError: for a folder that cannot be listed.
    """
    return sorted(folder / name for name in _Walk(folder).below())


def remembered(stamps: Mapping[str, Stamp]) -> Look:
    """A look at a folder that is gone, from what is remembered of its files."""
    splits = any(file.startswith("train/") and file.count("/") >= 2 for file in stamps)
    files: dict[Place, list[str]] = {}
    for file in sorted(stamps):
        top, *inner = file.split("/")
        files.setdefault(Place(top, inner[0]) if splits else Place("", top), []).append(file)
    return Look(files, stamps)


@dataclass(frozen=True)
class _Owner:
    """Whose a directory is that was read, under which name, and whether a link led there."""

    place: Place | None
    folder: str
    linked: bool


class _Walk:
    """Reads every real directory once, under the class it stands in; links come after those.

    Links to directories are followed, as class folders may be links. One that leads to a directory that holds
    it, or that was read already, is skipped; where this would take images from one class and give them to
    another, it is refused.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.files: dict[Place, list[str]] = {}
        self.stamps: dict[str, Stamp] = {}
        self.read: dict[str, _Owner] = {}
        # Name of a link to a directory, the real directory that it stands in, and its class.
        self.links: list[tuple[str, str, Place]] = []
        self.skipped: list[str] = []
        self.irregular: list[str] = []
        self.unreadable: dict[str, OSError] = {}

    def look(self) -> Look:
        home = self.root.resolve()
        for real in (home, *home.parents):
            self.read[str(real)] = _Owner(None, ".", False)
        for top in ("train", "test") if self._has_splits() else ("",):
            self._read_top(top)
        self._follow_links()
        for name, error in self.unreadable.items():
            raise _unreadable(str(self.root / name), error) from error
        files = {place: sorted(found) for place, found in sorted(self.files.items()) if found}
        return Look(files, self.stamps)

    def below(self) -> list[str]:
        """Every image as of one class, those beside its folders included, and what cannot be read."""
        home, everything = self.root.resolve(), Place("", "")
        for real in home.parents:
            self.read[str(real)] = _Owner(None, ".", False)
        self._read(".", str(home), everything)
        self._follow_links()
        return [*self.files[everything], *self.unreadable]

    def _has_splits(self) -> bool:
        # A class may be called "train" too: then its images, not folders, lie in it.
        return (self.root / "train").is_dir() and any(one.is_dir() for one in self._entries("train"))

    def _read_top(self, top: str) -> None:
        if not (self.root / top).is_dir():
            return
        real = str((self.root / top).resolve())
        if top and real in self.read:
            raise InputError(
                f"{self.root}/{top} leads to {self.root}/{self.read[real].folder}: an image is either for "
                "training or for testing; remove the link."
            )
        self.read[real] = _Owner(None, top or ".", False)
        for entry in self._entries(top):
            place = Place(top, entry.name)
            name = f"{top}/{entry.name}" if top else entry.name
            if not entry.is_dir():
                continue
            if not _is_text(entry.name):
                raise InputError(
                    f"The class folder {printable(entry.path)} is not called in UTF-8: rename it."
                )
            if entry.is_symlink():
                self.links.append((name, real, place))
            else:
                self._read(name, f"{real}/{entry.name}", place)

    def _read(self, folder: str, real: str, place: Place, *, linked: bool = False) -> None:
        """Read a real directory and those below it."""
        found = self.files.setdefault(place, [])
        waiting = [(folder, real)]
        while waiting:
            folder, real = waiting.pop()
            if real in self.read:  # below a linked one
                self._meet(folder, real, place)
                continue
            self.read[real] = _Owner(place, folder, linked)
            for entry in self._entries(folder):
                name = f"{folder}/{entry.name}"
                if entry.is_dir(follow_symlinks=False):
                    waiting.append((name, f"{real}/{entry.name}"))
                elif entry.is_symlink() and entry.is_dir():
                    self.links.append((name, real, place))
                elif entry.name.lower().endswith(_ENDINGS):
                    self._add(name, entry, found)

    def _add(self, name: str, entry: "os.DirEntry[str]", found: list[str]) -> None:
        try:
            status = entry.stat()
        except OSError as error:
            self.unreadable[name] = error
            return
        if stat.S_ISREG(status.st_mode):
            found.append(name)
            self.stamps[name] = stamp_of(status)
        else:
            self.irregular.append(name)

    def _follow_links(self) -> None:
        self.links.sort()
        while self.links:
            self._follow(*self.links.pop(0))
        _say(self.root, "links to folders that are read already or hold them", tuple(self.skipped))
        _say(self.root, "files that are called images and are no regular files", tuple(self.irregular))

    def _follow(self, link: str, within: str, place: Place) -> None:
        real = str((self.root / link).resolve())
        if within == real or within.startswith(f"{real}/"):
            self.skipped.append(link)
        elif real in self.read:
            self._meet(link, real, place)
        else:
            self._read(link, real, place, linked=True)

    def _meet(self, folder: str, real: str, place: Place) -> None:
        """Skip a directory that was read already, or refuse it where two classes claim it."""
        owner = self.read[real]
        is_class = folder == (f"{place.split}/{place.name}" if place.split else place.name)
        if owner.place is not None and owner.place != place and (owner.linked or is_class):
            raise InputError(
                f"{printable(self.root)} has one folder under two names, {printable(owner.folder)} and "
                f"{printable(folder)}: an image has one class and one split; remove one of the links."
            )
        self.skipped.append(folder)

    def _entries(self, folder: str) -> Iterator["os.DirEntry[str]"]:
        """What lies in a directory and is not hidden."""
        path = str(self.root / folder)
        try:
            with os.scandir(path) as entries:
                yield from (entry for entry in entries if not entry.name.startswith("."))
        except OSError as error:
            raise _unreadable(path, error) from error


def _unreadable(path: str, error: OSError) -> InputError:
    return InputError(f"{printable(path)} cannot be read: {error.strerror}.")


def _is_text(name: str) -> bool:
    return printable(name) == name


@cache  # a run looks several times
def _say(root: Path, what: str, names: tuple[str, ...]) -> None:
    if names:
        log.warning(
            "Skipped %d %s in %s, the first is %s.", len(names), what, printable(root), printable(min(names))
        )
