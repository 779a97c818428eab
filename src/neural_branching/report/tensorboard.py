"""What runs show in TensorBoard: curves by epoch, risk–coverage curves, tables, figures, HParams rows."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tensorboard.compat.proto.summary_pb2 import Summary
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from neural_branching.report.metrics import METRICS, Metric, tree_metrics
from neural_branching.selection import RiskCoverageCurve
from neural_branching.store.run_folders import EVENTS
from neural_branching.training.fit import History


def write_events(
    folder: Path,
    records: Sequence[Mapping[str, Any]],
    histories: Mapping[str, History],
    curve: RiskCoverageCurve,
    tables: Mapping[str, Sequence[str]],
    drawn: Collection[str],
) -> None:
    """Write a run's events into its folder.

    Args:
        folder: the run's folder.
        records: the run under each of its thresholds; of several each is a row of the HParams tab, with
            events of its own in a folder below.
        histories: epochs of the parent and every branch; written also when they were found in the
            store, so that a run that trained nothing still shows its curves (x = epoch).
        curve: risk–coverage curve of the test split, written with step = coverage in percent, so
            that runs overlay.
        tables: name → lines of Markdown.
        drawn: names of pictures to show beside them, as of ``write_figures``.
    """
    with _writer(folder) as writer:
        _write_histories(writer, histories)
        _write_curve(writer, curve)
        for name, lines in tables.items():
            writer.add_text(f"test/{name}", "\n".join(lines))
        if len(records) == 1:
            _write_hparams(writer, records[0])
    for index, record in enumerate(records if len(records) > 1 else ()):
        with _writer(folder / f"threshold_{index}") as writer:
            _write_hparams(writer, record)
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
                picture = Summary.Image(width=width, height=height, encoded_image_string=content)
                summary = Summary(value=[Summary.Value(tag=f"test/{name}", image=picture)])
                writer._get_file_writer().add_summary(summary)


def _write_hparams(writer: SummaryWriter, record: Mapping[str, Any]) -> None:
    """A row of the HParams tab, which sorts by name and shows the first five unasked."""
    tree = record["router"] is not None
    own = {"hierarchy": record["hierarchy"], "router": record["router"]} if tree else {
        "branch/subset": record["subset"]
    }  # fmt: skip
    chosen = {
        "branch/network": record["branch"]["name"],
        "branch/point": record["branch_point"],
        "branch/score": record["score"]["name"],
        "branch/threshold": record["threshold"]["rule"],
        "data": record["data"],
        "parent": record["parent"]["name"],
        "seed/branch": record["seeds"]["branch"],
        "seed/parent": record["seeds"]["parent"],
        **own,
    }
    shown: Sequence[Metric] = tree_metrics(record["router"]) if tree else METRICS
    # The same names in every run: the HParams tab drops what only some runs have.
    metrics = {metric.tag: _number(metric.of(record)) for metric in shown if metric.tag is not None}
    for summary in hparams(chosen, metrics):  # type: ignore[no-untyped-call]
        writer._get_file_writer().add_summary(summary)  # type: ignore[no-untyped-call]
    for tag, value in metrics.items():
        writer.add_scalar(tag, value, 0)


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)
