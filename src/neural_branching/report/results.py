"""The files of a run folder: results.json, curve.csv, predictions.csv, config.yaml."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from neural_branching.errors import InputError
from neural_branching.files.csv_text import csv_lines, text_cell
from neural_branching.files.reading import read_json, read_yaml
from neural_branching.files.writing import whole_file, write_atomically
from neural_branching.store.artifact_store import store_at
from neural_branching.store.run_folders import CONFIG, RESULTS, checksums

if TYPE_CHECKING:
    from neural_branching.evaluation.node_evaluation import NodeEvaluation
    from neural_branching.evaluation.operating_points import OperatingPoint
    from neural_branching.evaluation.threshold_free import ThresholdFree
    from neural_branching.selection import RiskCoverageCurve

Row = dict[str, Any]

SCHEMA_VERSION = 4
PREDICTIONS = "predictions.csv"
MOST_LOGITS = 100
TRACE = "trace.csv"
CURVE, SCOD_CURVE, POINTS = "curve.csv", "scod_curve.csv", "thresholds.csv"

# What readers rely on in the results of a completed run, and in what they say of a node.
_COMPLETED = ("data", "classes", "nodes", "router", "parent", "seeds", "usual", "artifacts", "overrides")
_NODE = ("score", "reliability", "thresholds", "branch", "branch_point", "published")

_COMMANDS = {
    name: name for name in ("train", "route", "cascade", "specialize", "decompose", "explain", "judge")
}
# What only the configuration of a command has.
_ONLY = {"hierarchy": "route", "promise": "cascade", "divisions": "specialize"}
_ONLY |= {"splits": "decompose", "energies": "explain", "target": "judge"}


def records(results: Mapping[str, Any]) -> list[Row]:
    """A run as one flat record for each of its thresholds.

    What holds for the run is joined with what holds for its branch, and for branch or tree under the
    threshold; so that every number has one place, whether it depends on the threshold or not.

    Raises:
        KeyError, TypeError, ValueError: for what are no results of a completed run.
    """
    if "cascade" in results:
        cascade, nodes = results["cascade"], results["nodes"]
        promise, last = cascade["promise"], nodes[cascade["exits"][-1]]
        like = {**last, "subset": results["subset"], "branch_point": " > ".join(cascade["exits"])}
        thresholds = [{**cascade, "threshold": {**promise, "value": cascade["dial"]["value"]}}]
    elif results["router"]:
        usual, thresholds = results["usual"], results["thresholds"]
        like = {**usual, "branch": {"name": usual["branch"]}, "score": {"name": usual["score"]}}
    else:
        [(name, node)] = results["nodes"].items()
        like, thresholds = {**node, "subset": name}, node["thresholds"]
    if not thresholds:
        raise ValueError("thresholds")
    return [{**results, **like, **one} for one in thresholds]


def write_results(folder: Path, results: Mapping[str, Any], *, compact: bool = False) -> None:
    """Write results.json in one step; nan and infinities become null.

    Args:
        folder: the run's folder.
        results: what it found.
        compact: without line breaks, as indenting those of sixty thresholds takes seconds.
    """
    plain = _jsonable({"schema_version": SCHEMA_VERSION, **results})
    write_atomically(folder / RESULTS, json.dumps(plain, indent=None if compact else 2) + "\n")


def written(folder: Path, names: Iterable[str], outputs: Path) -> Row:
    """What tells a finished run from every other in its folder, for the block "written" of its results.

    Args:
        folder: the run's folder.
        names: of the files that belong to the run.
        outputs: folder of the store.

    Returns:
        ``{"files": {name: sha256}, "counter": …, "number": …}``: of two runs with one counter the one with
        the larger number was finished later. Without a number if the store cannot be written.
    """
    block: Row = {"files": checksums(folder, names)}
    with suppress(OSError):
        block |= store_at(outputs / "store").next_number()
    return block


def command_of(folder: Path) -> str:
    """The command that made a run; by its configuration where its results are lost."""
    try:
        return _COMMANDS[read_json(folder / RESULTS)["command"]]
    except (InputError, KeyError, TypeError):
        config = read_config(folder)
        return next((command for key, command in _ONLY.items() if key in config), "train")


def read_results(folder: Path) -> dict[str, Any]:
    """Read a run's results.json.

    Raises:
        InputError: if it is not a results file of this version.
    """
    file = folder / RESULTS
    try:
        results: dict[str, Any] = read_json(file)
        version = results["schema_version"]
        if version == SCHEMA_VERSION:
            completed = results["status"] == "completed"
            for name in _COMPLETED if completed else ("error",):
                results[name]
            if completed and not results["router"]:
                for record in records(results):
                    for name in _NODE:
                        record[name]
    except InputError as error:
        raise InputError(f"{file} is not a results file: {error} Repeat the run that made it.") from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{file} is not a results file ({type(error).__name__}): repeat the run that made it."
        ) from error
    if version != SCHEMA_VERSION:
        raise InputError(
            f"{file} has schema_version {version}, and this program reads {SCHEMA_VERSION}: repeat the run "
            "that made it; what it trained is in the store."
        )
    return results


def read_config(folder: Path) -> dict[str, Any]:
    """The resolved configuration of a run, plain values; empty if it is lost or damaged."""
    try:
        return read_yaml(folder / CONFIG)
    except InputError:
        return {}


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    """Many times faster, where libyaml is there."""

    def ignore_aliases(self, data: Any) -> bool:
        """Write what stands twice twice, since the reader takes no aliases."""
        return True


def write_config(folder: Path, config: Mapping[str, Any]) -> None:
    """Write the resolved configuration."""
    try:
        text = yaml.dump(dict(config), Dumper=_Dumper, sort_keys=False)
    except UnicodeEncodeError:  # of names that are no UTF-8
        text = yaml.dump(dict(config), Dumper=yaml.SafeDumper, sort_keys=False)
    write_atomically(folder / CONFIG, text)


def write_curve(file: Path, curve: "RiskCoverageCurve") -> None:
    """Write a whole risk–coverage curve."""
    columns = ("threshold", "n_accepted", "coverage", "selective_risk")
    lines = zip(*(getattr(curve, name).tolist() for name in columns), strict=True)
    write_atomically(file, "".join(csv_lines([columns, *lines])))


def write_points(folder: Path, points: Sequence["OperatingPoint"]) -> None:
    """Write what several thresholds would do on the test examples."""
    columns = [field.name for field in fields(points[0])]
    lines = ([_text(getattr(point, name)) for name in columns] for point in points)
    write_atomically(folder / POINTS, "".join(csv_lines([columns, *lines])))


def write_predictions(folder: Path, evaluation: "NodeEvaluation", names: Sequence[str]) -> None:
    """Write one line per held-out example: what the branch and its parent answered, and how confident.

    The parent's columns are empty if it does not know each of the classes. Logits are left out of a subset
    of more than 100 classes, of which they would fill gigabytes.

    ``row`` is the example's row in the data table, the same for every run on the same examples; ``example``
    is what its source calls it (``names``, by row), such as a file; ``group``, where examples come in groups,
    is the first row of its group; ``fits``
    says what the example was used for: the score, the threshold or nothing. Of several thresholds each has
    a column of what it accepts. Examples of foreign classes come last.
    """
    threshold_free = evaluation.threshold_free
    thresholds = [one.branch.choice.value for one in evaluation.thresholds]
    grouped = threshold_free.branch.answers.known["test"].groups is not None
    header = ["row", "example", *(["group"] if grouped else []), "split", "label", "prediction", "score"]
    header += ["parent_prediction", "parent_score"]
    header += [f"logit_{name}" for name in threshold_free.classes] if _has_logits(threshold_free) else []
    header += ["fits", *accepted_columns([str(one.branch.rule) for one in evaluation.thresholds])]
    with (
        whole_file(folder / PREDICTIONS) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as stream,
    ):
        stream.writelines(csv_lines([map(text_cell, header)]))
        for side, split, columns in _columns(threshold_free, names):
            score = getattr(threshold_free.branch, side)[split]
            accepted = ((score >= threshold).astype(int).tolist() for threshold in thresholds)
            lines = zip(*columns, evaluation.fits(side, split), *accepted, strict=True)
            stream.writelines(csv_lines(lines))


def accepted_columns(rules: Sequence[str]) -> list[str]:
    """Names of the columns that say what thresholds accept."""
    return ["accepted"] if len(rules) == 1 else [f"accepted by {rule}" for rule in rules]


def _columns(
    threshold_free: "ThresholdFree", names: Sequence[str]
) -> Iterator[tuple[str, str, list[Sequence[Any]]]]:
    """Side, split, and the columns that no threshold changes."""
    branch, parent = threshold_free.branch, threshold_free.parent
    classes = [text_cell(name) for name in threshold_free.classes]
    foreign = [text_cell(name) for name in threshold_free.foreign.classes]
    labels = [*classes, *reversed(foreign)]  # −1 − i is the i-th foreign class
    for side in ("known", "foreign"):
        for split, score in getattr(branch, side).items():
            mine = getattr(branch.answers, side)[split]
            theirs: list[list[Any]] = [[""] * len(mine)] * 2
            logits = mine.logits.T if _has_logits(threshold_free) else mine.logits[:0]
            if parent:
                predictions = getattr(parent.answers, side)[split].predictions.tolist()
                theirs = [[classes[label] for label in predictions], getattr(parent, side)[split].tolist()]
            yield (
                side,
                split,
                [
                    mine.rows.tolist(),
                    [text_cell(names[row]) for row in mine.rows.tolist()],
                    *([] if mine.groups is None else [mine.groups.tolist()]),
                    [split] * len(mine),
                    [labels[target] for target in mine.targets.tolist()],
                    [classes[label] for label in mine.predictions.tolist()],
                    score.tolist(),
                    *theirs,
                    *([f"{logit:.6g}" for logit in column] for column in logits.tolist()),
                ],
            )


def _has_logits(threshold_free: "ThresholdFree") -> bool:
    return len(threshold_free.classes) <= MOST_LOGITS


def _text(value: Any) -> Any:
    """A number with every digit, so that reading it back gives the same threshold decisions."""
    return repr(float(value)) if isinstance(value, float) else "" if value is None else value


def _jsonable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _jsonable(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_jsonable(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
