"""What the upkeep of a store prints."""

from collections.abc import Iterable, Sequence

from neural_branching.report.screen_table import Column, ScreenTable, console, print_table
from neural_branching.store.upkeep import Entry


def print_contents(entries: Sequence[Entry]) -> None:
    """A line for each artifact and leftover, and what they take."""
    columns = [
        Column("kind", "name"),
        Column("key", "name"),
        Column("size"),
        Column("built (UTC)", "name", rank=3),
    ]
    columns += [Column("in", rank=2), Column("runs", rank=1), Column("what", "name")]
    rows = []
    for one in entries:
        seconds = f"{one.seconds:.1f} s" if one.created else "–"
        runs = str(one.runs) if one.created else "–"
        rows.append(
            [one.kind, one.name, _size(one.bytes), one.created or "–", seconds, runs, _breakable(one.what)]
        )
    screen = console()
    print_table(screen, ScreenTable("", columns, rows))
    screen.print(f"{len(entries)} entries, {_size(sum(one.bytes for one in entries))}.", highlight=False)


def print_problems(found: Iterable[tuple[Entry, str]]) -> bool:
    """A line for each artifact that is damaged; whether there is one."""
    screen = console()
    checked, damaged = 0, 0
    for entry, problem in found:
        checked += 1
        damaged += bool(problem)
        if problem:
            screen.print(f"{entry.kind} {entry.name}: {problem}.", highlight=False, soft_wrap=True)
    rest = "all whole" if not damaged else f"{damaged} damaged: the next run that needs one builds it again"
    screen.print(f"{checked} artifacts, {rest}.", highlight=False, soft_wrap=True)
    return bool(damaged)


def print_pruned(pruned: Sequence[Entry], *, really: bool) -> None:
    """A line for each entry that went, or would go, and how much room that makes."""
    screen = console()
    for one in pruned:
        line = f"{one.kind} {one.name}: {_size(one.bytes)}, {one.what}"
        screen.print(line, highlight=False, soft_wrap=True)
    verb = "removed" if really else "would be removed"
    total = _size(sum(one.bytes for one in pruned))
    screen.print(f"{len(pruned)} entries {verb}, {total}.", highlight=False, soft_wrap=True)


def _breakable(text: str) -> str:
    """Long lists of classes, which can then be broken between them."""
    return text.replace("+", " + ")


def _size(count: int) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000  # type: ignore[assignment]
    return f"{count:.1f} GB"
