"""Trees of several branches in the summary of a folder: routers and answers, mean ± deviation over seeds."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from neural_branching.errors import printable
from neural_branching.files.csv_text import write_table
from neural_branching.files.writing import write_atomically
from neural_branching.report.cells import Cell, Entry, markdown_table, setting, short_name
from neural_branching.report.collect import LEADS, OF_ANSWERS, OF_ROUTERS, SEEDS, Summary, cell
from neural_branching.report.figures.router_comparison import routers
from neural_branching.report.results import Row
from neural_branching.report.screen_table import Column, ScreenTable, console, print_table
from neural_branching.report.summary_screen import USUAL, print_ending, print_legend, setting_columns
from neural_branching.report.view import View
from neural_branching.selection.thresholds.guaranteed import Guaranteed

_RANKS = {"accuracy": 0, "routing_accuracy": 0, "lead_on_parent": 0, "regret": 2, "augrc": 3}
ROUTER_COLUMNS = (
    Column("router", "name"),
    *(
        Column(
            {"aurc": "AURC", "augrc": "AUGRC"}.get(name, name.replace("_", " ")),
            rank=_RANKS.get(name, 1),
            name=name,
            rises=name.endswith("accuracy") or name in LEADS,
        )
        for name in (*OF_ROUTERS, *LEADS)
    ),
)
ROUTER_HEADER = [column.heading for column in ROUTER_COLUMNS]


def table(summary: Summary) -> tuple[list[str], list[list[Any]]]:
    """Columns and rows of routers.csv."""
    names = [name for name in summary.setting if name != "router"]
    rows = [
        [row["run"], *(row[name] for name in (*names, *SEEDS)), kind, *(one[metric] for metric in OF_ROUTERS)]
        for row in summary.completed
        if row["index"] == 0  # thresholds do not touch them
        for kind, one in row["routers"].items()
    ]
    return ["run", *names, *SEEDS, "router", *OF_ROUTERS], rows


def write_tables(summary: Summary) -> None:
    """Write routers.csv and routers.md into a summary's folder.

    Raises:
        OSError: if something cannot be written.
    """
    write_table(summary.folder / "routers.csv", *table(summary))
    names = [name for name in summary.setting if name != "router"]
    lines = [
        [_title(summary, runs[0], names), *line]
        for runs in summary.groups().values()
        if runs[0]["index"] == 0
        for line in router_lines(runs)
    ]
    document = markdown_table(("setting", *ROUTER_HEADER), lines)
    said = (*summary.mixed, *summary.repeated(), *summary.repeated_examples())
    document += [line for sentence in said for line in ("", sentence)]
    write_atomically(summary.folder / "routers.md", printable("\n".join(document) + "\n"))


def draw(summary: Summary) -> dict[str, Any]:
    """The accuracies of all routers; nothing if no run has completed."""
    rows = summary.completed
    names = [*filter(_is_of_routers, summary.setting)]
    differing = [name for name in names if len({row[name] for row in rows}) > 1]
    found: dict[str, dict[str, Cell]] = {}
    for runs in summary.groups().values():
        label = ", ".join(f"{short_name(name, names)} {setting(runs[0][name])}" for name in differing)
        mine = found.setdefault(label, {})
        if all(run["parent_alone"] for run in runs):
            mine["parent alone"] = cell([run["parent_alone"]["accuracy"] for run in runs])
        for kind, one in runs[0]["routers"].items():
            mine[kind + "*" * one["bound"]] = cell([run["routers"][kind]["accuracy"] for run in runs])
    if not found:
        return {}
    shared = " · ".join(dict.fromkeys(setting(rows[0][name]) for name in names if name not in differing))
    return {"routers": routers(found, shared)}


def print_trees(summary: Summary, view: View = USUAL) -> None:
    """Print one line per setting and router, then what examples are answered.

    Args:
        summary: the runs.
        view: what of it.

    Raises:
        InputError: if the view names a column or value that is not there.
    """
    screen, runs = console(), summary.runs
    summary = view.narrowed(summary)
    if summary.completed:
        names = view.names(summary)
        tables = [_routers(summary, names, averaged=bool(view.by)), _answers(summary, names)]
        view.check(tables)
        said = " ".join([print_table(screen, table) for table in view.of(tables)])
        print_legend(screen, said, view, summary, runs)
    kinds = [row["guarantee"] for row in summary.counted()]
    certified = kinds.count(Guaranteed.guarantee)
    what = "runs" if all(row["index"] == 0 for row in summary.counted()) else "thresholds"
    if certified > 1:
        screen.print(
            f"{certified} of these {what} are certified, each by itself. Whoever chooses among them by their "
            "results needs all to hold at once: repeat them with threshold.delta, for which 0.1 is usual, "
            f"divided by {certified}; nothing is trained again.",
            highlight=False,
        )
    print_ending(summary)


def _routers(summary: Summary, names: Sequence[str], *, averaged: bool) -> ScreenTable:
    """One line per setting and router, whichever router, score and threshold was chosen."""
    trees: dict[tuple[Any, ...], Row] = {}
    for row in summary.counted():
        key = tuple(row[name] for name in (*filter(_is_of_routers, summary.setting), *SEEDS))
        trees.setdefault(key, row)
    shown = [*filter(_is_of_routers, names)]
    lines: dict[tuple[str, ...], list[Row]] = {}
    for row in trees.values():
        lines.setdefault(tuple(setting(row[name]) for name in shown), []).append(row)
    rows = [[*key, str(len(runs)), *line] for key, runs in lines.items() for line in router_lines(runs)]
    columns = [*setting_columns(shown), Column("runs" if averaged else "seeds", "setting"), *ROUTER_COLUMNS]
    return ScreenTable("Routers, test examples", columns, rows, "routers.csv")


def _answers(summary: Summary, names: Sequence[str]) -> ScreenTable:
    rows: list[list[Entry]] = [
        [
            *(setting(runs[0][name]) for name in names),
            kind.replace("_", "-"),
            *(cell([run["answers"][kind][metric] for run in runs]) for metric in OF_ANSWERS),
        ]
        for runs in summary.averaged(names).values()
        for kind in ("back_off", "outright")
    ]
    columns = [*setting_columns(names), Column("answers", "name")]
    columns += [Column(name.replace("_", " "), name=name, rises=True) for name in OF_ANSWERS]
    return ScreenTable("Answers under thresholds, test examples", columns, rows, "results.json of each run")


def router_lines(runs: Sequence[Row]) -> list[list[Entry]]:
    """The parent alone, then one line per router, aggregated over seeds."""
    lines: list[list[Entry]] = []
    alone = [run["parent_alone"] for run in runs]
    if all(alone):
        numbers: list[Entry] = [
            cell([one[metric] for one in alone]) if metric in alone[0] else "" for metric in OF_ROUTERS
        ]
        lines.append(["parent alone", *numbers, *[""] * len(LEADS)])
    for kind in runs[0]["routers"]:
        routed = [run["routers"][kind] for run in runs]
        leads = [_lead([one[lead] for one in routed]) for lead in LEADS]
        name = kind + ("*" if routed[0]["bound"] else "")
        numbers = [cell([one[metric] for one in routed]) for metric in OF_ROUTERS]
        lines.append([name, *numbers, *leads])
    return lines


def _lead(leads: list[Mapping[str, Any] | None]) -> Entry:
    found: Cell = cell([lead["difference"] if lead else None for lead in leads])
    return "" if found.mean is None else found


def _is_of_routers(name: str) -> bool:
    """Whether a setting changes how routers do without thresholds."""
    return name not in ("router", "score", "threshold") and not name.startswith("threshold.")


def _title(summary: Summary, row: Row, names: Iterable[str]) -> str:
    """Some of a setting as one text."""
    return " · ".join(
        f"{name}={setting(row[name])}" if name in summary.swept else setting(row[name]) for name in names
    )
