"""Trees of several branches in the summary of a folder: routers and answers, mean ± deviation over seeds."""

from collections.abc import Mapping, Sequence
from typing import Any

from neural_branching.errors import printable
from neural_branching.files.csv_text import write_table
from neural_branching.files.writing import write_atomically
from neural_branching.report.cells import Cell, markdown_table
from neural_branching.report.collect import LEADS, OF_ANSWERS, OF_ROUTERS, SEEDS, Summary, cell
from neural_branching.report.figures.router_comparison import routers
from neural_branching.report.fitting import print_table
from neural_branching.report.results import Row
from neural_branching.report.tables import console, print_ending
from neural_branching.selection.thresholds.guaranteed import Guaranteed

ROUTER_HEADER = ("router", *(name.replace("_", " ") for name in (*OF_ROUTERS, *LEADS)))
# What does not change how routers do without thresholds.
_BEYOND_ROUTERS = ("router", "score", "threshold")


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
    lines = [
        [_title(summary, runs[0], "router"), *line]
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
    found: dict[str, dict[str, list[float]]] = {}
    for runs in summary.groups().values():
        mine = found.setdefault(_title(summary, runs[0], *_BEYOND_ROUTERS), {})
        if all(run["parent_alone"] for run in runs):
            mine["parent alone"] = [run["parent_alone"]["accuracy"] for run in runs]
        for kind, one in runs[0]["routers"].items():
            mine[kind + "*" * one["bound"]] = [run["routers"][kind]["accuracy"] for run in runs]
    return {"routers": routers(found)} if found else {}


def print_trees(summary: Summary) -> None:
    """Print one line per setting and router, then what examples are answered."""
    screen, answers = console(), []
    shown: set[str] = set()
    for runs in summary.groups().values():
        setting = _title(summary, runs[0], "router")
        routing = _title(summary, runs[0], *_BEYOND_ROUTERS)
        if routing not in shown:  # the same for whichever router, score and threshold was chosen
            shown.add(routing)
            count = f"{len(runs)} seed{'s' if len(runs) > 1 else ''}"
            title = f"Routers, test examples, {count}: {routing}"
            print_table(screen, title, ROUTER_HEADER, router_lines(runs), len(ROUTER_HEADER) - 1)
        for kind in ("back_off", "outright"):
            cells = [str(cell([run["answers"][kind][metric] for run in runs])) for metric in OF_ANSWERS]
            answers.append([setting, runs[0]["router"], kind.replace("_", "-"), *cells])
    if summary.completed:
        header = ("setting", "router", "answers", *(name.replace("_", " ") for name in OF_ANSWERS))
        print_table(screen, "Answers under thresholds, test examples", header, answers, len(OF_ANSWERS))
    for sentence in summary.repeated_examples():
        screen.print(sentence, highlight=False, soft_wrap=True)
    kinds = [row["guarantee"] for row in summary.counted()]
    certified = kinds.count(Guaranteed.guarantee)
    what = "runs" if all(row["index"] == 0 for row in summary.counted()) else "thresholds"
    if certified > 1:
        screen.print(
            f"{certified} of these {what} are certified, each by itself. Whoever chooses among them by their "
            "results needs all to hold at once: repeat them with threshold.delta, for which 0.1 is usual, "
            f"divided by {certified}; nothing is trained again.",
            highlight=False,
            soft_wrap=True,
        )
    print_ending(summary)


def router_lines(runs: Sequence[Row]) -> list[list[str]]:
    """The parent alone, then one line per router, aggregated over seeds."""
    lines = []
    alone = [run["parent_alone"] for run in runs]
    if all(alone):
        numbers = [
            str(cell([one[metric] for one in alone])) if metric in alone[0] else "" for metric in OF_ROUTERS
        ]
        lines.append(["parent alone", *numbers, *[""] * len(LEADS)])
    for kind in runs[0]["routers"]:
        routed = [run["routers"][kind] for run in runs]
        leads = [_lead([one[lead] for one in routed]) for lead in LEADS]
        name = kind + ("*" if routed[0]["bound"] else "")
        numbers = [str(cell([one[metric] for one in routed])) for metric in OF_ROUTERS]
        lines.append([name, *numbers, *leads])
    return lines


def _lead(leads: list[Mapping[str, Any] | None]) -> str:
    found: Cell = cell([lead["difference"] if lead else None for lead in leads])
    return "" if found.mean is None else str(found)


def _title(summary: Summary, row: Row, *left_out: str) -> str:
    """A setting as one text."""
    return " · ".join(
        f"{name}={row[name]}" if name in summary.swept else str(row[name])
        for name in summary.setting
        if name not in left_out
    )
