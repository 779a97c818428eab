"""Where curves appear while something trains, and what a run has found: Lightning's loggers."""

from __future__ import annotations

import shutil
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from neural_branching.errors import number
from neural_branching.store.run_folders import EVENTS

if TYPE_CHECKING:
    from lightning_fabric.loggers.logger import Logger as LightningLogger
    from lightning_fabric.loggers.tensorboard import TensorBoardLogger


class Logger(ABC):
    """Starts one of Lightning's loggers for every training and every finished run.

    It decides nothing that is computed, so it enters no key. One of your own derives from this and
    implements ``start``.

    Args:
        seconds: least time between two looks at a training. One that takes less is shown when its run has
            ended, and costs nothing while it lasts.
        folder: where trainings are shown until a run that rests on them is written.

    Raises:
        InputError: if seconds is negative.
    """

    def __init__(self, seconds: float = 5.0, folder: Path = Path("outputs/training")) -> None:
        self.seconds = number(seconds, "seconds", 0, float("inf"))
        self.folder = folder

    @abstractmethod
    def start(self, folder: Path) -> LightningLogger:
        """A new logger of Lightning's, or of Lightning's interface.

        Args:
            folder: of the training or the run, where what is logged can go.
        """

    def place(self, title: str, key: str) -> Path:
        """The folder in which a training is shown.

        Args:
            title: what is being trained, such as "parent mlp".
            key: of the artifact.
        """
        return self.folder / f"{title.replace(' ', '_')}-{key[:8]}"

    def forget(self, keys: Iterable[str]) -> None:
        """Remove the trainings of these artifacts, since a run shows their curves from here on."""
        for key in keys:
            for folder in self.folder.glob(f"*-{key[:8]}"):
                shutil.rmtree(folder, ignore_errors=True)
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()


class TensorBoard(Logger):
    """TensorBoard events; a finished run's hold figures, tables and a row of the HParams tab too.

    Attributes:
        options: of every writer of events. A short queue has the training wait for the thread that writes.
    """

    options: ClassVar[dict[str, Any]] = {"max_queue": 10_000, "filename_suffix": EVENTS}

    def start(self, folder: Path) -> TensorBoardLogger:
        """A logger whose events lie in the folder."""
        from lightning_fabric.loggers import tensorboard  # slow to import

        return tensorboard.TensorBoardLogger(folder, name="", version="", **self.options)


class Csv(Logger):
    """A file ``metrics.csv``: a line for every epoch."""

    def start(self, folder: Path) -> LightningLogger:
        """A logger whose file lies in the folder."""
        from lightning_fabric.loggers.csv_logs import CSVLogger  # slow to import

        with warnings.catch_warnings():
            # A run's folder has other files, and they stay.
            warnings.filterwarnings("ignore", ".*exists and is not empty.*")
            logger = CSVLogger(folder, name="", version="", flush_logs_every_n_steps=1_000_000_000)
            _ = logger.experiment  # made here, where it does not warn
        return logger
