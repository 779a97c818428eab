"""Everything that a run of a system leaves in its folder and on the screen."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from rich.table import Table

from neural_branching.csv_text import write_table
from neural_branching.report.cells import markdown_table, number, with_interval
from neural_branching.report.figures.confusion import confusion
from neural_branching.report.figures.risk_coverage import Line, risk_coverage
from neural_branching.report.figures.style import save
from neural_branching.report.figures.tree import tree as tree_figure
from neural_branching.report.repeats import repeats
from neural_branching.report.results import write_config, write_results, written
from neural_branching.report.run import provenance
from neural_branching.report.systems import ROUTER_HEADER, router_lines
from neural_branching.report.tables import console
from neural_branching.report.tensorboard import write_system_events
from neural_branching.routing.descent import answers_of
from neural_branching.routing.hierarchy import ROOT
from neural_branching.runs import CONFIG, events_of
from neural_branching.selection import risk_coverage_curve

if TYPE_CHECKING:
    from neural_branching.system_pipeline import SystemRun

TRACE = "trace.csv"
TRACE_HEADER = ("row", "label", "way", "sureness", "answer", "accepted")
ROUTERS_NOTE = (
    "Without thresholds. Lost: share of images sent to a wrong branch, or answered wrongly by the right one. "
    "Regret: what the oracle has more. *: a bound, not a router. Leads are paired."
)
ANSWERS_NOTE = (
    "Back-off: an image that a node does not accept is answered with that node's name. Outright: it is not "
    "answered at all. Hierarchical coverage counts an answer by what it leaves open (Goren et al., 2024)."
)


def write_system(run: "SystemRun", folder: Path, *, draw_figures: bool) -> None:
    """Write the run's files; results.json comes last, so that its presence means a complete run.

    Args:
        run: the finished run.
        folder: its folder, which exists.
        draw_figures: also draw the figures, as files and in TensorBoard. The jobs of a sweep do not.
    """
    names = [CONFIG, TRACE]
    write_config(folder, run.system.config)
    write_table(folder / TRACE, TRACE_HEADER, _trace(run))
    drawn = _draw(run) if draw_figures else {}
    names += save(drawn, folder, ("png", "svg"))
    chosen = run.evaluation.outcomes[run.results["router"]]
    write_system_events(
        folder,
        run.results,
        run.histories,
        risk_coverage_curve(chosen.score, chosen.error),
        {"routers": markdown_table(ROUTER_HEADER, router_lines([run.results]))},
        drawn,
    )
    names += events_of(folder)
    write_results(folder, {**run.results, "written": written(folder, names, run.system.base.outputs)})


def _draw(run: "SystemRun") -> dict[str, Figure]:
    """The tree with what its nodes do, the confusion matrix in its order, and every router's curve."""
    tree, results, evaluation = run.system.tree, run.results, run.evaluation
    lines = {}
    for name, one in evaluation.outcomes.items():
        curve = risk_coverage_curve(one.score, one.error)
        lines[name] = Line(curve.coverage, 1 - curve.selective_risk)
    title = f"{tree.name}, router {results['router']}: {len(evaluation.seen)} test images"
    return {
        "tree": tree_figure(tree, results["nodes"], results["answers"]["back_off"]),
        "confusion": confusion(_confusion(run), title),
        "risk_coverage": risk_coverage(lines, f"{tree.name}: routers, without thresholds"),
    }


def _trace(run: "SystemRun") -> Iterator[list[Any]]:
    """One line per test image: the way it was sent, how far it got and what it was answered."""
    tree, evaluation = run.system.tree, run.evaluation
    names, way, seen = answers_of(tree), evaluation.way, evaluation.seen
    for index in range(len(seen)):
        node, steps = tree.nodes[ROOT], []
        while True:
            label = node.labels[way.turn[node.name][index]]
            steps.append(label)
            if node.leaf:
                break
            node = tree.nodes[label]
        given = names[evaluation.given[index]]
        yield [
            seen.rows[index],
            tree.classes[seen.labels[index]],
            " > ".join(steps),
            repr(float(way.sureness[index])),
            given,
            int(given == steps[-1]),
        ]


def _confusion(run: "SystemRun") -> Mapping[str, Any]:
    """Counts by true class and answer, both in the order of the tree, abstentions last."""
    tree, evaluation = run.system.tree, run.evaluation
    names = answers_of(tree)
    order = [*tree.classes, *(node.name for node in tree.branches), names[0]]
    counts = np.zeros((len(tree.classes), len(order)), dtype=np.int64)
    columns = np.array([order.index(name) for name in names])
    np.add.at(counts, (evaluation.seen.labels, columns[evaluation.given]), 1)
    used = [index for index, name in enumerate(order) if name in tree.classes or counts[:, index].any()]
    if order[-1] not in [order[index] for index in used]:
        used.append(len(order) - 1)
    return {"rows": tree.classes, "columns": [order[index] for index in used], "counts": counts[:, used]}


def print_system(results: Mapping[str, Any], folder: Path) -> None:
    """Print the routers side by side, the nodes, and what images are answered."""
    screen, mine = console(), results["routers"][results["router"]]
    table = Table(title=f"Routers of {results['hierarchy']} · {mine['n']} test images")
    header = ("router", "accuracy", "routing", "lost by router", "lost by branch", "regret", "AURC", "AUGRC")
    for heading in (*header, "lead on parent", "lead on parent_mass"):
        table.add_column(heading, justify="left" if heading == "router" else "right")
    if alone := results["parent_alone"]:
        accuracy = with_interval(alone["accuracy"], alone["accuracy_interval"])
        areas = number(alone["aurc"]), number(alone["augrc"])
        table.add_row("parent alone", accuracy, *[""] * 4, *areas, "", "")
    for kind, one in results["routers"].items():
        leads = [one["lead_on_parent"], one["lead_on_parent_mass"] if kind != "parent_mass" else None]
        numbers = ("routing_accuracy", "lost_by_router", "lost_by_branch", "regret", "aurc", "augrc")
        table.add_row(
            kind + ("*" if one["bound"] else ""),
            with_interval(one["accuracy"], one["accuracy_interval"]),
            *(number(one[name]) for name in numbers),
            *(with_interval(lead["difference"], lead["interval"]) if lead else "" for lead in leads),
        )
    screen.print(table)
    screen.print(ROUTERS_NOTE, highlight=False, soft_wrap=True)
    if repeated := repeats(results, accuracy=True):
        screen.print(repeated, highlight=False, soft_wrap=True)
    screen.print(_answers_table(results))
    screen.print(ANSWERS_NOTE, highlight=False, soft_wrap=True)
    promise = results["answers"]["back_off"]["promise"]
    screen.print(
        f"Of the whole tree, for new images of its classes: {promise}."
        if promise
        else "Nothing is promised of the whole tree: its thresholds guarantee nothing, or not the same.",
        highlight=False,
        soft_wrap=True,
    )
    screen.print(_nodes_table(results))
    for name, node in results["nodes"].items():
        if shortage := node["thresholds"]["back_off"]["shortage"]:
            screen.print(f"{name}: {shortage['sentence']}", highlight=False, soft_wrap=True)
    macs = results["cost"]["macs"]
    screen.print(
        f"MACs per image: {macs['path']:,.0f} along its way, the parent by itself {macs['parent']:,}.",
        highlight=False,
    )
    screen.print(f"{provenance(dict(results))}. Results in {folder}", highlight=False, soft_wrap=True)


def _answers_table(results: Mapping[str, Any]) -> Table:
    answers = results["answers"]
    table = Table(title=f"Answers of router {results['router']}, threshold {results['threshold']}")
    levels = list(answers["back_off"]["levels"])
    heads = ["answered", "selective accuracy", "hierarchical coverage", *levels, "foreign answered"]
    for heading in ("", *heads):
        table.add_column(heading, justify="right" if heading else "left")
    for kind, one in answers.items():
        cells = [
            f"{one['levels'][name]['share']:.3f}" + _at(one["levels"][name]["accuracy"])
            if name in one["levels"]
            else "–"
            for name in levels
        ]
        table.add_row(
            kind.replace("_", "-"),
            number(one["answered"]),
            with_interval(one["selective_accuracy"], one["selective_accuracy_interval"]),
            number(one["hierarchical_coverage"]),
            *cells,
            number(one["foreign"]["answered"]),
        )
    return table


def _at(accuracy: float | None) -> str:
    return "" if accuracy is None else f" at {accuracy:.3f}"


def _nodes_table(results: Mapping[str, Any]) -> Table:
    table = Table(title="Nodes, with back-off")
    header = (
        "node",
        "arrive",
        "belong",
        "accuracy",
        "threshold",
        "accepted",
        "accuracy of these",
        "fitted on",
    )
    for heading in header:
        table.add_column(heading, justify="left" if heading == "node" else "right")
    for name, node in results["nodes"].items():
        threshold = node["thresholds"]["back_off"]
        value = threshold["value"]
        table.add_row(
            name,
            str(node["n"]),
            str(node["belong"]),
            number(node["accuracy"]),
            number(value) if value not in (None, float("inf")) else "accepts nothing",
            str(node["accepted"]),
            number(node["selective_accuracy"]),
            str(threshold["n"]),
        )
    return table
