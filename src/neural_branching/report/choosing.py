"""A table of some settings of a summary: filtered, grouped, sorted, cut, with the columns one wants."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from neural_branching.errors import InputError, one_of, whole
from neural_branching.report.collect import SEEDS, Summary, cell
from neural_branching.report.metrics import METRICS, Metric, shown
from neural_branching.report.results import Row

# Numbers of which less is better.
_LESS = re.compile(r"aurc|augrc|ece|fpr|false_accept|macs|seconds|bytes|parameters")


@dataclass(frozen=True)
class Choice:
    """What of a summary to show.

    Attributes:
        where: conditions COLUMN=VALUE[,VALUE], all of which hold.
        by: columns that tell lines apart; what else differs is averaged. Empty for every setting.
        sort: number by which the best line comes first; None for the order of the runs.
        top: number of lines; None for all.
        columns: numbers to show; empty for the usual ones.
    """

    where: Sequence[str] = ()
    by: Sequence[str] = ()
    sort: str | None = None
    top: int | None = None
    columns: Sequence[str] = ()

    def __bool__(self) -> bool:
        """Whether anything is chosen at all."""
        return bool(self.where or self.by or self.sort or self.columns) or self.top is not None

    def table(self, summary: Summary) -> tuple[str, list[str], list[list[str]], int]:
        """What to print of a summary of single branches.

        Returns:
            Title, headings, lines, and how many columns are numbers.

        Raises:
            InputError: for trees, a column that is not there, or conditions that no run meets.
        """
        if summary.command != "train":
            raise InputError("--where, --by, --sort, --top and --columns are of runs of train.")
        top = None if self.top is None else whole(self.top, "--top", 1)
        names = [one_of(name, summary.setting, "--by") for name in self.by] or list(summary.setting)
        rows = self._chosen(summary)
        groups: dict[tuple[str, ...], list[Row]] = {}
        for row in rows:
            groups.setdefault(tuple(str(row[name]) for name in names), []).append(row)
        ordered, said = list(groups.items()), ""
        if self.sort:
            metric = _metric(self.sort, "--sort")
            sign = 1 if _LESS.search(metric.name) else -1
            means = {key: cell([row[metric.name] for row in mine]).mean for key, mine in ordered}
            ordered.sort(key=lambda one: (means[one[0]] is None, sign * (means[one[0]] or 0)))
            said = f", {'smallest' if sign == 1 else 'largest'} {metric.name} first"
        metrics = [_metric(name, "--columns") for name in self.columns] or shown(rows)
        header = [*(name.replace("_", " ") for name in names), "runs"]
        header += [metric.heading or metric.name.replace("_", " ") for metric in metrics]
        lines = [[*key, str(len(mine)), *self._cells(mine, metrics)] for key, mine in ordered[:top]]
        kept = f"{len(lines)} of " if len(lines) < len(groups) else ""
        what = "groups of settings" if self.by else "settings"
        return f"{kept}{len(groups)} {what}, test examples{said}", header, lines, len(metrics)

    def _chosen(self, summary: Summary) -> list[Row]:
        rows, columns = summary.counted(), (*summary.setting, *SEEDS)
        for condition in self.where:
            name, equals, values = condition.partition("=")
            if not equals:
                raise InputError(f"--where is {condition!r}: write COLUMN=VALUE or COLUMN=VALUE,VALUE.")
            one_of(name, columns, "--where")
            there = list(dict.fromkeys(str(row[name]) for row in rows))
            wanted = {one_of(value, there, f"--where {name}") for value in values.split(",")}
            rows = [row for row in rows if str(row[name]) in wanted]
        return rows

    def _cells(self, rows: Sequence[Row], metrics: Sequence[Metric]) -> list[str]:
        # Lines that average over settings have no interval of one set of examples.
        return [
            str(
                cell(
                    [row[one.name] for row in rows],
                    () if self.by else [row[f"{one.name}_interval"] for row in rows],
                )
            )
            for one in metrics
        ]


def _metric(name: str, place: str) -> Metric:
    """A number of summary.csv by its name; "test_" may be left out."""
    known = {metric.name: metric for metric in METRICS}
    short = {metric.name.removeprefix("test_"): metric for metric in METRICS}
    return {**known, **short}[one_of(name, {**short, **known}, place)]
