"""Checksums of source files, remembered by path, size and modification time."""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from neural_branching.data.tasks import in_tasks
from neural_branching.errors import InputError, printable
from neural_branching.files.reading import read_json
from neural_branching.files.writing import write_atomically
from neural_branching.store.artifact_store import sha256_of

LIMIT = 1 << 31  # bytes of a memory: some ten million files

# Size in bytes and time of the last change in nanoseconds.
Stamp = tuple[int, int]


class FileHashes:
    """What the files of a source folder contain, without reading unchanged files again.

    Args:
        folder: where the memory is kept, one JSON file per source folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def of(
        self, root: Path, files: Iterable[str], present: Mapping[str, Stamp] | None = None
    ) -> dict[str, str]:
        """sha256 of each file (paths relative to ``root``), remembered for the next call.

        Args:
            root: the source folder.
            files: which of its files to hash.
            present: stamps of all its files, if the caller has just looked at them.

        Raises:
            InputError: if a file cannot be read.
        """
        known, files = self._load(root), list(dict.fromkeys(files))
        if present is None:
            present = stamps_of(root, {*known, *files})
        # Removed files are forgotten; of other files only their being there is asked.
        gone = known.keys() - present.keys()
        for name in gone:
            del known[name]
        changed = [name for name in files if name not in known or known[name][0] != present.get(name)]
        for name, sha in zip(changed, _hashed(root, changed), strict=True):
            known[name] = present[name], sha
        if changed or gone:
            self._save(root, known)
        return {name: known[name][1] for name in files}

    def remembered(self, root: Path) -> dict[str, str]:
        """sha256 by relative path as last seen, for a source folder that is no longer there."""
        return {name: sha for name, (_, sha) in self._load(root).items()}

    def stamps(self, root: Path) -> dict[str, Stamp]:
        """Stamps by relative path as last seen."""
        return {name: stamp for name, (stamp, _) in self._load(root).items()}

    def _memory_file(self, root: Path) -> Path:
        return self.folder / f"{hashlib.sha256(os.fsencode(root.absolute())).hexdigest()[:20]}.json"

    def _save(self, root: Path, known: Mapping[str, tuple[Stamp, str]]) -> None:
        # By column, which is read many times faster than an entry per file.
        columns = {
            "names": list(known),
            "sizes": [size for (size, _), _ in known.values()],
            "times": [time for (_, time), _ in known.values()],
            "sha256": "".join(sha for _, sha in known.values()),
        }
        with suppress(OSError):  # Only a memory; whether the store can be written, the store says.
            self.folder.mkdir(parents=True, exist_ok=True)
            write_atomically(self._memory_file(root), json.dumps(columns))

    def _load(self, root: Path) -> dict[str, tuple[Stamp, str]]:
        """Name → stamp and sha256; empty for a memory that is lost or damaged, which costs hashing again."""
        try:
            columns = read_json(self._memory_file(root), LIMIT)
            names, sizes, times, sha256 = (columns[name] for name in ("names", "sizes", "times", "sha256"))
            whole = all(type(one) is int for numbers in (sizes, times) for one in numbers)
            whole &= all(type(one) is str for one in names)
            whole &= len(sha256) == 64 * len(names) and len(bytes.fromhex(sha256)) == 32 * len(names)
            shas = [sha256[start : start + 64] for start in range(0, len(sha256), 64)]
            stamps = zip(sizes, times, strict=True)
            return dict(zip(names, zip(stamps, shas, strict=True), strict=True)) if whole else {}
        except (ValueError, TypeError, LookupError):
            return {}


def stamp_of(status: os.stat_result) -> Stamp:
    """What changes when a file does."""
    return status.st_size, status.st_mtime_ns


def stamps_of(root: Path, files: Iterable[str]) -> dict[str, Stamp]:
    """Stamps of the files that are there."""
    found = {}
    for name in files:
        with suppress(OSError):
            found[name] = stamp_of((root / name).stat())
    return found


def _hashed(root: Path, files: Sequence[str]) -> list[str]:
    """sha256 of each file."""

    def some(numbers: range) -> list[str]:
        return [_sha256(root / files[number]) for number in numbers]

    return [sha for found in in_tasks(some, len(files), "Hashing") for sha in found]


def _sha256(file: Path) -> str:
    try:
        return sha256_of(file)
    except OSError as error:
        raise InputError(f"The file {printable(file)} cannot be read: {error.strerror}.") from error
