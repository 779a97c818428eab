"""What an interrupted training continues from."""

import hashlib
import logging
import os
import secrets
from collections.abc import Callable
from pathlib import Path

from neural_branching.store.versions import RECORDED, version_of

log = logging.getLogger(__name__)


class Checkpoint:
    """The last state of one training: a file whose name ends with the hash of its content.

    So a torn or damaged file is never loaded, and neither is one that other versions have written, or
    another kind of device, which would draw other numbers.

    Args:
        folder: where the file lives; it is made when the first state is written.
        name: of the training, unique in the folder. One process at a time may use it.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = folder, name

    def _prefix(self, device: str) -> str:
        versions = " ".join(f"{package}={version_of(package)}" for package in RECORDED)
        return f"{self.name}-{device}-{hashlib.sha256(versions.encode()).hexdigest()[:8]}-"

    def latest(self, device: str) -> Path | None:
        """The file to continue from on a kind of device, whole; None if there is none.

        Damaged ones are removed.
        """
        prefix = self._prefix(device)
        for file in sorted(self.folder.glob(f"{prefix}*.ckpt")):
            if file.stem == prefix + _digest(file):
                return file
            log.warning("The checkpoint %s is damaged: the training starts again.", file)
            file.unlink()
        return None

    def replace(self, write: Callable[[Path], None], device: str) -> None:
        """Replace the last state by what ``write`` writes into the file that it is given.

        Args:
            write: writes the state.
            device: kind of the device that the training runs on, "cpu", "cuda" or "mps".

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
            after = self.folder / f"{self._prefix(device)}{_digest(temporary)}.ckpt"
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
