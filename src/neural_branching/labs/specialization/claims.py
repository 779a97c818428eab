"""What is said of branch specialization, each with its measure, null hypothesis, and what was seen here.

The article (Voss et al., Distill 2021) shows groups of units in branches, the same in several networks, and
hidden branches in plain layers. Popular accounts have added the rest.

Units of a branch share inputs from the start, so they resemble one another before anything is learned. What
is compared with a random division is therefore compared with the untrained network of the same seed too, and
the larger of the two p-values counts (an intersection–union test).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from neural_branching.labs.consistency import consistency
from neural_branching.labs.permutation_tests import fisher
from neural_branching.labs.specialization.feedback import FEWEST_EPOCHS, FEWEST_SEEDS, compare_feedback
from neural_branching.labs.specialization.matched_branches import branch_features, matching_stage
from neural_branching.labs.specialization.trajectories import FOLLOWED
from neural_branching.labs.verdicts import NOT_SEEN, SEEN, UNDECIDED, sign_flips, significant
from neural_branching.selection.array_types import Float64
from neural_branching.selection.multiple_tests import holm

ENOUGH_SEEDS = 10  # with which a division of 8 : 4 among 32 units is found in most studies (power.power)
_ORDERS = 1000  # of branches

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
        untrained: the value of the untrained networks; None where they were not compared.
        p: p-value over all seeds; None where nothing was tested.
        holm: the same after Holm's correction over all claims that were tested. Verdicts are each claim's
            own.
        n: number of seeds.
        verdict: "seen here", "not seen here" or "not decidable here".
        reason: why it could not be decided; "" if it was.
    """

    claim: str
    in_article: bool
    measure: str
    n: int
    value: float | None = None
    null: float | None = None
    untrained: float | None = None
    p: float | None = None
    holm: float | None = None
    verdict: str = UNDECIDED
    reason: str = ""

    def decided(self, p: float, against: float = 1.0) -> "Claim":
        """The claim with its verdict: without an effect it is decided only where one would have been found.

        Args:
            p: of the claim.
            against: of its opposite.
        """
        if significant(p):
            return replace(self, p=p, verdict=SEEN)
        if significant(against) or self.n >= ENOUGH_SEEDS:
            return replace(self, p=p, verdict=NOT_SEEN)
        seeds = f"{self.n} seeds" if self.n > 1 else "one seed"
        reason = f"{seeds} would miss an effect of the usual size: it takes {ENOUGH_SEEDS}"
        return replace(self, p=p, reason=reason)


def claims(seeds: Seeds, stage: str, encouraged: str | None = None) -> list[Claim]:
    """Every claim.

    Args:
        seeds: seed → role → numbers, as ``run_study.run`` makes them.
        stage: where lesions and similarities were measured.
        encouraged: the stage at which a loss encourages the treated networks; None without such a loss.
    """
    first = next(iter(next(iter(seeds.values()))["branched"]["stages"]))
    at = ("stages", stage)
    found = [
        _divided(
            seeds,
            Claim(
                "Units of a branch form coherent groups",
                True,
                f"mean η² of all features at {first}, units permuted (PERMANOVA)",
                len(seeds),
            ),
            ("stages", first, "omnibus"),
        ),
        _hidden(seeds),
        _consistency(seeds, stage),
        _divided(
            seeds,
            Claim(
                "Units of a branch form clusters",
                False,
                f"silhouette of responses at {stage} by branch, units permuted; no t-SNE",
                len(seeds),
            ),
            (*at, "silhouette"),
        ),
        _paired(
            seeds,
            Claim(
                "Units within a branch are correlated",
                False,
                f"mean |r| within branches − between at {stage}, against the untrained network",
                len(seeds),
            ),
            (*at, "correlation", "lead"),
            other="untrained",
        ),
        _feature(seeds, first, "frequency", "Branches differ in edges and textures"),
        _feature(seeds, stage, "class_selectivity", "Branches differ in how much they see of objects"),
        _divided(
            seeds,
            Claim(
                "Branches are less redundant",
                False,
                f"CKA between branches at {stage} against the same units divided at random; lower is less",
                len(seeds),
            ),
            (*at, "cka"),
            sign=-1,
        ),
        _paired(
            seeds,
            Claim(
                "Activity is sparser",
                False,
                f"Treves–Rolls at {stage} against the plain network of equal MACs; lower is sparser",
                len(seeds),
            ),
            (*at, "treves_rolls"),
            sign=-1,
            takes="a plain network of equal cost, and a stage whose outputs are never below 0",
        ),
        _paired(
            seeds,
            Claim(
                "More accurate at equal computation",
                False,
                "test accuracy against the plain network of equal MACs",
                len(seeds),
            ),
            ("accuracy", "colour"),
        ),
        _paired(
            seeds,
            Claim(
                "Trained in fewer epochs",
                False,
                "epochs until 90 % of the plain network's last validation accuracy, against its own",
                len(seeds),
            ),
            ("epochs",),
            sign=-1,
        ),
        _paired(
            seeds,
            Claim(
                "Generalises better",
                False,
                "training − test accuracy against the plain network of equal MACs; lower is better",
                len(seeds),
            ),
            ("gap",),
            sign=-1,
        ),
        _compensation(seeds),
        _grey(seeds, first),
        _encouraged(seeds, encouraged),
        _feedback(seeds),
        *_not_measured(len(seeds)),
    ]
    tested = [one for one in found if one.p is not None]
    corrected = iter(holm([one.p for one in tested if one.p is not None]))
    return [replace(one, holm=next(corrected)) if one.p is not None else one for one in found]


def values_of(seeds: Seeds, role: str, *path: str) -> list[float] | None:
    """A number of every seed's network; None if one lacks it."""
    found = []
    for one in seeds.values():
        value: Any = one.get(role)
        for name in path:
            value = value.get(name) if isinstance(value, Mapping) else None
        if value is None:
            return None
        found.append(float(value))
    return found


def beyond_null(seeds: Seeds, role: str, path: tuple[str, ...]) -> list[float]:
    """A statistic of every seed's network minus its mean over random divisions.

    Fewer live units divide more by chance: η² of k branches of n units is (k − 1) / (n − 1) on average.
    """
    values, null = (values_of(seeds, role, *path, name) for name in ("value", "null_mean"))
    return [one - other for one, other in zip(values or [], null or [], strict=True)]


def _divided(seeds: Seeds, claim: Claim, path: tuple[str, ...], sign: int = 1) -> Claim:
    """A statistic of a division beyond random divisions, and beyond the untrained network."""
    trained, before = (
        values_of(seeds, "branched", *path, "value"),
        values_of(seeds, "untrained", *path, "value"),
    )
    corrected = values_of(seeds, "branched", *path, "holm")
    p, null = (
        corrected or values_of(seeds, "branched", *path, "p"),
        values_of(seeds, "branched", *path, "null_mean"),
    )
    if trained is None or before is None or p is None or null is None:
        return _unmeasured(claim)
    gains = zip(beyond_null(seeds, "branched", path), beyond_null(seeds, "untrained", path), strict=True)
    gained = sign_flips([sign * (one - other) for one, other in gains])
    claim = replace(claim, value=_mean(trained), null=_mean(null), untrained=_mean(before))
    return claim.decided(max(fisher(p), gained))


def _feature(seeds: Seeds, stage: str, feature: str, claim: str) -> Claim:
    measure = f"η² of {feature.replace('_', ' ')} at {stage}, units permuted, Holm over features"
    return _divided(seeds, Claim(claim, False, measure, len(seeds)), ("stages", stage, "features", feature))


def _paired(
    seeds: Seeds,
    claim: Claim,
    path: tuple[str, ...],
    *,
    role: str = "branched",
    other: str = "plain",
    sign: int = 1,
    takes: str = "a plain network of equal cost",
) -> Claim:
    """The network against another one of the same seed."""
    mine, theirs = values_of(seeds, role, *path), values_of(seeds, other, *path)
    if mine is None or theirs is None:
        return replace(claim, reason=f"it takes {takes}")
    differences = [sign * (one - another) for one, another in zip(mine, theirs, strict=True)]
    claim = replace(claim, value=_mean(mine), null=_mean(theirs))
    return claim.decided(sign_flips(differences), sign_flips([-one for one in differences]))


def _hidden(seeds: Seeds) -> Claim:
    """Plain layers have branches too, if their first singular vector tells colour better than size."""
    measure = (
        "|ρ| of chroma with the first singular vector (centred) of the plain network's weights, columns "
        "permuted, and against that of filter norm"
    )
    claim = Claim("Plain layers have hidden branches", True, measure, len(seeds))
    chroma, p, null, norm = (
        values_of(seeds, "plain", "singular_vectors", "centred", *path)
        for path in (("chroma", "value"), ("chroma", "p"), ("chroma", "null_mean"), ("norm", "value"))
    )
    if chroma is None or p is None or null is None or norm is None:
        return _unmeasured(claim)
    larger = sign_flips([one - other for one, other in zip(chroma, norm, strict=True)])
    return replace(claim, value=_mean(chroma), null=_mean(null)).decided(max(fisher(p), larger))


def _compensation(seeds: Seeds) -> Claim:
    """Seen if a branch costs less than random units do, in accuracy; the opposite if it costs more."""
    claim = Claim(
        "Other branches make up for a lost one",
        False,
        "what dropping a branch costs beyond random units, in accuracy",
        len(seeds),
    )
    excess, p = (values_of(seeds, "branched", "lesions", "colour", name) for name in ("excess", "p"))
    if excess is None or p is None:
        return _unmeasured(claim)
    claim = replace(claim, value=_mean(excess), null=0.0)
    return claim.decided(sign_flips([-one for one in excess]), fisher(p))


def _grey(seeds: Seeds, stage: str) -> Claim:
    """On grey images the branch of lowest chroma should matter more than on coloured ones."""
    claim = Claim(
        "On grey images the branch of lowest chroma matters more",
        False,
        "what dropping it costs beyond the others, on grey − on coloured images",
        len(seeds),
    )
    shifts = []
    for one in seeds.values():
        numbers = one["branched"]
        if "chroma" not in numbers["stages"][stage]["features"]:
            return _unmeasured(claim)
        costs = dull_costs(numbers, stage)
        shifts.append(costs["grey"] - costs["colour"])
    claim = replace(claim, value=_mean(shifts), null=0.0)
    return claim.decided(sign_flips(shifts), sign_flips([-one for one in shifts]))


def dull_costs(numbers: Mapping[str, Any], stage: str) -> dict[str, float]:
    """How much more accuracy is lost without the branch of lowest chroma than without the others.

    Args:
        numbers: of a network whose lesions were measured.
        stage: of its filters.

    Returns:
        The difference on "colour" and on "grey" images.
    """
    means = numbers["stages"][stage]["features"]["chroma"]["means"]
    dullest = min(means, key=means.__getitem__)
    costs = {}
    for variant in ("colour", "grey"):
        lesions = numbers["lesions"][variant]["without"]
        rest = [value for name, value in lesions.items() if name != dullest]
        costs[variant] = float(np.mean(rest)) - lesions[dullest]
    return costs


def _consistency(seeds: Seeds, stage: str) -> Claim:
    """Branches of several seeds, matched by the features of their units, should do the same."""
    found = [one["branched"] for one in seeds.values()]
    stage = matching_stage(found[0], stage)
    measure = (
        f"correlation of what branches cost each class, over seeds, branches matched by features at {stage}; "
        "branches of each seed in random order"
    )
    claim = Claim("Branches divide the work alike in every seed", True, measure, len(seeds))
    if len(found) < 2:
        return replace(claim, reason="it takes two seeds")
    profiles = []
    for one in found:
        by_class = one["lesions"]["colour"]["by_class"]
        profiles.append(np.array([np.array(by_class[""]) - by_class[name] for name in by_class if name]))
    tested = consistency([branch_features(one, stage) for one in found], profiles, _ORDERS)
    return replace(claim, value=tested.value, null=tested.null_mean).decided(tested.p)


def _encouraged(seeds: Seeds, stage: str | None) -> Claim:
    """η² with a loss against η² without: CKA would be no judge of a loss that reduces correlation itself."""
    claim = Claim("Losses can encourage it", False, "–", len(seeds))
    if stage is None:
        return replace(claim, reason="it takes treatment=decorrelation or sparse_groups")
    accuracies = (values_of(seeds, role, "accuracy", "colour") for role in ("treated", "branched"))
    treated, without = (_mean(one) if one else float("nan") for one in accuracies)
    measure = (
        f"mean η² of all features at {stage}, trained with the loss against without it; test accuracy "
        f"{treated:.3f} against {without:.3f}"
    )
    path = ("stages", stage, "omnibus")
    mine, theirs = (beyond_null(seeds, role, path) for role in ("treated", "branched"))
    differences = [one - other for one, other in zip(mine, theirs, strict=True)]
    values = (values_of(seeds, role, *path, "value") or [] for role in ("treated", "branched"))
    value, null = map(_mean, values)
    claim = replace(claim, measure=measure, value=value, null=null)
    return claim.decided(sign_flips(differences), sign_flips([-one for one in differences]))


def _feedback(seeds: Seeds) -> Claim:
    """Seen if both layers precede each other; the value is the smaller of the two correlations."""
    measure = (
        f"lag correlation over epochs of what η² of colour gains at {' and at '.join(FOLLOWED)}, both ways, "
        "series of different seeds paired"
    )
    claim = Claim("Branches and their layers feed each other", False, measure, len(seeds))
    series = [
        [one["branched"].get("over_epochs", {}).get(stage, {}).get("value") for one in seeds.values()]
        for stage in FOLLOWED
    ]
    if any(one is None for layer in series for one in layer):
        return replace(claim, reason="it takes two divided layers and parent.fit.keep=every")
    first, second = (np.array(layer) for layer in series)
    if len(seeds) < FEWEST_SEEDS or first.shape[1] <= FEWEST_EPOCHS:
        return replace(claim, reason=f"it takes {FEWEST_SEEDS} seeds and {FEWEST_EPOCHS} epochs")
    tested = compare_feedback(first, second)
    claim = replace(claim, value=min(one.value for one in tested), null=0.0)
    return claim.decided(max(one.p for one in tested))


def _not_measured(n: int) -> list[Claim]:
    """Claims that no study of one design can decide."""
    return [
        Claim(claim, in_article, "–", n, reason=reason)
        for claim, in_article, reason in (
            ("The same in other architectures and tasks", True, "a sweep over networks and data shows it"),
            (
                "Fewer parameters, less computation or energy",
                False,
                "computation is equal by design, and so nearly are parameters; energy was not measured",
            ),
            ("Easier to interpret", False, "no measure of it is agreed on"),
            ("As pathways of the visual cortex", False, "an analogy, which nothing here can test"),
        )
    ]


def _unmeasured(claim: Claim) -> Claim:
    """A claim on what such a network does not have: lesions, filters that are known."""
    return replace(claim, reason="it takes a network of parent=branched that is trained here")


def _mean(values: Sequence[float] | Float64[np.ndarray, " n"]) -> float:
    return float(np.mean(values))
