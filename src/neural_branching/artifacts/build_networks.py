"""Networks and augmentation from their specs: what takes torch to build and to check."""

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import nn

from neural_branching.artifacts.activations import stage_shapes, stage_widths
from neural_branching.config.branch_spec import BranchSpec
from neural_branching.config.build import build
from neural_branching.config.parent_spec import ParentSpec
from neural_branching.data.batches import Augment
from neural_branching.errors import ArgumentError, InputError, one_of
from neural_branching.networks.network import Network
from neural_branching.networks.weights import read_state
from neural_branching.training.branch import Branch
from neural_branching.training.parent import Parent


def new_parent(spec: ParentSpec) -> Parent:
    """A parent with initial weights.

    Raises:
        InputError: if an option of the network cannot be used.
    """
    network = build(
        spec.network,
        "parent.network",
        nn.Module,
        trusted=spec.trusted,
        in_shape=spec.in_shape,
        num_classes=len(spec.labels.names),
    )
    try:
        return Parent(network, spec.recipe, spec.in_shape, spec.normalize)
    except ArgumentError as error:
        raise ArgumentError(f"parent.{error.argument}", error.problem) from None


@lru_cache(maxsize=16)
def outline(spec: ParentSpec) -> Parent:
    """A parent without weights: its stages and shapes."""
    with torch.device("meta"):
        return new_parent(spec)


def new_branch(spec: BranchSpec, width: int) -> Branch:
    """A branch with initial weights for vectors of length ``width``.

    Raises:
        InputError: if an option of the network cannot be used.
    """
    network = build(
        spec.network,
        f"{spec.where}branch.network",
        Network,
        trusted=spec.trusted,
        in_shape=(width,),
        num_classes=len(spec.groups),
    )
    return Branch(network, spec.recipe, width)


def augmentation(spec: ParentSpec) -> Augment | None:
    """What changes the parent's training images; None if nothing does."""
    if spec.augment is None:
        return None
    return build(spec.augment, "parent.augment", Augment, trusted=spec.trusted)


def view_augmentation(spec: BranchSpec) -> Augment:
    """What makes views of the branch's training images."""
    return build(spec.views.augment or {}, "views.augment", Augment, trusted=spec.trusted)


def kept_stages(spec: BranchSpec, network: Network) -> tuple[str, ...] | None:
    """The stages of the parent that one pass for a branch keeps; None for all main stages.

    One pass keeps all main stages with their default readouts, so that jobs share it. Another readout
    or another node of a graph takes a pass of its own.
    """
    shared = spec.stage in network.main_stages and spec.readout.kind == "auto"
    return None if shared else (spec.stage,)


@lru_cache(maxsize=256)
def input_width(parent: ParentSpec, branch: BranchSpec) -> int:
    """Length of the vectors that a branch sees.

    Raises:
        InputError: naming the branch's place in the configuration, if its branch point is no stage of what
            it grows from, or the readout does not fit it.
    """
    place = f"{branch.where}branch_point"
    try:
        if branch.trunk:
            width = input_width(parent, branch.trunk)
            with torch.device("meta"):
                trunk = new_branch(branch.trunk, width)
            one_of(branch.stage, trunk.network.stage_names, "stage")
            shape = stage_shapes(trunk, (width,), (branch.stage,))[branch.stage]
            return branch.readout(torch.empty(1, *shape, device="meta"), False).shape[1]
        network = outline(parent)
        one_of(branch.stage, network.network.stage_names, "stage")
        return stage_widths(network, parent.in_shape, (branch.stage,), branch.readout)[branch.stage]
    except ArgumentError as error:
        raise ArgumentError(f"{place}.{error.argument}", error.problem) from None


def check_budget(parent: ParentSpec, branch: BranchSpec, images: int, training_images: int) -> None:
    """Check that the activations fit into the budget, before anything is trained.

    Args:
        parent: what a pass goes through.
        branch: what it is for, growing from the parent.
        images: number of all images.
        training_images: number of those that views are made of.

    Raises:
        InputError: if a pass would take more bytes than ``views.budget``.
    """
    network, views = outline(parent), branch.views
    widths = stage_widths(network, parent.in_shape, kept_stages(branch, network.network), branch.readout)
    vectors = max(images, views.count * training_images)
    needed = 4 * vectors * sum(widths.values())
    if needed > views.budget:
        made = f"{views.count} views of {training_images:,} images"
        what = f"{images:,} images" if vectors == images else made
        raise InputError(
            f"The activations of {what} at {', '.join(widths)} take {needed:,} bytes, and views.budget is "
            f"{views.budget:,}: raise it, or take fewer views or a smaller readout."
        )


@lru_cache(maxsize=16)
def check_parent(spec: ParentSpec) -> None:
    """Check what only the parent's network knows, without computing anything.

    Raises:
        InputError: if it cannot take the images or gives no logits of its labels, its checkpoint does not
            fit, or an option of the network or the augmentation cannot be used.
    """
    state = read_state(spec.checkpoint) if spec.checkpoint else None
    with torch.device("meta"):
        parent = new_parent(spec)
        shape = _logits_shape(parent, spec.in_shape)
        if state is not None:
            parent.adopt(state, f"The checkpoint {spec.checkpoint}")
    if shape != (len(spec.labels.names),):
        raise InputError(
            f"parent.network gives an output of shape {shape} for an image: it must give "
            f"{len(spec.labels.names)} logits, one per label."
        )
    augmentation(spec)


@lru_cache(maxsize=256)
def check_branch(parent: ParentSpec, branch: BranchSpec) -> None:
    """Check what only networks know of a branch, without computing anything.

    Raises:
        InputError: as ``input_width``, and if an option of its network or of its views cannot be used.
    """
    width = input_width(parent, branch)
    with torch.device("meta"):
        new_branch(branch, width)
    view_augmentation(branch)


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
