"""A summary of branches on the screen."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from statistics import NormalDist
from typing import Any

from rich.console import Console
from rich.text import Text

from neural_branching.report.baseline_table import NOTE as BASELINES_NOTE
from neural_branching.report.baseline_table import baseline_columns, summary_lines
from neural_branching.report.cells import Cell, Entry, Interval, setting, short_name
from neural_branching.report.collect import Summary, listed
from neural_branching.report.metrics import METRICS, Metric, shown
from neural_branching.report.results import Row
from neural_branching.report.screen_table import Column, ScreenTable, console, print_table
from neural_branching.report.search import Search
from neural_branching.report.tables import (
    NOTES,
    SEARCH_NOTE,
    certificate_lines,
    certificate_note,
    notes,
    shown_settings,
)
from neural_branching.report.view import View

CSV = "summary.csv"
USUAL = View()
AVERAGED_NOTE = "±: standard deviation over the runs of a line, which differ in more than seeds."


def print_summary(summary: Summary, view: View = USUAL) -> None:
    """Print one line per setting, certificates, what failed, what was built, and where the files are.

    Args:
        summary: the runs.
        view: what of it.

    Raises:
        InputError: if the view names a column or value that is not there.
    """
    screen, runs = console(), summary.runs
    summary = view.narrowed(summary)
    if summary.completed:
        print_legend(screen, _print_settings(screen, summary, view), view, summary, runs)
    if not view.is_chosen:
        _print_others(screen, summary)
    print_ending(summary)


def print_legend(screen: Console, said: str, view: View, summary: Summary, runs: int) -> None:
    """Print which runs were chosen, what explains the tables, and no more, and what examples repeat others.

    Args:
        screen: where to.
        said: what stands in the tables.
        view: what was chosen.
        summary: the chosen runs.
        runs: number of all runs.
    """
    if view.where:
        screen.print(f"Runs with {' '.join(view.where)}: {summary.runs} of {runs}.", highlight=False)
    explained = [AVERAGED_NOTE if view.by and note == NOTES["±"] else note for note in notes(said)]
    for line in (*explained, *summary.repeated_examples(), *summary.shifted()):
        screen.print(line, highlight=False)


def print_ending(summary: Summary) -> None:
    """Print what failed, what does not compare, what was built, and where the files are."""
    screen = console()
    failed = {row["run"]: f"{row['status']} {{}}: {row['error']}" for row in summary.failed}
    for line in _summed_up(failed):
        screen.print(Text(line, style="red"))
    for line in _summed_up({run: f"skipped {{}}: {reason}" for run, reason in summary.unread.items()}):
        screen.print(line, highlight=False)
    built: dict[str, int] = {}
    for row in summary.completed:
        for part in row["built"].split():
            built[part] = built.get(part, 0) + 1
    for sentence in (*summary.mixed, *summary.repeated()):
        screen.print(sentence, highlight=False)
    counts = ", ".join(f"{count} {part}" for part, count in built.items())
    if summary.completed:
        screen.print(f"Built by these runs: {counts or 'nothing, all was in the store'}.", highlight=False)
    if without := len(summary.failed) + len(summary.unread):
        screen.print(f"Without results: {without} of {summary.runs + without} runs.", highlight=False)
    screen.print(f"Tables and figures: {summary.folder}", highlight=False, soft_wrap=True)


def setting_columns(names: Iterable[str]) -> list[Column]:
    """Columns of settings; of ``branch.fit.lr`` the heading is the end that tells it from the others."""
    every = list(names)
    return [Column(short_name(name, every), "setting", name=name) for name in every]


def _summed_up(reasons: dict[str, str]) -> list[str]:
    """A line for each reason, with the runs that it is the reason of."""
    runs: dict[str, list[str]] = {}
    for run, reason in reasons.items():
        runs.setdefault(reason, []).append(run)
    return [
        reason.replace("{}", mine[0] if len(mine) == 1 else f"{len(mine)} runs ({listed(mine)})", 1)
        for reason, mine in runs.items()
    ]


def _print_settings(screen: Console, summary: Summary, view: View) -> str:
    """Print the tables, and what is the best of them; returns what stands in them."""
    names = view.names(summary)
    records = summary.settings(view.by)
    columns = _columns(summary, names, averaged=bool(view.by))
    best = None if view.by else _Best(summary, records, _compared_by(view))
    rows = [[_entry(record, column.name, best) for column in columns] for record in records]
    table = ScreenTable(f"{summary.runs} run{'s' * (summary.runs > 1)}, test examples", columns, rows, CSV)
    tables = [table] if view.is_chosen else _apart(summary, records, table)
    view.check(tables)
    said = " ".join([print_table(screen, part) for part in view.of(tables)])
    if best and "*" in said and (line := best.sentence()):
        screen.print(line, highlight=False)
    if summary.published:
        said += print_table(screen, _published(summary))
    return said


def _columns(summary: Summary, names: Iterable[str], *, averaged: bool) -> list[Column]:
    usual = shown(summary.completed)
    columns = setting_columns(names)
    if averaged or any(len(rows) > 1 for rows in summary.groups().values()):
        columns.append(Column("runs" if averaged else "seeds", "setting", name="seeds"))
    for metric in METRICS:
        heading = metric.heading or metric.name.removeprefix("test_").replace("_", " ")
        rank = metric.rank if metric in usual else None
        columns.append(Column(heading, "number", rank, metric.name, metric.rises))
    return columns


def _apart(summary: Summary, records: Sequence[Row], table: ScreenTable) -> list[ScreenTable]:
    """Of several thresholds, what none of them changes once per model, and then what they do."""
    models: dict[tuple[Any, ...], int] = {}
    for place, record in enumerate(records):
        models.setdefault(_model(summary, record), place)
    if len(models) == len(records):
        return [table]
    changed = {metric.name for metric in METRICS if metric.of_threshold}
    kinds = {
        place: "threshold"
        if column.name in changed or _is_threshold(column.name)
        else "both"
        if column.kind == "setting"
        else "model"
        for place, column in enumerate(table.columns)
    }
    of_models, of_thresholds = (
        table.only([place for place, mine in kinds.items() if mine in (kind, "both")])
        for kind in ("model", "threshold")
    )
    return [
        replace(of_models, rows=[of_models.rows[place] for place in models.values()]),
        replace(of_thresholds, title="Their thresholds, test examples"),
    ]


def _entry(record: Row, name: str, best: "_Best | None") -> Entry:
    value = record[name]
    if not isinstance(value, Cell):
        return setting(value)
    return best.marked(record, name, value) if best else value


def _is_threshold(name: str) -> bool:
    return name == "threshold" or name.startswith("threshold.")


def _model(summary: Summary, record: Row) -> tuple[Any, ...]:
    """The settings that tell models apart: a threshold changes none."""
    return tuple(record[name] for name in summary.setting if not _is_threshold(name))


def _compared_by(view: View) -> Metric:
    """The metric whose best setting is marked."""
    names = {metric.name: metric for metric in METRICS if metric.heading and not metric.of_threshold}
    return names.get(str(view.sort)) or names.get(f"test_{view.sort}") or names["test_aurc"]


class _Best:
    """The best model of each subset by a metric, and what it is worth after choosing it.

    Args:
        summary: the runs.
        records: one per setting.
        metric: by which models are compared.
    """

    def __init__(self, summary: Summary, records: Sequence[Row], metric: Metric) -> None:
        self.summary, self.metric = summary, metric
        self.best: dict[tuple[Any, ...], tuple[Row, int]] = {}
        groups: dict[tuple[Any, ...], dict[tuple[Any, ...], Row]] = {}
        names = [name for name in ("data", "subset", "fingerprint") if name in summary.setting]
        for record in records:
            if record[metric.name].mean is not None:
                key = tuple(record[name] for name in names)
                groups.setdefault(key, {})[_model(summary, record)] = record
        for models in groups.values():
            key = min(models, key=lambda model: self._loss(models[model]))
            if len(models) > 1:
                self.best[key] = models[key], len(models)

    def _loss(self, record: Row) -> float:
        mean: float = record[self.metric.name].mean
        return -mean if self.metric.rises else mean

    def marked(self, record: Row, name: str, cell: Cell) -> Cell:
        """A cell of a table, with a star if it is that of the best model."""
        best = name == self.metric.name and _model(self.summary, record) in self.best
        return replace(cell, mark="*") if best else cell

    def sentence(self) -> str:
        """What the star means; "" if there is none."""
        found = []
        for record, compared in self.best.values():
            cell: Cell = record[self.metric.name]
            text = cell.without_interval()
            if cell.mean is not None and cell.interval is not None:
                text = str(replace(cell, interval=corrected(cell.mean, cell.interval, compared)))
            found.append(f"{record['subset']} {text} of {compared}")
        if not found:
            return ""
        return (
            f"*: the best {self.metric.heading} of the models of a subset. Chosen by these test examples it "
            "looks better than it is: choose by validation, or rely on certificates. With its "
            f"interval corrected for choosing (Bonferroni): {listed(found)}."
        )


def corrected(value: float, interval: Interval, compared: int) -> Interval:
    """A 95 % interval of a share that holds for the best of several: at level 1 − 0.05 / compared.

    Both sides are widened by the ratio of the normal quantiles, and end at 0 and 1.
    """
    normal = NormalDist()
    wider = normal.inv_cdf(1 - 0.025 / compared) / normal.inv_cdf(0.975)
    return max(0.0, value - wider * (value - interval[0])), min(1.0, value + wider * (interval[1] - value))


def _published(summary: Summary) -> ScreenTable:
    columns = [Column("subset", "name"), Column("source", "name")]
    metrics = [metric for metric in shown(summary.completed) if metric.path[:-1] == ("test",)]
    columns += [Column(str(metric.heading)) for metric in metrics]
    rows: list[list[Entry]] = [
        [subset, figures["source"], *(Cell(figures.get(metric.path[-1])) for metric in metrics)]
        for subset, figures in summary.published.items()
    ]
    return ScreenTable("Published figures", columns, rows)


def _print_others(screen: Console, summary: Summary) -> None:
    """Print what a search has found, baselines and certificates."""
    names = shown_settings(summary) if summary.completed else []
    if search := Search.of(summary):
        _, found = search.table(names)
        columns = [*setting_columns(names), *map(Column, search.objectives), Column("run", "name", rank=1)]
        print_table(screen, ScreenTable(search.title(), columns, found))
        screen.print(SEARCH_NOTE, highlight=False)
    models = [name for name in names if not _is_threshold(name)]
    if lines := summary_lines(summary, models):
        lines = list({tuple(map(str, line)): line for line in lines}.values())  # once for all thresholds
        columns = [*setting_columns(models), *baseline_columns()]
        print_table(screen, ScreenTable("Baselines, test examples", columns, lines, "baselines.csv"))
        screen.print(BASELINES_NOTE, highlight=False)
    if summary.certificates:
        header, lines = certificate_lines(summary)
        columns = [*setting_columns(names), *map(Column, header[len(names) :])]
        print_table(screen, ScreenTable("Certificates", columns, lines, CSV))
        screen.print(certificate_note(summary.certificates), highlight=False)
    for run, reason in summary.uncertified.items():
        screen.print(f"not certified again {run}: {reason}", highlight=False)
