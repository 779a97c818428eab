"""What a run of a tree of branches leaves in its folder and on the screen."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from neural_branching.files.csv_text import write_table
from neural_branching.report.cells import Cell, Entry, markdown_table
from neural_branching.report.collect import OF_ROUTERS
from neural_branching.report.figures.confusion import confusion
from neural_branching.report.figures.risk_coverage_curves import Line, risk_coverage
from neural_branching.report.figures.tree_diagram import tree as tree_figure
from neural_branching.report.repeats import repeats
from neural_branching.report.results import TRACE, accepted_columns, records
from neural_branching.report.screen_table import Column, ScreenTable, console, print_table
from neural_branching.report.tree_summary import ROUTER_COLUMNS, ROUTER_HEADER, router_lines
from neural_branching.routing.descent import answers_of
from neural_branching.selection import RiskCoverageCurve, risk_coverage_curve
from neural_branching.store.run_folders import RESULTS

if TYPE_CHECKING:
    from neural_branching.evaluation.tree_evaluation import TreeEvaluation
    from neural_branching.pipeline import Run

TRACE_HEADER = ("row", "example", "label", "path", "routing_confidence")
ROUTERS_NOTE = (
    "Without thresholds. Lost: share of examples sent to a wrong branch, or answered wrongly by the right "
    "one. Regret: what the oracle has more. *: a bound, not a router. Leads are paired."
)
ANSWERS_NOTE = (
    "Back-off: an example that a node does not accept is answered with that node's name. Outright: it is not "
    "answered at all. Hierarchical coverage counts an answer by what it leaves open (Goren et al., 2024)."
)


def write_tables(run: "Run", folder: Path) -> list[str]:
    """Write the trace of every test example; returns the file's name."""
    rules = [record["threshold"]["rule"] for record in records(run.results)]
    answers = ["answer"] if len(rules) == 1 else [f"answer by {rule}" for rule in rules]
    accepted = accepted_columns(rules)
    columns = [name for pair in zip(answers, accepted, strict=True) for name in pair]
    write_table(folder / TRACE, [*TRACE_HEADER, *columns], _trace(run))
    return [TRACE]


def shown(run: "Run") -> tuple[RiskCoverageCurve, dict[str, Sequence[str]]]:
    """What TensorBoard shows: the chosen router's risk–coverage curve on test, and tables."""
    chosen = _tree(run).outcomes[run.results["router"]]
    table = markdown_table(ROUTER_HEADER, router_lines([run.results]))
    return risk_coverage_curve(chosen.score, chosen.error), {"routers": table}


def draw(run: "Run") -> dict[str, Figure]:
    """The tree with what its nodes do, the confusion matrix in its order, and every router's curve.

    Of several thresholds the first is drawn.
    """
    tree, results, evaluation = run.experiment.tree, run.results, _tree(run)
    first, lines = records(results)[0], {}
    for name, one in evaluation.outcomes.items():
        curve = risk_coverage_curve(one.score, one.error)
        lines[name] = Line(curve.coverage, 1 - curve.selective_risk)
    title = f"{tree.name}, router {results['router']}: {len(evaluation.outputs)} test examples"
    return {
        "tree": tree_figure(tree, first["arrivals"], first["answers"]["back_off"]),
        "confusion": confusion(_confusion(run), title),
        "risk_coverage": risk_coverage(lines, f"{tree.name}: routers, without thresholds"),
    }


def _tree(run: "Run") -> "TreeEvaluation":
    assert run.tree
    return run.tree


def _trace(run: "Run") -> Iterator[list[Any]]:
    """One line per test example: the paths it was sent, how far it got and what it was answered."""
    tree, evaluation = run.experiment.tree, _tree(run)
    names, paths, outputs = answers_of(tree), evaluation.paths, evaluation.outputs
    examples = run.table.names
    for index in range(len(outputs)):
        node, steps = tree.nodes[tree.root], []
        while True:
            node = tree.nodes[tree.last(node.name)]
            label = node.labels[paths.label[node.name][index]]
            steps.append(label)
            if node.leaf:
                break
            node = tree.nodes[label]
        given = [names[one.given[index]] for one in evaluation.thresholds]
        yield [
            outputs.rows[index],
            examples[outputs.rows[index]],
            tree.classes[outputs.labels[index]],
            " > ".join(steps),
            repr(float(paths.confidence[index])),
            *(value for answer in given for value in (answer, int(answer == steps[-1]))),
        ]


def _confusion(run: "Run") -> Mapping[str, Any]:
    """Counts by true class and answer, both in the order of the tree, abstentions last."""
    tree, evaluation = run.experiment.tree, _tree(run)
    names, given = answers_of(tree), evaluation.thresholds[0].given
    order = [*tree.classes, *(node.name for node in tree.named), names[0]]
    counts = np.zeros((len(tree.classes), len(order)), dtype=np.int64)
    columns = np.array([order.index(name) for name in names])
    np.add.at(counts, (evaluation.outputs.labels, columns[given]), 1)
    used = [index for index, name in enumerate(order) if name in tree.classes or counts[:, index].any()]
    if order[-1] not in [order[index] for index in used]:
        used.append(len(order) - 1)
    return {"rows": tree.classes, "columns": [order[index] for index in used], "counts": counts[:, used]}


def print_results(results: Mapping[str, Any]) -> None:
    """Print the routers side by side, and under each threshold the nodes and what examples are answered."""
    screen, mine = console(), results["routers"][results["router"]]
    rows: list[list[Entry]] = []
    if alone := results["parent_alone"]:
        accuracy = Cell(alone["accuracy"], None, alone["accuracy_interval"])
        rows.append(["parent alone", accuracy, *[""] * 4, Cell(alone["aurc"]), Cell(alone["augrc"]), "", ""])
    for kind, one in results["routers"].items():
        leads = [one["lead_on_parent"], one["lead_on_parent_mass"] if kind != "parent_mass" else None]
        rows.append(
            [
                kind + ("*" if one["bound"] else ""),
                Cell(one["accuracy"], None, one["accuracy_interval"]),
                *(Cell(one[name]) for name in OF_ROUTERS[1:]),
                *(Cell(lead["difference"], None, lead["interval"]) if lead else "" for lead in leads),
            ]
        )
    title = f"Routers of {results['hierarchy']} · {mine['n']} test examples"
    print_table(screen, ScreenTable(title, ROUTER_COLUMNS, rows, RESULTS))
    screen.print(ROUTERS_NOTE, highlight=False)
    if repeated := repeats(results, accuracy=True):
        screen.print(repeated, highlight=False)
    for record in records(results):
        _print_threshold(record)
    macs = results["cost"]["macs"]
    whole = f"the parent by itself {macs['parent']:,}" if macs["parent"] else "from given activations on"
    screen.print(f"MACs per example: {macs['path']:,.0f} along its path, {whole}.", highlight=False)


def _print_threshold(record: Mapping[str, Any]) -> None:
    screen = console()
    print_table(screen, _answers_table(record))
    screen.print(ANSWERS_NOTE, highlight=False)
    promise = record["answers"]["back_off"]["promise"]
    screen.print(
        f"Of the whole tree, for new examples of its classes: {promise}."
        if promise
        else "Nothing is promised of the whole tree: its thresholds guarantee nothing, or not the same.",
        highlight=False,
    )
    print_table(screen, _nodes_table(record))
    for name, node in record["arrivals"].items():
        if shortage := node["thresholds"]["back_off"]["shortage"]:
            screen.print(f"{name}: {shortage['sentence']}", highlight=False)


def _answers_table(record: Mapping[str, Any]) -> ScreenTable:
    answers = record["answers"]
    levels = list(answers["back_off"]["levels"])
    heads = ["answered", "selective accuracy", "hierarchical coverage", *levels, "foreign answered"]
    rows: list[list[Entry]] = [
        [
            kind.replace("_", "-"),
            Cell(one["answered"]),
            Cell(one["selective_accuracy"], None, one["selective_accuracy_interval"]),
            Cell(one["hierarchical_coverage"]),
            *(
                f"{one['levels'][name]['share']:.3f}" + _at(one["levels"][name]["accuracy"])
                if name in one["levels"]
                else "–"
                for name in levels
            ),
            Cell(one["foreign"]["answered"]),
        ]
        for kind, one in answers.items()
    ]
    ranks = dict.fromkeys(levels, 1)
    columns = [Column("", "name"), *(Column(heading, rank=ranks.get(heading, 0)) for heading in heads)]
    title = f"Answers of router {record['router']}, threshold {record['threshold']['rule']}"
    return ScreenTable(title, columns, rows, RESULTS)


def _at(accuracy: float | None) -> str:
    return "" if accuracy is None else f" at {accuracy:.3f}"


def _nodes_table(record: Mapping[str, Any]) -> ScreenTable:
    columns = [Column("node", "name"), Column("arrive", rank=1), Column("belong", rank=1), Column("accuracy")]
    columns += [Column("threshold"), Column("accepted", rank=1), Column("accuracy of these")]
    columns.append(Column("fitted on", rank=2))
    rows: list[list[Entry]] = []
    for name, node in record["arrivals"].items():
        threshold = node["thresholds"]["back_off"]
        value = threshold["value"]
        rows.append(
            [
                name,
                str(node["n"]),
                str(node["belong"]),
                Cell(node["accuracy"]),
                Cell(value) if value not in (None, float("inf")) else "accepts nothing",
                str(node["accepted"]),
                Cell(node["selective_accuracy"]),
                str(threshold["n"]),
            ]
        )
    return ScreenTable("Nodes, with back-off", columns, rows, RESULTS)
