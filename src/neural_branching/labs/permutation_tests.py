"""Do branches differ in what their units are? Statistics of units × branches, against divisions at random.

Every test permutes which branch owns which unit. Its p-value is (1 + number of draws at least as large) / (1
+ draws), which is valid for any number of draws (Phipson & Smyth, 2010).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import combine_pvalues, hypergeom, rankdata

from neural_branching.errors import InputError
from neural_branching.selection.array_types import Float64, Int64
from neural_branching.selection.multiple_tests import holm

ALPHA = 0.05
_ROUNDING = 1e-9  # by which equal statistics may differ


@dataclass(frozen=True)
class Tested:
    """A statistic and its permutation null.

    Attributes:
        value: what was measured.
        p: its p-value, within [1 / (1 + draws), 1].
        null_mean: mean over the draws.
        null_edge: beyond which 5 % of the draws lie.
    """

    value: float
    p: float
    null_mean: float
    null_edge: float

    @classmethod
    def of(cls, value: float, null: Float64[np.ndarray, " draws"]) -> "Tested":
        """Compare a statistic with its draws; large values speak for an effect."""
        larger = int(np.sum(null >= value - _ROUNDING))
        return cls(
            float(value), (1 + larger) / (1 + len(null)), float(null.mean()), float(np.quantile(null, 0.95))
        )


def permuted(owners: Int64[np.ndarray, " n"], draws: int, seed: int = 0) -> Int64[np.ndarray, "draws n"]:
    """Owners of units in random order, by a fixed seed: one row per draw."""
    generator = np.random.default_rng(seed)
    return generator.permuted(np.tile(owners, (draws, 1)), axis=1)


def check_draws(draws: int, tests: int) -> None:
    """Refuse a number of permutations with which no test could pass Holm's correction.

    Raises:
        InputError: naming how many it takes.
    """
    needed = int(np.ceil(tests / ALPHA)) - 1
    if draws < needed:
        raise InputError(
            f"permutations is {draws}: with {tests} features Holm's correction needs at least {needed}."
        )


def explained_variance(
    values: Float64[np.ndarray, "n features"], owners: Int64[np.ndarray, "draws n"]
) -> Float64[np.ndarray, "draws features"]:
    """η² of each feature, SS_between / SS_total within [0, 1], for each way to own the units.

    Raises:
        InputError: for a feature that is the same for all units.
    """
    centred = values - values.mean(0)
    total = (centred**2).sum(0)
    if (total <= _ROUNDING * np.maximum(1.0, (values**2).sum(0))).any():
        raise InputError("A feature is the same for every unit: there is nothing that branches could share.")
    between = np.zeros((len(owners), values.shape[1]))
    for branch in np.unique(owners[0]):
        mine = owners == branch
        between += (mine @ centred) ** 2 / mine[0].sum()
    return np.asarray(between / total)


def compare_features(
    values: Float64[np.ndarray, "n features"], owners: Int64[np.ndarray, " n"], draws: int, seed: int = 0
) -> tuple[list[Tested], Tested]:
    """η² of every feature, and of all of them together.

    The omnibus statistic is the mean η², which orders divisions as the pseudo-F of PERMANOVA (Anderson, 2001)
    does on Euclidean distances of standardised features. All tests share their permutations.

    Args:
        values: features of units.
        owners: the branch of each unit.
        draws: number of permutations.
        seed: of the permutations.

    Raises:
        InputError: as ``explained_variance``.
    """
    found = explained_variance(values, owners[None])[0]
    null = explained_variance(values, permuted(owners, draws, seed))
    each = [Tested.of(value, draw) for value, draw in zip(found, null.T, strict=True)]
    return each, Tested.of(found.mean(), null.mean(1))


def separation(
    values: Float64[np.ndarray, " n"], owners: Int64[np.ndarray, "draws n"]
) -> Float64[np.ndarray, " draws"]:
    """|AUROC − ½| + ½ of telling two branches apart by a feature; nan for other numbers of branches."""
    names = np.unique(owners[0])
    if len(names) != 2:
        return np.full(len(owners), np.nan)
    mine = owners == names[0]
    first, second = mine[0].sum(), (~mine[0]).sum()
    area = ((mine @ rankdata(values)) - first * (first + 1) / 2) / (first * second)
    return np.asarray(np.abs(area - 0.5) + 0.5)


def compare_separation(
    values: Float64[np.ndarray, " n"], owners: Int64[np.ndarray, " n"], draws: int, seed: int = 0
) -> Tested | None:
    """``separation`` against permutations; None unless there are two branches."""
    if len(np.unique(owners)) != 2:
        return None
    return Tested.of(separation(values, owners[None])[0], separation(values, permuted(owners, draws, seed)))


def cramers_v(
    labels: Int64[np.ndarray, " n"], owners: Int64[np.ndarray, "draws n"]
) -> Float64[np.ndarray, " draws"]:
    """Cramér's V of labels × branches, within [0, 1], for each way to own the units.

    Raises:
        InputError: for a single label.
    """
    kinds, branches = np.unique(labels), np.unique(owners[0])
    if len(kinds) < 2:
        raise InputError("All units have one label: labels × branches takes two labels at least.")
    n, statistic = len(labels), np.zeros(len(owners))
    for branch in branches:
        mine = owners == branch
        for kind in kinds:
            expected = mine[0].sum() * (labels == kind).sum() / n
            statistic += ((mine @ (labels == kind).astype(np.float64)) - expected) ** 2 / expected
    return np.sqrt(statistic / (n * (min(len(kinds), len(branches)) - 1)))


def compare_labels(
    labels: Int64[np.ndarray, " n"], owners: Int64[np.ndarray, " n"], draws: int, seed: int = 0
) -> Tested:
    """Cramér's V against permutations."""
    return Tested.of(cramers_v(labels, owners[None])[0], cramers_v(labels, permuted(owners, draws, seed)))


@dataclass(frozen=True)
class Localised:
    """How many of a label's units lie in a branch, and the chance of so many.

    Attributes:
        label: the label.
        branch: the branch.
        found: units of the label in the branch.
        labelled: units of the label.
        size: units of the branch.
        p: hypergeometric P(at least as many).
        holm: the same after Holm's correction over all labels × branches.
    """

    label: str
    branch: str
    found: int
    labelled: int
    size: int
    p: float
    holm: float


def localise(
    labels: Mapping[str, Int64[np.ndarray, " labelled"]],
    branches: Mapping[str, Int64[np.ndarray, " units"]],
) -> list[Localised]:
    """Every label × branch, the most surprising first.

    Args:
        labels: name → its units.
        branches: name → its units, each unit in one branch. All other units count for nothing.
    """
    total = sum(len(units) for units in branches.values())
    inside = np.concatenate(list(branches.values()))
    rows = []
    for label, units in labels.items():
        mine = np.intersect1d(units, inside)
        for branch, owned in branches.items():
            found = len(np.intersect1d(mine, owned))
            p = float(hypergeom.sf(found - 1, total, len(mine), len(owned)))
            rows.append((label, branch, found, len(mine), len(owned), p))
    corrected = holm([row[-1] for row in rows])
    every = [Localised(*row, corrected[i]) for i, row in enumerate(rows)]
    return sorted(every, key=lambda one: one.p)


def fisher(p: Sequence[float]) -> float:
    """Fisher's combination of independent p-values, such as those of several seeds."""
    return float(combine_pvalues(list(p), method="fisher").pvalue)


def silhouettes(
    distances: Float64[np.ndarray, "n n"], owners: Int64[np.ndarray, "draws n"]
) -> Float64[np.ndarray, " draws"]:
    """Mean silhouette of units by branch (Rousseeuw, 1987), within [−1, 1], for each way to own them."""
    n, branches = owners.shape[1], np.unique(owners[0])
    sums = np.stack([(owners == branch) @ distances for branch in branches], -1)  # (draws, n, branches)
    sizes = np.array([(owners[0] == branch).sum() for branch in branches])
    mine = owners[:, :, None] == branches
    within = (sums * mine).sum(-1) / (mine * (sizes - 1)).sum(-1)
    nearest = np.where(mine, np.inf, sums / sizes).min(-1)
    return np.asarray(((nearest - within) / np.maximum(nearest, within)).sum(1) / n)


def compare_silhouette(
    responses: Float64[np.ndarray, "examples n"], owners: Int64[np.ndarray, " n"], draws: int, seed: int = 0
) -> Tested:
    """Silhouette of units by branch, at distances 1 − correlation of their responses.

    It asks of the responses themselves what a picture by t-SNE shows of a projection.

    Raises:
        InputError: for a unit that answers every example alike.
    """
    if (responses.std(0) <= _ROUNDING * np.abs(responses).max()).any():
        raise InputError("A unit answers every example alike: leave dead units out.")
    distances = 1 - np.corrcoef(responses.T)
    return Tested.of(
        silhouettes(distances, owners[None])[0], silhouettes(distances, permuted(owners, draws, seed))
    )
