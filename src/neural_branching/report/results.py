"""The files of a run folder: results.json, curve.csv, predictions.csv, config.yaml."""

import csv
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from neural_branching.errors import InputError
from neural_branching.store import write_atomically

if TYPE_CHECKING:
    from neural_branching.evaluation import Evaluation
    from neural_branching.selection import RiskCoverageCurve

SCHEMA_VERSION = 1
RESULTS, CONFIG, CURVE, PREDICTIONS = "results.json", "config.yaml", "curve.csv", "predictions.csv"

# What readers rely on in the results of a completed run.
_COMPLETED = (
    *("subset", "threshold", "validation", "test", "parent"),
    *("branch", "seeds", "artifacts", "overrides", "published"),
)


def write_results(folder: Path, results: Mapping[str, Any]) -> None:
    """Write results.json in one step; nan and infinities become null."""
    document = json.dumps(_jsonable({"schema_version": SCHEMA_VERSION, **results}), indent=2)
    write_atomically(folder / RESULTS, document + "\n")


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


def write_config(folder: Path, config: Mapping[str, Any]) -> None:
    """Write the resolved configuration."""
    write_atomically(folder / CONFIG, OmegaConf.to_yaml(OmegaConf.create(dict(config))))


def write_curve(folder: Path, curve: "RiskCoverageCurve") -> None:
    """Write the whole risk–coverage curve of the test split."""
    columns = ("threshold", "n_accepted", "coverage", "selective_risk")
    _write_csv(folder / CURVE, columns, zip(*(getattr(curve, name) for name in columns), strict=True))


def write_predictions(folder: Path, evaluation: "Evaluation", classes: Sequence[str]) -> None:
    """Write one line per held-out image: what the branch and its parent answered, and how surely.

    ``row`` is the image's row in the data table, the same for every run on the same images.
    """
    header = ["row", "split", "label", "prediction", "score", "accepted"]
    header += ["parent_prediction", "parent_score", *(f"logit_{name}" for name in classes)]

    def lines() -> Iterable[list[Any]]:
        for split, mine in evaluation.branch.items():
            parent = evaluation.parent[split]
            columns = zip(
                mine.rows,
                mine.targets,
                mine.predictions,
                mine.score,
                parent.predictions,
                parent.score,
                mine.logits,
                strict=True,
            )
            for row, target, prediction, score, parent_prediction, parent_score, logits in columns:
                yield [
                    row,
                    split,
                    classes[target],
                    classes[prediction],
                    repr(float(score)),
                    int(score >= evaluation.threshold),
                    classes[parent_prediction],
                    repr(float(parent_score)),
                    *(f"{logit:.6g}" for logit in logits),
                ]

    _write_csv(folder / PREDICTIONS, header, lines())


def _write_csv(file: Path, header: Sequence[str], lines: Iterable[Iterable[Any]]) -> None:
    with file.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(header)
        writer.writerows(lines)


def _jsonable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _jsonable(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_jsonable(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
