"""What a run of a single branch leaves in its folder and on the screen."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neural_branching.report.baseline_table import NOTE, baseline_columns, baseline_lines
from neural_branching.report.cells import Cell, Entry, markdown_table, number, with_interval
from neural_branching.report.figures.thresholds import HEADER as POINTS_HEADER
from neural_branching.report.figures.thresholds import threshold_lines
from neural_branching.report.pictures import pictures
from neural_branching.report.repeats import repeats
from neural_branching.report.results import (
    CURVE,
    POINTS,
    PREDICTIONS,
    SCOD_CURVE,
    Row,
    records,
    write_curve,
    write_points,
    write_predictions,
)
from neural_branching.report.screen_table import Column, ScreenTable, console, print_table
from neural_branching.report.tables import notes
from neural_branching.store.run_folders import RESULTS

if TYPE_CHECKING:
    from neural_branching.evaluation.node_evaluation import NodeEvaluation
    from neural_branching.pipeline import Run
    from neural_branching.selection import RiskCoverageCurve


def write_tables(run: "Run", folder: Path) -> list[str]:
    """Write the curves, the table of thresholds and the predictions; returns the files' names."""
    evaluation = _only(run)
    threshold_free, names = evaluation.threshold_free, [CURVE, POINTS, PREDICTIONS]
    write_curve(folder / CURVE, threshold_free.curve)
    if threshold_free.foreign.classes:
        write_curve(folder / SCOD_CURVE, threshold_free.scod_curve)
        names.append(SCOD_CURVE)
    write_points(folder, evaluation.operating_points)
    write_predictions(folder, evaluation, run.table.names)
    return names


def draw(run: "Run") -> dict[str, Any]:
    """Name → figure; of several thresholds those that show one show the first."""
    return pictures(records(run.results)[0], _only(run))


def shown(run: "Run") -> tuple["RiskCoverageCurve", dict[str, Sequence[str]]]:
    """What TensorBoard shows: the risk–coverage curve on test, and tables."""
    evaluation = _only(run)
    table = markdown_table(list(POINTS_HEADER), threshold_lines(evaluation.operating_points))
    return evaluation.threshold_free.curve, {"thresholds": table}


def _only(run: "Run") -> "NodeEvaluation":
    [evaluation] = run.nodes.values()
    return evaluation


def print_results(results: Mapping[str, Any]) -> None:
    """Print a short table: the branch beside its parent, and what is guaranteed."""
    every, screen = records(results), console()
    first = every[0]
    title = f"{first['subset']} at {first['branch_point']} · {first['test']['n']} test examples"
    if len(every) == 1:
        said = print_table(screen, _models(title, first, OF_MODELS | OF_THRESHOLDS))
    else:
        said = print_table(screen, _models(title, first, OF_MODELS))
        said += print_table(screen, _thresholds(every))
    for note in notes(said):
        screen.print(note, highlight=False)
    if first["baselines"]:
        columns = baseline_columns()
        print_table(screen, ScreenTable("Baselines", columns, baseline_lines(first["baselines"]), RESULTS))
        screen.print(NOTE, highlight=False)
    for line in (*(line for record in every for line in _at_threshold(record)), *_beside(first)):
        screen.print(line, highlight=False)


# Key of results.json → heading.
OF_MODELS = {"accuracy": "accuracy", "aurc": "AURC"}
OF_THRESHOLDS = {"coverage": "coverage", "selective_accuracy": "selective accuracy"}


def _models(title: str, record: Row, keys: Mapping[str, str]) -> ScreenTable:
    """The branch, its parent and what was published."""
    columns = [Column("model", "name"), *map(Column, keys.values())]
    rows = [[name, *_entries(numbers, keys)] for name, numbers in _compared(record).items()]
    return ScreenTable(title, columns, rows, RESULTS)


def _thresholds(every: Sequence[Row]) -> ScreenTable:
    """What several thresholds make of the same models."""
    columns = [Column("threshold", "name"), Column("model", "name"), *map(Column, OF_THRESHOLDS.values())]
    rows = [
        [record["threshold"]["rule"], name, *_entries(numbers, OF_THRESHOLDS)]
        for record in every
        for name, numbers in _compared(record).items()
    ]
    return ScreenTable("Their thresholds, test examples", columns, rows, RESULTS)


def _compared(record: Row) -> dict[str, Row]:
    test, published = record["test"], record["published"]
    found = {"branch": test, "parent restricted": test["parent_restricted"]}
    if published:
        found[published["source"]] = published
    return {name: numbers for name, numbers in found.items() if numbers}


def _entries(numbers: Row, keys: Iterable[str]) -> list[Entry]:
    return [Cell(numbers.get(key), None, numbers.get("intervals", {}).get(key)) for key in keys]


def _source(record: Row) -> list[str]:
    """What a promise takes of new examples, and whether the scores of test examples speak against it."""
    threshold, found = record["threshold"], record.get("exchangeability")
    if found is None or (threshold["guarantee"] == "none" and not found["shifted"]):
        return []
    unit = threshold["unit"]
    of = "one row of each new group" if unit == "groups" else "new examples"
    seen = "differ, so that nothing is promised of them" if found["shifted"] else "do not differ visibly"
    needs = f"holds for {of} from where the calibration {unit} come from; " if threshold["n"] else ""
    return [
        f"  {needs}scores of test and calibration {seen} (energy distance {found['distance']:.2g}, "
        f"p = {found['p_value']:.2g} over permutations of {found['units']} {unit})"
    ]


def _at_threshold(record: Row) -> list[str]:
    """What is printed of a threshold: its promise, and what it makes of foreign examples."""
    threshold, foreign = record["threshold"], record["foreign"]
    where = (
        f", fitted on {threshold['n']} calibration {threshold.get('unit', 'examples')}"
        if threshold["n"]
        else ""
    )
    if threshold["examples"] == "foreign":
        where += " of foreign classes"
    value = "none: accepts nothing" if threshold["reject_all"] else number(threshold["value"])
    lines = [
        f"score {record['score']['name']}, threshold {value} ({threshold['rule']}{where})",
        f"  promise: {threshold['promise']}",
    ]
    if threshold["certificate"]:
        lines.append(f"  certificate: {_certificate(threshold['certificate'])}")
    if threshold["shortage"]:
        lines.append(f"  {threshold['shortage']['sentence']}")
    lines += _source(record)
    if foreign:
        interval = with_interval(foreign["false_accept_rate"], foreign["intervals"]["false_accept_rate"])
        apart = [
            f"{name} {foreign[name]['false_accept_rate']:.3f}" for name in ("near", "far") if foreign[name]
        ]
        rates = {
            entry["left_out_false_accept_rate"]: name
            for name, entry in foreign["per_class"].items()
            if "left_out_false_accept_rate" in entry
        }
        if rates:
            apart.append(f"a class left out of the fit up to {max(rates):.3f}, {rates[max(rates)]}")
        lines.append(
            f"foreign classes: {interval} of {foreign['n']} examples answered ({', '.join(apart)}); "
            f"AUROC {foreign['auroc']:.3f}, FPR95 {foreign['fpr95']:.3f}"
        )
    return lines


def _beside(record: Row) -> list[str]:
    """What no threshold changes: probabilities, duplicates, and the parent on all that it knows."""
    parent, lines = record["parent"], _probabilities(record["reliability"])
    what = f"{parent['classes']} classes"
    if parent["labels"] == "coarse":
        what = f"{parent['logits']} superclasses of {what}"
    if repeated := repeats(record, accuracy=True):
        lines.append(repeated)
    if parent["test_accuracy"] is None:
        return [*lines, "the parent gives no logits: what needs them is left out"]
    return [*lines, f"parent on all {what}: {parent['test_accuracy']:.3f}"]


def _certificate(certificate: dict[str, Any]) -> str:
    if certificate["quantity"] == "false-accept rate":
        seen = f"{certificate['n_accepted']} of {certificate['n']} foreign examples accepted"
    else:
        seen = f"{certificate['errors']} errors among {certificate['n_accepted']} accepted"
    target, bound = f"{certificate['quantity']} ≤ {certificate['target']:g}", certificate["bound"]
    if certificate["delta"] is None:
        return f"{target} {certificate['guarantee']} (bound {bound:.3f}, from {seen})"
    level = f"Clopper–Pearson's bound at level {certificate['level']:.3g} is {bound:.3f}"
    return f"{target} except with probability {certificate['delta']:g} ({level}, from {seen})"


def _probabilities(reliability: dict[str, Any]) -> list[str]:
    """What probabilities are worth, before and after scaling."""
    lines = []
    names = {
        "before": "probabilities as they are",
        "after": f"at temperature {reliability['temperature']:.2f}",
    }
    for key, name in names.items():
        numbers, confident = reliability[key], reliability[key]["confident"]
        floor = numbers["if_calibrated"]["ece"]
        lines.append(
            f"{name}: ECE {numbers['ece']:.3f} ({floor['mean']:.3f} if they were calibrated, at most "
            f"{floor['quantile_95']:.3f} in 95 % of draws, p = {floor['p_value']:.2g}), NLL "
            f"{numbers['nll']:.3f}; of {confident['n']} answers with a confidence of at least "
            f"{confident['confidence']:.0%}, {number(confident['accuracy'])} are right"
        )
    return lines
