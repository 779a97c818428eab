"""Task branches of one parent as the branches of one network: how alike they are, and what follows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import torch
from torch import Tensor

from neural_branching.artifacts import activations as act
from neural_branching.artifacts.build_networks import new_branch
from neural_branching.artifacts.ensure_branch import ensure_activations, ensure_branch, load_branch
from neural_branching.artifacts.ensure_data import ensure_data
from neural_branching.artifacts.workspace import Workspace, store_of
from neural_branching.config.experiment import Experiment
from neural_branching.errors import InputError
from neural_branching.labs.permutation_tests import Tested
from neural_branching.labs.specialization.partition import Partition
from neural_branching.labs.specialization.relation_tests import FEWEST_BRANCHES, compare_ranks, mantel
from neural_branching.labs.specialization.similarity import similarities
from neural_branching.networks.standardized_network import StandardizedNetwork
from neural_branching.selection.array_types import Float64

MOST_IMAGES = 1000  # test images that branches are compared on


@dataclass(frozen=True)
class OwnBranch:
    """A branch of a finished run.

    Attributes:
        name: its subset, or its node.
        classes: that it was trained on.
        parent: what branches must share: checksum of the activations, key of the data, branch point.
        seed: of its initial weights.
        trained: outputs of its last hidden stage for some test images.
        untrained: the same of its initial weights.
        parent_means: mean activation at the branch point over the images of its classes, each unit divided
            by its deviation over all images.
        false_accepts: foreign class → accepted test images, and all of them.
    """

    name: str
    classes: tuple[str, ...]
    parent: tuple[str, ...]
    seed: int
    trained: Float64[np.ndarray, "n units"]
    untrained: Float64[np.ndarray, "n units"]
    parent_means: Float64[np.ndarray, " width"]
    false_accepts: Mapping[str, tuple[int, int]]


@dataclass(frozen=True)
class BranchRelations:
    """How branches relate to one another; tables have a row and a column per branch.

    Attributes:
        names: of the branches.
        cka: linear CKA of their hidden outputs, within [0, 1].
        untrained: the same of their initial weights.
        nearness: minus the distance of their classes at the parent's branch point.
        accepted: share of the test images of the column's classes that the row's branch accepts, within
            [0, 1].
        random: mean CKA, and where it ranks from below among the same units divided at random.
        training: mean CKA minus that before training, and where it ranks from below where branches are
            taken for trained at random.
        predictions: what is said to predict false accepts → its correlation with them; empty of fewer than
            four branches.
        opposites: the same → p-value of the opposite sign.
        one_start: whether two branches start from the same weights, as those of one seed and shape do: they
            are then as alike as can be before training.
    """

    names: tuple[str, ...]
    cka: Float64[np.ndarray, "n n"]
    untrained: Float64[np.ndarray, "n n"]
    nearness: Float64[np.ndarray, "n n"]
    accepted: Float64[np.ndarray, "n n"]
    random: Tested
    training: Tested
    predictions: Mapping[str, Tested]
    opposites: Mapping[str, float]
    one_start: bool


def read_branches(experiment: Experiment, results: Mapping[str, Any]) -> list[OwnBranch]:
    """The branches of a finished run, from its store.

    Args:
        experiment: the run's.
        results: the run's.

    Raises:
        InputError: for a branch without hidden layer, several thresholds, or results of other branches.
    """
    table = ensure_data(experiment.data, store_of(experiment))
    workspace = Workspace.of(experiment, table)
    alone, rows = len(experiment.branches) == 1, table.rows("test")
    shown = rows[np.linspace(0, len(rows) - 1, min(MOST_IMAGES, len(rows))).round().astype(np.int64)]
    found = []
    for name, spec in experiment.branches.items():
        if not experiment.tree.nodes[name].leaf:
            continue
        activations, kept = ensure_activations(workspace, spec), ensure_branch(workspace, spec)
        if kept.key != results["artifacts"]["branch" if alone else f"branch {name}"]["key"]:
            raise InputError(f"The results of the branch {name!r} are of another one: repeat the run.")
        vectors = act.read(activations, spec.stage, rows)
        classes = tuple(one for group in spec.groups for one in group)
        mine = np.isin(table.labels[rows], table.indices(classes))
        trained = load_branch(spec, kept)
        with torch.random.fork_rng(devices=[]):  # weights as training starts from them
            torch.manual_seed(spec.seed)
            untrained = new_branch(spec, vectors.shape[1]).eval()
        untrained.standardize.load_state_dict(trained.standardize.state_dict())
        some = vectors[np.isin(rows, shown)]
        found.append(
            OwnBranch(
                name=name,
                classes=classes,
                parent=(activations.sha(f"{spec.stage}.safetensors"), table.artifact.key, spec.stage),
                seed=spec.seed,
                trained=_hidden(trained, some, name),
                untrained=_hidden(untrained, some, name),
                parent_means=(vectors[mine].mean(0) / vectors.std(0).clamp_min(1e-6)).double().numpy(),
                false_accepts=_false_accepts(results["nodes"][name], name),
            )
        )
    return found


def relate(
    branches: Sequence[OwnBranch], permutations: int, divisions: int, seed: int = 0
) -> BranchRelations:
    """Compare branches of one parent, and ask whether likeness predicts false accepts of foreign classes.

    Args:
        branches: two at least, of one parent, no two with a class in common.
        permutations: of every test.
        divisions: of all units at random.
        seed: of both.

    Raises:
        InputError: for branches that cannot be compared, or relations that are all equal.
    """
    _check(branches)
    n = len(branches)
    both = similarities(
        [_scaled(one.trained) for one in branches] + [_scaled(one.untrained) for one in branches]
    )
    cka, untrained = both[:n, :n], both[n:, n:]
    means = np.stack([one.parent_means for one in branches])
    nearness = -np.linalg.norm(means[:, None] - means, axis=-1)
    accepted = np.array([[_share(one, other) for other in branches] for one in branches])
    pairs = ~np.eye(n, dtype=bool)
    alike, lenient = (np.where(pairs, table, 0).sum(1) / (n - 1) for table in (cka, accepted))

    def predictions(sign: int) -> dict[str, Tested]:
        if n < FEWEST_BRANCHES:  # too few to be permuted
            return {}
        return {
            "CKA": mantel(sign * cka, accepted, permutations, seed),
            "CKA, beyond nearness at the parent": mantel(sign * cka, accepted, permutations, seed, nearness),
            "CKA before training": mantel(sign * untrained, accepted, permutations, seed),
            "nearness at the parent": mantel(sign * nearness, accepted, permutations, seed),
            "mean CKA of a branch": compare_ranks(sign * alike, lenient, permutations, seed),
        }

    return BranchRelations(
        names=_names(branches),
        cka=cka,
        untrained=untrained,
        nearness=nearness,
        accepted=accepted,
        random=_against_random_units(branches, float(cka[pairs].mean()), divisions, seed),
        training=_against_untrained(both, permutations, seed),
        predictions=predictions(1),
        opposites={name: tested.p for name, tested in predictions(-1).items()},
        one_start=len({one.seed for one in branches}) < n,
    )


def _check(branches: Sequence[OwnBranch]) -> None:
    if len(branches) < 2:
        raise InputError(
            "--branches has a single branch: runs of two branches of one parent are needed at least."
        )
    for one, other in combinations(branches, 2):
        if common := sorted(set(one.classes) & set(other.classes)):
            raise InputError(
                f"The branches {one.name!r} and {other.name!r} both know {common[0]!r}: false accepts are of "
                "foreign classes, so name one run for each set of classes."
            )
        if one.parent != other.parent:
            raise InputError(
                f"The branches {one.name!r} and {other.name!r} differ in data, parent, branch point or "
                "readout: only branches of one place are compared."
            )


def _names(branches: Sequence[OwnBranch]) -> tuple[str, ...]:
    """Names of the branches; their classes, where two of them have one name."""
    names = tuple(one.name for one in branches)
    return names if len(set(names)) == len(names) else tuple(", ".join(one.classes) for one in branches)


def _hidden(branch: StandardizedNetwork, vectors: Tensor, name: str) -> Float64[np.ndarray, "n units"]:
    stages = branch.network.stage_names
    if len(stages) < 2:
        raise InputError(f"The branch {name!r} has no hidden layer: its units are its classes.")
    with torch.inference_mode():
        output = branch.eval()(vectors, until=stages[-2])
    return np.asarray(output.flatten(1).double().numpy())


def _false_accepts(node: Mapping[str, Any], name: str) -> dict[str, tuple[int, int]]:
    thresholds = node["thresholds"]
    if len(thresholds) > 1:
        raise InputError(f"The branch {name!r} has {len(thresholds)} thresholds: choose a run with one.")
    by_class = (thresholds[0]["foreign"] or {}).get("per_class", {})
    return {one: (int(found["n_accepted"]), int(found["n"])) for one, found in by_class.items()}


def _share(one: OwnBranch, other: OwnBranch) -> float:
    """Of the images of the other's classes, those that one accepts; 0 of itself."""
    counts = [one.false_accepts[name] for name in other.classes if name in one.false_accepts]
    return sum(accepted for accepted, _ in counts) / max(1, sum(n for _, n in counts))


def _scaled(responses: Float64[np.ndarray, "n units"]) -> Float64[np.ndarray, "n units"]:
    """Centred and of norm 1, as one loud branch would be all that a division at random shows."""
    centred = responses - responses.mean(0)
    return np.asarray(centred / max(1e-12, np.linalg.norm(centred)))


def _against_random_units(branches: Sequence[OwnBranch], value: float, draws: int, seed: int) -> Tested:
    responses = np.concatenate([_scaled(one.trained) for one in branches], 1)
    squares = (responses.T @ responses) ** 2
    sizes = [one.trained.shape[1] for one in branches]
    ends = np.cumsum([0, *sizes])
    units = {str(i): range(ends[i], ends[i + 1]) for i in range(len(branches))}
    partition = Partition.of("the hidden layers of branches", units, int(ends[-1]))
    owners, generator = partition.owners, np.random.default_rng(seed)
    pairs = np.triu_indices(len(branches), 1)

    def mean_similarity(owners: np.ndarray) -> float:
        of = np.eye(len(branches))[owners]
        blocks = of.T @ (squares @ of)  # sums of squared covariances are squared norms
        norms = np.sqrt(np.diag(blocks))
        return float((blocks / np.outer(norms, norms))[pairs].mean())

    null = np.array([mean_similarity(generator.permutation(owners)) for _ in range(draws)])
    return _from_below(value, null)


def _against_untrained(both: Float64[np.ndarray, "m m"], draws: int, seed: int) -> Tested:
    """Swap each branch and its untrained twin at random: had training no effect, they would be alike."""
    n = len(both) // 2
    generator, pairs = np.random.default_rng(seed), np.triu_indices(n, 1)

    def difference(swapped: np.ndarray) -> float:
        first, second = np.arange(n) + n * swapped, np.arange(n) + n * ~swapped
        return float(both[np.ix_(first, first)][pairs].mean() - both[np.ix_(second, second)][pairs].mean())

    null = np.array([difference(generator.random(n) < 0.5) for _ in range(draws)])
    return _from_below(difference(np.zeros(n, dtype=bool)), null)


def _from_below(value: float, null: Float64[np.ndarray, " draws"]) -> Tested:
    below = Tested.of(-value, -null)
    return Tested(value, below.p, float(null.mean()), -below.null_edge)
