"""How far branches of the first two layers differ, epoch by epoch, from weights kept in training."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from neural_branching.labs.permutation_tests import explained_variance, permuted
from neural_branching.labs.specialization.filter_features import chroma
from neural_branching.labs.specialization.partition import Partition
from neural_branching.labs.specialization.unit_features import filters
from neural_branching.labs.specialization.unit_responses import respond
from neural_branching.networks.branched import LAYERS
from neural_branching.networks.standardized_network import StandardizedNetwork
from neural_branching.selection.array_types import Float64, Shaped

IMAGES = 200  # that units answer to in every epoch
# Stage → what its units are compared by. Both speak of colour, so that one can follow the other.
FOLLOWED = {LAYERS[0]: "chroma", LAYERS[1]: "colour_selectivity"}

Numbers = dict[str, Any]


def follow(
    model: StandardizedNetwork,
    epochs: Sequence[Mapping[str, Tensor]],
    partitions: Mapping[str, Partition],
    images: Shaped[Tensor, "n c h w"],
    permutations: int,
    *,
    seed: int,
) -> tuple[Numbers, list[Float64[np.ndarray, "units c k k"]]]:
    """η² of colour at the divided ones of the first two layers, before the first epoch and after each.

    Args:
        model: the network, which ends with the last of the weights.
        epochs: its weights.
        partitions: the units of its stages; all of them count, dead ones too.
        images: every so many are shown, 200 in all.
        permutations: of units in every epoch, whose 95 % are the null band.
        seed: of the permutations.

    Returns:
        Stage → its feature, η² by epoch, the edge of the null band; and the first layer's filters by epoch.

    Raises:
        InputError: if all units have one value.
    """
    shown = images[:: max(1, len(images) // IMAGES)][:IMAGES]
    stages = [stage for stage in FOLLOWED if stage in partitions]
    owners = {stage: partitions[stage].owners for stage in stages}
    null = {stage: permuted(owners[stage], permutations, seed) for stage in stages}
    found: Numbers = {stage: {"feature": FOLLOWED[stage], "value": [], "null_edge": []} for stage in stages}
    kernels = []
    for weights in epochs:
        model.load_state_dict(weights)
        kernel = filters(model)
        assert kernel is not None
        kernels.append(kernel)
        for stage in stages:
            values = chroma(kernel) if stage == LAYERS[0] else respond(model, shown, (stage,))[stage].colour
            column = values[partitions[stage].units, None]
            edge = np.quantile(explained_variance(column, null[stage]), 0.95)
            found[stage]["value"].append(float(explained_variance(column, owners[stage][None])[0, 0]))
            found[stage]["null_edge"].append(float(edge))
    return found, kernels
