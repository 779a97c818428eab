"""The summary of a folder of runs: summary.csv, summary.md and the figures that compare them."""

import csv
from pathlib import Path

from neural_branching.report.certificates import Certified
from neural_branching.report.collect import SEEDS, SETTING, Summary, collect
from neural_branching.report.comparison import draw
from neural_branching.report.metrics import METRICS
from neural_branching.report.results import Row
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
    metrics = [name for metric in METRICS for name in (metric.name, *_ends(metric.name))]
    columns = ["run", "status", *SETTING, *summary.swept, *SEEDS, *metrics, *_CERTIFIED, "built", "error"]
    certificates = {one.row["run"]: one for one in summary.certificates}
    with (summary.folder / "summary.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, columns, restval="", extrasaction="ignore")
        writer.writeheader()
        for row in summary.completed:
            writer.writerow(
                {"status": "completed", **row, **_intervals(row), **_certified(certificates.get(row["run"]))}
            )
        writer.writerows(summary.failed)


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
