"""Networks and augmentation from a run's settings: what takes torch to build and to check."""

from collections.abc import Callable, Sequence
from functools import wraps

import torch
from torch import nn

from neural_branching.activations import stage_widths
from neural_branching.branch import Branch
from neural_branching.config import build
from neural_branching.data.batches import Augment
from neural_branching.errors import ArgumentError, InputError, one_of
from neural_branching.networks.network import Network
from neural_branching.networks.weights import read_state
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
    network = build(
        config["network"],
        "parent.network",
        nn.Module,
        trusted=settings.trusted,
        in_shape=shape,
        num_classes=labels,
    )
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
        Network,
        trusted=settings.trusted,
        in_shape=(width,),
        num_classes=len(settings.groups),
    )
    return Branch(network, settings.branch_fit, width)


def augmentation(settings: Settings) -> Augment | None:
    """What changes the parent's training images; None if nothing does."""
    config = settings.config["parent"]["augment"]
    return None if config is None else build(config, "parent.augment", Augment, trusted=settings.trusted)


def view_augmentation(settings: Settings) -> Augment:
    """What makes views of the branch's training images."""
    return build(settings.config["views"]["augment"], "views.augment", Augment, trusted=settings.trusted)


def kept_stages(settings: Settings, network: Network) -> tuple[str, ...] | None:
    """The stages that one pass for this run's branch point keeps; None for all main stages.

    One pass keeps all main stages with their default readouts, so that jobs share it. Another readout
    or another node of a graph takes a pass of its own.
    """
    shared = settings.stage in network.main_stages and settings.readout.kind == "auto"
    return None if shared else (settings.stage,)


def _once(check: Callable[..., None]) -> Callable[..., None]:
    """A check that a process makes once for settings that differ in the threshold alone."""
    passed = set()

    @wraps(check)
    def checked(settings: Settings, *numbers: int) -> None:
        key = settings.but_threshold, *numbers
        if key not in passed:
            check(settings, *numbers)
            passed.add(key)

    return checked


@_once
def check_budget(settings: Settings, images: int, training_images: int) -> None:
    """Check that the activations fit into the budget, before anything is trained.

    Args:
        settings: the run's settings.
        images: number of all images.
        training_images: number of those that views are made of.

    Raises:
        InputError: if a pass would take more bytes than ``views.budget``.
    """
    with torch.device("meta"):
        parent = new_parent(settings)
    stages = kept_stages(settings, parent.network)
    widths = stage_widths(parent, image_shape(settings), stages, settings.readout)
    vectors = max(images, settings.views.count * training_images)
    needed = 4 * vectors * sum(widths.values())
    if needed > settings.views.budget:
        views = f"{settings.views.count} views of {training_images:,} images"
        what = f"{images:,} images" if vectors == images else views
        raise InputError(
            f"The activations of {what} at {', '.join(widths)} take {needed:,} bytes, and views.budget is "
            f"{settings.views.budget:,}: raise it, or take fewer views or a smaller readout."
        )


@_once
def check_models(settings: Settings) -> None:
    """Check what only the networks know, without computing anything.

    Raises:
        InputError: if the branch point is no stage of the parent, the readout does not fit it, the
            parent cannot take the images or gives no logits of its labels, its checkpoint does not fit,
            or an option of a network, the augmentation or the accelerator cannot be used.
    """
    settings.compute.device()
    with torch.device("meta"):
        parent = new_parent(settings)
        one_of(settings.stage, parent.network.stage_names, "branch_point.stage")
        shape = _logits_shape(parent, image_shape(settings))
        if settings.checkpoint:
            with torch.device("cpu"):  # torch 2.6 reads to the device of the moment, whatever it is told
                state = read_state(settings.checkpoint)
            parent.adopt(state, f"The checkpoint {settings.checkpoint}")
        if shape != (len(settings.labels.names),):
            raise InputError(
                f"parent.network gives an output of shape {shape} for an image: it must give "
                f"{len(settings.labels.names)} logits, one per label."
            )
        try:
            stages = (settings.stage,)
            width = stage_widths(parent, image_shape(settings), stages, settings.readout)[settings.stage]
        except ArgumentError as error:
            raise ArgumentError(f"branch_point.{error.argument}", error.problem) from None
        new_branch(settings, width)
    augmentation(settings)
    view_augmentation(settings)


def _logits_shape(parent: Parent, shape: Sequence[int]) -> tuple[int, ...]:
    try:
        with torch.inference_mode():
            return tuple(parent.eval()(torch.zeros(1, *shape, dtype=torch.uint8)).shape[1:])
    except InputError:
        raise
    except Exception as error:  # anyone's module may raise anything
        reason = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
        raise InputError(
            f"parent.network cannot take images of {' × '.join(map(str, shape))}: {reason}."
        ) from error
