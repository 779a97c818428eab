"""What runs show in TensorBoard: curves by epoch, risk–coverage curves, tables, figures, HParams rows."""

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tensorboard.compat.proto.summary_pb2 import Summary
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from neural_branching.errors import printable
from neural_branching.files.writing import write_atomically
from neural_branching.report.run_logs import epochs_of, metrics_of, settings_of
from neural_branching.selection import RiskCoverageCurve
from neural_branching.selection.array_types import Float64
from neural_branching.training.history import History
from neural_branching.training.loggers import TensorBoard

PROJECTOR = "projector_config.pbtxt"  # the name that TensorBoard looks for


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
        records: the run under each of its thresholds, each a row of the HParams tab, with events of its own
            in a folder below.
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
            writer.add_text(f"test/{name}", "\n".join(map(_unbroken, lines)))
    for index, record in enumerate(records):
        with _writer(folder / f"threshold_{index}") as writer:
            _write_hparams(writer, record)
    write_figures(folder, drawn)


def write_histories(folder: Path, histories: Mapping[str, History]) -> None:
    """Show the epochs of networks by their names."""
    with _writer(folder) as writer:
        _write_histories(writer, histories)


def _write_histories(writer: SummaryWriter, histories: Mapping[str, History]) -> None:
    for epoch, metrics in epochs_of(histories):
        for tag, value in metrics.items():
            writer.add_scalar(tag, value, epoch)


def _writer(folder: Path) -> SummaryWriter:
    return SummaryWriter(folder, **TensorBoard.options)


def _unbroken(line: str) -> str:
    """A line of a Markdown table whose cells the browser does not break: a number stays with its interval."""
    return re.sub(r"(?<=[^|\s])\s+(?=[^|\s])", "\N{NO-BREAK SPACE}", line)


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


class Vectors(NamedTuple):
    """What the projector shows of some things.

    Attributes:
        values: a vector for each.
        header: names of what is known of them, two at least.
        rows: what is known of each, in the order of ``values``.
    """

    values: Float64[np.ndarray, "n d"]
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


def write_vectors(folder: Path, vectors: Mapping[str, Vectors]) -> list[str]:
    """Show vectors in the projector, which finds a run's files by projector_config.pbtxt beside its events.

    Args:
        folder: the run's folder.
        vectors: name → vectors.

    Returns:
        Names of the files.
    """
    config, names = [], []
    for name, one in vectors.items():
        plain = re.sub(r"[^\w.-]", "_", name)
        tensors, metadata = f"projector_{plain}.tsv", f"projector_{plain}_metadata.tsv"
        numbers = [[f"{value:.6g}" for value in row] for row in one.values.tolist()]
        for file, rows in ((tensors, numbers), (metadata, [one.header, *one.rows])):
            lines = ("\t".join(re.sub(r"\s", " ", cell) for cell in row) for row in rows)
            write_atomically(folder / file, printable("".join(f"{line}\n" for line in lines)))
            names.append(file)
        config.append(
            f'embeddings {{\n  tensor_name: "{plain}"\n  tensor_path: "{tensors}"\n'
            f'  metadata_path: "{metadata}"\n}}\n'
        )
    if not config:
        return []
    write_atomically(folder / PROJECTOR, "".join(config))
    return [*names, PROJECTOR]


def _write_hparams(writer: SummaryWriter, record: Mapping[str, Any]) -> None:
    """A row of the HParams tab.

    No list of names is written, since TensorBoard would take one run's list for all runs. It finds the names
    of settings in the rows, and shows those first that differ; and those of metrics in the folders of the
    rows, where curves would be among them. Of the metrics it shows the first five.
    """
    chosen, metrics = settings_of(record), metrics_of(record)
    _, start, end = hparams(chosen, metrics)  # type: ignore[no-untyped-call]
    for summary in (start, end):
        writer._get_file_writer().add_summary(summary)  # type: ignore[no-untyped-call]
    for tag, value in metrics.items():
        writer.add_scalar(tag, value, 0)
