"""Duplicates in words: how many test images a model has seen before, or nearly so."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from neural_branching.report.cells import with_interval


def repeats(results: Mapping[str, Any], *, accuracy: bool = False) -> str | None:
    """What of a run's test images repeats training images; None if nothing does, or if nobody looked.

    Args:
        results: of a run.
        accuracy: whether to add how accurate the run is without them.

    Raises:
        KeyError, TypeError: for what is no block "duplicates" of results.json.
    """
    block = results.get("duplicates")
    if block is None or not block["test"]["train"]["examples"]:
        return None
    test, train, without = block["test"]["n"], block["test"]["train"], block["without"]
    # STORE/data/KEY is where the images are.
    file = Path(results["artifacts"]["data"]["path"]).parent.parent / block["file"]
    rest = with_interval(without["accuracy"], without["intervals"]["accuracy"])
    return (
        f"{train['examples']} of {test} test images have a duplicate among the training images "
        f"({train['exact']} exact){f'; accuracy without them {rest}' if accuracy else ''}. All: {file}"
    )
