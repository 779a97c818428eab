"""What a study was to find out, each number beside those of every control, with a p-value and a verdict."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from neural_branching.labs.permutation_tests import Tested, fisher
from neural_branching.labs.verdicts import NOT_SEEN, SEEN, UNDECIDED, sign_flips, significant

Seeds = Mapping[int, Mapping[str, Any]]
TRAINED = ("separate", "split")  # controls that reconstruct: without that, branches are unlike by chance
CONTROLS = (*TRAINED, "untrained")


@dataclass(frozen=True)
class Finding:
    """A question and what became of it.

    Attributes:
        finding: what would be found, in words.
        measure: what was measured.
        branched: mean over seeds of the branched autoencoders.
        separate: of branches trained alone and averaged; None where they were not compared.
        split: of an unbranched network whose last hidden units are divided at random.
        untrained: of the initial weights.
        shuffled: of the branched ones, the branches of every image in random order.
        p: the largest over all controls, one-sided: seeds by flipping the signs of paired differences, orders
            by Fisher's combination over seeds. None where nothing was tested.
        n: number of seeds.
        verdict: "seen here"; "not seen here" where the opposite of some control's was, by Bonferroni's
            correction over controls; or "not decidable here".
    """

    finding: str
    measure: str
    n: int
    branched: float | None = None
    separate: float | None = None
    split: float | None = None
    untrained: float | None = None
    shuffled: float | None = None
    p: float | None = None
    verdict: str = UNDECIDED

    def decided(self, p: float, against: float = 1.0) -> "Finding":
        """The finding with its verdict.

        Args:
            p: of the finding.
            against: of its opposite.
        """
        if significant(p):
            return replace(self, p=p, verdict=SEEN)
        return replace(self, p=p, verdict=NOT_SEEN if significant(against) else UNDECIDED)


def find(seeds: Seeds, matched: Tested | None) -> list[Finding]:
    """Every finding.

    Args:
        seeds: seed → role → numbers, as ``run_decomposition.run`` makes them.
        matched: agreement of branches over seeds; None for one seed.
    """
    n = len(seeds)
    found = [
        _against(
            seeds,
            Finding(
                "Branches together reconstruct better than averaged ones, and than a single one",
                "mean squared error; lower is better",
                n,
            ),
            ("error",),
            TRAINED,
            sign=-1,
        ),
        _against(
            seeds,
            Finding(
                "Branches do not resemble one another", "mean |r| between branches' outputs; lower is less", n
            ),
            ("correlation",),
            TRAINED,
            sign=-1,
        ),
        _against(seeds, Finding("Branches differ in colour", "range of chroma", n), ("ranges", "chroma")),
        _against(
            seeds,
            Finding("Branches differ in frequency", "range of mean frequency, cycles per pixel", n),
            ("ranges", "frequency"),
        ),
        _against(seeds, Finding("Branches take unequal shares", "range of shares", n), ("ranges", "share")),
        _one_branch(seeds),
    ]
    if matched:
        measure = "r of outputs of one size over seeds, branches matched by features (Hungarian method)"
        same = Finding(
            "Branches with like colour and frequency contribute alike in every seed",
            measure,
            n,
            matched.value,
            shuffled=matched.null_mean,
        )
        found.append(same.decided(matched.p))
    if "known" in next(iter(seeds.values()))["branched"]["ranges"]:
        found.append(
            _against(
                seeds,
                Finding(
                    "Branches are the known components", "mean |r| of components with the nearest branch", n
                ),
                ("ranges", "known"),
            )
        )
    return found


def _against(
    seeds: Seeds,
    finding: Finding,
    path: Sequence[str],
    controls: Sequence[str] = CONTROLS,
    *,
    sign: int = 1,
) -> Finding:
    """A number of the branched networks against every control; ranges also against shuffled branches."""
    values = {
        role: np.array([_at(one[role], path) for one in seeds.values()]) for role in ("branched", *controls)
    }
    differences = {role: sign * (values["branched"] - values[role]) for role in controls}
    p = [sign_flips(one.tolist()) for one in differences.values()]
    against = [sign_flips((-one).tolist()) for one in differences.values()]
    shuffled = None
    if path[0] == "ranges":
        tested = [one["branched"]["shuffled"][path[1]] for one in seeds.values()]
        shuffled = float(np.mean([one["null_mean"] for one in tested]))
        p.append(fisher([one["p"] for one in tested]))
    means: dict[str, Any] = {role: float(one.mean()) for role, one in values.items()}
    # Of several controls any may show the opposite by chance, so that its p-value counts for each of them.
    opposite = min(1.0, len(against) * min(against))
    return replace(finding, **means, shuffled=shuffled).decided(max(p), opposite)


def _one_branch(seeds: Seeds) -> Finding:
    """In how many seeds the branch of most colour is that of lowest frequency: by chance in one of B."""
    from scipy.stats import binom

    same = [
        int(np.argmax(one["branched"]["chroma"]) == np.argmin(one["branched"]["frequency"]))
        for one in seeds.values()
    ]
    chance = 1 / len(next(iter(seeds.values()))["branched"]["chroma"])
    finding = Finding(
        "Colour and low frequency go to one branch",
        "share of seeds in which the branch of most chroma has the lowest frequency; 1 / branches by chance",
        len(seeds),
        float(np.mean(same)),
        shuffled=chance,
    )
    return finding.decided(
        float(binom.sf(sum(same) - 1, len(same), chance)), float(binom.cdf(sum(same), len(same), chance))
    )


def _at(numbers: Mapping[str, Any], path: Sequence[str]) -> float:
    value: Any = numbers
    for name in path:
        value = value[name]
    return float(value)
