"""Cascades of a folder side by side: a sweep over promises, stages, subsets, seeds."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from neural_branching.errors import InputError
from neural_branching.files.csv_text import write_table
from neural_branching.report.cells import Cell, Entry
from neural_branching.report.figures.style import MARKERS, PALETTE, blank, error_bars, save
from neural_branching.report.finished_runs import finished_runs
from neural_branching.report.metrics import CASCADE_METRICS
from neural_branching.report.results import Row, read_results, records
from neural_branching.report.screen_table import Column, ScreenTable, console, print_table
from neural_branching.store.run_folders import CASCADES, RESULTS

COMMAND = "cascade"
FIGURE = "cascades"
SEEDS = ("split_seed", "parent_seed", "branch_seed")
_SETS_SEED = ("seed", "parent.seed", "branch.seed", "data.split.seed")
_NAMED = ("run", "subset", "exits", "promise", *SEEDS, "overrides")
_SHOWN = [metric for metric in CASCADE_METRICS if metric.heading]
_RANKS = {"dial": 3, "AURC": 2, "selective accuracy": 2, "answered": 1, "time": 1}


def summarize(folder: Path, *, events: bool) -> bool:
    """Write cascades.csv, print a line per setting, and draw accuracy against cost.

    Args:
        folder: a sweep, a run, or any folder of them.
        events: also show the figure in TensorBoard.

    Returns:
        Whether every cascade has finished.

    Raises:
        InputError: if no cascade below the folder has results.
        OSError: if the table cannot be written.
    """
    rows, broken = collect(folder)
    write_table(folder / CASCADES, *table(rows))
    settings = _settings(rows)
    drawn = {FIGURE: _figure(settings)} if len(rows) > 1 else {}
    save(drawn, folder, ("png", "svg"))
    if events and drawn:
        from neural_branching.report.tensorboard import write_figures  # takes torch, the rest does not

        write_figures(folder, drawn)
    _print(settings, broken, folder)
    return not broken


def collect(folder: Path) -> tuple[list[Row], dict[str, str]]:
    """Every finished cascade below a folder as one line of numbers; and the others → what is wrong with them.

    Raises:
        InputError: if none has results.
    """
    found, broken = finished_runs(folder, COMMAND, _record)
    return [{"run": name, **one} for name, one in found.items()], broken


def table(rows: Sequence[Row]) -> tuple[list[str], list[list[Any]]]:
    """Columns and rows of cascades.csv: numbers are numbers, "" is nothing."""
    header = [*_NAMED, *(metric.name for metric in CASCADE_METRICS)]
    return header, [["" if row[key] is None else row[key] for key in header] for row in rows]


def without_promise(rows: Sequence[Row]) -> list[str]:
    """Of each row the name of its setting but for what is promised, which changes no exit."""
    typed = [
        [one for one in row["overrides"].split() if not one.startswith(("promise", "subset", "stages"))]
        for row in rows
    ]
    shared = set.intersection(*map(set, typed))
    names = []
    for row, mine in zip(rows, typed, strict=True):
        names.append(" · ".join([row["subset"], row["exits"], *(one for one in mine if one not in shared)]))
    return names


def _record(run: Path) -> dict[str, Any]:
    """A cascade as one line of numbers.

    Raises:
        InputError: if it failed, or its results cannot be read.
    """
    results = read_results(run)
    if results["status"] != "completed":
        raise InputError(str(results["error"]["message"]))
    try:
        [record] = records(results)
        seeds = record["seeds"]
        typed = [str(one).lstrip("+") for one in record["overrides"]]
        return {
            "subset": record["subset"],
            "exits": record["branch_point"],
            "promise": record["promise"]["rule"],
            **{name: seeds[name.removesuffix("_seed")] for name in SEEDS},
            "overrides": " ".join(one for one in typed if one.partition("=")[0] not in _SETS_SEED),
            **{metric.name: _number(metric.of(record)) for metric in CASCADE_METRICS},
        }
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{run / RESULTS} is not a cascade's ({type(error).__name__}): repeat the run that made it."
        ) from error


def _number(value: object) -> float | int | None:
    if value is None or isinstance(value, int):
        return value
    if isinstance(value, float):
        return value
    raise TypeError(f"{value!r} is no number")


def _settings(rows: Sequence[Row]) -> dict[tuple[str, str, str], list[Row]]:
    """What differs in more than a seed → its runs."""
    found: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        found.setdefault((row["subset"], row["promise"], row["overrides"]), []).append(row)
    return found


def _cell(runs: Sequence[Row], name: str) -> Cell:
    """Mean and standard deviation over seeds; of those that have the number."""
    return Cell.over([float(row[name]) for row in runs if row[name] is not None])


def _names(settings: Sequence[tuple[str, str, str]]) -> list[str]:
    """What tells settings apart, as short as it can be."""
    shared = set.intersection(*(set(overrides.split()) for _, _, overrides in settings))
    several = len({subset for subset, _, _ in settings}) > 1
    names = []
    for subset, promise, overrides in settings:
        own = [
            one
            for one in overrides.split()
            if one not in shared and not one.startswith(("promise", "subset"))
        ]
        names.append(" ".join([*([subset] if several else []), promise, *own]))
    return names


def _print(
    settings: Mapping[tuple[str, str, str], Sequence[Row]],
    broken: Mapping[str, str],
    folder: Path,
) -> None:
    screen = console()
    columns = [Column("setting", "name"), Column("exits", "setting", rank=2), Column("runs")]
    columns += [Column(metric.heading or "", rank=_RANKS.get(metric.heading or "", 0)) for metric in _SHOWN]
    rows: list[list[Entry]] = []
    for name, runs in zip(_names(list(settings)), settings.values(), strict=True):
        exits = {row["exits"] for row in runs}
        rows.append(
            [
                name,
                exits.pop() if len(exits) == 1 else f"{len(exits)} choices",
                str(len(runs)),
                *(_cell(runs, metric.name) for metric in _SHOWN),
            ]
        )
    print_table(screen, ScreenTable("Cascades, means over seeds", columns, rows, CASCADES))
    for name, why in broken.items():
        screen.print(f"{name}: {why}", highlight=False, soft_wrap=True)
    screen.print(f"Table: {folder / CASCADES}", highlight=False, soft_wrap=True)


def _figure(settings: Mapping[tuple[str, str, str], Sequence[Row]]) -> Figure:
    """Accuracy against MACs, beside last exits by themselves; bars: standard deviation over seeds.

    Last exits of several parents, such as smaller ones, differ in cost: then MACs are no shares.
    """
    whole = [_last_macs(row) for runs in settings.values() for row in runs]
    as_share = max(whole) - min(whole) < 0.01 * max(whole)  # heads of other numbers of classes differ by less
    unit = "test_macs_share" if as_share else "test_macs"
    scale = 1.0 if as_share else 1e-6
    figure = blank(7.6, 3.8)
    axes = figure.add_subplot()
    for index, (name, runs) in enumerate(zip(_names(list(settings)), settings.values(), strict=True)):
        cost = Cell.over([scale * float(row[unit]) for row in runs])
        accuracy = _cell(runs, "test_accuracy")
        axes.errorbar(
            [cost.mean or 0.0],
            [accuracy.mean or 0.0],
            error_bars([accuracy], of_seeds=True),
            error_bars([cost], of_seeds=True),
            fmt=MARKERS[(index + index // len(PALETTE)) % len(MARKERS)],
            color=PALETTE[index % len(PALETTE)],
            markersize=5,
            label=name,
        )
    lasts: dict[tuple[float, float], None] = {}
    for runs in settings.values():
        accuracy, macs = _cell(runs, "last_accuracy"), scale * _last_macs(runs[0])
        lasts[1.0 if as_share else macs, accuracy.mean or 0.0] = None  # the same for every promise
    axes.plot(*zip(*lasts, strict=True), "s", color="black", fillstyle="none", label="last exits alone")
    share = ", as a share of the last exit's" if as_share else ", millions"
    axes.set_xlabel(f"mean MACs{share}")
    axes.set_ylabel("accuracy on test")
    axes.grid(alpha=0.3)
    bars = "; bars: standard deviation over seeds" if any(len(runs) > 1 for runs in settings.values()) else ""
    axes.set_title(f"Cascades{bars}", fontsize=9)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=7)
    return figure


def _last_macs(row: Row) -> float:
    """What the last exit by itself costs."""
    return float(row["test_macs"]) / float(row["test_macs_share"])
