"""Tables of runs as pandas frames."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from neural_branching.errors import InputError
from neural_branching.report import cascade_summary
from neural_branching.report.collect import collect
from neural_branching.report.results import command_of
from neural_branching.report.summary import table
from neural_branching.store.run_folders import runs_below

if TYPE_CHECKING:
    import pandas as pd


def summary(folder: str | Path) -> "pd.DataFrame":
    """The summary of every run below a folder: the rows of summary.csv, routers.csv or cascades.csv.

    Args:
        folder: a run, a sweep, or any folder of them.

    Raises:
        InputError: if there is no run, if they are of several commands or studies of a laboratory, or without
            pandas.
    """
    place = Path(folder)
    commands = sorted({command_of(run) for run in runs_below(place)})
    if len(commands) > 1:
        raise InputError(f"{place} holds runs of {' and '.join(commands)}: name a folder with those of one.")
    if commands and commands[0] not in ("train", "route", cascade_summary.COMMAND):
        raise InputError(
            f"{place} holds studies of {commands[0]}, which have tables of their own: neural-branching "
            f"report {place} writes studies.csv."
        )
    if commands == [cascade_summary.COMMAND]:
        columns, rows = cascade_summary.table(cascade_summary.collect(place)[0])
    else:
        columns, rows = table(collect(place, *commands))
    values = [[None if value == "" else value for value in row] for row in rows]
    return _pandas().DataFrame(values, columns=columns)


def frame(file: Path) -> "pd.DataFrame":
    """A CSV table of a run.

    Raises:
        InputError: if the run has none, or without pandas.
    """
    if not file.is_file():
        raise InputError(f"{file.parent} has no {file.name}.")
    found: pd.DataFrame = _pandas().read_csv(file)
    return found


def _pandas() -> Any:
    try:
        import pandas
    except ImportError:
        raise InputError("Frames need pandas: pip install 'neural-branching[pandas]'.") from None
    return pandas
