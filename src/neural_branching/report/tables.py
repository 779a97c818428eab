"""Tables on the screen and in Markdown."""

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from neural_branching.report.collect import Row, Summary

AURC_NOTE = "AURC: one point per distinct score, trapezoids over coverage (Jaeger et al., 2023)."

METRICS = {
    "test_accuracy": "accuracy",
    "test_aurc": "AURC",
    "test_coverage": "coverage",
    "test_selective_accuracy": "selective accuracy",
    "restricted_accuracy": "parent restricted",
    "restricted_aurc": "its AURC",
}


def console() -> Console:
    """A console as wide as the terminal, or wide enough for every table in a file or a pipe."""
    plain = Console()
    return plain if plain.is_terminal else Console(width=140)


def number(value: float | None, deviation: float | None = None) -> str:
    """Three decimals, with ± if there is a deviation, or – where there is no number."""
    if value is None or value != value:
        return "–"
    return f"{value:.3f}" if deviation is None else f"{value:.3f}±{deviation:.3f}"


def print_summary(summary: Summary) -> None:
    """Print one line per setting, what failed, what was built, and where the files are."""
    screen = console()
    if summary.completed:
        header, lines = _settings(summary)
        table = Table(title=f"{len(summary.completed)} runs, test images", show_lines=False)
        for index, heading in enumerate(header):
            left = index < len(header) - len(METRICS)
            table.add_column(heading, justify="left" if left else "right", no_wrap=False)
        for line in lines:
            table.add_row(*line)
        screen.print(table)
    for row in summary.failed:
        failure = Text(f"{row['status']} {row['run']}: {row['error']}", style="red")
        screen.print(failure, soft_wrap=True)
    for run, reason in summary.unread.items():
        screen.print(f"skipped {run}: {reason}", highlight=False, soft_wrap=True)
    built: dict[str, int] = {}
    for row in summary.completed:
        for part in row["built"].split():
            built[part] = built.get(part, 0) + 1
    counts = ", ".join(f"{count} {part}" for part, count in built.items())
    screen.print(f"Built by these runs: {counts or 'nothing, all was in the store'}.", highlight=False)
    screen.print(f"Tables and figures: {summary.folder}", highlight=False, soft_wrap=True)


def markdown(summary: Summary) -> str:
    """The same as a document: settings, then single runs if they are more, then what failed."""
    parts = []
    if summary.completed:
        header, lines = _settings(summary)
        parts += ["## Settings", "", *_markdown_table(header, lines), "", AURC_NOTE]
        parts += ["± is the standard deviation over seeds.", ""]
        if len(lines) < len(summary.completed):
            names = ["run", *_shown(summary), "parent_seed", "branch_seed"]
            rows = [[str(row[name]) for name in names] + _metrics(row) for row in summary.completed]
            parts += ["## Runs", "", *_markdown_table([*names, *METRICS.values()], rows), ""]
    if summary.failed or summary.unread:
        rows = [[row["run"], f"{row['status']}: {row['error']}"] for row in summary.failed]
        rows += [[run, reason] for run, reason in summary.unread.items()]
        parts += ["## Without results", "", *_markdown_table(["run", "why"], rows), ""]
    return "\n".join(parts)


def _settings(summary: Summary) -> tuple[list[str], list[list[str]]]:
    records = summary.settings()
    names = _shown(summary)
    several = any(record["seeds"] > 1 for record in records)
    header = [*(name.replace("_", " ") for name in names), *(["seeds"] if several else []), *METRICS.values()]
    lines = []
    for record in records:
        seeds = [str(record["seeds"])] if several else []
        lines.append([*(str(record[name]) for name in names), *seeds, *_metrics(record)])
    for subset, figures in summary.published.items():
        label = [{"subset": subset, "threshold": figures["source"]}.get(name, "") for name in names]
        keys = ("accuracy", "aurc", "coverage", "selective_accuracy")
        values = [number(figures.get(key)) for key in keys]
        lines.append([*label, *([""] if several else []), *values, "–", "–"])
    return header, lines


def _shown(summary: Summary) -> list[str]:
    """The settings worth a column: subset, branch point and threshold, and whatever differs."""
    always = ("subset", "branch_point", "threshold")
    rows = summary.completed
    varying = [name for name in ("data", "parent", "branch") if len({row[name] for row in rows}) > 1]
    return [*varying, *always, *summary.swept]


def _metrics(row: Row) -> list[str]:
    values: list[Any] = [row[name] for name in METRICS]
    return [number(*value) if isinstance(value, tuple) else number(value) for value in values]


def _markdown_table(header: list[str], lines: list[list[str]]) -> list[str]:
    rule = f"|{'---|' * len(header)}"
    return [f"| {' | '.join(header)} |", rule, *(f"| {' | '.join(line)} |" for line in lines)]
