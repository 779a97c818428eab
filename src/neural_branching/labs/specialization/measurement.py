"""Everything that is measured of one network with branches."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from neural_branching.labs.permutation_tests import (
    compare_features,
    compare_separation,
    compare_silhouette,
)
from neural_branching.labs.shown import Shown
from neural_branching.labs.specialization.filter_features import dead_filters
from neural_branching.labs.specialization.lesions import Lesion, LesionEffect, lesion_effect, opened
from neural_branching.labs.specialization.partition import Partition
from neural_branching.labs.specialization.similarity import compare_similarity, mean_correlation, treves_rolls
from neural_branching.labs.specialization.stimuli import VARIANTS
from neural_branching.labs.specialization.unit_features import filters, unit_features
from neural_branching.labs.specialization.unit_responses import UnitResponses, dead_units
from neural_branching.networks.branched import LAYERS
from neural_branching.networks.standardized_network import StandardizedNetwork
from neural_branching.selection.array_types import Float64, Int64
from neural_branching.selection.multiple_tests import holm

Numbers = dict[str, Any]


def measure_stage(
    model: StandardizedNetwork,
    partition: Partition,
    answers: UnitResponses,
    labels: Int64[np.ndarray, " n"],
    permutations: int,
    divisions: int,
    *,
    seed: int,
) -> tuple[Numbers, Mapping[str, Float64[np.ndarray, " units"]]]:
    """Features of the units of a stage by branch, and how alike branches respond.

    Args:
        model: the network.
        partition: its units; dead ones are left out and counted.
        answers: what they answer to images.
        labels: of the images.
        permutations: of every test.
        divisions: at random, for similarities.
        seed: of permutations and divisions.

    Returns:
        The numbers; and feature → one value per unit of the stage.

    Raises:
        InputError: if a branch has fewer than 3 live units, or a feature is the same for all.
    """
    means = answers.means
    dead = dead_units(means)
    weights = filters(model) if partition.stage == LAYERS[0] else None
    if weights is not None:
        dead |= dead_filters(weights)
    alive = partition.without(dead)
    features = unit_features(model, partition.stage, answers, labels)
    table = np.stack([values[alive.units] for values in features.values()], 1)
    table = (table - table.mean(0)) / np.maximum(1e-12, table.std(0))
    each, together = compare_features(table, alive.owners, permutations, seed)
    corrected = holm([one.p for one in each])
    numbers: Numbers = {
        "units": len(alive.units),
        "dead": len(partition.units) - len(alive.units),
        "omnibus": asdict(together),
        "features": {},
    }
    for column, (name, one) in enumerate(zip(features, each, strict=True)):
        apart = compare_separation(table[:, column], alive.owners, permutations, seed)
        numbers["features"][name] = {
            **asdict(one),
            "holm": corrected[column],
            "auroc": apart and asdict(apart),
            "means": {
                branch: float(features[name][units].mean()) for branch, units in alive.branches.items()
            },
        }
    within, between = mean_correlation(means, alive)
    numbers |= {
        "silhouette": asdict(compare_silhouette(means[:, alive.units], alive.owners, permutations, seed)),
        "cka": asdict(compare_similarity(means, alive, divisions, seed)),
        "correlation": {"within": within, "between": between, "lead": within - between},
        # Of outputs below 0, before an activation, there is no share of the activity.
        "treves_rolls": None if means.min() < 0 else treves_rolls(means[:, alive.units]),
    }
    return numbers, features


def measure_lesions(
    model: StandardizedNetwork, partition: Partition, shown: Shown, fill: str, divisions: int, *, seed: int
) -> Numbers:
    """Accuracies, and what lesions of branches cost, on coloured, grey and blurred images.

    Raises:
        InputError: as ``lesion_effect``.
    """
    with torch.inference_mode():
        batches = opened(model, shown.training, partition.stage)
        training = torch.cat([output for output, _ in batches])
        learned = torch.cat([rest(output).argmax(1) for output, rest in batches])
    lesion = Lesion(fill, training, seed)
    found = {
        name: lesion_effect(model, partition, variant(shown.test), shown.test_labels, lesion, divisions, seed)
        for name, variant in VARIANTS.items()
    }
    return {
        "accuracy": {name: effect.accuracy for name, effect in found.items()},
        "training_accuracy": float((learned.cpu().numpy() == shown.training_labels).mean()),
        "lesions": {name: _numbers(effect) for name, effect in found.items()},
    }


def _numbers(effect: LesionEffect) -> Numbers:
    return {
        "without": dict(effect.without),
        "excess": effect.excess,
        "p": effect.random.p,
        "random": effect.accuracy_without_random,
        "by_class": {name: one.tolist() for name, one in effect.by_class.items()},
    }
