"""The summary of a folder of runs: summary.csv, summary.md and the figures that compare them."""

import csv
from pathlib import Path

from neural_branching.report.collect import METRICS, SEEDS, SETTING, Summary, collect
from neural_branching.report.comparison import draw
from neural_branching.report.tables import markdown


def summarize(folder: Path, *, events: bool = False) -> Summary:
    """Collect every run below a folder and write its tables and figures there.

    Args:
        folder: a sweep, a run, or any folder of them.
        events: also show the figures in TensorBoard.

    Raises:
        InputError: if the folder does not exist or no run in it has results.
    """
    summary = collect(folder)
    _write_csv(summary)
    (folder / "summary.md").write_text(markdown(summary))
    drawn = draw(summary)
    for name, figure in drawn.items():
        figure.savefig(folder / f"{name}.png")
    if events:
        from neural_branching.report.tensorboard import write_figures  # takes torch, the rest does not

        write_figures(folder, drawn)
    return summary


def _write_csv(summary: Summary) -> None:
    columns = ["run", "status", *SETTING, *summary.swept, *SEEDS, *METRICS, "built", "error"]
    with (summary.folder / "summary.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, columns, restval="")
        writer.writeheader()
        writer.writerows({"status": "completed", **row} for row in summary.completed)
        writer.writerows(summary.failed)
