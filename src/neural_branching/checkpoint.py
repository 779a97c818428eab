"""What an interrupted training continues from."""

import hashlib
import logging
import os
import secrets
from collections.abc import Callable
from pathlib import Path

from neural_branching.versions import RECORDED, version_of

log = logging.getLogger(__name__)


class Checkpoint:
    """The last state of one training: a file whose name ends with the hash of its content.

    So a torn or damaged file is never loaded, and neither is one that other versions have written.

    Args:
        folder: where the file lives; it is made when the first state is written.
        name: of the training, unique in the folder. One process at a time may use it.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = folder, name
        versions = " ".join(f"{package}={version_of(package)}" for package in RECORDED)
        self._prefix = f"{name}-{hashlib.sha256(versions.encode()).hexdigest()[:8]}-"

    def latest(self) -> Path | None:
        """The file to continue from, whole; None if there is none. Damaged ones are removed."""
        for file in sorted(self.folder.glob(f"{self._prefix}*.ckpt")):
            if file.stem == self._prefix + _digest(file):
                return file
            log.warning("The checkpoint %s is damaged: the training starts again.", file)
            file.unlink()
        return None

    def replace(self, write: Callable[[Path], None]) -> None:
        """Replace the last state by what ``write`` writes into the file that it is given.

        Raises:
            OSError: if it cannot be written; the last state is then still there.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        before = set(self.folder.glob(f"{self.name}-*"))
        temporary = self.folder / f"{self.name}-{secrets.token_hex(4)}.tmp"
        try:
            write(temporary)
            with temporary.open("rb") as stream:
                os.fsync(stream.fileno())
            after = self.folder / f"{self._prefix}{_digest(temporary)}.ckpt"
            temporary.rename(after)
        finally:
            temporary.unlink(missing_ok=True)
        for file in before - {after}:
            file.unlink(missing_ok=True)

    def clear(self) -> None:
        """Forget the training: it is finished, or will never be."""
        for file in self.folder.glob(f"{self.name}-*"):
            file.unlink(missing_ok=True)


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:16]
