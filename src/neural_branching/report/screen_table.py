"""Tables that fit the terminal: what all rows share stands above them, then what there is room for."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

from neural_branching.report.cells import Cell, Entry

Broken = Callable[[str], list[str]]
BETWEEN = 2  # spaces from one column to the next
LONG = 24  # rows of a table that intervals below their numbers would make twice as long


@dataclass(frozen=True)
class Column:
    """A column of a table on the screen.

    Attributes:
        heading: breaks between its words.
        kind: "name" of the row, "setting" that rows may share, or "number". What all rows share goes into
            a line above them, unless it is a name.
        rank: on a narrow screen the highest ranks leave first, and 0 never; None is shown only if asked for.
        name: how options name it; "" for its heading.
        rises: whether more is better.
    """

    heading: str
    kind: Literal["name", "setting", "number"] = "number"
    rank: int | None = 0
    name: str = ""
    rises: bool = False


@dataclass(frozen=True)
class ScreenTable:
    """Rows of what columns hold.

    Attributes:
        title: a line above.
        columns: from left to right.
        rows: one entry per column.
        whole: where everything stands that a narrow screen leaves out.
    """

    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Entry]]
    whole: str = "a wider screen"

    def only(self, places: Sequence[int]) -> "ScreenTable":
        """The columns at these places, in this order."""
        columns = [self.columns[place] for place in places]
        return replace(self, columns=columns, rows=[[row[place] for place in places] for row in self.rows])


def console() -> Console:
    """A console as wide as the terminal, or as ``COLUMNS`` says.

    In a file or a pipe tables have 200 columns, and each sentence is one line.
    """
    plain = Console(markup=False, emoji=False)
    known = plain.is_terminal or "COLUMNS" in os.environ
    return plain if known else Console(width=200, soft_wrap=True, markup=False, emoji=False)


def print_table(screen: Console, table: ScreenTable) -> str:
    """Print a table that is no wider than the screen, and name what had no room.

    Intervals leave first, those of the highest ranks before others, then columns of a rank above 0. No name
    and no number is broken: what cannot be left out may be wider than the screen.

    Returns:
        Headings and cells that stand on the screen, for a legend that explains no others.
    """
    table = table.only([place for place, one in enumerate(table.columns) if one.rank is not None])
    table, shared = _shared(table)
    fitting = _Fitting(table, screen.width)
    screen.print()
    if table.title:
        screen.print(table.title, style="bold", highlight=False)
    if shared:
        screen.print(_wrapped(shared, screen.width), highlight=False)
    if fitting.kept:
        screen.print(fitting.drawn(), crop=False, highlight=False, soft_wrap=False)
    if left_out := fitting.left_out():
        where = f"No room on {screen.width} columns for {left_out}: {table.whole} has all."
        screen.print(where, highlight=False)
    screen.print()
    return " ".join((*shared, *fitting.said()))


def _wrapped(phrases: Sequence[str], width: int) -> str:
    """Phrases in as few lines as hold them whole."""
    lines = [""]
    for phrase in phrases:
        longer = f"{lines[-1]} · {phrase}" if lines[-1] else phrase
        if cell_len(longer) <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(phrase)
    return "\n".join(lines)


def _shared(table: ScreenTable) -> tuple[ScreenTable, list[str]]:
    """The table without what all its rows share, and that as phrases."""
    rest, shared = [], []
    for place, column in enumerate(table.columns):
        values = {str(row[place]) for row in table.rows}
        lifted = column.kind == "setting" or (column.kind == "number" and len(table.rows) > 1)
        if lifted and len(values) == 1:
            shared += [f"{column.heading} {value}" for value in values if value]
        else:
            rest.append(place)
    if shared and len(table.rows) > 1:
        shared[0] = f"All: {shared[0]}"
    return table.only(rest), shared


class _Fitting:
    """Which columns of a table, and which of their intervals, have room.

    Args:
        table: its columns all have a rank.
        width: of the screen.
    """

    def __init__(self, table: ScreenTable, width: int) -> None:
        self.table, self.width = table, width
        self.before = " ["  # an interval stands beside its number, or below it, which keeps the table narrow
        self.kept = list(range(len(table.columns)))
        self.intervals = {
            place for place in self.kept if any(_has_interval(row[place]) for row in table.rows)
        }
        self.without: set[int] = set()
        if self._total() > width:
            self.before = "\n["
        long = self.before == "\n[" and len(table.rows) > LONG
        for place in self._leaving(self.intervals):
            if long or self._total() > width:
                self.intervals.remove(place)
                self.without.add(place)
        for place in self._leaving(place for place in self.kept if table.columns[place].rank):
            if self._total() > width:
                self.kept.remove(place)

    def left_out(self) -> str:
        """What has no room, as a phrase; "" if nothing does."""
        headings = [
            column.heading for place, column in enumerate(self.table.columns) if place not in self.kept
        ]
        some = "some " if self.intervals else ""
        return ", ".join([f"{some}intervals"] * bool(self.without & set(self.kept)) + headings)

    def said(self) -> Iterator[str]:
        """Headings and cells."""
        for place in self.kept:
            yield self.table.columns[place].heading
            yield from (self._text(place, row[place]) for row in self.table.rows)

    def drawn(self) -> Table:
        """The table with a width for every column."""
        widths = self._widths()
        spare = max(0, self.width - self._total())
        for wanted in (self._widths(cells=str.splitlines), self._widths(str.splitlines, str.splitlines)):
            for index, width in enumerate(widths):
                grown = min(spare, max(0, wanted[index] - width))
                widths[index], spare = width + grown, spare - grown
        total = sum(widths) + BETWEEN * (len(widths) - 1)
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), width=total)
        for place, width in zip(self.kept, widths, strict=True):
            column = self.table.columns[place]
            justify: Literal["left", "right"] = "right" if column.kind == "number" else "left"
            table.add_column(column.heading, justify=justify, width=width)
        for row in self.table.rows:
            table.add_row(*(self._text(place, row[place]) for place in self.kept))
        return table

    def _leaving(self, places: Iterable[int]) -> list[int]:
        """Places in the order in which they leave: the highest ranks first, of one rank the last."""
        return sorted(places, key=lambda place: (self.table.columns[place].rank or 0, place), reverse=True)

    def _total(self) -> int:
        """The least width of the table."""
        return sum(self._widths()) + BETWEEN * (len(self.kept) - 1)

    def _widths(self, cells: Broken = str.split, headings: Broken = str.split) -> list[int]:
        """The longest piece of each column, whose cells and heading are broken in these ways."""
        widths = []
        for place in self.kept:
            column = self.table.columns[place]
            way = str.splitlines if column.kind == "number" else cells
            pieces = [piece for row in self.table.rows for piece in way(self._text(place, row[place]))]
            widths.append(max(map(cell_len, (*pieces, *headings(column.heading))), default=1))
        return widths

    def _text(self, place: int, entry: Entry) -> str:
        if isinstance(entry, str):
            return entry
        if place in self.intervals:
            return str(entry).replace(" [", self.before)
        return entry.without_interval()


def _has_interval(entry: Entry) -> bool:
    return isinstance(entry, Cell) and "[" in str(entry)
