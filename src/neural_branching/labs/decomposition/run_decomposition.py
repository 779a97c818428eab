"""A study on one page: branched autoencoders and their controls → parts → measures → findings."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch

from neural_branching.artifacts.ensure_data import ensure_data
from neural_branching.artifacts.trained_weights import HISTORY, load_epochs
from neural_branching.data.table import DataTable
from neural_branching.errors import InputError
from neural_branching.files.progress import progress
from neural_branching.labs.consistency import consistency
from neural_branching.labs.decomposition import part_measures
from neural_branching.labs.decomposition.autoencoder import Autoencoder
from neural_branching.labs.decomposition.decomposition_spec import AutoencoderSpec, DecompositionSpec
from neural_branching.labs.decomposition.ensure_autoencoder import (
    ensure_autoencoder,
    fitted,
    load_autoencoder,
    parameters_of,
    roles_of,
    untrained,
)
from neural_branching.labs.decomposition.examined import Examined
from neural_branching.labs.decomposition.findings import find
from neural_branching.labs.decomposition.learning_directions import follow
from neural_branching.labs.decomposition.part_measures import Parts, PartSums
from neural_branching.labs.permutation_tests import Tested
from neural_branching.labs.study_run import origin
from neural_branching.store.artifact_store import Artifact, Store, store_at
from neural_branching.training.history import History

Numbers = dict[str, Any]
COMPARED = 24  # images whose parts are compared between seeds
LEAST = 4  # test images, which the galleries show
ORDERS = 199  # of branches, as a null of that


@dataclass(frozen=True)
class Decomposition:
    """What a study found.

    Attributes:
        results: what results.json will hold.
        shown: the images that were taken apart.
        modules: role → trained autoencoder of the first seed.
        histories: of every network that was trained, its epochs.
    """

    results: Numbers
    shown: Examined
    modules: Mapping[str, Autoencoder]
    histories: Mapping[str, History]


def check(spec: DecompositionSpec) -> None:
    """Check what only the network knows.

    Raises:
        InputError: for options of the network that cannot be used, and more parts than the unbranched
            control has units for.
    """
    spec.compute.device()
    unbranched = roles_of(widened(spec), spec.data.input.shape)["unbranched"]
    units, parts = int(unbranched.network["width"]), spec.autoencoder.branches
    if units < parts:
        raise InputError(
            f"autoencoder.network.branches is {parts}: the unbranched autoencoder of equal parameters has "
            f"{units} last hidden units, too few for as many parts; raise autoencoder.network.width."
        )


def widened(spec: DecompositionSpec) -> AutoencoderSpec:
    """The branched autoencoder, of the code and the width that ``code`` and ``parameters`` ask for.

    Raises:
        InputError: as ``new_autoencoder``.
    """
    shape, one = spec.data.input.shape, spec.autoencoder
    if spec.code:
        one = one.with_network(latent=spec.code // one.branches)
    parameters_of(one, shape)
    return fitted(one, shape, spec.parameters) if spec.parameters else one


def check_table(spec: DecompositionSpec, table: DataTable) -> None:
    """Check that there are test images, and that they have colour.

    Raises:
        InputError: if not.
    """
    rows = table.rows("test", spec.classes)
    for name in spec.classes:
        if not len(table.rows("test", (name,))):
            raise InputError(f"Data {spec.data.name!r} has no test image of {name!r}.")
    if len(rows) < LEAST:
        raise InputError(
            f"Data {spec.data.name!r} has {len(rows)} test images of {', '.join(spec.classes)}: decompose "
            f"takes {LEAST} at least."
        )
    content = ensure_data(spec.data, store_at(spec.outputs / "store"), content=True).examples()
    if all((content[row] == content[row][:1]).all() for row in rows.tolist()):
        raise InputError(
            f"The images of data {spec.data.name!r} are grey: decompose asks which branch takes colour."
        )


def run(
    spec: DecompositionSpec, overrides: Sequence[str] = (), fingerprint: str | None = None
) -> Decomposition:
    """Train what is missing and measure everything.

    Args:
        spec: what to do.
        overrides: what the user typed.
        fingerprint: of the data that is expected; None for any.

    Raises:
        InputError: as ``check`` and ``check_table``.
    """
    check(spec)
    spec.compute.apply()
    store, shape = store_at(spec.outputs / "store"), spec.data.input.shape
    table = ensure_data(spec.data, store, content=True, fingerprint=fingerprint)
    check_table(spec, table)
    first = widened(spec)
    roles = roles_of(first, shape)
    weights = {
        (first.seed + number, role): ensure_autoencoder(
            *(store, spec.data, table, spec.compute, replace(one, seed=first.seed + number), spec.classes)
        )
        for number in range(spec.repeats)
        for role, one in roles.items()
    }
    shown = Examined.of(table, spec.data.source, spec.classes, spec.examples)
    seeds: dict[int, Numbers] = {}
    parts: dict[int, Parts] = {}
    with progress("Taking images apart") as show:
        for number in range(spec.repeats):
            seed = first.seed + number
            mine = {role: weights[seed, role] for role in roles}
            seeds[seed], parts[seed] = _seed(spec, store, table, shown, roles, mine, seed)
            show((number + 1) / spec.repeats)
    matched = agreement_over_seeds(seeds, parts)
    named = {f"{role} {seed}": one for (seed, role), one in weights.items()}
    results = {
        "command": "decompose",
        "status": "completed",
        "data": spec.data.name,
        "branches": first.branches,
        "examples": len(shown.images),
        "labels": list(shown.names),
        "components": list(shown.components),
        "networks": {
            role: {"network": dict(one.network), "parameters": parameters_of(one, shape)}
            for role, one in roles.items()
        },
        "seeds": {str(seed): numbers for seed, numbers in seeds.items()},
        "consistency": matched and asdict(matched),
        "findings": [asdict(one) for one in find(seeds, matched)],
        **origin(store, named, spec.compute, overrides),
    }
    modules = {role: load_autoencoder(one, shape, weights[first.seed, role]) for role, one in roles.items()}
    histories = {f"{role}/{seed}": one.json(HISTORY) for (seed, role), one in weights.items()}
    return Decomposition(results, shown, modules, histories)


def _seed(
    spec: DecompositionSpec,
    store: Store,
    table: DataTable,
    shown: Examined,
    roles: Mapping[str, AutoencoderSpec],
    weights: Mapping[str, Artifact],
    seed: int,
) -> tuple[Numbers, Parts]:
    """Role → numbers of every network of a seed, and the parts of the branched one."""
    device, found, kept = spec.compute.device(), {}, None
    initial = untrained(replace(roles["branched"], seed=seed), spec.data, table, spec.classes, store)
    for role in ("branched", "separate", "untrained"):
        stored = role in weights
        module = load_autoencoder(roles[role], shown.images.shape[1:], weights[role]) if stored else initial
        module = module.to(device).eval()
        parts = module.parts(shown.images).numpy()
        kept = parts if role == "branched" else kept
        target = module.standardized(shown.images).numpy()
        found[role] = measure(parts, target, shown, spec.shuffles, seed)
        if stored:
            found[role]["validation_error"] = weights[role].json(HISTORY)[-1]["val/loss"]
        if stored and (epochs := load_epochs(weights[role])):
            pl.seed_everything(seed, verbose=False)  # noise of denoising and variational ones
            found[role]["over_epochs"] = follow(module, epochs, shown.images)
    module = load_autoencoder(roles["unbranched"], shown.images.shape[1:], weights["unbranched"])
    found["split"] = measure_splits(module.to(device), shown, roles["branched"].branches, spec.splits, seed)
    assert kept is not None
    return found, kept


def measure(parts: Parts, target: part_measures.Images, shown: Examined, shuffles: int, seed: int) -> Numbers:
    """Everything of a network that takes images apart, for results.json.

    Args:
        parts: what its branches contribute.
        target: the images, standardised as parts are.
        shown: the same images with what is known of them.
        shuffles: random orders of the branches of every image.
        seed: of these.
    """
    middle = part_measures.centred(parts)
    sums, generator = PartSums.of(middle, shown.components), np.random.default_rng(seed)
    whole, without = part_measures.errors(parts, target)
    features = sums.features()
    ranges = sums.ranges()
    null = [sums.shuffled(generator).ranges() for _ in range(shuffles)]
    table = part_measures.correlation(middle)
    known = dict(zip(shown.components, sums.correlations().T.tolist(), strict=True))
    sum_sums = PartSums.of(middle.sum(1, keepdims=True), shown.components)
    return {
        "error": float(whole.mean()),
        "correlation": part_measures.mean_between(np.abs(table)),
        "correlations": table.tolist(),
        **{name: values.tolist() for name, values in features.items()},
        "error_without": (without.mean(0) / whole.mean()).tolist(),
        "by_class": part_measures.by_class(whole, without, shown.labels).tolist(),
        "regions": part_measures.regions(middle).tolist(),
        "ranges": ranges,
        "shuffled": {
            name: asdict(Tested.of(value, np.array([one[name] for one in null])))
            for name, value in ranges.items()
        },
        "known": known,
        "known_of_sum": dict(zip(shown.components, sum_sums.correlations()[0].tolist(), strict=True)),
    }


def measure_splits(module: Autoencoder, shown: Examined, count: int, splits: int, seed: int) -> Numbers:
    """Means over random divisions of the last hidden units of an unbranched network."""
    generator = np.random.default_rng(seed)
    units = module.network.last_units
    ranges: list[dict[str, float]] = []
    between = []
    for _ in range(splits):
        owners = torch.from_numpy(generator.permutation(np.arange(units) % count))
        parts = part_measures.centred(module.divided(shown.images, owners, count).numpy())
        ranges.append(PartSums.of(parts, shown.components).ranges())
        between.append(part_measures.mean_between(np.abs(part_measures.correlation(parts))))
    residual = module.standardized(shown.images) - module.parts(shown.images).sum(1)
    return {
        "error": float(residual.square().mean()),
        "correlation": float(np.mean(between)),
        "ranges": {name: float(np.mean([one[name] for one in ranges])) for name in ranges[0]},
    }


def agreement_over_seeds(seeds: Mapping[int, Numbers], parts: Mapping[int, Parts]) -> Tested | None:
    """Whether branches of several seeds that have like features contribute alike; None for one seed.

    What each contributes has one size, as branches of one size would agree through it alone.
    """
    if len(seeds) < 2:
        return None
    features = [
        np.stack([one["branched"][name] for name in ("chroma", "frequency")], 1) for one in seeds.values()
    ]
    some = [part_measures.centred(one)[:: max(1, len(one) // COMPARED)][:COMPARED] for one in parts.values()]
    profiles = [one.swapaxes(0, 1).reshape(one.shape[1], -1).astype(np.float64) for one in some]
    sized = [one / np.maximum(1e-12, np.linalg.norm(one, axis=1, keepdims=True)) for one in profiles]
    return consistency(features, sized, ORDERS)
