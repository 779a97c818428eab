"""What of a summary's tables is printed, and in which order."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from neural_branching.errors import InputError, one_of, whole
from neural_branching.report.cells import Cell, Entry, setting
from neural_branching.report.collect import SEEDS, Summary
from neural_branching.report.results import Row
from neural_branching.report.screen_table import Column, ScreenTable


@dataclass(frozen=True)
class View:
    """Options of ``report``. Names are columns of summary.csv, whose ``test_`` may be left out.

    Attributes:
        where: conditions COLUMN=VALUE[,VALUE], all of which hold.
        by: settings that tell lines apart; what else differs is averaged. Empty for every setting.
        sort: column by which the best line comes first, of settings the smallest; None for the order of the
            runs.
        top: number of lines that each table keeps; None for all.
        columns: numbers to show, in this order; empty for the usual ones.

    Raises:
        InputError: for a number of lines below 1.
    """

    where: Sequence[str] = ()
    by: Sequence[str] = ()
    sort: str | None = None
    top: int | None = None
    columns: Sequence[str] = ()

    def __post_init__(self) -> None:
        if self.top is not None:
            whole(self.top, "--top", 1)

    @property
    def is_chosen(self) -> bool:
        """Whether lines or columns are chosen, so that one table has to hold them all."""
        return bool(self.by or self.sort or self.columns) or self.top is not None

    def names(self, summary: Summary) -> list[str]:
        """The settings that tell lines apart.

        Raises:
            InputError: if ``by`` names a column that is none of a setting.
        """
        return [one_of(name, summary.setting, "--by") for name in self.by] or list(summary.setting)

    def narrowed(self, summary: Summary) -> Summary:
        """The summary of the runs that meet every condition.

        Raises:
            InputError: for an unknown column or value.
        """
        rows = summary.completed
        for condition in self.where:
            name, equals, values = condition.partition("=")
            if not equals:
                raise InputError(f"--where is {condition!r}: write COLUMN=VALUE or COLUMN=VALUE,VALUE.")
            # A value may have commas itself, as a list of widths.
            whole_value = any(_is(row.get(name), values) for row in rows)
            wanted = [values] if whole_value else values.split(",")
            rows = having(rows, ("run", *summary.setting, *SEEDS), name, wanted, "--where")
        chosen = {id(row) for row in rows}
        certificates = [one for one in summary.certificates if id(one.row) in chosen]
        subsets = {row.get("subset") for row in rows}
        published = {name: one for name, one in summary.published.items() if name in subsets}
        return replace(summary, completed=rows, certificates=certificates, published=published)

    def check(self, tables: Sequence[ScreenTable]) -> None:
        """Check every name against the columns of all tables.

        Raises:
            InputError: for a name that no table has.
        """
        every = [column for table in tables for column in table.columns if column.kind != "name"]
        numbers = [column for column in every if column.kind == "number"]
        for option, asked, among in (("--sort", [self.sort], every), ("--columns", self.columns, numbers)):
            for name in asked:
                if name and not any(_is_called(column, name) for column in among):
                    one_of(name, dict.fromkeys(map(_name, among)), option)

    def of(self, tables: Sequence[ScreenTable]) -> list[ScreenTable]:
        """The tables sorted, cut and with the columns that were chosen, without those that have none."""
        return [
            self._chosen(table)
            for table in tables
            if (not self.sort or _places(table, [self.sort]))
            and (not self.columns or _places(table, self.columns))
        ]

    def _chosen(self, table: ScreenTable) -> ScreenTable:
        title, rows = table.title, list(table.rows)
        for place in _places(table, [self.sort] if self.sort else []):
            column = table.columns[place]
            rows.sort(key=lambda row: _order(row[place], rises=column.rises))
            title += f", {'largest' if column.rises else 'smallest'} {column.heading} first"
        if self.top is not None and self.top < len(rows):
            title += f": {self.top} of {len(rows)} lines"
            rows = rows[: self.top]
        sorting = _places(table, [self.sort] if self.sort else [])
        # What sorts the lines stands beside them.
        columns = [
            replace(column, rank=0) if place in sorting or self.columns else column
            for place, column in enumerate(table.columns)
        ]
        table = replace(table, title=title, rows=rows, columns=columns)
        if not self.columns:
            return table
        kept = [place for place, column in enumerate(columns) if column.kind != "number"]
        return table.only([*kept, *_places(table, self.columns)])


def having(
    rows: Sequence[Row], columns: Sequence[str], name: str, wanted: Sequence[str], place: str
) -> list[Row]:
    """The records that have one of some values in a column.

    Args:
        rows: records with these columns.
        columns: those that may be named.
        name: of the column.
        wanted: its values, as they are or as tables show them.
        place: where they were typed.

    Raises:
        InputError: for an unknown column, or a value that no record has.
    """
    one_of(name, columns, f"The column in {place}")
    for value in wanted:
        if not any(_is(row[name], value) for row in rows):
            one_of(value, dict.fromkeys(str(row[name]) for row in rows), f"{name} in {place}")
    return [row for row in rows if any(_is(row[name], value) for value in wanted)]


def _is(value: object, typed: str) -> bool:
    return typed in (str(value), setting(value))


def _name(column: Column) -> str:
    return (column.name or column.heading.replace(" ", "_")).removeprefix("test_")


def _is_called(column: Column, name: str) -> bool:
    return name in (column.name, _name(column))


def _places(table: ScreenTable, names: Sequence[str]) -> list[int]:
    """Where the columns of these names stand, in their order."""
    columns = [(place, column) for place, column in enumerate(table.columns) if column.kind != "name"]
    found = ([place for place, column in columns if _is_called(column, name)][:1] for name in names)
    return [place for places in found for place in places]


def _order(entry: Entry, *, rises: bool) -> tuple[Any, ...]:
    """Numbers in order, then text, then what is not there."""
    value: float | None
    if isinstance(entry, Cell):
        value = entry.mean
    else:
        try:
            value = float(entry)
        except ValueError:
            return (1, entry) if entry else (2,)
    return (2,) if value is None or value != value else (0, -value if rises else value)
