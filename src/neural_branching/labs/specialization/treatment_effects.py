"""What a treatment changes: every measure of treated networks against those of the same seeds without it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from neural_branching.labs.specialization.claims import Seeds, beyond_null, values_of
from neural_branching.labs.verdicts import sign_flips
from neural_branching.selection.multiple_tests import holm


@dataclass(frozen=True)
class Effect:
    """A measure with a treatment and without, over seeds.

    Attributes:
        measure: what was measured.
        stage: where; "" of the whole network.
        treated: mean of the treated networks.
        branched: mean of those without the treatment.
        p: two-sided, by flipping the signs of the differences.
        holm: the same after Holm's correction over all measures, those that say the same of two stages once.
    """

    measure: str
    stage: str
    treated: float
    branched: float
    p: float
    holm: float


def effects(seeds: Seeds) -> list[Effect]:
    """Every measure that treated networks and their twins have.

    Of a stage with forced units (see ``StudyTreatment.forced``) it is that of all others, in both networks.
    """
    found: list[tuple[str, str, float, float, float]] = []
    tested: list[tuple[str, list[float]]] = []
    for measure, stage, path in _measures(seeds):
        treated, branched = (values_of(seeds, role, *path) for role in ("treated", "branched"))
        if treated is not None and branched is not None:
            beyond = [beyond_null(seeds, role, path[:-1]) for role in ("treated", "branched")]
            compared = beyond if all(beyond) else [treated, branched]
            differences = [one - other for one, other in zip(*compared, strict=True)]
            p = min(1.0, 2 * min(sign_flips(differences), sign_flips([-one for one in differences])))
            found.append((measure, stage, float(np.mean(treated)), float(np.mean(branched)), p))
            tested.append((measure, differences))
    first = [_first_alike(tested, place) for place in range(len(tested))]
    family = sorted(set(first))
    corrected = dict(zip(family, holm([found[place][-1] for place in family]), strict=True))
    return [Effect(*one, corrected[place]) for one, place in zip(found, first, strict=True)]


def _first_alike(tested: Sequence[tuple[str, Sequence[float]]], place: int) -> int:
    """The first test that is the same: maps and their means over positions, pooled, have some in common."""
    measure, differences = tested[place]
    return next(
        i
        for i, (name, other) in enumerate(tested)
        if name == measure and np.allclose(other, differences, atol=1e-6)
    )


def _measures(seeds: Seeds) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Name, stage and place of every measure."""
    first = next(iter(seeds.values()))["treated"]
    for name in first.get("treatment", {}):
        yield name, "", ("treatment", name)
    for variant in first["accuracy"]:
        yield f"test accuracy, {variant} images", "", ("accuracy", variant)
    yield "training − test accuracy", "", ("gap",)
    yield "epochs until 90 % of the plain network's accuracy", "", ("epochs",)
    for variant in first["lesions"]:
        yield f"a branch costs beyond random units, {variant} images", "", ("lesions", variant, "excess")
    for stage, numbers in first["stages"].items():
        at = ("beside_forced" if stage in first["beside_forced"] else "stages", stage)
        yield "mean η²", stage, (*at, "omnibus", "value")
        for feature in numbers["features"]:
            yield f"η² of {feature.replace('_', ' ')}", stage, (*at, "features", feature, "value")
        yield "silhouette", stage, (*at, "silhouette", "value")
        yield "CKA between branches", stage, (*at, "cka", "value")
        yield "|r| within − between branches", stage, (*at, "correlation", "lead")
        yield "Treves–Rolls", stage, (*at, "treves_rolls")
