"""Everything that a finished run leaves in its folder and on the screen."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from neural_branching.report import figures
from neural_branching.report.results import write_config, write_curve, write_predictions, write_results
from neural_branching.report.tables import console, number
from neural_branching.report.tensorboard import write_events

if TYPE_CHECKING:
    from neural_branching.pipeline import Run


def write_run(run: "Run", folder: Path, *, draw: bool) -> None:
    """Write the run's files; results.json comes last, so that its presence means a complete run.

    Args:
        run: the finished run.
        folder: its folder, which exists.
        draw: also draw the figures, as files and in TensorBoard. A sweep leaves this to its summary:
            drawing takes longer than a job that finds everything in the store.
    """
    curve = run.evaluation.branch["test"].curve()
    write_config(folder, run.settings.config)
    write_curve(folder, curve)
    write_predictions(folder, run.evaluation, run.settings.classes)
    drawn = _figures(run) if draw else {}
    for name, figure in drawn.items():
        figure.savefig(folder / f"{name}.png")
    write_events(folder, run.results, run.histories, curve, drawn)
    write_results(folder, run.results)


def print_run(run: "Run", folder: Path) -> None:
    """Print a short table: the branch beside its parent, and what was reused."""
    results = run.results
    test, parent = results["test"], results["test"]["parent_restricted"]
    screen = console()
    table = Table(title=f"{results['subset']} at {results['branch_point']} · {test['n']} test images")
    for heading in ("", "accuracy", "AURC", "coverage", "selective accuracy"):
        table.add_column(heading, justify="left" if not heading else "right")
    published = results["published"]
    rows: list[tuple[str, dict[str, Any]]] = [("branch", test), ("parent restricted to the subset", parent)]
    if published:
        rows.append((published["source"], published))
    for name, numbers in rows:
        keys = ("accuracy", "aurc", "coverage", "selective_accuracy")
        table.add_row(name, *(number(numbers.get(key)) for key in keys))
    screen.print(table)
    threshold = results["threshold"]
    screen.print(
        f"threshold {number(threshold['value'])} ({threshold['kind']}): {threshold['promise']}.",
        highlight=False,
    )
    screen.print(
        f"parent on all {results['parent']['classes']} classes: {results['parent']['test_accuracy']:.3f}"
    )
    screen.print(f"{provenance(results)}. Results in {folder}", highlight=False, soft_wrap=True)


def provenance(results: dict[str, Any]) -> str:
    """What a run built and what it found in the store, as a phrase."""
    artifacts = results["artifacts"]
    built = [
        f"{name} ({entry['build_seconds']:.1f} s)" for name, entry in artifacts.items() if entry["built"]
    ]
    found = [name for name, entry in artifacts.items() if not entry["built"]]
    parts = [f"built {', '.join(built)}"] if built else []
    parts += [f"reused {', '.join(found)}"] if found else []
    return "; ".join(parts)


def _figures(run: "Run") -> dict[str, Any]:
    results = run.results
    answers = {"branch": run.evaluation.branch["test"], "parent restricted": run.evaluation.parent["test"]}
    numbers = {"branch": results["test"], "parent restricted": results["test"]["parent_restricted"]}
    lines = {}
    for name, answer in answers.items():
        curve, at = answer.curve(), numbers[name]
        point = (at["coverage"], at["selective_accuracy"]) if at["n_accepted"] else None
        lines[name] = figures.Line(curve.coverage, 1 - curve.selective_risk, point)
    title = f"{results['subset']} at {results['branch_point']}"
    return {
        "risk_coverage": figures.risk_coverage(lines, title),
        "confusion": figures.confusion(results["test"]["confusion"], f"{title}, test images"),
    }
