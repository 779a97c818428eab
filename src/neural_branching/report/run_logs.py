"""What a finished run hands to a logger: its settings, its metrics, and the epochs of its networks."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from neural_branching.report.metrics import CASCADE_METRICS, METRICS, Metric, tree_metrics
from neural_branching.training.history import History
from neural_branching.training.loggers import Logger

# Options that are typed and change nothing, or that stand in a record of their own.
_LEFT_OUT = ("outputs", "trainer", "logger", "hydra", "threshold", "thresholds", "seed")


def log_run(
    logger: Logger,
    folder: Path,
    records: Sequence[Mapping[str, Any]],
    histories: Mapping[str, History],
) -> None:
    """Log a run with a logger that knows numbers alone; of several thresholds the first.

    Args:
        logger: starts what is logged to.
        folder: the run's folder.
        records: the run under each of its thresholds.
        histories: epochs of the parent and every branch, also when they were found in the store.
    """
    opened = logger.start(folder)
    with suppress(NotImplementedError):  # a file of metrics has no place for settings
        opened.log_hyperparams(settings_of(records[0]))
    for epoch, metrics in epochs_of(histories):
        opened.log_metrics(metrics, epoch)
    opened.log_metrics(metrics_of(records[0]), 0)
    opened.finalize("success")


def epochs_of(histories: Mapping[str, History]) -> Iterator[tuple[int, dict[str, float]]]:
    """Every epoch, from 1, with the metrics of all networks that were trained so long."""
    for epoch in range(max(map(len, histories.values()), default=0)):
        yield (
            epoch + 1,
            {
                f"{name}/{metric}": value
                for name, history in histories.items()
                for metric, value in (history[epoch] if epoch < len(history) else {}).items()
            },
        )


def settings_of(record: Mapping[str, Any]) -> dict[str, str | float]:
    """The settings that tell runs apart, by the names that one types, numbers as numbers.

    Args:
        record: a run under one of its thresholds.

    Returns:
        The groups, the parent's labels, the seeds, the threshold with its options and the value that it
        came to, and whatever else was typed.
    """
    tree, threshold = record["router"] is not None, record["threshold"]
    of = ("hierarchy", "router") if tree else ("subset",)
    typed = [override.lstrip("+~").partition("=") for override in record["overrides"]]
    options = dict(threshold["settings"])
    if not tree:  # of which every node has a value of its own
        options["value"] = threshold["value"]
    chosen = {
        **{name: value for name, _, value in typed if name.partition(".")[0] not in _LEFT_OUT},
        **{name: record[name] for name in of},
        "branch": record["branch"]["name"],
        "branch_point": record["branch_point"],
        "score": record["score"]["name"],
        "data": record["data"],
        "parent": record["parent"]["name"],
        "parent.labels": record["parent"]["labels"],
        "parent.seed": record["seeds"]["parent"],
        "branch.seed": record["seeds"]["branch"],
        "data.split.seed": record["seeds"]["split"],
        "threshold": threshold["rule"].partition(" ")[0],
        **{f"threshold.{name}": value for name, value in options.items()},
    }
    return {name: number for name, value in chosen.items() if (number := _plain(value)) is not None}


def metrics_of(record: Mapping[str, Any]) -> dict[str, float]:
    """Tag → number of what a run shows; nan where it is undefined."""
    shown: Sequence[Metric] = CASCADE_METRICS if "cascade" in record else METRICS
    if record["router"]:
        shown = tree_metrics(record["router"])
    values = {metric.tag: metric.of(record) for metric in shown if metric.tag is not None}
    return {tag: float("nan") if value is None else float(value) for tag, value in values.items()}


def _plain(value: Any) -> str | float | None:
    """A number, or text; None for what has no value, as the threshold of a rule that accepts nothing."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None if value is None else str(value)
    return number if abs(number) < float("inf") else None
