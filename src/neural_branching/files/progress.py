"""A line of progress for work that turns out to take long."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

log = logging.getLogger(__name__)

PATIENCE = 2  # seconds before anything is shown


@contextmanager
def progress(title: str) -> Iterator[Callable[[float], None]]:
    """Yields what is told the share of the work that is done, now and then.

    After two seconds a line moves on a terminal; elsewhere the log says once what takes so long.

    Args:
        title: what is being done, such as "Decoding 50,000 files".
    """
    console, start = Console(stderr=True), time.monotonic()
    line = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    task = line.add_task(title, total=1.0)
    said = False

    def show(share: float) -> None:
        nonlocal said
        if not said and time.monotonic() - start > PATIENCE:
            log.info("%s.", title)
            line.start()
            said = True
        line.update(task, completed=share)

    try:
        yield show
    finally:
        line.stop()
