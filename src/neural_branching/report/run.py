"""Everything that a finished run leaves in its folder and on the screen."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from neural_branching.report.baselines import HEADER, NOTE, baseline_lines
from neural_branching.report.cells import number, with_interval
from neural_branching.report.figures.style import save
from neural_branching.report.pictures import draw
from neural_branching.report.repeats import repeats
from neural_branching.report.results import (
    CURVE,
    POINTS,
    PREDICTIONS,
    SCOD_CURVE,
    write_config,
    write_curve,
    write_points,
    write_predictions,
    write_results,
    written,
)
from neural_branching.report.tables import AREAS_NOTE, console
from neural_branching.report.tensorboard import write_events
from neural_branching.runs import CONFIG, events_of

if TYPE_CHECKING:
    from neural_branching.pipeline import Run


def write_run(run: "Run", folder: Path, *, draw_figures: bool) -> None:
    """Write the run's files; results.json comes last, so that its presence means a complete run.

    Args:
        run: the finished run.
        folder: its folder, which exists.
        draw_figures: also draw the figures, as files and in TensorBoard. A sweep leaves this to its
            summary: drawing takes longer than a job that finds everything in the store.
    """
    evaluation = run.evaluation
    examination = evaluation.examination
    names = [CONFIG, CURVE, POINTS, PREDICTIONS]
    write_config(folder, run.settings.config)
    write_curve(folder / CURVE, examination.curve)
    if examination.foreign.classes:
        write_curve(folder / SCOD_CURVE, examination.scod_curve)
        names.append(SCOD_CURVE)
    write_points(folder, evaluation.points)
    write_predictions(folder, evaluation)
    drawn = draw(run.results, evaluation) if draw_figures else {}
    names += save(drawn, folder, ("png", "svg"))
    write_events(folder, run.results, run.histories, examination.curve, evaluation.points, drawn)
    names += events_of(folder)
    write_results(folder, {**run.results, "written": written(folder, names, run.settings.outputs)})


def print_run(run: "Run", folder: Path) -> None:
    """Print a short table: the branch beside its parent, what is guaranteed, and what was reused."""
    results = run.results
    test, parent = results["test"], results["test"]["parent_restricted"]
    screen = console()
    table = Table(title=f"{results['subset']} at {results['branch_point']} · {test['n']} test images")
    for heading in ("", "accuracy", "AURC", "coverage", "selective accuracy"):
        table.add_column(heading, justify="left" if not heading else "right")
    published = results["published"]
    rows: list[tuple[str, dict[str, Any]]] = [("branch", test)]
    if parent:
        rows.append(("parent restricted to the subset", parent))
    if published:
        rows.append((published["source"], published))
    for name, numbers in rows:
        keys = ("accuracy", "aurc", "coverage", "selective_accuracy")
        intervals = numbers.get("intervals", {})
        table.add_row(name, *(with_interval(numbers.get(key), intervals.get(key)) for key in keys))
    screen.print(table)
    screen.print(f"[ ]: 95 % interval over test images. {AREAS_NOTE}", highlight=False)
    if results["baselines"]:
        table = Table(title="Baselines")
        for heading in HEADER:
            table.add_column(heading, justify="left" if heading == HEADER[0] else "right")
        for entries in baseline_lines(results["baselines"]):
            table.add_row(*(entry.replace(" [", "\n[") for entry in entries))
        screen.print(table)
        screen.print(NOTE, highlight=False)
    for line in _sentences(results):
        screen.print(line, highlight=False, soft_wrap=True)
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


def _sentences(results: dict[str, Any]) -> list[str]:
    threshold, reliability, foreign = results["threshold"], results["reliability"], results["foreign"]
    where = f", fitted on {threshold['n']} calibration images" if threshold["n"] else ""
    if threshold["images"] == "foreign":
        where += " of foreign classes"
    value = "none: accepts nothing" if threshold["reject_all"] else number(threshold["value"])
    lines = [
        f"score {results['score']['name']}, threshold {value} ({threshold['rule']}{where})",
        f"  promise: {threshold['promise']}",
    ]
    if threshold["certificate"]:
        lines.append(f"  certificate: {_certificate(threshold['certificate'])}")
    if threshold["shortage"]:
        lines.append(f"  {threshold['shortage']['sentence']}")
    lines += _probabilities(reliability)
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
            f"foreign classes: {interval} of {foreign['n']} images answered ({', '.join(apart)}); "
            f"AUROC {foreign['auroc']:.3f}, FPR95 {foreign['fpr95']:.3f}"
        )
    parent = results["parent"]
    what = f"{parent['classes']} classes"
    if parent["labels"] == "coarse":
        what = f"{parent['logits']} superclasses of {what}"
    if repeated := repeats(results, accuracy=True):
        lines.append(repeated)
    return [*lines, f"parent on all {what}: {parent['test_accuracy']:.3f}"]


def _certificate(certificate: dict[str, Any]) -> str:
    if certificate["quantity"] == "false-accept rate":
        seen = f"{certificate['n_accepted']} of {certificate['n']} foreign images accepted"
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
        numbers, claim = reliability[key], reliability[key]["claim"]
        floor = numbers["if_calibrated"]["ece"]
        lines.append(
            f"{name}: ECE {numbers['ece']:.3f} ({floor['mean']:.3f} if they were calibrated, at most "
            f"{floor['quantile_95']:.3f} in 95 % of draws, p = {floor['p_value']:.2g}), NLL "
            f"{numbers['nll']:.3f}; of {claim['n']} answers that claim at least {claim['confidence']:.0%}, "
            f"{number(claim['accuracy'])} are right"
        )
    return lines
