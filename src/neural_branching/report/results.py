"""The files of a run folder: results.json, curve.csv, predictions.csv, config.yaml."""

import csv
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import yaml

from neural_branching.errors import InputError
from neural_branching.runs import CONFIG, RESULTS
from neural_branching.store import write_atomically

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


def is_system(folder: Path) -> bool:
    """Whether a run is one of a system, by ``route``, and not of a single branch."""
    try:
        return bool(json.loads((folder / RESULTS).read_text()).get("command") == "route")
    except FileNotFoundError:
        return "hierarchy" in read_config(folder)
    except (OSError, ValueError, AttributeError):
        return False


def read_results(folder: Path) -> dict[str, Any]:
    """Read a run's results.json.

    Raises:
        InputError: if it is not a results file of this version.
    """
    file = folder / RESULTS
    try:
        results: dict[str, Any] = json.loads(file.read_text())
        version = results["schema_version"]
        if version == SCHEMA_VERSION:
            for name in _COMPLETED if results["status"] == "completed" else ("error",):
                results[name]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{file} is not a results file ({type(error).__name__}): repeat the run that made it."
        ) from error
    if version != SCHEMA_VERSION:
        raise InputError(f"{file} has schema_version {version}: this program reads {SCHEMA_VERSION}.")
    return results


def read_config(folder: Path) -> Any:
    """The resolved configuration of a run, plain values; empty if it is lost."""
    try:
        config = yaml.safe_load((folder / CONFIG).read_text())
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return config if isinstance(config, dict) else {}


def write_config(folder: Path, config: Mapping[str, Any]) -> None:
    """Write the resolved configuration."""
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # many times faster, where libyaml is there
    write_atomically(folder / CONFIG, yaml.dump(dict(config), Dumper=dumper, sort_keys=False))


def write_curve(file: Path, curve: "RiskCoverageCurve") -> None:
    """Write a whole risk–coverage curve."""
    file.write_text(_curve_text(curve), newline="")


@lru_cache(maxsize=4)  # runs that differ in their threshold have the same curve
def _curve_text(curve: "RiskCoverageCurve") -> str:
    columns = ("threshold", "n_accepted", "coverage", "selective_risk")
    return "".join(_csv([columns, *zip(*(getattr(curve, name).tolist() for name in columns), strict=True)]))


def write_points(folder: Path, points: Sequence["Point"]) -> None:
    """Write what several thresholds would do on the test images."""
    columns = [field.name for field in fields(points[0])]
    lines = ([_text(getattr(point, name)) for name in columns] for point in points)
    (folder / POINTS).write_text("".join(_csv([columns, *lines])), newline="")


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
    with (folder / PREDICTIONS).open("w", newline="") as stream:
        stream.writelines(_csv([header]))
        for side, split, known in _prediction_text(examination):
            score = getattr(evaluation.branch, side)[split]
            accepted = (score >= threshold).astype(int).tolist()
            fits = evaluation.fits(side, split)
            lines = zip(known, fits, accepted, strict=True)
            stream.writelines(f"{begin},{fit},{answered}\r\n" for begin, fit, answered in lines)


@lru_cache(maxsize=1)  # runs that differ in their threshold differ in the last columns alone
def _prediction_text(examination: "Examination") -> list[tuple[str, str, list[str]]]:
    """Side, split and the beginnings of their lines."""
    branch, parent, classes = examination.branch, examination.parent, examination.classes
    labels = [*classes, *reversed(examination.foreign.classes)]  # −1 − i is the i-th foreign class
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
            parts.append((side, split, _csv(zip(*columns, strict=True), end="")))
    return parts


def _has_logits(examination: "Examination") -> bool:
    return len(examination.classes) <= MOST_LOGITS


def _csv(rows: Iterable[Iterable[Any]], end: str = "\r\n") -> list[str]:
    """Rows as lines of CSV."""
    lines: list[str] = []
    csv.writer(SimpleNamespace(write=lines.append), lineterminator=end).writerows(rows)
    return lines


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
