"""What single units look for: images that drive them, and the test images that do so most."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from neural_branching.labs.shown import Shown
from neural_branching.labs.specialization.feature_visualization import visualize
from neural_branching.labs.specialization.partition import Partition
from neural_branching.labs.specialization.unit_responses import dead_units, outputs
from neural_branching.networks.standardized_network import StandardizedNetwork
from neural_branching.selection.array_types import Float64, Int64, Shaped

UNITS = 8  # portrayed of a stage, divided among its branches
EXAMPLES = 5  # of each unit
STAGES = 3  # the first that are divided, and that of the study


@dataclass(frozen=True)
class Portraits:
    """Units of a stage.

    Attributes:
        responses: mean over the positions of every live unit's output.
        units: which units are live.
        features: name → one value per unit of the stage.
        owners: unit → its branch.
        chosen: branch → its units that are portrayed, those least like other branches first.
        driven: unit → the image that gradient ascent has found, within [0, 1]; nan if nothing drives it.
        examples: unit → the test images that drive it most, the strongest first, within [0, 1].
    """

    responses: Float64[np.ndarray, "n units"]
    units: Int64[np.ndarray, " units"]
    features: Mapping[str, Float64[np.ndarray, " width"]]
    owners: Mapping[int, str]
    chosen: Mapping[str, list[int]]
    driven: Mapping[int, Shaped[np.ndarray, "h w 3"]]
    examples: Mapping[int, Shaped[np.ndarray, "k h w 3"]]


def portray(
    model: StandardizedNetwork,
    partitions: Mapping[str, Partition],
    features: Mapping[str, Mapping[str, np.ndarray]],
    shown: Shown,
    stage: str,
    seed: int,
) -> dict[str, Portraits]:
    """Portraits of the first stages whose outputs are maps, and of one more.

    Args:
        model: a network of images.
        partitions: its divided stages.
        features: stage → feature → one value per unit.
        shown: the images; colours are decorrelated as those of training images.
        stage: that of the study.
        seed: of the ascent.
    """
    found: dict[str, Portraits] = {}
    for name, partition in partitions.items():
        if name != stage and len(found) >= STAGES:
            continue
        are_maps, responses = _responses(model, shown.test, name)
        if name != stage and not are_maps:
            continue  # the same units as of the maps before
        alive = partition.without(dead_units(responses))
        chosen = least_alike(alive, features[name])
        units = [unit for mine in chosen.values() for unit in mine]
        driven = visualize(model, name, units, shown.training, seed=seed).movedim(1, 3).numpy() / 255
        best = {unit: np.argsort(-responses[:, unit], kind="stable")[:EXAMPLES] for unit in units}
        found[name] = Portraits(
            responses=responses[:, alive.units],
            units=alive.units,
            features=features[name],
            owners=alive.owner_of,
            chosen=chosen,
            driven=dict(zip(units, driven, strict=True)),
            examples={unit: shown.test[rows].movedim(1, 3).numpy() / 255 for unit, rows in best.items()},
        )
    return found


def _responses(
    model: StandardizedNetwork, images: Shaped[torch.Tensor, "n ..."], stage: str
) -> tuple[bool, Float64[np.ndarray, "n units"]]:
    """Whether outputs of a stage are maps, and their means over positions; maps are kept batch by batch."""
    are_maps, means = False, []
    for output in outputs(model, images, stage):
        are_maps = output.ndim == 4
        means.append(output.flatten(2).mean(2) if are_maps else output)
    return are_maps, torch.cat(means).double().cpu().numpy()


def least_alike(partition: Partition, features: Mapping[str, np.ndarray]) -> dict[str, list[int]]:
    """Of each branch the units whose standardised features are farthest from the mean of all other branches.

    Args:
        partition: live units.
        features: name → one value per unit of the stage.

    Returns:
        Branch → units, the farthest first; eight of a stage, of its first eight branches if it has more.
    """
    table = np.stack([*features.values()], 1)[partition.units]
    table = (table - table.mean(0)) / np.maximum(1e-12, table.std(0))
    most = max(1, UNITS // len(partition.branches))
    chosen = {}
    for name, units in [*partition.branches.items()][:UNITS]:
        mine = np.isin(partition.units, units)
        distance = np.linalg.norm(table[mine] - table[~mine].mean(0), axis=1)
        chosen[name] = units[np.argsort(-distance, kind="stable")[:most]].tolist()
    return chosen
