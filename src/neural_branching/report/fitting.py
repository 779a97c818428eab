"""Tables that fit the terminal: what never changes is said once, and what finds no room is named."""

from collections.abc import Sequence
from typing import Literal

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

# Columns that go first where there is no room, the first of them first; then those on the right.
LEAST = ("its floor", "scaled", "ECE", "its AURC", "without duplicates")
_BORDER = 3  # of each column

# Where the interval of a number stands, the widest first.
Form = Literal["beside", "below", "out"]
FORMS: tuple[Form, ...] = ("beside", "below", "out")


def print_table(
    screen: Console, title: str, header: Sequence[str], lines: Sequence[Sequence[str]], numbers: int
) -> None:
    """Print a table no wider than the screen, whose words and numbers stay whole.

    Of several lines a setting that is the same in all stands in the title. Intervals stand beside their
    numbers where there is room, else below them, else they are left out; then columns of numbers are.

    Args:
        screen: where to.
        title: of the table.
        header: headings, settings before numbers.
        lines: cells; the interval of a number stands behind it in brackets.
        numbers: how many of the columns are numbers.
    """
    settings = len(header) - numbers
    same = [
        index for index in range(settings) if len(lines) > 1 and len({line[index] for line in lines}) == 1
    ]
    said = [f"{header[index]} {lines[0][index]}" for index in same if lines[0][index] not in ("", "–")]
    columns = [index for index in range(len(header)) if index not in same]
    form = next((form for form in FORMS if _fits(screen, header, lines, columns, form)), FORMS[-1])
    lost = form == FORMS[-1] and any(" [" in cell for line in lines for cell in line)
    left_out = ["intervals"] if lost else []
    for index in _dispensable(header, numbers):
        if _fits(screen, header, lines, columns, form):
            break
        columns.remove(index)
        left_out.append(header[index])
    table = Table(title=" · ".join((title, *said)))
    least = [_width(header, lines, index, form) for index in columns]
    spare = screen.width - 1 - sum(least) - _BORDER * len(least)
    for index, width in zip(columns, least, strict=True):
        cells = [header[index], *(_shown(line[index], form) for line in lines)]
        wanted = max(cell_len(part) for cell in cells for part in cell.split("\n")) - width
        grown = max(0, min(wanted, spare))
        spare -= grown
        justify: Literal["left", "right"] = "left" if index < settings else "right"
        table.add_column(header[index], justify=justify, width=width + grown, overflow="fold")
    for line in lines:
        table.add_row(*(_shown(line[index], form) for index in columns))
    screen.print(table)
    if left_out:
        screen.print(f"Left out, for want of room: {', '.join(dict.fromkeys(left_out))}.", highlight=False)


def _fits(
    screen: Console,
    header: Sequence[str],
    lines: Sequence[Sequence[str]],
    columns: Sequence[int],
    form: Form,
) -> bool:
    widths = [_width(header, lines, index, form) + _BORDER for index in columns]
    return sum(widths) + 1 <= screen.width


def _width(header: Sequence[str], lines: Sequence[Sequence[str]], index: int, form: Form) -> int:
    """The least that a column can have without a broken word."""
    cells = [_shown(line[index], form) for line in lines]
    words = [word for cell in cells for part in cell.split("\n") for word in _words(part)]
    return max(map(cell_len, (*words, *header[index].split(" "), "")))


def _words(part: str) -> list[str]:
    """What cannot be broken: a number with its interval is one word."""
    return [part] if "[" in part else part.split(" ")


def _shown(cell: str, form: Form) -> str:
    number, bracket, interval = cell.partition(" [")
    if not bracket or form == "beside":
        return cell
    return f"{number}\n[{interval}" if form == "below" else number


def _dispensable(header: Sequence[str], numbers: int) -> list[int]:
    """Columns of numbers but the first, in the order in which they go."""
    candidates = list(range(len(header) - 1, len(header) - numbers, -1))
    least = [index for name in LEAST for index in candidates if header[index] == name]
    return [*least, *(index for index in candidates if index not in least)]
