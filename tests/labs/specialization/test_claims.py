"""Verdicts follow from numbers, and a study that is too small says so."""

from typing import Any

import numpy as np
import pytest

from neural_branching.labs.specialization.claims import Claim, claims
from neural_branching.labs.verdicts import NOT_SEEN, SEEN, UNDECIDED, sign_flips


def statistic(value: float, p: float) -> dict[str, float]:
    return {"value": value, "p": p, "null_mean": 0.1, "null_edge": 0.2}


def network(*, effect: bool, accuracy: float, seed: int) -> dict[str, Any]:
    p, noise = (0.001, 0.001 * seed) if effect else (0.5, 0.001 * seed * (-1) ** seed)
    names = ("chroma", "frequency", "class_selectivity")
    high = 0.1 + 0.2 * effect + noise
    stage = {
        "units": 32,
        "omnibus": statistic(high, p),
        "features": {
            name: {**statistic(high, p), "holm": p, "means": {"0": 0.1, "1": 0.4}} for name in names
        },
        "silhouette": statistic(high, p),
        "cka": statistic(0.9 - high, p),
        "correlation": {"lead": high},
        "treves_rolls": 0.5 - 0.1 * effect + noise,
    }
    costs = {"": [0.9, 0.9], "0": [0.2, 0.8], "1": [0.8, 0.3 + noise]}
    lesion = {"by_class": costs, "without": {"0": 0.3, "1": 0.4}, "excess": 0.1 * effect + noise, "p": p}
    grey = {"without": {"0": 0.2, "1": 0.4 - noise}, "excess": 0.0, "p": p}
    return {
        "stages": {"conv1": stage, "pool": stage},
        "accuracy": {"colour": accuracy + noise},
        "gap": 0.1 - 0.05 * effect + noise,
        "epochs": 4 - effect,
        "lesions": {"colour": lesion, "grey": grey},
        "singular_vectors": {
            "centred": {"chroma": statistic(0.8, 0.001), "norm": statistic(0.3 + noise, 0.5)}
        },
    }


def study(seeds: int, *, effect: bool, before: bool = False) -> dict[str, Claim]:
    """Networks with an effect or without one, that is there before training or not."""
    found = {
        seed: {
            "branched": network(effect=effect, accuracy=0.8, seed=seed),
            "untrained": network(effect=before, accuracy=0.1, seed=(seed + 1) % seeds),
            "plain": network(effect=False, accuracy=0.6, seed=seed + 1),
        }
        for seed in range(seeds)
    }
    return {one.claim: one for one in claims(found, "pool")}


DIVIDED = (
    "Units of a branch form coherent groups",
    "Units of a branch form clusters",
    "Branches are less redundant",
    "Branches differ in edges and textures",
)


def test_what_every_seed_shows_is_seen() -> None:
    found = study(10, effect=True)
    for claim in (
        *DIVIDED,
        "Plain layers have hidden branches",
        "Units within a branch are correlated",
        "Activity is sparser",
        "More accurate at equal computation",
        "Trained in fewer epochs",
        "Generalises better",
        "On grey images the branch of lowest chroma matters more",
    ):
        one = found[claim]
        assert one.verdict == SEEN, claim
        assert one.p is not None
        assert one.holm is not None
        assert one.p <= one.holm
        assert one.n == 10
    assert found["Other branches make up for a lost one"].verdict == NOT_SEEN
    assert found["Fewer parameters, less computation or energy"].verdict == UNDECIDED
    assert [one.claim for one in found.values() if one.in_article] == [
        "Units of a branch form coherent groups",
        "Plain layers have hidden branches",
        "Branches divide the work alike in every seed",
        "The same in other architectures and tasks",
    ]


def test_what_is_there_before_training_is_no_specialization() -> None:
    found = study(10, effect=True, before=True)
    for claim in DIVIDED:
        assert found[claim].verdict == NOT_SEEN, claim
        assert found[claim].untrained == pytest.approx(found[claim].value, abs=0.01)


def test_a_hidden_branch_is_more_than_the_size_of_filters() -> None:
    """Its first singular vector tells colour from grey, but large filters from small ones as well."""
    seeds = {
        seed: {
            role: network(effect=True, accuracy=0.8, seed=seed) for role in ("branched", "untrained", "plain")
        }
        for seed in range(10)
    }
    for one in seeds.values():
        one["plain"]["singular_vectors"]["centred"]["norm"] = statistic(0.9, 0.001)
    [hidden] = [one for one in claims(seeds, "pool") if one.claim == "Plain layers have hidden branches"]
    assert hidden.verdict == NOT_SEEN


def test_no_effect_in_many_seeds_is_not_seen_and_in_few_it_is_undecided() -> None:
    many, few, one = study(10, effect=False), study(5, effect=False), study(1, effect=True)
    for claim in DIVIDED:
        assert many[claim].verdict == NOT_SEEN
        assert few[claim].verdict == one[claim].verdict == UNDECIDED
        assert "it takes 10" in few[claim].reason
    assert one["Branches divide the work alike in every seed"].reason == "it takes two seeds"


def test_five_seeds_can_speak_against_a_claim() -> None:
    worse: dict[int, Any] = {
        seed: {
            "branched": network(effect=False, accuracy=0.5, seed=0),
            "untrained": {},
            "plain": network(effect=False, accuracy=0.6, seed=0),
        }
        for seed in range(5)
    }
    found = {one.claim: one for one in claims(worse, "pool")}
    assert found["More accurate at equal computation"].verdict == NOT_SEEN
    assert found["Units of a branch form clusters"].verdict == UNDECIDED
    assert "parent=branched" in found["Units of a branch form clusters"].reason


def test_a_p_value_of_exactly_five_percent_counts() -> None:
    assert Claim("", False, "", 1).decided(0.05 + 1e-17).verdict == SEEN
    assert Claim("", False, "", 1).decided(0.051).verdict == UNDECIDED


def test_signs_are_flipped_exactly() -> None:
    assert sign_flips([1.0, 2.0, 3.0, 4.0, 5.0]) == 1 / 32
    assert sign_flips([-1.0, -2.0, -3.0]) == 1.0
    assert sign_flips([0.0] * 4) == 1.0
    many = np.random.default_rng(0).normal(0, 1, 30)
    assert sign_flips(many.tolist()) + sign_flips((-many).tolist()) == pytest.approx(1, abs=0.01)


def test_a_loss_that_raises_eta_squared_in_every_seed_encourages_it() -> None:
    found: dict[int, Any] = {
        seed: {
            "branched": network(effect=False, accuracy=0.8, seed=seed),
            "untrained": {},
            "treated": network(effect=True, accuracy=0.7, seed=seed),
        }
        for seed in range(5)
    }
    by_name = {one.claim: one for one in claims(found, "pool", "pool")}
    one = by_name["Losses can encourage it"]
    assert one.verdict == SEEN
    assert one.p == 1 / 32
    assert one.value is not None
    assert one.null is not None
    assert one.value > one.null
    assert "test accuracy 0.702 against 0.800" in one.measure
    for numbers in found.values():
        numbers["branched"], numbers["treated"] = numbers["treated"], numbers["branched"]
    assert {one.claim: one for one in claims(found, "pool", "pool")}[one.claim].verdict == NOT_SEEN
    lacking = {one.claim: one for one in claims(found, "pool")}[one.claim]
    assert lacking.verdict == UNDECIDED
    assert "treatment=decorrelation" in lacking.reason


def test_feedback_is_seen_where_both_layers_precede_each_other() -> None:
    found = {
        seed: {"branched": network(effect=False, accuracy=0.8, seed=seed), "untrained": {}}
        for seed in range(6)
    }

    def claim() -> Claim:
        return {one.claim: one for one in claims(found, "pool")}["Branches and their layers feed each other"]

    assert "parent.fit.keep=every" in claim().reason
    noise = np.random.default_rng(0).normal(0, 1, (2, 6, 20))
    gains = noise.copy()
    for time in range(1, 20):
        gains[:, :, time] += 0.8 * gains[::-1, :, time - 1]
    for seed, one in found.items():
        one["branched"]["over_epochs"] = {
            stage: {"value": gains[layer, seed].cumsum().tolist()}
            for layer, stage in enumerate(("conv1", "conv2"))
        }
    assert claim().verdict == SEEN
    for one in found.values():
        for followed in one["branched"]["over_epochs"].values():
            followed["value"] = followed["value"][:4]
    assert claim().reason == "it takes 4 seeds and 4 epochs"


def test_fewer_live_units_are_no_effect_of_a_loss() -> None:
    """η² of 2 branches of n units is 1 / (n − 1) by chance alone."""
    seeds = {}
    for seed in range(10):
        noise = 0.001 * (-1) ** seed
        seeds[seed] = {
            role: network(effect=False, accuracy=0.6, seed=seed) for role in ("branched", "untrained")
        }
        seeds[seed]["treated"] = network(effect=False, accuracy=0.6, seed=seed)
        for role, null in (("branched", 1 / 63), ("treated", 1 / 15)):
            omnibus = {**statistic(null + noise * (role == "treated"), 0.5), "null_mean": null}
            seeds[seed][role]["stages"]["pool"] = {**seeds[seed][role]["stages"]["pool"], "omnibus": omnibus}
    [found] = [one for one in claims(seeds, "pool", encouraged="pool") if "Losses" in one.claim]
    assert found.verdict == NOT_SEEN
    assert found.value is not None
    assert found.null is not None
    assert found.value > 3 * found.null
