"""A study on one page: classifiers → autoencoders that explain them → gate → faithfulness."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from torch import Tensor

from neural_branching.artifacts.build_networks import check_parent
from neural_branching.artifacts.ensure_data import ensure_data
from neural_branching.artifacts.ensure_parent import ensure_parent
from neural_branching.artifacts.trained_weights import HISTORY, WEIGHTS
from neural_branching.artifacts.workspace import Workspace, load_parent
from neural_branching.data.table import DataTable
from neural_branching.errors import InputError
from neural_branching.files.progress import progress
from neural_branching.labs.decomposition.autoencoder import Autoencoder
from neural_branching.labs.decomposition.ensure_autoencoder import (
    ensure_autoencoder,
    load_autoencoder,
    parameters_of,
)
from neural_branching.labs.explanation.attribution_maps import areas
from neural_branching.labs.explanation.class_evidence import ClassEvidence
from neural_branching.labs.explanation.explanation_spec import ExplanationSpec
from neural_branching.labs.explanation.faithfulness import (
    JUDGES,
    MAPS,
    answers,
    compare,
    maps_of,
    right_without,
)
from neural_branching.labs.shown import Shown
from neural_branching.labs.study_run import origin
from neural_branching.networks.standardized_network import StandardizedNetwork
from neural_branching.selection.array_types import Float64
from neural_branching.store.artifact_store import Artifact, Store, store_at
from neural_branching.training.history import History

Numbers = dict[str, Any]
GATE = 0.05  # accuracy that the reconstruction may cost
ROWS = 8  # images of a figure


@dataclass(frozen=True)
class Explanation:
    """What a study found.

    Attributes:
        results: what results.json will hold.
        pictures: column → some images of the first seed, or maps of them, in standardised pixels.
        names: of the labels of these.
        module: the autoencoder of the first seed.
        histories: of every network that was trained, its epochs.
    """

    results: Numbers
    pictures: Mapping[str, Tensor]
    names: Sequence[str]
    module: Autoencoder
    histories: Mapping[str, History]


@dataclass(frozen=True)
class _Seed:
    """What was found with one seed: numbers, and map → area of each image by judge; pictures."""

    numbers: Numbers
    areas: Mapping[str, Mapping[str, Float64[np.ndarray, " n"]]]
    whole: Mapping[str, Float64[np.ndarray, " n"]]
    pictures: Mapping[str, Tensor]


def check(spec: ExplanationSpec) -> None:
    """Check what only networks know.

    Raises:
        InputError: as ``check_parent`` and ``new_autoencoder``.
    """
    spec.compute.device()
    check_parent(spec.parent)
    parameters_of(spec.autoencoder, spec.data.input.shape)


def check_table(spec: ExplanationSpec, table: DataTable) -> None:
    """Check that there are test images of every class.

    Raises:
        InputError: if not.
    """
    for name in spec.classes:
        if not len(table.rows("test", (name,))):
            raise InputError(f"Data {spec.data.name!r} has no test image of {name!r}.")


def run(spec: ExplanationSpec, overrides: Sequence[str] = (), fingerprint: str | None = None) -> Explanation:
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
    store = store_at(spec.outputs / "store")
    table = ensure_data(spec.data, store, content=True, fingerprint=fingerprint)
    check_table(spec, table)
    shown = Shown.of(table, spec.parent, spec.examples)
    parents = {
        one.seed: ensure_parent(store, spec.data, table, spec.compute, one) for one in spec.classifiers
    }
    classifiers = {
        one.seed: load_parent(Workspace(store, spec.data, table, spec.compute, one, parents[one.seed]))
        for one in spec.classifiers
    }
    weights: dict[int, Artifact] = {}
    seeds: dict[int, _Seed] = {}
    with progress("Explaining classifiers") as show:
        for place, seed in enumerate([*classifiers][: spec.repeats]):
            other = [*classifiers][(place + 1) % len(classifiers)]
            weights[seed] = _autoencoder(spec, store, table, classifiers[seed], parents[seed], place)
            module = load_autoencoder(spec.autoencoder, shown.test.shape[1:], weights[seed])
            judges = dict(zip(JUDGES, (classifiers[seed], classifiers[other]), strict=True))
            seeds[seed] = _seed(spec, module, judges, shown, seed)
            show((place + 1) / spec.repeats)
    found = [one.numbers for one in seeds.values()]
    named = {f"classifier {seed}": one for seed, one in parents.items()}
    named |= {f"autoencoder {seed}": one for seed, one in weights.items()}
    results = {
        "command": "explain",
        "status": "completed",
        "data": spec.data.name,
        "examples": len(shown.test),
        "labels": list(shown.names),
        "parameters": parameters_of(spec.autoencoder, spec.data.input.shape),
        "energies": list(spec.energies),
        "seeds": {str(seed): one.numbers for seed, one in seeds.items()},
        "gate": _gate(found),
        "comparisons": [
            asdict(one)
            for judge in JUDGES
            for one in compare(
                judge,
                {name: np.stack([seed.areas[judge][name] for seed in seeds.values()]) for name in MAPS},
                np.stack([seed.whole[judge] for seed in seeds.values()]),
            )
        ],
        **origin(store, named, spec.compute, overrides),
    }
    first = next(iter(seeds))
    histories = {name.replace(" ", "/"): one.json(HISTORY) for name, one in named.items()}
    return Explanation(
        results,
        seeds[first].pictures,
        [shown.names[label] for label in shown.test_labels[_rows(shown)]],
        load_autoencoder(spec.autoencoder, shown.test.shape[1:], weights[first]),
        histories,
    )


def _autoencoder(
    spec: ExplanationSpec,
    store: Store,
    table: DataTable,
    classifier: StandardizedNetwork,
    weights: Artifact,
    place: int,
) -> Artifact:
    """The autoencoder that explains a classifier, found or trained."""
    evidence = ClassEvidence(classifier, weights.sha(WEIGHTS), spec.evidence)
    one = replace(spec.autoencoder, seed=spec.autoencoder.seed + place)
    return ensure_autoencoder(store, spec.data, table, spec.compute, one, spec.classes, evidence)


def _seed(
    spec: ExplanationSpec,
    module: Autoencoder,
    judges: Mapping[str, StandardizedNetwork],
    shown: Shown,
    seed: int,
) -> _Seed:
    """Everything of one autoencoder and the classifier that it explains."""
    device = spec.compute.device()
    module = module.to(device).eval()
    judges = {name: one.to(device).eval() for name, one in judges.items()}
    own, labels = judges[JUDGES[0]], shown.test_labels
    images, parts = module.standardized(shown.test), module.parts(shown.test)
    maps = maps_of(module, own, shown.test, seed)
    numbers: Numbers = {
        "error": float((parts.sum(1) - images).square().mean()),
        "moved": _moved(own, module, parts),
        "share": float(maps[MAPS[0]].square().sum() / images.square().sum()),
        "accuracy": {},
        "curves": {},
    }
    found: dict[str, dict[str, Float64[np.ndarray, " n"]]] = {}
    whole = {}
    for judge, classifier in judges.items():
        before, again = (answers(classifier, module, one) for one in (images, parts.sum(1)))
        numbers["accuracy"][judge] = {
            "images": float((before == labels).mean()),
            "reconstructions": float((again == labels).mean()),
            "alike": float((before == again).mean()),
        }
        right = {
            name: right_without(classifier, module, images, labels, one, spec.energies)
            for name, one in maps.items()
        }
        numbers["curves"][judge] = {name: one.mean(1).tolist() for name, one in right.items()}
        found[judge] = {name: areas(one.astype(float), list(spec.energies)) for name, one in right.items()}
        whole[judge] = right[MAPS[0]][0].astype(float)
    rows = _rows(shown)
    pictures = {"image": images[rows], "reconstruction": parts.sum(1)[rows]}
    pictures |= {name: one[rows] for name, one in maps.items()}
    return _Seed(numbers, found, whole, pictures)


def _moved(classifier: StandardizedNetwork, module: Autoencoder, parts: Tensor) -> float:
    """How often the answer goes with the first branch, where that is taken from another image.

    Partners are half the images apart; those with one answer are left out.
    """
    others = parts.roll(len(parts) // 2, 0)
    mine, theirs = (answers(classifier, module, one.sum(1)) for one in (parts, others))
    swapped = answers(classifier, module, others[:, 0] + parts[:, 1:].sum(1))
    apart = mine != theirs
    return float((swapped == theirs)[apart].mean()) if apart.any() else float("nan")


def _gate(seeds: Sequence[Numbers]) -> Numbers:
    """Whether the reconstruction costs the classifiers no more than they may lose, means over seeds."""
    images, reconstructions = (
        float(np.mean([one["accuracy"][JUDGES[0]][name] for one in seeds]))
        for name in ("images", "reconstructions")
    )
    return {
        "images": images,
        "reconstructions": reconstructions,
        "allowed": GATE,
        "passed": images - reconstructions <= GATE,
    }


def _rows(shown: Shown) -> np.ndarray:
    """Images of the figure, of all classes."""
    count = len(shown.test)
    order = np.argsort(shown.test_labels, kind="stable")
    return order[np.linspace(0, count - 1, min(ROWS, count)).round().astype(np.int64)]
