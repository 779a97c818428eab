"""The numbers of a run that tables, CSV files and TensorBoard show: one list for all of them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Metric:
    """One number of results.json.

    Attributes:
        name: column of summary.csv.
        path: where it stands in results.json.
        heading: column of the tables; None if they leave it out.
        tag: what loggers call it; None if they leave it out. The HParams tab of TensorBoard shows the first
            five by name: those of "test/".
        may_lack: whether a run may be without it.
        beside: a count, by name: tables leave the number out where that is 0 in all runs.
        bare: whether no interval belongs to it, whatever older results hold.
        rank: on a narrow screen the highest ranks leave first.
        of_threshold: whether it changes with a threshold.
    """

    name: str
    path: tuple[str, ...]
    heading: str | None = None
    tag: str | None = None
    may_lack: bool = False
    beside: str | None = None
    bare: bool = False
    rank: int = 0
    of_threshold: bool = False

    @property
    def rises(self) -> bool:
        """Whether more is better."""
        return any(word in self.name for word in ("accuracy", "auroc", "coverage", "accepted", "p_value"))

    def of(self, results: Mapping[str, Any]) -> Any:
        """The number; None where it is missing or undefined."""
        return at(results, self.path)

    def interval(self, results: Mapping[str, Any]) -> tuple[float, float] | None:
        """Its 95 % interval over test examples, if it has one."""
        if self.bare:
            return None
        found = at(results, (*self.path[:-1], "intervals", self.path[-1]))
        return None if found is None or None in found else (found[0], found[1])


def at(results: Any, path: tuple[str, ...]) -> Any:
    """What stands at a path of keys; None if there is nothing."""
    for name in path:
        results = results.get(name) if isinstance(results, Mapping) else None
    return results


# What a calibrated classifier with the same confidences would show.
_FLOOR, _SCALED = (("reliability", key, "if_calibrated", "ece") for key in ("before", "after"))

METRICS = (
    Metric("threshold_value", ("threshold", "value"), may_lack=True, of_threshold=True),
    Metric("threshold_n", ("threshold", "n"), of_threshold=True),
    Metric("validation_accuracy", ("validation", "accuracy")),
    Metric("test_n", ("test", "n")),
    Metric("test_accuracy", ("test", "accuracy"), "accuracy", "test/accuracy"),
    Metric("test_duplicates", ("duplicates", "test", "train", "examples"), may_lack=True),
    Metric("distinct_n", ("duplicates", "without", "n"), may_lack=True),
    Metric(
        "distinct_accuracy",
        ("duplicates", "without", "accuracy"),
        "without duplicates",
        may_lack=True,
        beside="test_duplicates",
        rank=3,
    ),
    Metric("distinct_aurc", ("duplicates", "without", "aurc"), may_lack=True),
    Metric("test_aurc", ("test", "aurc"), "AURC", "test/aurc"),
    Metric("test_e_aurc", ("test", "e_aurc"), None, "test_more/e_aurc"),
    Metric("test_augrc", ("test", "augrc"), None, "test_more/augrc"),
    Metric("test_failure_auroc", ("test", "failure_auroc"), None, "test_more/failure_auroc", may_lack=True),
    Metric("test_coverage", ("test", "coverage"), "coverage", "test/coverage", rank=1, of_threshold=True),
    Metric("test_n_accepted", ("test", "n_accepted"), of_threshold=True),
    Metric(
        "test_selective_accuracy",
        ("test", "selective_accuracy"),
        "selective accuracy",
        "test/selective_accuracy",
        may_lack=True,
        rank=1,
        of_threshold=True,
    ),
    Metric("temperature", ("reliability", "temperature")),
    Metric("test_ece", ("reliability", "before", "ece"), "ECE", "test_more/ece", bare=True, rank=3),
    Metric("test_ece_floor", (*_FLOOR, "mean"), "ECE floor", "test_more/ece_floor", may_lack=True, rank=5),
    Metric("test_ece_p_value", (*_FLOOR, "p_value"), None, "test_more/ece_p_value", may_lack=True),
    Metric(
        "test_ece_scaled",
        ("reliability", "after", "ece"),
        "scaled ECE",
        "test_more/ece_scaled",
        bare=True,
        rank=4,
    ),
    Metric(
        "test_ece_scaled_floor",
        (*_SCALED, "mean"),
        "scaled floor",
        "test_more/ece_scaled_floor",
        may_lack=True,
        rank=5,
    ),
    Metric(
        "test_ece_scaled_p_value", (*_SCALED, "p_value"), None, "test_more/ece_scaled_p_value", may_lack=True
    ),
    Metric("test_confident_n", ("reliability", "before", "confident", "n")),
    Metric("test_confident_accuracy", ("reliability", "before", "confident", "accuracy"), may_lack=True),
    Metric("test_confident_n_scaled", ("reliability", "after", "confident", "n")),
    Metric(
        "test_confident_accuracy_scaled", ("reliability", "after", "confident", "accuracy"), may_lack=True
    ),
    Metric(
        "false_accept_rate",
        ("foreign", "false_accept_rate"),
        "false accepts",
        "test/false_accept_rate",
        may_lack=True,
        rank=2,
        of_threshold=True,
    ),
    Metric("foreign_auroc", ("foreign", "auroc"), None, "test_more/foreign_auroc", may_lack=True),
    Metric("foreign_fpr95", ("foreign", "fpr95"), None, "test_more/foreign_fpr95", may_lack=True),
    Metric("scod_aurc", ("foreign", "scod_aurc"), None, "test_more/scod_aurc", may_lack=True),
    Metric(
        "restricted_accuracy",
        ("test", "parent_restricted", "accuracy"),
        "parent restricted",
        "test_more/parent_restricted_accuracy",
        may_lack=True,
        rank=2,
    ),
    Metric(
        "restricted_aurc",
        ("test", "parent_restricted", "aurc"),
        "restricted AURC",
        "test_more/parent_restricted_aurc",
        may_lack=True,
        rank=3,
    ),
    Metric("parent_test_accuracy", ("parent", "test_accuracy"), "parent, all classes", may_lack=True, rank=4),
    Metric("prefix_macs", ("cost", "macs", "to_branch_point"), may_lack=True),
    Metric("path_macs", ("cost", "macs", "path"), may_lack=True),
    Metric("parent_macs", ("cost", "macs", "parent"), may_lack=True),
    Metric("branch_parameters", ("branch", "parameters")),
    Metric("training_seconds", ("artifacts", "branch", "build_seconds"), may_lack=True),
    Metric("cache_bytes", ("cost", "cache_bytes"), may_lack=True),
)
# What tables show of every run.
SHOWN = tuple(metric for metric in METRICS if metric.heading and not metric.beside)


def shown(rows: Iterable[Mapping[str, Any]]) -> list[Metric]:
    """What tables show of these runs, given as flat records."""
    found = list(rows)
    beside = {metric.name for metric in METRICS if any(row[metric.name] for row in found)}
    return [metric for metric in METRICS if metric in SHOWN or metric.beside in beside]


def tree_metrics(router: str) -> tuple[Metric, ...]:
    """The same for a tree of branches, evaluated by its chosen router."""
    routed, answers = ("routers", router), ("answers", "back_off")
    return (
        Metric("test_accuracy", (*routed, "accuracy"), None, "test/accuracy"),
        Metric("test_aurc", (*routed, "aurc"), None, "test/aurc"),
        *(
            Metric(f"test_{name}", (*routed, name), None, f"test_more/{name}")
            for name in ("augrc", "routing_accuracy", "regret")
        ),
        Metric("test_answered", (*answers, "answered"), None, "test/coverage", may_lack=True),
        Metric(
            "test_selective_accuracy",
            (*answers, "selective_accuracy"),
            None,
            "test/selective_accuracy",
            may_lack=True,
        ),
        Metric(
            "test_hierarchical_coverage",
            (*answers, "hierarchical_coverage"),
            None,
            "test_more/hierarchical_coverage",
            may_lack=True,
        ),
        Metric("path_macs", ("cost", "macs", "path"), None, "test_more/path_macs"),
    )


# And for a cascade.
CASCADE_METRICS = (
    Metric("dial", ("threshold", "value"), "dial", None, may_lack=True),
    Metric("validation_accuracy", ("validation", "accuracy")),
    Metric("test_n", ("test", "n")),
    Metric("test_accuracy", ("test", "accuracy"), "accuracy", "test/accuracy"),
    Metric("last_accuracy", ("test", "last_accuracy"), "last exit", "test_more/last_accuracy"),
    Metric("test_differs", ("test", "differs"), "differs", "test/differs"),
    Metric("test_macs_share", ("test", "macs", "share"), "MACs", "test/macs_share"),
    Metric("test_macs", ("test", "macs", "mean"), None, "test_more/macs"),
    Metric("test_answered", ("test", "answered"), "answered", "test/coverage"),
    Metric(
        "test_selective_accuracy",
        ("test", "selective_accuracy"),
        "selective accuracy",
        "test/selective_accuracy",
        may_lack=True,
    ),
    Metric("test_aurc", ("test", "aurc"), "AURC", "test_more/aurc", may_lack=True),
    Metric("test_milliseconds_share", ("test", "milliseconds", "share"), "time", None, may_lack=True),
)
