"""Does the first branch hold what the classifier goes by? Accuracy without it, at equal energy."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from neural_branching.labs.decomposition.autoencoder import BATCH, Autoencoder
from neural_branching.labs.explanation.attribution_maps import (
    gradient,
    integrated_gradients,
    low_pass,
    noise,
    of_energy,
    sign_gradient,
)
from neural_branching.labs.verdicts import NOT_SEEN, SEEN, UNDECIDED, sign_flips, significant
from neural_branching.networks.standardized_network import StandardizedNetwork
from neural_branching.selection.array_types import Bool, Float32, Float64, Int64, Shaped
from neural_branching.selection.intervals import Bootstrap, Interval, percentile_interval

DISTINCT, AGNOSTIC = "class-distinct", "class-agnostic"
CONTROLS = ("gradient", "integrated gradients", "sign of gradient", "low-pass", "random", AGNOSTIC)
MAPS = (DISTINCT, *CONTROLS)
JUDGES = ("its own classifier", "another seed's classifier")

Images = Float32[Tensor, "n c h w"]


def logits(
    classifier: StandardizedNetwork, module: Autoencoder, images: Images
) -> Float32[Tensor, "n classes"]:
    """What a classifier says of standardised images."""
    output: Tensor = classifier(module.raw(images))
    return output


def maps_of(
    module: Autoencoder, classifier: StandardizedNetwork, raw: Shaped[Tensor, "n c h w"], seed: int
) -> dict[str, Images]:
    """Every map of some images, in standardised pixels; those of branches without their mean image.

    Args:
        module: the autoencoder.
        classifier: what is explained, by the classes that it answers.
        raw: images, uint8.
        seed: of the random map.
    """
    parts, images = module.parts(raw), module.standardized(raw)
    parts = parts - parts.mean(0)
    found: dict[str, list[Tensor]] = {name: [] for name in MAPS if name not in (DISTINCT, AGNOSTIC)}

    def answer(x: Tensor) -> Tensor:
        return logits(classifier, module, x)

    for one in torch.split(images.to(module.device), BATCH):
        with torch.no_grad():
            classes = answer(one).argmax(1)
        found["gradient"].append(gradient(answer, one, classes))
        found["integrated gradients"].append(integrated_gradients(answer, one, classes))
        found["sign of gradient"].append(sign_gradient(answer, one, classes))
        found["low-pass"].append(low_pass(one))
    found["random"].append(noise(images, seed))
    joined = {name: torch.cat(one).cpu() for name, one in found.items()}
    own = {DISTINCT: parts[:, 0], AGNOSTIC: parts[:, 1:].sum(1)}
    return {name: (own | joined)[name] for name in MAPS}


@torch.no_grad()
def right_without(
    classifier: StandardizedNetwork,
    module: Autoencoder,
    images: Images,
    labels: Int64[np.ndarray, " n"],
    removed: Images,
    energies: Sequence[float],
) -> Bool[np.ndarray, "energies n"]:
    """Which images are still classified right without a map, of no energy first and then of each.

    Args:
        classifier: which answers.
        module: whose pixels images and maps are in.
        images: standardised.
        labels: those of the classifier.
        removed: the map of each image.
        energies: of the maps, shares of the images' energy.
    """
    rows = []
    for energy in (0.0, *energies):
        left = images - of_energy(removed, images, energy)
        rows.append(answers(classifier, module, left) == labels)
    return np.stack(rows)


@torch.no_grad()
def answers(classifier: StandardizedNetwork, module: Autoencoder, images: Images) -> Int64[np.ndarray, " n"]:
    """The labels that a classifier answers for standardised images."""
    batches = torch.split(images, BATCH)
    found = [logits(classifier, module, one.to(module.device)).argmax(1).cpu() for one in batches]
    return torch.cat(found).numpy()


@dataclass(frozen=True)
class Compared:
    """What the first branch removes, against a control of equal energy.

    Attributes:
        judge: which classifier answers.
        control: the other map.
        area: mean accuracy over the sizes of what is subtracted, relative to that of whole images: lower is
            more faithful.
        control_area: of the control.
        difference: area − control's.
        interval: of the difference, 95 %, over test images (paired bootstrap of means over seeds).
        p: one-sided, of a lower area than the control's, by flipping the signs of the seeds' differences.
        verdict: "seen here" for a lower area, "not seen here" for a higher one, each at p ≤ .05 over seeds
            and with an interval that leaves 0 out; or "not decidable here".
    """

    judge: str
    control: str
    area: float
    control_area: float
    difference: float
    interval: Interval
    p: float
    verdict: str


def compare(
    judge: str,
    areas: Mapping[str, Float64[np.ndarray, "seeds n"]],
    whole: Float64[np.ndarray, "seeds n"],
) -> list[Compared]:
    """The first branch against every control.

    Args:
        judge: which classifier answers.
        areas: map → of every seed and image, the area under being right.
        whole: of every seed and image, whether it is right as it is.
    """
    accuracy, draws = whole.mean(1), Bootstrap(whole.shape[1])
    relative = {name: one.mean(1) / accuracy for name, one in areas.items()}
    found = []
    for control in CONTROLS:
        by_seed = relative[DISTINCT] - relative[control]
        by_image = np.stack([(areas[DISTINCT] - areas[control]).mean(0), whole.mean(0)], 1)
        lost, right = draws.sums(by_image).T
        low, high = percentile_interval(lost / right)
        p, opposite = sign_flips((-by_seed).tolist()), sign_flips(by_seed.tolist())
        verdict = UNDECIDED
        if significant(p) and high < 0:
            verdict = SEEN
        elif significant(opposite) and low > 0:
            verdict = NOT_SEEN
        found.append(
            Compared(
                *(judge, control, float(relative[DISTINCT].mean()), float(relative[control].mean())),
                *(float(by_seed.mean()), (low, high), p, verdict),
            )
        )
    return found
