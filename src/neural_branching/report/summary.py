"""A folder of runs as one table and a few figures. Works on any folder, after any launcher."""

import csv
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from neural_branching.errors import InputError
from neural_branching.report.results import CONFIG, CURVE, RESULTS, read_results

COLUMNS: dict[str, tuple[str, ...]] = {
    "data": ("data",),
    "parent": ("parent", "name"),
    "subset": ("subset",),
    "branch_point": ("branch_point",),
    "branch": ("branch", "name"),
    "threshold_kind": ("threshold", "kind"),
    "threshold": ("threshold", "value"),
    "parent_seed": ("seeds", "parent"),
    "branch_seed": ("seeds", "branch"),
    "validation_accuracy": ("validation", "accuracy"),
    "test_n": ("test", "n"),
    "test_accuracy": ("test", "accuracy"),
    "test_aurc": ("test", "aurc"),
    "test_coverage": ("test", "coverage"),
    "test_n_accepted": ("test", "n_accepted"),
    "test_selective_accuracy": ("test", "selective_accuracy"),
    "restricted_accuracy": ("test", "parent_restricted", "accuracy"),
    "restricted_aurc": ("test", "parent_restricted", "aurc"),
    "parent_test_accuracy": ("parent", "test_accuracy"),
}
PRINTED = {
    "subset": "subset",
    "branch_point": "branch point",
    "threshold": "threshold",
    "validation_accuracy": "validation",
    "test_accuracy": "test",
    "test_aurc": "AURC",
    "test_coverage": "coverage",
    "test_selective_accuracy": "selective acc.",
    "restricted_accuracy": "parent restr.",
    "restricted_aurc": "its AURC",
}


@dataclass(frozen=True)
class Summary:
    """What a folder of runs holds.

    Attributes:
        folder: the folder.
        rows: one flat record per run, ordered by folder; failed runs have an ``error``.
        unread: run folders without readable results, with the reason.
    """

    folder: Path
    rows: list[dict[str, Any]]
    unread: dict[str, str] = field(default_factory=dict)

    @property
    def failed(self) -> list[dict[str, Any]]:
        """Records of the runs that failed."""
        return [row for row in self.rows if row["status"] != "completed"]

    @property
    def completed(self) -> list[dict[str, Any]]:
        """Records of the runs that finished."""
        return [row for row in self.rows if row["status"] == "completed"]


def summarize(folder: Path) -> Summary:
    """Collect every run below a folder and write summary.csv, summary.md and the figures there.

    Args:
        folder: a sweep's folder, a single run's, or any folder above such.

    Raises:
        InputError: if there is no run in it.
    """
    summary = collect(folder)
    _write_csv(summary)
    _write_markdown(summary)
    for name, figure in draw(summary).items():
        figure.savefig(folder / f"{name}.png")
    return summary


def collect(folder: Path) -> Summary:
    """Read the results of every run below a folder.

    Raises:
        InputError: if the folder does not exist or no run in it has results.
    """
    if not folder.is_dir():
        raise InputError(f"The folder {folder} does not exist: name a run, a sweep or a folder of them.")
    rows, unread = [], {}
    runs = {file.parent for pattern in (RESULTS, CONFIG) for file in folder.rglob(pattern)}
    for run in sorted(runs, key=lambda path: _natural(path.relative_to(folder))):
        name = run.relative_to(folder).as_posix()
        try:
            results = read_results(run)
        except InputError as error:
            unread[name] = str(error) if (run / RESULTS).exists() else "unfinished: it has no results"
            continue
        if results["status"] == "completed":
            row = {column: _at(results, path) for column, path in COLUMNS.items()}
            built = [part for part, entry in results["artifacts"].items() if entry["built"]]
            rows.append({"run": name, "status": "completed", **row, "built": " ".join(built), "error": ""})
        else:
            message = results.get("error", {}).get("message", "")
            rows.append({"run": name, "status": results["status"], "error": message})
    if not rows:
        raise InputError(f"The folder {folder} has no {RESULTS} of a run in it: nothing to report.")
    return Summary(folder, rows, unread)


def print_summary(summary: Summary) -> None:
    """Print the table, what failed and where the files are."""
    console = Console()
    varying = [
        name for name in ("data", "parent", "branch", "parent_seed", "branch_seed") if _varies(summary, name)
    ]
    table = Table(title=f"{len(summary.completed)} runs")
    for heading in ["#", *varying, *PRINTED.values()]:
        table.add_column(
            heading, justify="left" if heading in ("subset", "branch point", *varying) else "right"
        )
    for index, row in enumerate(summary.completed):
        table.add_row(str(index), *(_text(row[name]) for name in [*varying, *PRINTED]))
    console.print(table)
    for row in summary.failed:
        console.print(
            f"[bold red]{row['status']}[/] {row['run']}: {row['error']}", highlight=False, soft_wrap=True
        )
    for run, reason in summary.unread.items():
        console.print(f"skipped {run}: {reason}", highlight=False, soft_wrap=True)
    built: dict[str, int] = {}
    for row in summary.completed:
        for part in row["built"].split():
            built[part] = built.get(part, 0) + 1
    counts = ", ".join(f"{count} {part}" for part, count in built.items()) or "nothing: all was in the store"
    console.print(
        f"Built here: {counts}. Tables and figures in {summary.folder}", highlight=False, soft_wrap=True
    )


def draw(summary: Summary) -> dict[str, Any]:
    """Figures that compare the completed runs: curves together, accuracy and AURC by branch point."""
    if not summary.completed:
        return {}
    from neural_branching.report import figures

    order = list(dict.fromkeys(row["branch_point"] for row in summary.completed))
    result = {
        "risk_coverage": figures.risk_coverage(_lines(summary), "Selective accuracy on the test images")
    }
    for metric, label in (("test_accuracy", "test accuracy"), ("test_aurc", "test AURC (smaller is better)")):
        values: dict[str, dict[str, list[float]]] = {}
        # A threshold trains nothing: runs that differ only in theirs are one point.
        for row in {_trained(row): row for row in summary.completed}.values():
            values.setdefault(row["subset"], {}).setdefault(row["branch_point"], []).append(row[metric])
            restricted = row[metric.replace("test", "restricted")]
            parent = values.setdefault(f"{row['subset']}: parent restricted", {})
            parent.setdefault(row["branch_point"], []).append(restricted)
        result[metric.removeprefix("test_")] = figures.comparison(values, order, label)
    return result


def _lines(summary: Summary) -> dict[str, Any]:
    from neural_branching.report import figures

    lines = {}
    seeds = _varies(summary, "parent_seed") or _varies(summary, "branch_seed")
    for row in {_trained(row): row for row in summary.completed}.values():
        with (summary.folder / row["run"] / CURVE).open() as stream:
            points = list(csv.DictReader(stream))
        coverage = np.array([float(point["coverage"]) for point in points])
        accuracy = np.array([1 - float(point["selective_risk"]) for point in points])
        name = f"{row['subset']} · {row['branch_point']}"
        name += f" · seed {row['branch_seed']}" if seeds else ""
        lines[name] = figures.Line(coverage, accuracy, _point(row))
    return lines


def _point(row: dict[str, Any]) -> tuple[float, float] | None:
    accuracy = row["test_selective_accuracy"]
    return None if accuracy is None else (row["test_coverage"], accuracy)


def _trained(row: dict[str, Any]) -> tuple[Any, ...]:
    """What tells trained branches apart."""
    names = ("data", "parent", "subset", "branch_point", "branch", "parent_seed", "branch_seed", "test_aurc")
    return tuple(row[name] for name in names)


def _write_csv(summary: Summary) -> None:
    columns = ["run", "status", *COLUMNS, "built", "error"]
    with (summary.folder / "summary.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, columns, restval="")
        writer.writeheader()
        writer.writerows(summary.rows)


def _write_markdown(summary: Summary) -> None:
    headings = ["run", *PRINTED.values()]
    lines = [f"| {' | '.join(headings)} |", f"|{'---|' * len(headings)}"]
    for row in summary.completed:
        lines.append(f"| {' | '.join(_text(row[name]) for name in ('run', *PRINTED))} |")
    if summary.failed or summary.unread:
        lines += ["", "| run without results | why |", "|---|---|"]
        lines += [f"| {row['run']} | {row['status']}: {row['error']} |" for row in summary.failed]
        lines += [f"| {run} | {reason} |" for run, reason in summary.unread.items()]
    lines += ["", "AURC: one point per distinct score, trapezoids over coverage (Jaeger et al., 2023)."]
    (summary.folder / "summary.md").write_text("\n".join(lines) + "\n")


def _text(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _varies(summary: Summary, column: str) -> bool:
    return len({row[column] for row in summary.completed}) > 1


def _at(results: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        results = results.get(name) if isinstance(results, dict) else None
    return results


def _natural(path: Path) -> tuple[tuple[int, str], ...]:
    """Sort job 10 after job 2."""
    parts = []
    for part in path.parts:
        number = part.split("_", 1)[0]
        parts.append((int(number), part) if number.isdigit() else (-1, part))
    return tuple(parts)
