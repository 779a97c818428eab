"""What is said of branch specialization, each with its measure, null hypothesis, and what was seen here.

The article (Voss et al., Distill 2021) shows groups of units in branches, the same in several architectures,
and hidden branches in plain layers. Popular accounts have added the rest.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from neural_branching.labs.specialization.consistency import consistency
from neural_branching.labs.specialization.permutation_tests import ALPHA, fisher
from neural_branching.selection.array_types import Float64

SEEN, NOT_SEEN, UNDECIDED = "seen here", "not seen here", "not decidable here"
# With which a division of 8 : 4 among 32 units is found in most studies (power.power).
ENOUGH_SEEDS, ENOUGH_UNITS = 10, 64
_DRAWS = 1000  # orders of branches
EXACT = 20  # seeds up to which all signs are tried

Seeds = Mapping[int, Mapping[str, Any]]


@dataclass(frozen=True)
class Claim:
    """A claim and what became of it.

    Attributes:
        claim: in words.
        in_article: whether the article makes it.
        measure: what was measured, and against what.
        value: mean over seeds; None where nothing was measured.
        null: what the value would be without the effect; None where that is no number.
        p: p-value over all seeds; None where nothing was tested.
        n: number of seeds.
        verdict: "seen here", "not seen here" or "not decidable here".
        reason: why it could not be decided; "" if it was.
    """

    claim: str
    in_article: bool
    measure: str
    value: float | None
    null: float | None
    p: float | None
    n: int
    verdict: str
    reason: str = ""


def claims(seeds: Seeds, stage: str) -> list[Claim]:
    """Every claim.

    Args:
        seeds: seed → role → numbers, as ``run_study.run`` makes them.
        stage: where lesions and similarities were measured.
    """
    first = next(iter(next(iter(seeds.values()))["branched"]["stages"]))
    return [
        _groups(seeds, first),
        _tested(
            seeds,
            "Units of a branch form clusters (t-SNE)",
            f"silhouette of responses at {stage} by branch, units permuted",
            lambda one: one["stages"][stage]["silhouette"],
        ),
        _paired(
            seeds,
            "Units within a branch are correlated",
            f"mean |r| within branches − between, at {stage}, against the same of the untrained network",
            lambda one: _gap(one["stages"][stage]["correlation"]),
            other="untrained",
        ),
        _feature(seeds, first, "frequency", "One branch takes edges and textures"),
        _feature(seeds, stage, "class_selectivity", "Another branch takes objects"),
        _redundancy(seeds, stage),
        _paired(
            seeds,
            "Activity is sparser",
            f"Treves–Rolls at {stage} against the plain network of equal MACs; lower is sparser",
            lambda one: one["stages"][stage]["treves_rolls"],
            sign=-1,
        ),
        _paired(
            seeds,
            "More accurate at equal computation",
            "test accuracy against the plain network of equal MACs",
            lambda one: one["accuracy"]["colour"],
        ),
        _paired(
            seeds,
            "Trained in fewer epochs",
            "epochs until 90 % of the plain network's last validation accuracy, against its own",
            None,
            sign=-1,
        ),
        _paired(
            seeds,
            "Generalises better",
            "training − test accuracy against the plain network of equal MACs; lower is better",
            lambda one: one["training_accuracy"] - one["accuracy"]["colour"],
            sign=-1,
        ),
        _compensation(seeds),
        _grey(seeds, first),
        _consistency(seeds, first),
        *_not_measured(len(seeds)),
    ]


def sign_flips(differences: Sequence[float]) -> float:
    """One-sided p-value of a mean above 0, by flipping the signs of paired differences.

    Exact for up to 20 pairs; of more, 100,000 random flips.
    """
    values = np.asarray(differences, dtype=np.float64)
    n = len(values)
    if n <= EXACT:
        codes = np.arange(2**n)[:, None] >> np.arange(n) & 1
        return float(np.mean((1 - 2 * codes) @ values >= values.sum() - 1e-12))
    flips = np.random.default_rng(0).choice([-1, 1], (100_000, n))
    return float((1 + np.sum(flips @ values >= values.sum() - 1e-12)) / 100_001)


def _groups(seeds: Seeds, stage: str) -> Claim:
    numbers = [one["branched"]["stages"][stage] for one in seeds.values()]
    before = [one["untrained"]["stages"][stage]["omnibus"]["value"] for one in seeds.values()]
    measure = (
        f"mean η² of all features at {stage}, units permuted (PERMANOVA); "
        f"{np.mean(before):.3f} before training"
    )
    enough = len(seeds) >= ENOUGH_SEEDS or numbers[0]["units"] >= ENOUGH_UNITS
    return _combined(
        "Units of a branch form coherent groups",
        True,
        measure,
        [one["omnibus"] for one in numbers],
        enough=enough,
    )


def _tested(seeds: Seeds, claim: str, measure: str, of: Callable[[Any], Mapping[str, float]]) -> Claim:
    try:
        found = [of(one["branched"]) for one in seeds.values()]
    except KeyError:
        return _unmeasured(claim, measure, seeds)
    return _combined(claim, False, measure, found, enough=len(seeds) >= ENOUGH_SEEDS)


def _feature(seeds: Seeds, stage: str, feature: str, claim: str) -> Claim:
    name = feature.replace("_", " ")
    return _tested(
        seeds,
        claim,
        f"η² of {name} at {stage}, units permuted",
        lambda one: one["stages"][stage]["features"][feature],
    )


def _combined(
    claim: str, in_article: bool, measure: str, found: Sequence[Mapping[str, float]], *, enough: bool
) -> Claim:
    """Fisher's combination over seeds; no effect is a result only where one would have been found."""
    p = fisher([one["p"] for one in found])
    value, null = (float(np.mean([one[name] for one in found])) for name in ("value", "null_mean"))
    verdict, reason = SEEN, ""
    if p > ALPHA:
        verdict, reason = (NOT_SEEN, "") if enough else (UNDECIDED, _few(len(found)))
    return Claim(claim, in_article, measure, value, null, p, len(found), verdict, reason)


def _redundancy(seeds: Seeds, stage: str) -> Claim:
    found = [one["branched"]["stages"][stage]["cka"] for one in seeds.values()]
    before = [one["untrained"]["stages"][stage]["cka"]["value"] for one in seeds.values()]
    measure = (
        f"CKA between branches at {stage} against the same units divided at random; "
        f"{np.mean(before):.2f} before training"
    )
    return _combined("Branches are less redundant", False, measure, found, enough=len(seeds) >= ENOUGH_SEEDS)


def _paired(
    seeds: Seeds,
    claim: str,
    measure: str,
    of: Callable[[Any], float] | None,
    *,
    other: str = "plain",
    sign: int = 1,
) -> Claim:
    """The network against another one of the same seed; ``of`` None counts epochs."""
    if any(other not in one for one in seeds.values()):
        return _unmeasured(claim, measure, seeds)
    if of is None:
        mine, theirs = _epochs(seeds)
    else:
        mine, theirs = ([of(one[role]) for one in seeds.values()] for role in ("branched", other))
    p = sign_flips([sign * (one - another) for one, another in zip(mine, theirs, strict=True)])
    verdict, reason = (SEEN, "") if p <= ALPHA else (NOT_SEEN, "")
    if 2.0 ** -len(seeds) > ALPHA:
        verdict, reason = UNDECIDED, f"{len(seeds)} seeds cannot give p ≤ {ALPHA}: it takes 5"
    return Claim(claim, False, measure, _mean(mine), _mean(theirs), p, len(seeds), verdict, reason)


def _epochs(seeds: Seeds) -> tuple[list[float], list[float]]:
    """Epochs until 90 % of the plain network's last validation accuracy; one more than all, if never."""
    mine: list[float] = []
    theirs: list[float] = []
    for one in seeds.values():
        goal = 0.9 * one["plain"]["validation_accuracy"][-1]
        for role, counts in (("branched", mine), ("plain", theirs)):
            history = one[role]["validation_accuracy"]
            counts.append(
                float(next((e for e, value in enumerate(history, 1) if value >= goal), len(history) + 1))
            )
    return mine, theirs


def _compensation(seeds: Seeds) -> Claim:
    """Seen if a branch costs less than random units do, in accuracy."""
    claim = "Other branches make up for a lost one"
    if any("lesions" not in one["branched"] for one in seeds.values()):
        return _unmeasured(claim, "what dropping a branch costs beyond random units", seeds)
    found = [one["branched"]["lesions"]["colour"] for one in seeds.values()]
    excess = [one["excess"] for one in found]
    plain = [one["plain"]["lesions"]["colour"]["excess"] for one in seeds.values()]
    p = sign_flips([-one for one in excess])
    against = fisher([one["p"] for one in found])
    measure = (
        "what dropping a branch costs beyond random units, in accuracy; "
        f"{np.mean(plain):+.3f} in the plain network; that it costs more: p {against:.2g}"
    )
    verdict, reason = (SEEN, "") if p <= ALPHA else (NOT_SEEN, "")
    if p > ALPHA and against > ALPHA and len(seeds) < ENOUGH_SEEDS:
        verdict, reason = UNDECIDED, _few(len(seeds))
    return Claim(
        claim,
        False,
        measure,
        _mean(excess),
        0.0,
        p,
        len(seeds),
        verdict,
        reason,
    )


def _grey(seeds: Seeds, stage: str) -> Claim:
    """On grey images the branch of lower chroma should matter more than on coloured ones."""
    claim = "On grey images the branch of lowest chroma matters more"
    measure = "what dropping it costs beyond the others, on grey − on coloured images"
    shifts = []
    for one in seeds.values():
        numbers = one["branched"]
        if "lesions" not in numbers:
            return _unmeasured(claim, measure, seeds)
        means = numbers["stages"][stage]["features"]["chroma"]["means"]
        dullest = min(means, key=means.__getitem__)
        costs = {}
        for variant in ("colour", "grey"):
            lesions = numbers["lesions"][variant]["without"]
            rest = [value for name, value in lesions.items() if name != dullest]
            costs[variant] = float(np.mean(rest)) - lesions[dullest]
        shifts.append(costs["grey"] - costs["colour"])
    p = sign_flips(shifts)
    verdict, reason = (SEEN, "") if p <= ALPHA else (NOT_SEEN, "")
    if 2.0 ** -len(seeds) > ALPHA:
        verdict, reason = UNDECIDED, f"{len(seeds)} seeds cannot give p ≤ {ALPHA}: it takes 5"
    return Claim(
        claim,
        False,
        measure,
        _mean(shifts),
        0.0,
        p,
        len(seeds),
        verdict,
        reason,
    )


def _consistency(seeds: Seeds, stage: str) -> Claim:
    """Branches of several seeds, matched by the features of their units, should do the same."""
    claim = "Branches divide the work alike in every seed"
    measure = (
        f"correlation of what branches cost each class, over seeds, branches matched by features at {stage}; "
        "branches of each seed in random order"
    )
    found = [one["branched"] for one in seeds.values()]
    if any("lesions" not in one for one in found):
        return _unmeasured(claim, measure, seeds)
    if len(found) < 2:
        return Claim(claim, True, measure, None, None, None, 1, UNDECIDED, "it takes two seeds")
    features, profiles = [], []
    for one in found:
        means = [feature["means"] for feature in one["stages"][stage]["features"].values()]
        by_class = one["lesions"]["colour"]["by_class"]
        features.append(np.array([[mean[name] for mean in means] for name in means[0]]))
        profiles.append(np.array([np.array(by_class[""]) - by_class[name] for name in means[0]]))
    tested = consistency(features, profiles, _DRAWS)
    verdict, reason = (SEEN, "") if tested.p <= ALPHA else (NOT_SEEN, "")
    if tested.p > ALPHA and len(found) < ENOUGH_SEEDS:
        verdict, reason = UNDECIDED, _few(len(found))
    return Claim(claim, True, measure, tested.value, tested.null_mean, tested.p, len(found), verdict, reason)


def _not_measured(n: int) -> list[Claim]:
    """Claims that no study of one design can decide."""
    return [
        Claim(claim, in_article, "–", None, None, None, n, UNDECIDED, reason)
        for claim, in_article, reason in (
            ("The same in other architectures and tasks", True, "a sweep over networks and data shows it"),
            ("Less energy", False, "energy was not measured; MACs are equal by design"),
            ("Easier to interpret", False, "no measure of it is agreed on"),
            ("As pathways of the visual cortex", False, "an analogy, which nothing here can test"),
        )
    ]


def _unmeasured(claim: str, measure: str, seeds: Seeds) -> Claim:
    """A claim on what such a network does not have: a plain twin, lesions, filters that are known."""
    reason = "it takes a network of parent=branched"
    return Claim(claim, False, measure, None, None, None, len(seeds), UNDECIDED, reason)


def _few(n: int) -> str:
    return (
        f"{n} seeds would miss an effect of the usual size: it takes {ENOUGH_SEEDS}, or {ENOUGH_UNITS} units"
    )


def _gap(correlation: Mapping[str, float]) -> float:
    return correlation["within"] - correlation["between"]


def _mean(values: Sequence[float] | Float64[np.ndarray, " n"]) -> float:
    return float(np.mean(values))
