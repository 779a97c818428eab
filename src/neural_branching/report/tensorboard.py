"""A run's TensorBoard events: curves by epoch, the risk–coverage curve, the HParams row."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from neural_branching.selection import RiskCoverageCurve
from neural_branching.training import History

# The same names in every run: the HParams tab drops what only some runs have.
METRICS = {
    "test/accuracy": ("test", "accuracy"),
    "test/aurc": ("test", "aurc"),
    "test/coverage": ("test", "coverage"),
    "test/selective_accuracy": ("test", "selective_accuracy"),
    "test/parent_restricted_accuracy": ("test", "parent_restricted", "accuracy"),
    "test/parent_restricted_aurc": ("test", "parent_restricted", "aurc"),
}


def write_events(
    folder: Path,
    results: Mapping[str, Any],
    histories: Mapping[str, History],
    curve: RiskCoverageCurve,
    drawn: Mapping[str, Figure],
) -> None:
    """Write a run's events into its folder.

    Args:
        folder: the run's folder.
        results: its results.
        histories: epochs of the parent and the branch; written also when they were found in the
            store, so that a run that trained nothing still shows its curves (x = epoch).
        curve: risk–coverage curve of the test split, written with step = coverage in percent, so
            that runs overlay.
        drawn: figures to show beside them.
    """
    with SummaryWriter(str(folder)) as writer:
        for name, history in histories.items():
            for epoch, metrics in enumerate(history, start=1):
                for tag, value in metrics.items():
                    writer.add_scalar(f"{name}/{tag}", value, epoch)
        for percent in range(1, 101):
            risk = curve.at_coverage(percent / 100)
            if risk == risk:  # nan below the smallest coverage that the curve reaches
                writer.add_scalar("test/selective_accuracy_by_coverage", 1 - risk, percent)
        _write_hparams(writer, results)
    write_figures(folder, drawn)


def write_figures(folder: Path, drawn: Mapping[str, Figure]) -> None:
    """Write figures into a folder's events, under "test/"."""
    if drawn:
        with SummaryWriter(str(folder)) as writer:
            for name, figure in drawn.items():
                writer.add_figure(f"test/{name}", figure, close=False)


def _write_hparams(writer: SummaryWriter, results: Mapping[str, Any]) -> None:
    # The HParams tab sorts by name and shows the first five unasked: these are the ones to compare.
    chosen = {
        "branch/network": results["branch"]["name"],
        "branch/point": results["branch_point"],
        "branch/subset": results["subset"],
        "branch/threshold": results["threshold"]["rule"],
        "data": results["data"],
        "parent": results["parent"]["name"],
        "seed/branch": results["seeds"]["branch"],
        "seed/parent": results["seeds"]["parent"],
    }
    metrics = {tag: _at(results, path) for tag, path in METRICS.items()}
    for summary in hparams(chosen, metrics):  # type: ignore[no-untyped-call]
        writer._get_file_writer().add_summary(summary)  # type: ignore[no-untyped-call]
    for tag, value in metrics.items():
        writer.add_scalar(tag, value, 0)


def _at(results: Mapping[str, Any], path: tuple[str, ...]) -> float:
    value: Any = results
    for name in path:
        value = value[name]
    return float(value)
