"""Duplicates in words: how many test images a model has seen nearly so before."""

from collections.abc import Iterable, Mapping
from typing import Any

from neural_branching.report.cells import with_interval


def repeated(results: Mapping[str, Any]) -> str | None:
    """What of the test images repeats training images; None if nothing does, or if nobody looked.

    Args:
        results: of a run.
    """
    block = results.get("duplicates")
    if not block or not block["test"]["train"]["images"]:
        return None
    test, train = block["test"]["n"], block["test"]["train"]
    return (
        f"{train['images']} of {test} test images have a duplicate among the training images "
        f"({train['exact']} exact)"
    )


def run_line(results: Mapping[str, Any]) -> list[str]:
    """A line for one run, with the accuracy without them and where all duplicates are listed, or none."""
    sentence = repeated(results)
    if sentence is None:
        return []
    block = results["duplicates"]
    without = block["without"]
    accuracy = with_interval(without["accuracy"], without["intervals"]["accuracy"])
    return [f"{sentence}; accuracy without them {accuracy}. All: {block['file']}"]


def repeat_lines(runs: Iterable[tuple[str, Mapping[str, Any]]]) -> list[str]:
    """A line for each set of test images among several runs.

    Args:
        runs: what the test images of a run are called, and its results.
    """
    lines = ((name, sentence, results) for name, results in runs if (sentence := repeated(results)))
    return list(
        dict.fromkeys(
            f"{name}: {sentence}. All: {one['duplicates']['file']}" for name, sentence, one in lines
        )
    )
