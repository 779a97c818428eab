"""A study on one page: networks with branches, the same untrained, plain ones of equal cost → measures."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from torch import Tensor

from neural_branching.artifacts.build_networks import check_parent, outline
from neural_branching.artifacts.ensure_data import ensure_data
from neural_branching.artifacts.ensure_parent import ensure_parent
from neural_branching.artifacts.macs import cost
from neural_branching.artifacts.trained_weights import HISTORY
from neural_branching.artifacts.workspace import Workspace, load_parent
from neural_branching.config.parent_spec import ParentSpec
from neural_branching.data.table import DataTable
from neural_branching.errors import InputError, one_of
from neural_branching.files.progress import progress
from neural_branching.labs.specialization.claims import claims
from neural_branching.labs.specialization.filter_features import FILTER_FEATURES, dead_filters
from neural_branching.labs.specialization.graph_partitions import graph_partitions
from neural_branching.labs.specialization.measurement import accuracy, measure_lesions, measure_stage
from neural_branching.labs.specialization.partition import FEWEST_UNITS, Partition
from neural_branching.labs.specialization.shown import Shown
from neural_branching.labs.specialization.stimuli import VARIANTS
from neural_branching.labs.specialization.study_spec import StudySpec
from neural_branching.labs.specialization.unit_features import filters
from neural_branching.labs.specialization.unit_responses import respond
from neural_branching.labs.specialization.weight_svd import SingularVector, connections, singular_vectors
from neural_branching.networks.branched import BranchedNet
from neural_branching.networks.staged import StagedNetwork
from neural_branching.selection.array_types import Shaped
from neural_branching.store.artifact_store import store_at
from neural_branching.store.environment import environment
from neural_branching.training.classifier import Classifier
from neural_branching.training.fit import History

Numbers = dict[str, Any]
MOST_SHUFFLED = 500  # tables of weights, each of which is decomposed


@dataclass(frozen=True)
class Study:
    """What a study found.

    Attributes:
        results: what results.json will hold.
        units: of every seed and role: stage → feature → one value per unit.
        owners: of every seed and role: stage → unit → branch.
        kernels: of every seed and role the first layer's filters.
        histories: of every network that was trained, its epochs.
        singular: of every seed the singular vectors of the plain network.
    """

    results: Numbers
    units: Mapping[tuple[int, str], Mapping[str, Mapping[str, np.ndarray]]]
    owners: Mapping[tuple[int, str], Mapping[str, Mapping[int, str]]]
    kernels: Mapping[tuple[int, str], np.ndarray]
    singular: Mapping[int, Mapping[str, SingularVector]]
    histories: Mapping[str, History]


def check(spec: StudySpec) -> None:
    """Check what only the network knows.

    Raises:
        InputError: as ``check_parent``, for a network without branches, and a stage that is not divided.
    """
    spec.compute.device()
    check_parent(spec.parent)
    stages = divided_stages(outline(spec.parent), spec.parent.input.blank().float())
    one_of(spec.stage, stages, "branch_point.stage")
    network = outline(spec.parent).network
    if isinstance(network, BranchedNet) and network.filters().shape[-1] == 1:
        raise InputError(
            "parent.network.kernel is 1: such filters have neither a frequency nor an orientation."
        )
    roles = _roles(spec.parent)
    for one in roles.values():
        check_parent(one)
    if "plain" in roles:
        by_order(stages, outline(roles["plain"]))


def check_table(spec: StudySpec, table: DataTable) -> None:
    """Check that there is colour, of which half of the measures speak.

    Raises:
        InputError: if no training image has any.
    """
    if Shown.of(table, spec.parent, spec.examples).is_grey:
        raise InputError(
            f"The images of data {spec.data.name!r} are grey: a study of specialization asks who sees colour."
        )


def divided_stages(model: Classifier, blank: Shaped[Tensor, "1 ..."]) -> dict[str, Partition]:
    """The divided stages of a network in order.

    Of networks that others have written these are what ``graph_partitions`` finds along the channels.

    Raises:
        InputError: if there is none.
    """
    network = model.network
    divided: dict[str, Partition] = {}
    if isinstance(network, BranchedNet):
        divided = {
            stage: Partition.of(stage, branches, sum(map(len, branches.values())))
            for stage, branches in network.branch_units().items()
        }
    elif not isinstance(network, StagedNetwork):  # those of this package have no other branches
        found = graph_partitions(network.bare, blank)
        divided = {
            one.partition.stage: one.partition for one in found if one.axis == 1 and len(one.stages) == 1
        }
    if not divided:
        raise InputError(
            f"parent.network, a {type(network.bare).__name__}, has no branches to compare: choose "
            "parent=branched with parent.network.branches of 2 or more, or a model whose layers are divided."
        )
    return divided


def plain_of_equal_cost(spec: ParentSpec) -> ParentSpec:
    """The same network without branches, of the width whose multiply–accumulates come nearest.

    Of kernels of several sizes it has the largest.
    """
    kernel = spec.network.get("kernel", 5)
    largest = kernel if isinstance(kernel, int) else max(kernel)

    def of_width(width: int) -> ParentSpec:
        network = {**spec.network, "branches": 1, "join": "logits", "kernel": largest, "width": width}
        return replace(spec.anew(), network=network)

    wanted, blank = cost(outline(spec), spec.input.blank()).macs, spec.input.blank()
    low, high = 1, int(spec.network.get("width", 32))
    while low < high:  # MACs rise with the width
        middle = (low + high) // 2
        if cost(outline(of_width(middle)), blank).macs < wanted:
            low = middle + 1
        else:
            high = middle
    nearest = min(
        (width for width in (low - 1, low) if width),
        key=lambda width: abs(cost(outline(of_width(width)), blank).macs - wanted),
    )
    return of_width(nearest)


def run(spec: StudySpec, overrides: Sequence[str] = (), fingerprint: str | None = None) -> Study:
    """Train what is missing and measure everything.

    Args:
        spec: what to do.
        overrides: what the user typed.
        fingerprint: of the data that is expected; None for any.

    Raises:
        InputError: as ``check`` and ``check_table``, and for a network that cannot be measured.
    """
    check(spec)
    spec.compute.apply()
    store = store_at(spec.outputs / "store")
    table = ensure_data(spec.data, store, content=True, fingerprint=fingerprint)
    check_table(spec, table)
    shown = Shown.of(table, spec.parent, spec.examples)
    weights, networks = {}, {}
    for parent in spec.parents:
        for role, one in _roles(parent).items():
            found = ensure_parent(store, spec.data, table, spec.compute, one)
            weights[f"{role} {parent.seed}"] = found
            workspace = Workspace(store, spec.data, table, spec.compute, one, found)
            networks[parent.seed, role] = load_parent(workspace).to(spec.compute.device())
    seeds: dict[int, Numbers] = {}
    units, owners, kernels, singular = {}, {}, {}, {}
    divided = divided_stages(outline(spec.parent), spec.parent.input.blank().float())
    with progress("Measuring units, branches and lesions") as show:
        for number, ((seed, role), model) in enumerate(networks.items()):
            partitions = by_order(divided, model) if role == "plain" else divided
            owners[seed, role] = {stage: one.owner_of for stage, one in partitions.items()}
            try:
                measured, units[seed, role] = _measure(
                    spec, model, partitions, shown, trained=role != "untrained", seed=seed
                )
            except InputError as error:
                raise InputError(f"Seed {seed}, the {role} network: {error}") from error
            seeds.setdefault(seed, {})[role] = measured
            history = weights[f"{role} {seed}"].json(HISTORY)
            seeds[seed][role]["validation_accuracy"] = [epoch["val/accuracy"] for epoch in history]
            if (weights_of := filters(model)) is not None:
                kernels[seed, role] = weights_of
            if role == "plain":
                singular[seed] = _singular_vectors(spec, model, seed)
                seeds[seed][role]["singular_vectors"] = {
                    kind: {name: asdict(tested) for name, tested in one.features.items()}
                    for kind, one in singular[seed].items()
                }
            show((number + 1) / len(networks))
    _compare_training(seeds)
    results = {
        "command": "specialize",
        "status": "completed",
        "data": spec.data.name,
        "stage": spec.stage,
        "lesion": spec.lesion,
        "examples": {"training": len(shown.training), "test": len(shown.test)},
        "labels": list(shown.names),
        "networks": {role: _described(one, spec) for role, one in _roles(spec.parent).items()},
        "seeds": {str(seed): found for seed, found in seeds.items()},
        "claims": [asdict(claim) for claim in claims(seeds, spec.stage)],
        "environment": environment(spec.compute.device()),
        "artifacts": {
            name: {**weights[name].provenance(), "built": built}
            for name, built in store.newly_built(weights).items()
        },
        "used": store.take_used(),
        "overrides": list(overrides),
    }
    histories = {
        name.replace(" ", "/"): found for name, one in weights.items() if (found := one.json(HISTORY))
    }
    return Study(results, units, owners, kernels, singular, histories)


def _roles(parent: ParentSpec) -> dict[str, ParentSpec]:
    """The network, its initial weights, and the plain one where the network can be one."""
    roles = {"branched": parent, "untrained": replace(parent.anew(), recipe=None)}
    if parent.learns and isinstance(outline(parent).network, BranchedNet):
        roles["plain"] = plain_of_equal_cost(parent)
    return roles


def by_order(divided: Mapping[str, Partition], model: Classifier) -> dict[str, Partition]:
    """The same stages of a plain network, their units in parts of the same shares, by their order.

    Raises:
        InputError: if a part has fewer than 3 units.
    """
    network = model.network
    assert isinstance(network, BranchedNet)
    plain = {}
    for stage, partition in divided.items():
        count, sizes = network.unit_count(stage), [len(units) for units in partition.branches.values()]
        ends = np.round(np.cumsum([0, *sizes]) / sum(sizes) * count).astype(np.int64).tolist()
        parts = {name: range(*ends[i : i + 2]) for i, name in enumerate(partition.branches)}
        if min(map(len, parts.values())) < FEWEST_UNITS:
            raise InputError(
                f"The plain network of equal cost has {count} units at {stage}, too few for {len(parts)} "
                f"parts of {FEWEST_UNITS} at least: raise parent.network.width."
            )
        plain[stage] = Partition.of(stage, parts, count)
    return plain


def _measure(
    spec: StudySpec,
    model: Classifier,
    partitions: Mapping[str, Partition],
    shown: Shown,
    *,
    trained: bool,
    seed: int,
) -> tuple[Numbers, dict[str, Mapping[str, np.ndarray]]]:
    answers = respond(model, shown.test, tuple(partitions))
    stages, units = {}, {}
    for stage, partition in partitions.items():
        stages[stage], units[stage] = measure_stage(
            model, partition, answers[stage], shown.test_labels, spec.permutations, spec.divisions, seed=seed
        )
    numbers: Numbers = {"stages": stages}
    if trained:
        numbers["accuracy"] = {
            name: accuracy(model, variant(shown.test), shown.test_labels)
            for name, variant in VARIANTS.items()
        }
        numbers["training_accuracy"] = accuracy(model, shown.training, shown.training_labels)
    if trained and isinstance(model.network, StagedNetwork):  # which can start from a stage
        numbers["lesions"] = measure_lesions(
            model, partitions[spec.stage], shown, spec.lesion, spec.divisions, seed=seed
        )
    return numbers, units


def _compare_training(seeds: Mapping[int, Numbers]) -> None:
    """Add the gap between training and test accuracy, and epochs until 90 % of the plain network's last.

    A network that never gets there counts one epoch more than it had.
    """
    for one in seeds.values():
        for numbers in (one[role] for role in one if role != "untrained"):
            numbers["gap"] = numbers["training_accuracy"] - numbers["accuracy"]["colour"]
            if "plain" in one:
                goal, history = 0.9 * one["plain"]["validation_accuracy"][-1], numbers["validation_accuracy"]
                reached = (epoch for epoch, value in enumerate(history, 1) if value >= goal)
                numbers["epochs"] = next(reached, len(history) + 1)


def _singular_vectors(spec: StudySpec, model: Classifier, seed: int) -> dict[str, SingularVector]:
    network = model.network
    assert isinstance(network, BranchedNet)
    weights = network.filters().detach().double().cpu().numpy()
    table = connections(network.next_weights().detach().double().cpu().numpy(), len(weights))
    alive = ~dead_filters(weights)
    features = {name: feature(weights[alive]) for name, feature in FILTER_FEATURES.items()}
    features["norm"] = np.sqrt((weights[alive] ** 2).sum((1, 2, 3)))
    return singular_vectors(table[alive], features, min(spec.permutations, MOST_SHUFFLED), seed=seed)


def _described(parent: ParentSpec, spec: StudySpec) -> Numbers:
    macs, parameters = cost(outline(parent), spec.parent.input.blank())
    return {"network": dict(parent.network), "macs": macs, "parameters": parameters}
