"""A matrix on disk that grows by rows."""

import json
import os
from concurrent.futures import Executor, Future
from pathlib import Path

from torch import Tensor

SYNC_EVERY = 16_000_000  # bytes


class RowFile:
    """A safetensors file of one matrix, named "activations".

    The format (8 bytes of header length, a JSON header, the raw values) allows rows to be appended;
    the library's own writer wants the whole matrix in memory first.

    Args:
        path: the file.
        rows: number of rows that the finished matrix has.
        width: number of columns.
        dtype: "float32" or "float16".
        disk: thread that waits for the disk meanwhile, so that no long wait is left at the end.
    """

    def __init__(self, path: Path, rows: int, width: int, dtype: str, disk: Executor) -> None:
        bits = int(dtype.removeprefix("float"))
        size = rows * width * bits // 8
        entry = {"dtype": f"F{bits}", "shape": [rows, width], "data_offsets": [0, size]}
        header = json.dumps({"activations": entry}).encode()
        header += b" " * (-len(header) % 8)
        self._file = path.open("wb", buffering=0)
        self._disk = disk
        self._syncs: list[Future[None]] = []
        self._bytes = 0
        self._write(len(header).to_bytes(8, "little") + header)

    def append(self, vectors: Tensor) -> None:
        """Write further rows, (n, width) of the file's type on the CPU."""
        self._write(vectors.contiguous().numpy().reshape(-1).data.cast("B"))
        if self._bytes > SYNC_EVERY * (len(self._syncs) + 1):
            self._syncs.append(self._disk.submit(os.fsync, self._file.fileno()))

    def _write(self, data: bytes | memoryview) -> None:
        self._bytes += len(data)
        while len(data):  # an unbuffered file may take a part only
            data = data[self._file.write(data) :]

    def __enter__(self) -> "RowFile":
        return self

    def __exit__(self, *_: object) -> None:
        for sync in self._syncs:
            sync.result()
        self._file.close()
