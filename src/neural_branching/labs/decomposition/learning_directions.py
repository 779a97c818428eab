"""Do branches learn alike? Their outputs, and what a step of gradient descent would change in them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.functional import jvp
from torch.func import functional_call

from neural_branching.labs.decomposition.autoencoder import Autoencoder
from neural_branching.labs.decomposition.part_measures import centred, correlation, mean_between
from neural_branching.selection.array_types import Float32, Shaped

IMAGES = 64  # that correlations of every epoch are taken of


def follow(
    module: Autoencoder, epochs: Sequence[Mapping[str, Tensor]], images: Shaped[Tensor, "n c h w"]
) -> dict[str, list[float]]:
    """Mean correlation between branches of their outputs and of their gradients, epoch by epoch.

    Args:
        module: the autoencoder, which ends with the last of the weights.
        epochs: its weights before the first epoch and after each.
        images: every so many are shown, 64 in all.

    Returns:
        "outputs" and "gradients", a number for each epoch.
    """
    shown = images[:: max(1, len(images) // IMAGES)][:IMAGES]
    found: dict[str, list[float]] = {"outputs": [], "gradients": []}
    for weights in epochs:
        module.load_state_dict(weights)
        for name, parts in (("outputs", module.parts(shown).numpy()), ("gradients", steps(module, shown))):
            found[name].append(mean_between(correlation(centred(parts))))
    return found


def steps(module: Autoencoder, images: Shaped[Tensor, "n c h w"]) -> Float32[np.ndarray, "n b c h w"]:
    """What an infinitely small step of gradient descent changes in each branch's output: J_b·∇_b loss.

    Gradients of two branches have no coordinates in common, since each has weights of its own; what they do
    to the outputs has. Our own definition.

    Args:
        module: the autoencoder, in evaluation mode.
        images: raw images, of which the loss is the mean.
    """
    target = module.standardize(images.to(module.device))
    changes = []
    with torch.enable_grad():
        module.zero_grad()
        module.batch_loss(images.to(module.device), torch.zeros(len(images), dtype=torch.int64)).backward()  # type: ignore[no-untyped-call]
    for branch in module.network.branches:
        names, weights = zip(*branch.named_parameters(), strict=True)
        gradients = tuple(torch.zeros_like(one) if one.grad is None else one.grad for one in weights)

        def output(*values: Tensor, branch: nn.Module = branch, names: tuple[str, ...] = names) -> Any:
            return functional_call(branch, dict(zip(names, values, strict=True)), (target,))

        changes.append(jvp(output, weights, gradients)[1])  # type: ignore[no-untyped-call]
    module.zero_grad()
    return np.asarray(torch.stack(changes, 1).cpu().numpy())
