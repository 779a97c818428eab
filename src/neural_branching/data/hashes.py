"""Checksums of source files, remembered by path, size and modification time."""

import hashlib
import json
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from neural_branching.errors import InputError
from neural_branching.reading import read_json
from neural_branching.store import sha256_of
from neural_branching.writing import write_atomically

LIMIT = 1 << 31  # bytes of a memory: some ten million files


class FileHashes:
    """What the files of a source folder contain, without reading unchanged files again.

    Args:
        folder: where the memory is kept, one JSON file per source folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def of(self, root: Path, files: Iterable[str]) -> dict[str, str]:
        """sha256 of each file (paths relative to ``root``), remembered for the next call.

        Raises:
            InputError: if a file cannot be read.
        """
        memory = self._load(root)
        files = set(files)
        # Removed files are forgotten; of other classes' files only their being there is asked.
        known = {name: entry for name, entry in memory.items() if name in files or (root / name).is_file()}
        result = {}
        for name in sorted(files):
            file = root / name
            try:
                status = file.stat()
                stamp = [status.st_size, status.st_mtime_ns]
                entry = known.get(name)
                if entry is None or entry[:2] != stamp:
                    known[name] = entry = [*stamp, sha256_of(file)]
            except OSError as error:
                raise InputError(f"The image file {file} cannot be read: {error.strerror}.") from error
            result[name] = str(entry[2])
        if known != memory:
            with suppress(OSError):  # Only a memory; whether the store can be written, the store says.
                self._folder.mkdir(parents=True, exist_ok=True)
                write_atomically(self._memory_file(root), json.dumps(known))
        return result

    def remembered(self, root: Path) -> dict[str, str]:
        """sha256 by relative path as last seen, for a source folder that is no longer there."""
        return {name: str(entry[2]) for name, entry in self._load(root).items()}

    def _memory_file(self, root: Path) -> Path:
        return self._folder / f"{hashlib.sha256(os.fsencode(root.absolute())).hexdigest()[:20]}.json"

    def _load(self, root: Path) -> dict[str, list[int | str]]:
        # Only a memory: whatever is lost or damaged costs hashing the files again.
        try:
            memory = read_json(self._memory_file(root), LIMIT)
        except InputError:
            return {}
        if not isinstance(memory, dict):
            return {}
        return {name: entry for name, entry in memory.items() if _is_entry(entry)}


def _is_entry(entry: object) -> bool:
    """Whether it is the size, the time and the checksum of a file."""
    return isinstance(entry, list) and [*map(type, entry)] == [int, int, str] and len(entry[2]) == 64
