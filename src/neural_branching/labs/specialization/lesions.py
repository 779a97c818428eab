"""What a branch is for: accuracy without it, against accuracy without as many of the same units at random.

Activations are replaced, never weights: inside a region of autocast changed weights may have no effect, as it
keeps copies of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from neural_branching.errors import InputError
from neural_branching.labs.permutation_tests import Tested
from neural_branching.labs.specialization.partition import Partition
from neural_branching.labs.specialization.traced_network import Rest, TracedNetwork
from neural_branching.labs.specialization.unit_responses import BATCH, outputs
from neural_branching.networks.staged import StagedNetwork
from neural_branching.networks.standardized_network import StandardizedNetwork
from neural_branching.selection.array_types import Float64, Int64, Shaped

FILLS = ("mean", "zero", "noise")


class Lesion:
    """Replaces units of a stage.

    Args:
        fill: "mean" of the unit over training images and positions, "zero", or "noise" of that mean and
            deviation.
        training: outputs of the stage for training images.
        seed: of the noise.
    """

    def __init__(self, fill: str, training: Shaped[Tensor, "n units ..."], seed: int = 0) -> None:
        self.fill = fill
        pooled = [axis for axis in range(training.ndim) if axis != 1]
        self.mean = training.mean(pooled, keepdim=True)[0] * (fill != "zero")
        self.deviation = training.std(pooled, keepdim=True)[0]
        self.seed = seed

    def __call__(
        self, output: Shaped[Tensor, "n units ..."], units: Int64[np.ndarray, " some"], batch: int = 0
    ) -> Shaped[Tensor, "n units ..."]:
        """A copy of a stage's output in which some units say nothing of the input.

        Args:
            output: of a batch of examples.
            units: which.
            batch: its number, as each has noise of its own.
        """
        index = torch.from_numpy(units).to(output.device)
        changed = output.clone()
        replaced = self.mean[index].expand_as(changed[:, index])
        if self.fill == "noise":
            generator = torch.Generator(output.device).manual_seed(self.seed + batch)
            noise = torch.randn(replaced.shape, generator=generator, device=output.device)
            replaced = replaced + noise * self.deviation[index]
        changed[:, index] = replaced
        return changed


@dataclass(frozen=True)
class LesionEffect:
    """Accuracy without each branch, and without random units.

    Attributes:
        accuracy: of the whole network.
        without: branch → accuracy without it.
        by_class: branch → accuracy without it, of each class; and "" → of the whole network.
        accuracy_without_random: accuracy without a branch of the same units divided at random, mean over
            divisions.
        random: how much more a branch costs than that, beside the same of every random division.
    """

    accuracy: float
    without: Mapping[str, float]
    by_class: Mapping[str, Float64[np.ndarray, " classes"]]
    accuracy_without_random: float
    random: Tested

    @property
    def excess(self) -> float:
        """How much more a branch costs than random units, in accuracy."""
        return self.random.value


def lesion_effect(
    model: StandardizedNetwork,
    partition: Partition,
    images: Shaped[Tensor, "n ..."],
    labels: Int64[np.ndarray, " n"],
    lesion: Lesion,
    draws: int,
    seed: int = 0,
) -> LesionEffect:
    """Lesion every branch, and every branch of random divisions of the same units.

    Args:
        model: a classifier of named stages, or a ``traced`` one.
        partition: its units.
        images: raw images.
        labels: their labels.
        lesion: what replaces units.
        draws: random divisions.
        seed: of the divisions.

    Raises:
        InputError: if the lesion of a branch changes no output, and as ``opened``.
    """
    batches = opened(model, images, partition.stage)
    targets = torch.from_numpy(labels).to(model.device)

    def right(units: Int64[np.ndarray, " some"]) -> tuple[Tensor, Tensor]:
        changed = (rest(lesion(output, units, number)) for number, (output, rest) in enumerate(batches))
        logits = torch.cat([*changed])
        return logits.argmax(1) == targets, logits

    with torch.inference_mode():
        whole, logits = right(np.empty(0, dtype=np.int64))
        found = {}
        for name, units in partition.branches.items():
            found[name], lesioned = right(units)
            if torch.equal(lesioned, logits):
                raise InputError(
                    f"Without the branch {name!r} of the stage {partition.stage!r} the network answers as "
                    "before: the lesion has not reached it."
                )
        without = {name: float(one.float().mean()) for name, one in found.items()}
        generator = np.random.default_rng(seed)
        null = np.array(
            [
                np.mean([float(right(units)[0].float().mean()) for units in division.branches.values()])
                for division in (partition.shuffled(generator) for _ in range(draws))
            ]
        )
    excess = null.mean() - np.mean([*without.values()])
    return LesionEffect(
        accuracy=float(whole.double().mean()),
        without=without,
        by_class={name: _by_class(one, targets) for name, one in ({"": whole} | found).items()},
        accuracy_without_random=float(null.mean()),
        random=Tested.of(excess, null.mean() - null),
    )


def opened(
    model: StandardizedNetwork, images: Shaped[Tensor, "n ..."], stage: str
) -> list[tuple[Shaped[Tensor, "batch units ..."], Rest]]:
    """The output of a stage batch by batch, and what the network makes of it or of what replaces it.

    Raises:
        InputError: if the network is neither traced nor a sequence of named stages.
    """
    network = model.network
    if isinstance(network, TracedNetwork):
        with torch.inference_mode():
            batches = [one.to(model.device) for one in torch.split(images, BATCH)]
            return [network.opened(model.standardize(batch), stage) for batch in batches]
    if not isinstance(network, StagedNetwork):
        raise InputError(
            f"{type(network).__name__} cannot start from the stage {stage!r}: lesions need a network that is "
            "a sequence of named stages, or is traced."
        )
    names = network.stage_names
    rest = nn.Sequential(*(network.stages[name] for name in names[names.index(stage) + 1 :]))
    found = [*outputs(model, images, stage)]
    if found[0].ndim == 2:
        found = [torch.cat(found)]  # of vectors the calls cost more than the numbers
    return [(output, rest) for output in found]


def _by_class(right: Tensor, targets: Tensor) -> Float64[np.ndarray, " classes"]:
    count = torch.bincount(targets).clamp_min(1)
    return np.asarray((torch.bincount(targets, right.double()) / count).cpu().numpy())
