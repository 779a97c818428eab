"""What units of a stage answer: to images, to images without colour, to classes, to curves."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from neural_branching.errors import InputError
from neural_branching.labs.specialization.stimuli import ORIENTATIONS, arcs, grey, lines
from neural_branching.networks.standardized_network import StandardizedNetwork
from neural_branching.selection.array_types import Bool, Float64, Int64, Shaped

BATCH = 128  # whose maps stay in a processor's caches


def outputs(
    model: StandardizedNetwork, images: Shaped[Tensor, "n ..."], stage: str
) -> Iterator[Shaped[Tensor, "batch units ..."]]:
    """Outputs of a stage, batch by batch, on the model's device.

    Raises:
        InputError: if they are neither maps of units (n, units, h, w) nor vectors (n, units).
    """
    for batch in torch.split(images, BATCH):
        with torch.inference_mode():
            output = model.eval()(batch.to(model.device), until=stage)
        _check(stage, output)
        yield output


@dataclass(frozen=True)
class UnitResponses:
    """What the units of a stage answer.

    Attributes:
        means: mean over the positions of each unit's output, for each image.
        colour: mean |a(x) − a(grey x)| / mean |a(x)| over images and positions, at least 0; 0 of silent
            units.
        curves: (answer to arcs − to lines) / (sum of their amounts), within [−1, 1], answers being those at
            the best orientation, averaged over the radii; 0 of silent units.
    """

    means: Float64[np.ndarray, "n units"]
    colour: Float64[np.ndarray, " units"]
    curves: Float64[np.ndarray, " units"]


def respond(
    model: StandardizedNetwork, images: Shaped[Tensor, "n c h w"], stages: Sequence[str]
) -> dict[str, UnitResponses]:
    """What the units of some stages answer, from one pass over the images and one over them in grey.

    Args:
        model: a model of images.
        images: raw, square images.
        stages: names of stages.

    Raises:
        InputError: as ``outputs``.
    """
    size = images.shape[-1]
    means: dict[str, list[Tensor]] = {stage: [] for stage in stages}
    change = dict.fromkeys(stages, torch.zeros(()))
    power = dict.fromkeys(stages, torch.zeros(()))
    for batch in torch.split(images, BATCH):
        colour, without = _walk(model, batch, stages), _walk(model, grey(batch), stages)
        for stage in stages:
            means[stage].append(_pooled(colour[stage]).double().cpu())
            change[stage] = (
                change[stage] + _pooled((colour[stage] - without[stage]).abs()).double().sum(0).cpu()
            )
            power[stage] = power[stage] + _pooled(colour[stage].abs()).double().sum(0).cpu()
    curved, straight = _walk(model, arcs(size), stages), _walk(model, lines(size), stages)
    return {
        stage: UnitResponses(
            means=torch.cat(means[stage]).numpy(),
            colour=(change[stage] / power[stage].clamp_min(1e-12)).numpy(),
            curves=_contrast(_strongest(curved[stage]), _strongest(straight[stage])),
        )
        for stage in stages
    }


def dead_units(responses: Float64[np.ndarray, "n units"]) -> Bool[np.ndarray, " units"]:
    """Units that answer every image alike."""
    return np.asarray(responses.std(0) <= 1e-6 * max(1e-12, float(np.abs(responses).max())))


def class_selectivity(
    responses: Float64[np.ndarray, "n units"], labels: Int64[np.ndarray, " n"]
) -> Float64[np.ndarray, " units"]:
    """(largest class mean − mean of the others) / (sum of their amounts), within [0, 1].

    The index of Morcos et al. (2018).
    """
    means = np.stack([responses[labels == label].mean(0) for label in np.unique(labels)])
    most = means.max(0)
    rest = (means.sum(0) - most) / (len(means) - 1)
    return np.asarray((most - rest) / np.maximum(1e-12, np.abs(most) + np.abs(rest)))


def _walk(model: StandardizedNetwork, batch: Tensor, stages: Sequence[str]) -> dict[str, Tensor]:
    with torch.inference_mode():
        found = dict(model.eval().walk(batch.to(model.device), stages))
    for stage, output in found.items():
        _check(stage, output)
    return found


def _check(stage: str, output: Tensor) -> None:
    if output.ndim not in (2, 4):
        raise InputError(
            f"The stage {stage!r} gives an output of shape {tuple(output.shape[1:])} for an example: units "
            "are channels of maps (units, h, w) or entries of vectors (units,)."
        )


def _pooled(output: Tensor) -> Tensor:
    return output.mean((2, 3)) if output.ndim == 4 else output


def _strongest(output: Tensor) -> Float64[np.ndarray, " units"]:
    """The answer at the best orientation, averaged over what else differs."""
    peaks = output.amax((2, 3)) if output.ndim == 4 else output
    best = peaks.view(ORIENTATIONS, -1, peaks.shape[1]).amax(0).mean(0)
    return np.asarray(best.double().cpu().numpy())


def _contrast(
    one: Float64[np.ndarray, " units"], other: Float64[np.ndarray, " units"]
) -> Float64[np.ndarray, " units"]:
    return np.asarray((one - other) / np.maximum(1e-12, np.abs(one) + np.abs(other)))
