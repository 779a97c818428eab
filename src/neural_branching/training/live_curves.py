"""The curves of a training, shown while it lasts."""

import logging
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from lightning_fabric.loggers.logger import Logger as LightningLogger

from neural_branching.store.checkpoint import Checkpoint
from neural_branching.training.loggers import Logger

log = logging.getLogger(__name__)


class LiveCurves:
    """Logs the epochs of a training from time to time.

    Nothing is opened before the first time has passed, so that short trainings pay for a look at the clock.

    Args:
        logger: starts what is logged to, and says how often.
        folder: of the training.
        title: what is being trained, for messages.
        part: what its curves are called: "parent" or "branch", as in the run.
    """

    def __init__(self, logger: Logger, folder: Path, title: str, part: str) -> None:
        self.logger, self.folder, self.title, self.part = logger, folder, title, part
        self._last = time.monotonic()
        self._history: Sequence[dict[str, float]] = ()
        self._opened: LightningLogger | None = None
        self._logged = 0
        self._broken = False

    def show(self, history: Sequence[dict[str, float]]) -> None:
        """Log every epoch so far, if it is time; of a training that continues, the earlier ones too."""
        self._history = history
        if time.monotonic() - self._last >= self.logger.seconds:
            self._log()
            self._last = time.monotonic()

    def finish(self) -> None:
        """Log what is left. Without effect on a training that was over before it was shown."""
        if self._opened:
            self._log()
            self._close("success")

    def discard(self) -> None:
        """Take everything back: the training has failed, or is shown again when it continues."""
        if self._opened:
            self._close("failed")
            shutil.rmtree(self.folder, ignore_errors=True)
            with suppress(OSError):  # where others are being shown
                self.folder.parent.rmdir()

    def _log(self) -> None:
        if self._broken:
            return
        try:
            if self._opened is None:
                shutil.rmtree(self.folder, ignore_errors=True)  # of a process that was killed
                self._opened = self.logger.start(self.folder)
            for epoch, metrics in enumerate(self._history[self._logged :], start=self._logged + 1):
                self._opened.log_metrics(
                    {f"{self.part}/{name}": value for name, value in metrics.items()}, epoch
                )
            self._opened.save()
        except Exception as error:
            # A full disk, or whatever else: the training is worth more than its curves.
            reason = error.__cause__ or error  # Lightning has words of its own for what it catches
            log.warning("Training the %s goes on without its curves: %s.", self.title, reason)
            self._broken = True
        self._logged = len(self._history)

    def _close(self, status: str) -> None:
        if self._opened:
            with suppress(Exception):  # of what could not be written before
                self._opened.finalize(status)


@contextmanager
def live_curves(
    logger: Logger | None, title: str, checkpoint: Checkpoint | None
) -> Iterator[LiveCurves | None]:
    """The curves of one training; taken back if it does not come to its end.

    Args:
        logger: None to show nothing.
        title: what is being trained.
        checkpoint: of the training, which has the name of its artifact; None to show nothing.
    """
    if logger is None or checkpoint is None:
        yield None
        return
    part, _, key = checkpoint.name.partition("-")
    curves = LiveCurves(logger, logger.place(title, key), title, part)
    try:
        yield curves
    except BaseException:  # Ctrl-C too
        curves.discard()
        raise
    curves.finish()
