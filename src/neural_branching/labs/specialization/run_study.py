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
from neural_branching.artifacts.trained_weights import HISTORY, load_epochs
from neural_branching.artifacts.workspace import Workspace, load_parent
from neural_branching.config.build import placed
from neural_branching.config.parent_spec import ParentSpec
from neural_branching.data.table import DataTable
from neural_branching.errors import InputError, one_of
from neural_branching.files.progress import progress
from neural_branching.labs.shown import Shown
from neural_branching.labs.specialization.claims import claims
from neural_branching.labs.specialization.designs import by_order, divided_stages, roles_of
from neural_branching.labs.specialization.filter_features import FILTER_FEATURES, dead_filters
from neural_branching.labs.specialization.measurement import measure_lesions, measure_stage
from neural_branching.labs.specialization.partition import Partition
from neural_branching.labs.specialization.study_spec import StudySpec
from neural_branching.labs.specialization.traced_network import traced
from neural_branching.labs.specialization.trajectories import follow
from neural_branching.labs.specialization.treatment_effects import effects
from neural_branching.labs.specialization.treatments import StudyTreatment
from neural_branching.labs.specialization.unit_features import filters
from neural_branching.labs.specialization.unit_portraits import Portraits, portray
from neural_branching.labs.specialization.unit_responses import respond
from neural_branching.labs.specialization.weight_svd import SingularVector, connections, singular_vectors
from neural_branching.labs.study_run import origin
from neural_branching.networks.branched import BranchedNet
from neural_branching.networks.network import Network
from neural_branching.networks.standardized_network import StandardizedNetwork
from neural_branching.store.artifact_store import Artifact, Store, store_at
from neural_branching.training.history import History
from neural_branching.training.recipe import Recipe

Numbers = dict[str, Any]
MOST_SHUFFLED = 500  # tables of weights, each of which is decomposed


@dataclass(frozen=True)
class Measured:
    """What was measured of one network.

    Attributes:
        numbers: for results.json.
        units: stage → feature → one value per unit.
        owners: stage → unit → its branch.
        kernels: the first layer's filters; None if the network does not say which they are.
        singular: of a plain network the singular vectors of its weights; empty of others.
        portraits: stage → its units, of the first branched network; empty of others.
    """

    numbers: Numbers
    units: Mapping[str, Mapping[str, np.ndarray]]
    owners: Mapping[str, Mapping[int, str]]
    kernels: np.ndarray | None
    singular: Mapping[str, SingularVector]
    portraits: Mapping[str, Portraits]


@dataclass(frozen=True)
class Study:
    """What a study found.

    Attributes:
        results: what results.json will hold.
        networks: seed and role → what was measured.
        histories: of every network that was trained, its epochs.
    """

    results: Numbers
    networks: Mapping[tuple[int, str], Measured]
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
    if spec.treatment:
        _check_treatment(spec.treatment, network, spec.parent.recipe)
    roles = roles_of(spec.parent)
    for one in roles.values():
        check_parent(one)
    if "plain" in roles:
        by_order(stages, outline(roles["plain"]))


def _check_treatment(treatment: StudyTreatment, network: Network, recipe: Recipe | None) -> None:
    """Check that a treatment can be done.

    Raises:
        InputError: for another network than ``BranchedNet``, and as ``StudyTreatment.check``.
    """
    if not isinstance(network, BranchedNet):
        raise InputError(f"treatment is {treatment.name!r}, which takes a network of parent=branched.")
    assert recipe
    placed("treatment", lambda: treatment.check(network, recipe.epochs))


def check_table(spec: StudySpec, table: DataTable) -> None:
    """Check that there is colour, of which half of the measures speak.

    Raises:
        InputError: if no training image has any.
    """
    if Shown.of(table, spec.parent, spec.examples).is_grey:
        raise InputError(
            f"The images of data {spec.data.name!r} are grey: a study of specialization asks who sees colour."
        )


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
    roles = roles_of(spec.parent, treated=spec.treatment is not None)
    designs, weights = _trained(spec, store, table, roles)
    networks = {}
    with progress("Measuring units, branches and lesions") as show:
        for number, (place, one) in enumerate(designs.items()):
            parent = load_parent(Workspace(store, spec.data, table, spec.compute, one, weights[place]))
            parent = parent.to(spec.compute.device())
            # A plain network has no branches to be traced, and the others have names of their own.
            known = place[1] == "plain" or isinstance(parent.network, BranchedNet)
            model = parent if known else traced(parent, one.input.blank().float())
            networks[place] = _measured(spec, model, shown, place, load_epochs(weights[place]))
            history = weights[place].json(HISTORY)
            networks[place].numbers["validation_accuracy"] = [epoch["val/accuracy"] for epoch in history]
            show((number + 1) / len(designs))
    seeds: dict[int, Numbers] = {}
    for (seed, role), measured in networks.items():
        seeds.setdefault(seed, {})[role] = measured.numbers
    _compare_training(seeds)
    encouraged = next(iter(spec.treatment.stages), None) if spec.treatment else None
    named = {f"{role} {seed}": one for (seed, role), one in weights.items()}
    results = {
        "command": "specialize",
        "status": "completed",
        "data": spec.data.name,
        "stage": spec.stage,
        "lesion": spec.lesion,
        "examples": {"training": len(shown.training), "test": len(shown.test)},
        "labels": list(shown.names),
        "networks": {role: _described(one, spec) for role, one in roles.items()},
        "treatment": spec.treatment and dict(spec.treatment.identity()),
        "effects": [asdict(effect) for effect in effects(seeds)] if spec.treatment else [],
        "seeds": {str(seed): found for seed, found in seeds.items()},
        "claims": [asdict(claim) for claim in claims(seeds, spec.stage, encouraged)],
        **origin(store, named, spec.compute, overrides),
    }
    histories = {f"{role}/{seed}": one.json(HISTORY) for (seed, role), one in weights.items()}
    return Study(results, networks, {name: found for name, found in histories.items() if found})


def _trained(
    spec: StudySpec, store: Store, table: DataTable, roles: Mapping[str, ParentSpec]
) -> tuple[dict[tuple[int, str], ParentSpec], dict[tuple[int, str], Artifact]]:
    """Every network by seed and role, and its weights, found or trained."""
    designs = {
        (parent.seed, role): replace(one, seed=parent.seed)
        for parent in spec.parents
        for role, one in roles.items()
    }
    weights = {
        (seed, role): ensure_parent(
            *(store, spec.data, table, spec.compute, one),
            treatment=spec.treatment if role == "treated" else None,
        )
        for (seed, role), one in designs.items()
    }
    return designs, weights


def _measured(
    spec: StudySpec,
    model: StandardizedNetwork,
    shown: Shown,
    place: tuple[int, str],
    epochs: Sequence[Mapping[str, Tensor]],
) -> Measured:
    """Everything of one network, and of a divided one how it came there.

    Raises:
        InputError: naming seed and role, for a network that cannot be measured.
    """
    seed, role = place
    divided = divided_stages(outline(spec.parent), spec.parent.input.blank().float())
    partitions = by_order(divided, model) if role == "plain" else divided
    try:
        numbers, units = _measure(spec, model, partitions, shown, role=role, seed=seed)
        if epochs and role != "plain" and isinstance(model.network, BranchedNet):
            numbers["over_epochs"], kernels = follow(
                model, epochs, partitions, shown.test, spec.permutations, seed=seed
            )
            if spec.treatment:
                numbers["treatment"] = dict(spec.treatment.measures(model.network, kernels))
    except InputError as error:
        raise InputError(f"Seed {seed}, the {role} network: {error}") from error
    singular = _singular_vectors(spec, model.network, seed) if role == "plain" else {}
    if singular:
        numbers["singular_vectors"] = {
            kind: {name: asdict(tested) for name, tested in one.features.items()}
            for kind, one in singular.items()
        }
    owners = {stage: one.owner_of for stage, one in partitions.items()}
    portraits = {}
    if place == (spec.parents[0].seed, "branched"):
        portraits = portray(model, partitions, units, shown, spec.stage, seed)
    return Measured(numbers, units, owners, filters(model), singular, portraits)


def _measure(
    spec: StudySpec,
    model: StandardizedNetwork,
    partitions: Mapping[str, Partition],
    shown: Shown,
    *,
    role: str,
    seed: int,
) -> tuple[Numbers, dict[str, Mapping[str, np.ndarray]]]:
    # Of a plain network the stages are others than those that they stand for.
    answers = respond(model, shown.test, [one.stage for one in partitions.values()])
    stages, units = {}, {}
    for stage, partition in partitions.items():
        stages[stage], units[stage] = measure_stage(
            *(model, partition, answers[partition.stage], shown.test_labels),
            *(spec.permutations, spec.divisions),
            seed=seed,
        )
    numbers: Numbers = {"stages": stages}
    if spec.treatment and role in ("treated", "branched"):
        assert isinstance(model.network, BranchedNet)
        numbers["beside_forced"] = {
            stage: measure_stage(
                *(model, partitions[stage].leaving_out(forced), answers[stage], shown.test_labels),
                *(spec.permutations, spec.divisions),
                seed=seed,
            )[0]
            for stage, forced in spec.treatment.forced(model.network).items()
        }
    if role != "untrained":
        numbers |= measure_lesions(
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


def _singular_vectors(spec: StudySpec, network: Network, seed: int) -> dict[str, SingularVector]:
    if not isinstance(network, BranchedNet):
        return {}
    weights = network.filters().detach().double().cpu().numpy()
    table = connections(network.next_weights().detach().double().cpu().numpy(), len(weights))
    alive = ~dead_filters(weights)
    features = {name: feature(weights[alive]) for name, feature in FILTER_FEATURES.items()}
    features["norm"] = np.sqrt((weights[alive] ** 2).sum((1, 2, 3)))
    return singular_vectors(table[alive], features, min(spec.permutations, MOST_SHUFFLED), seed=seed)


def _described(parent: ParentSpec, spec: StudySpec) -> Numbers:
    macs, parameters = cost(outline(parent), spec.parent.input.blank())
    return {"network": dict(parent.network), "macs": macs, "parameters": parameters}
