"""What runs show in TensorBoard: curves by epoch, risk–coverage curves, tables, figures, HParams rows."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tensorboard.compat.proto.summary_pb2 import Summary
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from neural_branching.report.cells import markdown_table
from neural_branching.report.figures.thresholds import HEADER, threshold_lines
from neural_branching.report.metrics import METRICS, Metric, system_metrics
from neural_branching.runs import EVENTS
from neural_branching.selection import RiskCoverageCurve
from neural_branching.training import History

if TYPE_CHECKING:
    from neural_branching.evaluation.points import Point


def write_events(
    folder: Path,
    results: Mapping[str, Any],
    histories: Mapping[str, History],
    curve: RiskCoverageCurve,
    points: Sequence["Point"],
    drawn: Collection[str],
) -> None:
    """Write a run's events into its folder.

    Args:
        folder: the run's folder.
        results: its results.
        histories: epochs of the parent and the branch; written also when they were found in the
            store, so that a run that trained nothing still shows its curves (x = epoch).
        curve: risk–coverage curve of the test split, written with step = coverage in percent, so
            that runs overlay.
        points: what several thresholds would do, written as a table.
        drawn: names of pictures to show beside them, as of ``write_figures``.
    """
    # The HParams tab sorts by name and shows the first five unasked: these are the ones to compare.
    chosen = {
        "branch/network": results["branch"]["name"],
        "branch/point": results["branch_point"],
        "branch/score": results["score"]["name"],
        "branch/subset": results["subset"],
        "branch/threshold": results["threshold"]["rule"],
        "data": results["data"],
        "parent": results["parent"]["name"],
        "seed/branch": results["seeds"]["branch"],
        "seed/parent": results["seeds"]["parent"],
    }
    with _writer(folder) as writer:
        _write_histories(writer, histories)
        _write_curve(writer, curve)
        table = markdown_table(list(HEADER), threshold_lines(points))
        writer.add_text("test/thresholds", "\n".join(table))
        _write_hparams(writer, chosen, METRICS, results)
    write_figures(folder, drawn)


def write_system_events(
    folder: Path,
    results: Mapping[str, Any],
    histories: Mapping[str, History],
    curve: RiskCoverageCurve,
    tables: Mapping[str, Sequence[str]],
    drawn: Collection[str],
) -> None:
    """Write the events of a run of a system into its folder.

    Args:
        folder: the run's folder.
        results: its results.
        histories: epochs of the parent, every branch and every gate.
        curve: risk–coverage curve of the chosen router on test.
        tables: name → lines of Markdown.
        drawn: names of pictures to show beside them, as of ``write_figures``.
    """
    chosen = {
        "branch/point": results["branch_point"],
        "branch/score": results["score"],
        "branch/threshold": results["threshold"],
        "data": results["data"],
        "hierarchy": results["hierarchy"],
        "parent": results["parent"]["name"],
        "router": results["router"],
        "seed/branch": results["seeds"]["branch"],
        "seed/parent": results["seeds"]["parent"],
    }
    with _writer(folder) as writer:
        _write_histories(writer, histories)
        _write_curve(writer, curve)
        for name, lines in tables.items():
            writer.add_text(f"test/{name}", "\n".join(lines))
        _write_hparams(writer, chosen, system_metrics(results["router"]), results)
    write_figures(folder, drawn)


def _writer(folder: Path) -> SummaryWriter:
    # A short queue has the run wait for the thread that writes.
    return SummaryWriter(str(folder), max_queue=10_000, filename_suffix=EVENTS)


def _write_histories(writer: SummaryWriter, histories: Mapping[str, History]) -> None:
    for name, history in histories.items():
        for epoch, metrics in enumerate(history, start=1):
            for tag, value in metrics.items():
                writer.add_scalar(f"{name}/{tag}", value, epoch)


def _write_curve(writer: SummaryWriter, curve: RiskCoverageCurve) -> None:
    percents = range(1, 101)
    for percent, risk in zip(percents, curve.at_coverage(np.divide(percents, 100)).tolist(), strict=True):
        if risk == risk:  # nan below the smallest coverage that the curve reaches
            writer.add_scalar("test/selective_accuracy_by_coverage", 1 - risk, percent)


def write_figures(folder: Path, drawn: Collection[str]) -> None:
    """Show the pictures that lie in a folder as NAME.png in its events too, under "test/"."""
    if drawn:
        with _writer(folder) as writer:
            for name in drawn:
                # As it is: to draw or to compress it again takes longer than to write all other events.
                content = (folder / f"{name}.png").read_bytes()
                width, height = (int.from_bytes(content[start : start + 4]) for start in (16, 20))
                image = Summary.Image(width=width, height=height, encoded_image_string=content)
                summary = Summary(value=[Summary.Value(tag=f"test/{name}", image=image)])
                writer._get_file_writer().add_summary(summary)


def _write_hparams(
    writer: SummaryWriter, chosen: Mapping[str, Any], shown: Sequence[Metric], results: Mapping[str, Any]
) -> None:
    # The same names in every run: the HParams tab drops what only some runs have.
    metrics = {metric.tag: _number(metric.of(results)) for metric in shown if metric.tag is not None}
    for summary in hparams(dict(chosen), metrics):  # type: ignore[no-untyped-call]
        writer._get_file_writer().add_summary(summary)  # type: ignore[no-untyped-call]
    for tag, value in metrics.items():
        writer.add_scalar(tag, value, 0)


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)
