"""The standard streams: they take any text, and work goes on when their reader has gone."""

import io
import os
import sys
import threading
from collections.abc import Callable
from typing import Any

from neural_branching.errors import is_full_disk


def prepare() -> None:
    """Make the standard streams of this process take any text and outlive their reader.

    A terminal that cannot show a character shows its code instead, and whatever is printed after the
    reader of a pipe has gone, as in ``| head``, is dropped. A full disk that a thread met is left to whoever
    waits for the thread.
    """
    if not isinstance(threading.excepthook, _ThreadErrors):
        threading.excepthook = _ThreadErrors(threading.excepthook)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    real = sys.stdout
    if isinstance(real, io.TextIOWrapper) and real is sys.__stdout__:
        raw = io.BufferedWriter(_Outliving(real.fileno()))
        sys.stdout = io.TextIOWrapper(
            raw, encoding=real.encoding, errors=real.errors, line_buffering=real.line_buffering
        )


class _ThreadErrors:
    """Reports what threads raise, but no full disk: TensorBoard's thread hands it on to the run."""

    def __init__(self, report: Callable[[Any], Any]) -> None:
        self._report = report

    def __call__(self, raised: Any) -> None:
        if not (raised.exc_value and is_full_disk(raised.exc_value)):
            self._report(raised)


class _Outliving(io.RawIOBase):
    """Writes to a descriptor; once that is impossible, to nowhere, and says so if there is still a reader."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def write(self, data: object, /) -> int:
        content = memoryview(data)  # type: ignore[arg-type]
        try:
            return os.write(self._descriptor, content)
        except OSError as error:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._descriptor)
            os.close(nowhere)
            if isinstance(error, BrokenPipeError):
                return content.nbytes
            raise

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)
