"""Checksums of source files, remembered by path, size and modification time."""

import hashlib
import json
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from neural_branching.errors import InputError
from neural_branching.store import sha256_of, write_atomically


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
        return self._folder / f"{hashlib.sha256(str(root.absolute()).encode()).hexdigest()[:20]}.json"

    def _load(self, root: Path) -> dict[str, list[int | str]]:
        try:
            memory = json.loads(self._memory_file(root).read_text())
        except (OSError, ValueError):
            memory = None
        # Only a memory: a lost or damaged one costs hashing the files again.
        return memory if isinstance(memory, dict) else {}
