"""What a run of a cascade leaves in its folder and on the screen."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from neural_branching.evaluation.cascade_evaluation import NOWHERE
from neural_branching.files.csv_text import write_table
from neural_branching.report.cells import Cell, Entry, markdown_table
from neural_branching.report.exits_file import EXITS, write_exits
from neural_branching.report.figures import cascade_figures
from neural_branching.report.figures.example_grid import Shown, example_grid
from neural_branching.report.provenance import provenance
from neural_branching.report.results import TRACE
from neural_branching.report.screen_table import Column, ScreenTable, console, print_table
from neural_branching.selection import RiskCoverageCurve, risk_coverage_curve
from neural_branching.store.run_folders import RESULTS

if TYPE_CHECKING:
    from neural_branching.evaluation.cascade_evaluation import CascadeEvaluation
    from neural_branching.pipeline import Run

TRACE_HEADER = ("row", "example", "label", "exit", "prediction", "confidence", "last_prediction")
DIAL = "dial.csv"
SHOWN = 12  # examples of a kind
NOTE = (
    "MACs: of the parent to the exit where an example leaves and of every exit asked, on average, as a share "
    "of the last exit by itself. Differs: share of answers that are not the last exit's."
)


def write_tables(run: "Run", folder: Path) -> list[str]:
    """Write what exits say, where test examples leave, and the dial; returns the files' names."""
    done = _cascade(run)
    write_exits(folder, list(done.tree.nodes), done.held_out)
    write_table(folder / TRACE, list(TRACE_HEADER), _trace(run))
    path = run.results["cascade"]["path"]
    of_test = ("accuracy", "answered", "selective_accuracy", "differs", "wrong")
    header = ["dial", "calibration_counted", "calibration_broken", "calibration_bound"]
    header += [f"test_{name}" for name in of_test] + ["test_macs", "test_macs_share"]
    lines = (
        [
            *(repr(float(point["value"])), point["counted"], point["broken"], point["bound"]),
            *("" if point["test"][name] is None else point["test"][name] for name in of_test),
            *(point["test"]["macs"]["mean"], point["test"]["macs"]["share"]),
        ]
        for point in path
    )
    write_table(folder / DIAL, header, lines)
    return [EXITS, TRACE, DIAL]


def shown(run: "Run") -> tuple[RiskCoverageCurve, dict[str, Sequence[str]]]:
    """What TensorBoard shows: the risk–coverage curve of the cascade on test, and its exits."""
    outcome = _cascade(run).outcomes["cascade"]
    table = [[name, *map(str, cells)] for name, *cells in _exit_rows(run.results["cascade"])]
    header = [column.heading for column in EXIT_COLUMNS]
    return risk_coverage_curve(outcome.score, outcome.error), {"exits": markdown_table(header, table)}


def draw(run: "Run") -> dict[str, Figure]:
    """The front, the dial, what leaves where, and the examples that leave first and last."""
    results, name = run.results, run.experiment.tree.name
    cascade = results["cascade"]
    drawn = {
        "front": cascade_figures.front(cascade, f"{name}: accuracy against computation"),
        "dial": cascade_figures.dial(cascade, f"{name}: along the dial, {cascade['promise']['rule']}"),
        "exits": cascade_figures.exits(cascade, f"{name}: who leaves where"),
    }
    if examples := _examples(run):
        drawn["examples"] = example_grid(examples, f"{name}: the first and the last to leave, test examples")
    return drawn


def _cascade(run: "Run") -> "CascadeEvaluation":
    assert run.cascade
    return run.cascade


def _trace(run: "Run") -> Iterator[list[Any]]:
    """One line per test example: where it leaves, and with which answer."""
    done = _cascade(run)
    leaving, names = done.leaving, [*done.tree.nodes, NOWHERE]
    columns = (
        done.outputs.rows.tolist(),
        leaving.exits.targets.tolist(),
        leaving.at.tolist(),
        leaving.predictions.tolist(),
        leaving.confidence.tolist(),
        leaving.exits.predictions[-1].tolist(),
    )
    labels = _labels(run)
    for row, target, exit_, prediction, confidence, last in zip(*columns, strict=True):
        given = labels[prediction] if exit_ >= 0 else ""
        example = run.table.names[row]
        yield [row, example, labels[target], names[exit_], given, repr(float(confidence)), labels[last]]


def _labels(run: "Run") -> tuple[str, ...]:
    tree = run.experiment.tree
    return tree.nodes[tree.root].labels


def _examples(run: "Run") -> dict[str, list[Shown]]:
    """The surest of those that leave at the first exit, and the least sure of those that stay to the last."""
    done, table, labels = _cascade(run), run.table, _labels(run)
    leaving, content = done.leaving, table.examples()
    if table.input.picture(content[int(done.outputs.rows[0])]) is None:
        return {}
    first, last = (leaving.exits.confidence[place] for place in (0, -1))
    kinds = {
        "leave at the first exit, the surest first": (np.flatnonzero(leaving.at == 0), -first),
        "stay to the last exit or are refused, the least sure first": (
            np.flatnonzero((leaving.at == len(done.tree.nodes) - 1) | ~leaving.answered),
            last,
        ),
    }
    found: dict[str, list[Shown]] = {}
    for heading, (places, order) in kinds.items():
        chosen = places[np.argsort(order[places], kind="stable")][:SHOWN].tolist()
        found[heading] = []
        for index in chosen:
            row = int(done.outputs.rows[index])
            picture = table.input.picture(content[row])
            assert picture is not None
            truth, answer = labels[leaving.exits.targets[index]], labels[leaving.predictions[index]]
            said = truth if truth == answer else f"{truth}\n→ {answer}"
            said = said if leaving.answered[index] else f"{truth}\nrefused"
            confidence = leaving.confidence[index]
            found[heading].append(Shown(picture, f"{said} {confidence:.2f}", table.names[row]))
    return found if any(found.values()) else {}


EXIT_COLUMNS = [
    Column("exit", "name"),
    Column("leave here"),
    Column("right of these"),
    Column("differ of these", rank=1),
    Column("by itself: accuracy"),
    Column("MACs", rank=1),
]


def _exit_rows(cascade: Mapping[str, Any]) -> list[list[Entry]]:
    """Every exit with what leaves there and how it does by itself; those left out by a choice too."""
    rows: list[list[Entry]] = []
    for name, alone in cascade["alone"].items():
        mine = cascade["by_exit"].get(name)
        accuracy = Cell(alone["accuracy"], None, alone["intervals"]["accuracy"])
        beside: list[Entry] = [accuracy, Cell(alone["macs"]["share"])]
        if mine is None:
            rows.append([name, "not kept", "", "", *beside])
        else:
            rows.append([name, *(Cell(mine[key]) for key in ("share", "accuracy", "differs")), *beside])
    if cascade["by_exit"][NOWHERE]["n"]:
        rows.append([NOWHERE, Cell(cascade["by_exit"][NOWHERE]["share"]), *[""] * 4])
    return rows


def print_results(results: Mapping[str, Any]) -> None:
    """Print the cascade beside what answers without it, its exits, and what is promised."""
    cascade, screen = results["cascade"], console()
    test = cascade["test"]
    title = f"{results['subset']}: {' > '.join(cascade['exits'])} · {test['n']} test examples"
    columns = [Column("model", "name"), Column("accuracy"), Column("differs", rank=1), Column("MACs")]
    columns += [Column("time")] if "milliseconds" in test else []
    columns += [Column("answered", rank=1), Column("AURC", rank=2)]
    last = cascade["alone"][cascade["exits"][-1]]
    rows: list[list[Entry]] = [
        [
            "cascade",
            Cell(test["accuracy"], None, test["intervals"]["accuracy"]),
            Cell(test["differs"], None, test["intervals"]["differs"]),
            *_costs(test, test),
            Cell(test["answered"]),
            Cell(test["aurc"]),
        ],
        ["last exit alone", *_beside(last, test), Cell(1.0), Cell(last["aurc"])],
    ]
    if restricted := cascade["parent_restricted"]:
        rows.append(["parent restricted", *_beside(restricted, test), Cell(1.0), ""])
    print_table(screen, ScreenTable(title, columns, rows, RESULTS))
    screen.print(NOTE, highlight=False)
    print_table(screen, ScreenTable("Its exits", EXIT_COLUMNS, _exit_rows(cascade), RESULTS))
    for line in _said(cascade):
        screen.print(line, highlight=False)


def _beside(numbers: Mapping[str, Any], test: Mapping[str, Any]) -> list[Entry]:
    """A model that answers everything."""
    accuracy = Cell(numbers["accuracy"], None, numbers["intervals"]["accuracy"])
    return [accuracy, "", *_costs(numbers, test)]


def _costs(numbers: Mapping[str, Any], test: Mapping[str, Any]) -> list[Entry]:
    """Shares of MACs, and of time where it was measured."""
    units = [unit for unit in ("macs", "milliseconds") if unit in test]
    return [Cell(numbers[unit]["share"]) if unit in numbers else "" for unit in units]


def _said(cascade: Mapping[str, Any]) -> Iterator[str]:
    """What is promised, how the exits were chosen, and whether it pays."""
    dial, test = cascade["dial"], cascade["test"]
    if choice := cascade["choice"]:
        among = ", ".join(choice["among"])
        yield (
            f"Chosen on validation among {choice['cascades']:,} cascades of {among}, for the fewest "
            f"{choice['minimised']}."
        )
    if dial["shortage"]:
        yield f"{cascade['promise']['rule']}: {dial['shortage']['sentence']}. So nothing is answered."
        return
    if certificate := dial["certificate"]:
        value = dial["value"]
        at = "lets nobody leave early" if value is None or value == float("inf") else f"is {value:.4f}"
        yield (
            f"The dial {at}. Promised of new examples: {cascade['promise']['promise']}. Seen on calibration: "
            f"{certificate['errors']} of {certificate['n_accepted']}, bound {certificate['bound']:.4f}."
        )
    unit = choice["minimised"] if choice else "macs"
    cost = f"{test[unit]['share']:.2f} of its {'MACs' if unit == 'macs' else unit}"
    if lead := test["lead_on_last"]:
        low, high = lead["interval"]
        among = "" if test["answered"] == 1 else " on what is answered"
        yield (
            f"Less the last exit's accuracy{among}: {lead['difference']:+.3f} [{low:+.3f}, {high:+.3f}], "
            f"paired; at {cost}."
        )
    budget = choice["budget"] if choice else None
    if budget is not None and test[choice["minimised"]]["share"] > budget:
        yield (
            f"The budget of {budget:g} is not kept at the certified dial, which takes "
            f"{test[choice['minimised']]['share']:.3f}: it would take a weaker promise."
        )
    if test[unit]["share"] >= 1:
        yield "It does not pay here: the exits that are asked cost more than leaving early saves."


def one_line(results: Mapping[str, Any]) -> str:
    """A finished run as a phrase, for the log of a sweep."""
    test = results["cascade"]["test"]
    return (
        f"test accuracy {test['accuracy']:.3f} at {test['macs']['share']:.2f} of the MACs; "
        f"{provenance(dict(results))}"
    )
