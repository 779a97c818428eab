"""Image files given by name or folder, decoded in batches while others are worked on."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from neural_branching.data.class_folders import images_below
from neural_branching.data.decode import MAX_PIXELS, SUFFIXES, decode
from neural_branching.errors import InputError

AHEAD = 2  # batches that are decoded before they are asked for
TASK = 32  # files per task: small ones take less time than handing one of them to a thread


def image_files(places: Sequence[Path]) -> list[Path]:
    """Files as they are named, and every image below the folders, links followed, sorted.

    Raises:
        InputError: for a place that does not exist or cannot be listed, or if there is no image in any.
    """
    found: list[Path] = []
    for place in places:
        if not place.exists():
            raise InputError(f"The image {place} does not exist: name image files or folders of them.")
        if place.is_dir():
            found += images_below(place)
        else:
            found.append(place)
    if not found:
        where = ", ".join(map(str, places))
        raise InputError(f"There is no image in {where}: names must end in {', '.join(sorted(SUFFIXES))}.")
    return found


def decoded(
    files: Sequence[Path], size: int, batch: int, max_pixels: int = MAX_PIXELS
) -> Iterator[tuple[list[str], NDArray[np.uint8], dict[str, str]]]:
    """Batches of images; memory holds a few of them, however many files there are.

    Args:
        files: image files.
        size: side of the squares that they are resized to.
        batch: images per batch, broken ones included.
        max_pixels: most pixels that a file may have.

    Yields:
        Names of the files that could be read, their pixels as uint8 (n, 3, size, size), and the others →
        why not.
    """
    starts = iter(range(0, len(files), batch))
    with ThreadPoolExecutor(os.cpu_count()) as pool:

        def submit(start: int) -> list[Future[list[_Decoded]]]:
            chunk = files[start : start + batch]
            return [
                pool.submit(_decode, chunk[first : first + TASK], size, max_pixels)
                for first in range(0, len(chunk), TASK)
            ]

        waiting = [submit(start) for start in islice(starts, AHEAD)]
        while waiting:
            current = waiting.pop(0)
            for start in islice(starts, 1):
                waiting.append(submit(start))
            good, pixels, broken = [], [], {}
            for task in current:
                for file, image in task.result():
                    if isinstance(image, str):
                        broken[str(file)] = image
                    else:
                        good.append(str(file))
                        pixels.append(image)
            images = np.stack(pixels) if pixels else np.empty((0, 3, size, size), np.uint8)
            yield good, images, broken


_Decoded = tuple[Path, NDArray[np.uint8] | str]


def _decode(files: Sequence[Path], size: int, max_pixels: int) -> list[_Decoded]:
    """Every file with its pixels, or why it cannot be read."""
    done: list[_Decoded] = []
    for file in files:
        try:
            done.append((file, decode(file, size, max_pixels)))
        except Exception as error:  # Pillow's plugins raise many kinds for a damaged file
            done.append((file, f"{type(error).__name__}: {error}"))
    return done
