"""Work over many files: in threads, with a line of progress where it takes long."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

# Files per task: small ones take less time than handing one of them to a thread.
TASK = 32

# With so many files a line of progress can be read.
MANY = 10_000


def in_tasks(work: Callable[[range], T], n: int, title: str) -> Iterator[T]:
    """What some work makes of the files 0 … n − 1, a few at a time and in their order.

    Args:
        work: called in threads with ranges of consecutive numbers.
        n: number of files.
        title: what the line of progress says.
    """
    tasks = [range(start, min(start + TASK, n)) for start in range(0, n, TASK)]
    with ThreadPoolExecutor() as pool:
        done = pool.map(work, tasks)
        if n < MANY:
            yield from done
        else:
            from rich.progress import track

            yield from track(done, title, len(tasks), transient=True)
