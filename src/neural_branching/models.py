"""Networks and augmentation from a run's settings: what takes torch to build and to check."""

from collections.abc import Sequence
from typing import Any

import torch

from neural_branching.activations import stage_width
from neural_branching.branch import Branch
from neural_branching.config import build
from neural_branching.errors import ArgumentError, InputError, one_of
from neural_branching.parent import Parent
from neural_branching.settings import Settings


def image_shape(settings: Settings) -> tuple[int, int, int]:
    """(channels, height, width) of every image of the table."""
    return 3, settings.image_size, settings.image_size


def new_parent(settings: Settings) -> Parent:
    """The parent with initial weights.

    Raises:
        InputError: if an option of the network cannot be used.
    """
    config, shape = settings.config["parent"], image_shape(settings)
    labels = len(settings.labels.names)
    network = build(config["network"], "parent.network", in_shape=shape, num_classes=labels)
    try:
        return Parent(network, settings.parent_fit, shape, config["normalize"])
    except ArgumentError as error:
        raise ArgumentError(f"parent.{error.argument}", error.problem) from None


def new_branch(settings: Settings, width: int) -> Branch:
    """A branch with initial weights for vectors of length ``width``.

    Raises:
        InputError: if an option of the network cannot be used.
    """
    network = build(
        settings.config["branch"]["network"],
        "branch.network",
        in_shape=(width,),
        num_classes=len(settings.classes),
    )
    return Branch(network, settings.branch_fit, width)


def augmentation(settings: Settings) -> Any:
    """What changes the parent's training images; None if nothing does."""
    config = settings.config["parent"]["augment"]
    return None if config is None else build(config, "parent.augment")


def check_models(settings: Settings) -> None:
    """Check what only the networks know, without computing anything.

    Raises:
        InputError: if the branch point is no stage of the parent, the readout does not fit it, the
            parent gives no logits of its labels, or an option of a network, the augmentation or the
            accelerator cannot be used.
    """
    settings.compute.device()
    with torch.device("meta"):
        parent = new_parent(settings)
        one_of(settings.stage, parent.network.stage_names, "branch_point.stage")
        shape = _logits_shape(parent, image_shape(settings))
        if shape != (len(settings.labels.names),):
            raise InputError(
                f"parent.network gives an output of shape {shape} for an image: it must give "
                f"{len(settings.labels.names)} logits, one per label."
            )
        try:
            width = stage_width(parent, image_shape(settings), settings.stage, settings.readout)
        except ArgumentError as error:
            raise ArgumentError(f"branch_point.{error.argument}", error.problem) from None
        new_branch(settings, width)
    augmentation(settings)


def _logits_shape(parent: Parent, shape: Sequence[int]) -> tuple[int, ...]:
    with torch.inference_mode():
        return tuple(parent.eval()(torch.zeros(1, *shape, dtype=torch.uint8)).shape[1:])
