"""Verdicts follow from numbers, and a study that is too small says so."""

from typing import Any

import numpy as np
import pytest

from neural_branching.labs.specialization.claims import NOT_SEEN, SEEN, UNDECIDED, Claim, claims, sign_flips


def statistic(value: float, p: float) -> dict[str, float]:
    return {"value": value, "p": p, "null_mean": 0.1, "null_high": 0.2}


def network(*, effect: bool, accuracy: float, seed: int) -> dict[str, Any]:
    p, noise = (0.001, 0.001 * seed) if effect else (0.5, 0.001 * seed)
    names = ("chroma", "frequency", "class_selectivity")
    stage = {
        "units": 32,
        "omnibus": statistic(0.3, p),
        "features": {name: {**statistic(0.3, p), "means": {"0": 0.1, "1": 0.4}} for name in names},
        "silhouette": statistic(0.2, p),
        "cka": statistic(0.3, p),
        "correlation": {"within": 0.5 + noise + 0.2 * effect, "between": 0.3},
        "treves_rolls": 0.5 - 0.1 * effect + noise,
    }
    costs = {"": [0.9, 0.9], "0": [0.2, 0.8], "1": [0.8, 0.3 + noise]}
    lesion = {"by_class": costs, "without": {"0": 0.3, "1": 0.4}, "excess": 0.1 * effect + noise, "p": p}
    grey = {"without": {"0": 0.2, "1": 0.4 - noise}, "excess": 0.0, "p": p}
    return {
        "stages": {"conv1": stage, "pool": stage},
        "accuracy": {"colour": accuracy + noise},
        "training_accuracy": accuracy + 0.1,
        "lesions": {"colour": lesion, "grey": grey},
        "validation_accuracy": [0.1, accuracy],
    }


def study(seeds: int, *, effect: bool) -> dict[str, Claim]:
    found = {
        seed: {
            "branched": network(effect=effect, accuracy=0.8, seed=seed),
            "untrained": network(effect=False, accuracy=0.1, seed=seed + 1),
            "plain": network(effect=False, accuracy=0.6, seed=seed + 1),
        }
        for seed in range(seeds)
    }
    return {one.claim: one for one in claims(found, "pool")}


def test_what_every_seed_shows_is_seen() -> None:
    found = study(10, effect=True)
    for claim in (
        "Units of a branch form coherent groups",
        "Units of a branch form clusters (t-SNE)",
        "Branches are less redundant",
        "Activity is sparser",
        "More accurate at equal computation",
        "On grey images the branch of lowest chroma matters more",
    ):
        assert found[claim].verdict == SEEN, claim
        assert found[claim].p is not None
        assert found[claim].n == 10
    assert found["Other branches make up for a lost one"].verdict == NOT_SEEN
    assert found["Less energy"].verdict == UNDECIDED
    assert [one.claim for one in found.values() if one.in_article] == [
        "Units of a branch form coherent groups",
        "Branches divide the work alike in every seed",
        "The same in other architectures and tasks",
    ]


def test_no_effect_in_many_seeds_is_not_seen_and_in_few_it_is_undecided() -> None:
    many, few = study(10, effect=False), study(3, effect=False)
    for claim in ("Units of a branch form clusters (t-SNE)", "Branches are less redundant"):
        assert many[claim].verdict == NOT_SEEN
        assert few[claim].verdict == UNDECIDED
        assert "10" in few[claim].reason
    assert few["More accurate at equal computation"].verdict == UNDECIDED
    assert "it takes 5" in few["More accurate at equal computation"].reason


def test_signs_are_flipped_exactly() -> None:
    assert sign_flips([1.0, 2.0, 3.0, 4.0, 5.0]) == 1 / 32
    assert sign_flips([-1.0, -2.0, -3.0]) == 1.0
    assert sign_flips([0.0] * 4) == 1.0
    many = np.random.default_rng(0).normal(0, 1, 30)
    assert sign_flips(many.tolist()) + sign_flips((-many).tolist()) == pytest.approx(1, abs=0.01)
