"""The summary of a folder of runs: tables and the figures that compare them."""

from pathlib import Path
from typing import Any

from neural_branching.errors import printable
from neural_branching.files.csv_text import write_table
from neural_branching.files.writing import write_atomically
from neural_branching.report import tree_summary as trees
from neural_branching.report.certificates import Certified
from neural_branching.report.collect import SEEDS, Summary, collect
from neural_branching.report.comparison import draw
from neural_branching.report.figures.style import save
from neural_branching.report.metrics import METRICS
from neural_branching.report.results import Row
from neural_branching.report.search import Search
from neural_branching.report.summary_screen import USUAL, print_summary
from neural_branching.report.tables import markdown
from neural_branching.report.view import View


def summarize(folder: Path, command: str = "train", *, events: bool = False) -> Summary:
    """Collect every run of a command below a folder and write its tables and figures there.

    Args:
        folder: a sweep, a run, or any folder of them.
        command: "train" or "route".
        events: also show the figures in TensorBoard.

    Raises:
        InputError: if the folder does not exist or no run in it has results.
    """
    summary = collect(folder, command)
    write(summary, events=events)
    return summary


def write(summary: Summary, *, events: bool = False) -> None:
    """Write the tables and figures of a summary into its folder.

    Args:
        summary: what was collected.
        events: also show the figures in TensorBoard.

    Raises:
        OSError: if something cannot be written.
    """
    folder = summary.folder
    if summary.command == "route":
        trees.write_tables(summary)
        drawn = trees.draw(summary)
    else:
        write_table(folder / "summary.csv", *table(summary))
        write_atomically(folder / "summary.md", printable(markdown(summary)))
        _write_baselines(summary)
        drawn = draw(summary)
    save(drawn, folder, ("png", "svg"))
    if events:
        from neural_branching.report.tensorboard import write_figures  # takes torch, the rest does not

        write_figures(folder, drawn)


def show(summary: Summary, view: View = USUAL) -> None:
    """Print a summary, or what a view shows of it."""
    (trees.print_trees if summary.command == "route" else print_summary)(summary, view)


def table(summary: Summary) -> tuple[list[str], list[list[Any]]]:
    """Columns and rows of summary.csv (of routers.csv for trees): numbers are numbers, "" is nothing."""
    if summary.command == "route":
        return trees.table(summary)
    metrics = [name for metric in METRICS for name in (metric.name, *_ends(metric.name))]
    columns = ["run", "status", *summary.setting, *SEEDS, *metrics, *_CERTIFIED, "front"]
    columns += ["built", "error"]
    certificates = {(one.row["run"], one.row["index"]): one for one in summary.certificates}
    search = Search.of(summary)
    front = {(row["run"], row["index"]) for row in search.front} if search else set()
    records: list[Row] = [
        {
            "status": "completed",
            **row,
            **_intervals(row),
            **_certified(certificates.get((row["run"], row["index"]))),
            "front": int((row["run"], row["index"]) in front) if search else "",
        }
        for row in summary.completed
    ]
    return columns, [[record.get(name, "") for name in columns] for record in (*records, *summary.failed)]


def _write_baselines(summary: Summary) -> None:
    """One line per run and model; no file if no run has baselines."""
    compared = [
        (row, name, one)
        for row in summary.completed
        if row["index"] == 0  # thresholds do not touch them
        for name, one in row["baselines"].items()
        if one
    ]
    if not compared:
        return
    names = ["run", *summary.setting, *SEEDS]
    header = [*names, "model", *_MODEL, *(f"{lead}{end}" for lead in _LEADS for end in _ENDS)]
    rows = [
        [*(row[column] for column in names), name, *(one[key] for key in _MODEL), *_leads(one)]
        for row, name, one in compared
    ]
    write_table(summary.folder / "baselines.csv", header, rows)


def _leads(one: Row) -> list[Any]:
    """The branch's lead in accuracy and AURC, each with the ends of its interval."""
    leads = [one["branch_lead"][lead] if "branch_lead" in one else None for lead in ("accuracy", "aurc")]
    return [
        value for lead in leads for value in ((lead["difference"], *lead["interval"]) if lead else [""] * 3)
    ]


_MODEL = ("n", "accuracy", "aurc", "macs", "trained_parameters", "training_seconds")
_LEADS, _ENDS = ("branch_lead_accuracy", "branch_lead_aurc"), ("", "_low", "_high")

_CERTIFIED = (
    *("certified_target", "certified_delta", "certified_bound", "certificates_compared"),
    *("adjusted_threshold", "adjusted_bound", "adjusted_test_coverage", "adjusted_test_selective_accuracy"),
)


def _ends(name: str) -> tuple[str, str]:
    return f"{name}_low", f"{name}_high"


def _intervals(row: Row) -> Row:
    ends: Row = {}
    for metric in METRICS:
        interval = row[f"{metric.name}_interval"]
        if interval:
            ends |= dict(zip(_ends(metric.name), interval, strict=True))
    return ends


def _certified(one: Certified | None) -> Row:
    if one is None:
        return {}
    bounds = [choice.certificate.bound if choice.certificate else "" for choice in (one.alone, one.adjusted)]
    values = (
        *(one.target, one.delta, bounds[0], one.compared),
        *(one.adjusted.value, bounds[1], one.test_coverage, one.test_selective_accuracy),
    )
    return dict(zip(_CERTIFIED, values, strict=True))
