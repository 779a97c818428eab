"""The files of a run folder: results.json, curve.csv, predictions.csv, config.yaml."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from neural_branching.csv_text import csv_lines, text_cell
from neural_branching.errors import InputError
from neural_branching.reading import read_json, read_yaml
from neural_branching.runs import CONFIG, RESULTS, checksums
from neural_branching.store import store_at
from neural_branching.writing import whole_file, write_atomically

if TYPE_CHECKING:
    from neural_branching.evaluation.evaluate import Evaluation
    from neural_branching.evaluation.examination import Examination
    from neural_branching.evaluation.points import Point
    from neural_branching.selection import RiskCoverageCurve

Row = dict[str, Any]

SCHEMA_VERSION = 2
PREDICTIONS = "predictions.csv"
MOST_LOGITS = 100
CURVE, SCOD_CURVE, POINTS = "curve.csv", "scod_curve.csv", "thresholds.csv"

# What readers rely on in the results of a completed run.
_COMPLETED = (
    *("subset", "score", "threshold", "validation", "reliability", "test", "foreign"),
    *("parent", "branch", "seeds", "artifacts", "overrides", "published"),
)


def write_results(folder: Path, results: Mapping[str, Any]) -> None:
    """Write results.json in one step; nan and infinities become null."""
    document = json.dumps(_jsonable({"schema_version": SCHEMA_VERSION, **results}), indent=2)
    write_atomically(folder / RESULTS, document + "\n")


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


def is_system(folder: Path) -> bool:
    """Whether a run is one of a system, by ``route``, and not of a single branch."""
    try:
        results = read_json(folder / RESULTS)
    except InputError:  # there are none, or they are damaged
        return "hierarchy" in read_config(folder)
    return isinstance(results, dict) and results.get("command") == "route"


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
            for name in _COMPLETED if results["status"] == "completed" else ("error",):
                results[name]
    except InputError as error:
        raise InputError(f"{file} is not a results file: {error} Repeat the run that made it.") from error
    except (KeyError, TypeError) as error:
        raise InputError(
            f"{file} is not a results file ({type(error).__name__}): repeat the run that made it."
        ) from error
    if version != SCHEMA_VERSION:
        raise InputError(f"{file} has schema_version {version}: this program reads {SCHEMA_VERSION}.")
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
    write_atomically(file, _curve_text(curve))


@lru_cache(maxsize=4)  # runs that differ in their threshold have the same curve
def _curve_text(curve: "RiskCoverageCurve") -> str:
    columns = ("threshold", "n_accepted", "coverage", "selective_risk")
    return "".join(
        csv_lines([columns, *zip(*(getattr(curve, name).tolist() for name in columns), strict=True)])
    )


def write_points(folder: Path, points: Sequence["Point"]) -> None:
    """Write what several thresholds would do on the test images."""
    columns = [field.name for field in fields(points[0])]
    lines = ([_text(getattr(point, name)) for name in columns] for point in points)
    write_atomically(folder / POINTS, "".join(csv_lines([columns, *lines])))


def write_predictions(folder: Path, evaluation: "Evaluation") -> None:
    """Write one line per held-out image: what the branch and its parent answered, and how surely.

    The parent's columns are empty if it does not know each of the classes. Logits are left out of a subset
    of more than 100 classes, of which they would fill gigabytes.

    ``row`` is the image's row in the data table, the same for every run on the same images; ``fits``
    says what the image was used for: the score, the threshold or nothing. Images of foreign classes
    come last.
    """
    examination, threshold = evaluation.examination, evaluation.branch.choice.value
    header = ["row", "split", "label", "prediction", "score"]
    header += ["parent_prediction", "parent_score"]
    header += [f"logit_{name}" for name in examination.classes] if _has_logits(examination) else []
    header += ["fits", "accepted"]
    with (
        whole_file(folder / PREDICTIONS) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as stream,
    ):
        stream.writelines(csv_lines([map(text_cell, header)]))
        for side, split, known in _prediction_text(examination):
            score = getattr(evaluation.branch, side)[split]
            accepted = (score >= threshold).astype(int).tolist()
            fits = evaluation.fits(side, split)
            lines = zip(known, fits, accepted, strict=True)
            stream.writelines(f"{begin},{fit},{answered}\r\n" for begin, fit, answered in lines)


@lru_cache(maxsize=1)  # runs that differ in their threshold differ in the last columns alone
def _prediction_text(examination: "Examination") -> list[tuple[str, str, list[str]]]:
    """Side, split and the beginnings of their lines."""
    branch, parent = examination.branch, examination.parent
    classes = [text_cell(name) for name in examination.classes]
    foreign = [text_cell(name) for name in examination.foreign.classes]
    labels = [*classes, *reversed(foreign)]  # −1 − i is the i-th foreign class
    parts = []
    for side in ("known", "foreign"):
        for split, score in getattr(branch, side).items():
            mine = getattr(branch.material, side)[split]
            theirs: list[list[Any]] = [[""] * len(mine)] * 2
            logits = mine.logits.T if _has_logits(examination) else mine.logits[:0]
            if parent:
                predictions = getattr(parent.material, side)[split].predictions.tolist()
                theirs = [[classes[label] for label in predictions], getattr(parent, side)[split].tolist()]
            columns = (
                mine.rows.tolist(),
                [split] * len(mine),
                [labels[target] for target in mine.targets.tolist()],
                [classes[label] for label in mine.predictions.tolist()],
                score.tolist(),
                *theirs,
                *([f"{logit:.6g}" for logit in column] for column in logits.tolist()),
            )
            parts.append((side, split, csv_lines(zip(*columns, strict=True), end="")))
    return parts


def _has_logits(examination: "Examination") -> bool:
    return len(examination.classes) <= MOST_LOGITS


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
