"""What sweeps leave behind, in a form in which two of them compare."""

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from device import ON_CPU
from neural_branching.report.results import records

if TYPE_CHECKING:
    from neural_branching.evaluation.node_evaluation import NodeEvaluation
    from neural_branching.pipeline import Run


def numbers(outputs: Path) -> dict[str, list[dict[str, Any]]]:
    """Every finished job of every sweep below a folder: what was built, seconds and paths apart."""
    found: dict[str, list[dict[str, Any]]] = {}
    for file in sorted((outputs / "sweeps").rglob("results.json")):
        results = json.loads(file.read_text())
        if results["status"] != "completed":
            continue
        results["overrides"] = [one for one in results["overrides"] if not one.startswith("outputs=")]
        del results["written"]  # what tells this run from its equals
        del results["environment"]["git"]  # who edits code while the tests run changes it
        keys = {name: one["key"] for name, one in results.pop("artifacts").items()}
        if ON_CPU:  # keys chain through the weights' checksums
            results["keys"] = keys
        found.setdefault(file.parent.name, []).append(results)
    return found


def record(results: dict[str, Any]) -> dict[str, Any]:
    """A run of one threshold as one flat record."""
    [one] = records(results)
    return one


def only(run: "Run") -> "NodeEvaluation":
    """The branch of a run that has only one, judged."""
    [one] = run.nodes.values()
    return one


def adopt(run: Path, name: str, content: str) -> None:
    """Give a run another file, as if it had written it."""
    (run / name).write_bytes(content.encode())
    results = json.loads((run / "results.json").read_text())
    results["written"]["files"][name] = hashlib.sha256(content.encode()).hexdigest()
    (run / "results.json").write_text(json.dumps(results))


def close(one: object, other: object, within: float) -> bool:
    """Equal, numbers up to rounding."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(close(one[name], other[name], within) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(close(*pair, within) for pair in zip(one, other, strict=True))
    if isinstance(one, float) and isinstance(other, float):
        return one == pytest.approx(other, abs=within)
    return one == other
