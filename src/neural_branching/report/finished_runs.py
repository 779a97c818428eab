"""The runs of a command below a folder, each read in the same way."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from neural_branching.errors import InputError
from neural_branching.report.results import command_of
from neural_branching.store.run_folders import missing_jobs, natural, runs_below

T = TypeVar("T")


def finished_runs(
    folder: Path, command: str, read: Callable[[Path], T]
) -> tuple[dict[str, T], dict[str, str]]:
    """Every finished run of a command, in the order of its sweep.

    Args:
        folder: a sweep, a run, or any folder of them.
        command: whose runs they are.
        read: what a run's folder says.

    Returns:
        Name of a run → what was read; and of those that failed, died or cannot be read → what is wrong.

    Raises:
        InputError: if no run is finished.
    """
    found: dict[str, T] = {}
    broken = {
        place.relative_to(folder).as_posix(): why for place, why in missing_jobs(folder, command).items()
    }
    for run in sorted(runs_below(folder), key=lambda path: natural(path.relative_to(folder))):
        if command_of(run) == command:
            name = run.relative_to(folder).as_posix()
            try:
                found[name] = read(run)
            except InputError as error:
                broken[name] = str(error)
    if not found:
        raise InputError(
            f"{folder} has no finished run of {command}: {next(iter(broken.values()), 'none was begun')}"
        )
    return found, broken
