"""Work over many files: in threads, with a line of progress where it takes long."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from neural_branching.files.progress import progress

T = TypeVar("T")

# Files per task: small ones take less time than handing one of them to a thread.
TASK = 32


def in_tasks(work: Callable[[range], T], n: int, title: str) -> Iterator[T]:
    """What some work makes of the files 0 … n − 1, a few at a time and in their order.

    Args:
        work: called in threads with ranges of consecutive numbers.
        n: number of files.
        title: what is done with them, such as "Decoding".
    """
    tasks = [range(start, min(start + TASK, n)) for start in range(0, n, TASK)]
    with ThreadPoolExecutor() as pool, progress(f"{title} {n:,} files") as show:
        for index, done in enumerate(pool.map(work, tasks), start=1):
            show(index / len(tasks))
            yield done
