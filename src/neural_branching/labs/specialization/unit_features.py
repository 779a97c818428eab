"""The features of units by name: of filters where a stage has them, of responses at every stage."""

from collections.abc import Mapping

import numpy as np

from neural_branching.labs.specialization.filter_features import FILTER_FEATURES
from neural_branching.labs.specialization.unit_responses import UnitResponses, class_selectivity
from neural_branching.networks.branched import LAYERS, BranchedNet
from neural_branching.networks.standardized_network import StandardizedNetwork
from neural_branching.selection.array_types import Float64, Int64

RESPONSE_FEATURES = ("colour_selectivity", "curve_selectivity", "class_selectivity")
FEATURES = (*FILTER_FEATURES, *RESPONSE_FEATURES)


def filters(model: StandardizedNetwork) -> Float64[np.ndarray, "n c k k"] | None:
    """The first layer's filters; None if the network does not say which they are."""
    network = model.network
    if not isinstance(network, BranchedNet):
        return None
    return np.asarray(network.filters().detach().double().cpu().numpy())


def unit_features(
    model: StandardizedNetwork, stage: str, answers: UnitResponses, labels: Int64[np.ndarray, " n"]
) -> Mapping[str, Float64[np.ndarray, " units"]]:
    """Name → one value per unit of a stage: of filters too, where the stage is the first layer.

    Args:
        model: the network.
        stage: one of its stages.
        answers: what its units answer to images.
        labels: of the images.
    """
    found: dict[str, Float64[np.ndarray, " units"]] = {}
    weights = filters(model)
    if weights is not None and stage == LAYERS[0]:
        found |= {name: feature(weights) for name, feature in FILTER_FEATURES.items()}
    values = (answers.colour, answers.curves, class_selectivity(answers.means, labels))
    return found | dict(zip(RESPONSE_FEATURES, values, strict=True))
