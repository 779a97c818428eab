"""Verdicts: what it takes to say seen, and not seen; branches that are alike in size alone do not agree."""

from typing import Any

import numpy as np
import pytest
import torch

from neural_branching.labs.decomposition.examined import Examined
from neural_branching.labs.decomposition.findings import find
from neural_branching.labs.decomposition.run_decomposition import agreement_over_seeds, measure

TARGET = np.zeros((24, 3, 4, 4), np.float32)


def numbers(error: float) -> dict[str, Any]:
    ranges = {"chroma": 0.1, "frequency": 0.1, "share": 0.1}
    return {"error": error, "correlation": 0.5, "ranges": ranges}


def verdict(branched: float, separate: float, split: float, seeds: int) -> tuple[str, float | None]:
    """Of the first finding, errors being the same in all seeds but for a little."""
    every = {}
    for seed in range(seeds):
        little = 1e-3 * seed
        shuffled = {name: {"null_mean": 0.1, "p": 0.5} for name in ("chroma", "frequency", "share")}
        every[seed] = {
            "branched": {
                **numbers(branched + little),
                "shuffled": shuffled,
                "chroma": [0.1, 0.2],
                "frequency": [0.1, 0.2],
            },
            "separate": numbers(separate),
            "split": numbers(split),
            "untrained": numbers(9.0),
        }
    found = find(every, None)[0]
    return found.verdict, found.p


def test_seen_is_better_than_every_control() -> None:
    assert verdict(0.1, 0.3, 0.2, 5) == ("seen here", pytest.approx(1 / 32))
    assert verdict(0.1, 0.3, 0.05, 5)[0] == "not decidable here"


def test_the_opposite_of_one_control_in_two_takes_more_seeds() -> None:
    assert verdict(0.2, 0.3, 0.1, 5)[0] == "not decidable here"  # 2 / 32
    assert verdict(0.2, 0.3, 0.1, 6)[0] == "not seen here"  # 2 / 64


def test_branches_that_differ_in_size_alone_do_not_agree_over_seeds() -> None:
    generator, p = np.random.default_rng(0), []
    shown = Examined(torch.zeros(24, 3, 4, 4, dtype=torch.uint8), np.zeros(24, np.int64), ("a",), {})
    for _ in range(20):
        image = generator.normal(size=(24, 1, 3, 4, 4))
        # The larger a branch, the greyer is what it adds to the image that all of them give.
        parts = {}
        for seed in range(5):
            colour, grey = generator.normal(size=(24, 3, 3, 4, 4)), generator.normal(size=(24, 3, 1, 4, 4))
            share = np.array([1.0, 0.5, 0.0]).reshape(1, 3, 1, 1, 1)
            noise = np.sqrt(share) * colour + np.sqrt(1 - share) * grey
            size = np.array([0.3, 1.0, 3.0]).reshape(1, 3, 1, 1, 1)
            parts[seed] = (size * (image + noise)).astype(np.float32)
        seeds = {seed: {"branched": measure(one, TARGET, shown, 1, 0)} for seed, one in parts.items()}
        tested = agreement_over_seeds(seeds, parts)
        assert tested is not None
        p.append(tested.p)
    assert np.mean(np.array(p) <= 0.05) <= 0.25
