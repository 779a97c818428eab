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
def progress(title: str, count: int = 0) -> Iterator[Callable[[float], None]]:
    """Yields what is told the share of the work that is done, now and then.

    After two seconds a line moves on a terminal; elsewhere the log says once what takes so long.

    Args:
        title: what is being done, such as "Decoding 50,000 files".
        count: how many things that is, so that their number per second is shown; 0 for none.
    """
    console, start = Console(stderr=True), time.monotonic()
    line = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    task = line.add_task(title, total=1.0, rate="")
    said = False

    def show(share: float) -> None:
        nonlocal said
        if not said and time.monotonic() - start > PATIENCE:
            log.info("%s.", title)
            line.start()
            said = True
        rate = f"{share * count / (time.monotonic() - start):,.0f}/s" if count else ""
        line.update(task, completed=share, rate=rate)

    try:
        yield show
        if said and count:
            log.info("%s: %s per second.", title, f"{count / (time.monotonic() - start):,.0f}")
    finally:
        line.stop()
