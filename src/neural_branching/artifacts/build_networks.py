"""Networks and augmentation from their specs: what takes torch to build and to check."""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from neural_branching.artifacts.activations import item_size, stage_widths
from neural_branching.config.branch_spec import BranchSpec
from neural_branching.config.build import build
from neural_branching.config.parent_spec import ParentSpec
from neural_branching.data.batches import Augment
from neural_branching.data.inputs.adapter import InputAdapter
from neural_branching.data.inputs.text_inputs import TextInputs
from neural_branching.errors import ArgumentError, InputError
from neural_branching.networks.backbone import Backbone
from neural_branching.networks.network import Network
from neural_branching.networks.readout import Readout, stages_of
from neural_branching.networks.standardize import Standardize
from neural_branching.networks.standardized_network import StandardizedNetwork
from neural_branching.networks.weights import read_state
from neural_branching.routing.hierarchy import Tree

# Most weights of a network, and values of its input, whose shapes are worked out by computing.
_SMALL, _FEW_VALUES = 4_000_000, 10_000


def new_parent(spec: ParentSpec) -> StandardizedNetwork:
    """A parent with initial weights.

    Raises:
        InputError: if an option of the network cannot be used.
    """
    network = build(
        spec.network,
        "parent.network",
        nn.Module,
        trusted=spec.trusted,
        in_shape=spec.input.shape,
        num_classes=len(spec.labels.names),
        stages=spec.input.stages,
    )
    return StandardizedNetwork(Standardize(*spec.input.statistics(spec.normalize)), network)


def exit_widths(spec: ParentSpec) -> dict[str, int]:
    """Exit at which a parent learns with a head → length of the vectors that the head sees.

    Raises:
        InputError: naming the first of its exits that is no stage before its logits.
    """
    network = outline(spec).network
    for stage in spec.exits:
        network.place(stage, "parent.exits")
        if stage == network.stage_names[-1]:
            raise InputError(f"parent.exits has {stage!r}, which the parent learns by anyway: leave it out.")
    return stage_widths(outline(spec), spec.input.blank(), list(spec.exits), Readout("auto"))


@lru_cache(maxsize=8)
def outline(spec: ParentSpec) -> StandardizedNetwork:
    """A parent of which only stages, shapes and costs matter."""
    return _outline(lambda: new_parent(spec), spec.input.blank())


@lru_cache(maxsize=8)
def branch_outline(spec: BranchSpec, width: int) -> StandardizedNetwork:
    """A branch of which only stages, shapes and costs matter, for vectors of length ``width``."""
    return _outline(lambda: new_branch(spec, width), torch.zeros(1, width))


def _outline(make: Callable[[], StandardizedNetwork], blank: Tensor) -> StandardizedNetwork:
    """A small network with initial weights, any other without weights, on the device "meta".

    A pass on "meta" has torch import its compiler, which takes longer than to compute a small network.
    """
    with torch.device("meta"):
        network = make()
    weights = [*network.parameters(), *network.buffers()]
    if (
        network.network.resolved
        or blank.numel() > _FEW_VALUES
        or any(map(is_lazy, weights))
        or sum(one.numel() for one in weights) > _SMALL
    ):
        return network
    with torch.device("cpu"), torch.random.fork_rng(devices=[]):
        small = make()
        try:
            with torch.inference_mode():
                small.eval()(blank)
        except Exception:  # anyone's module may need a GPU, or values that a blank example lacks
            return network
    return small.train()


def new_branch(spec: BranchSpec, width: int) -> StandardizedNetwork:
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
    return StandardizedNetwork(Standardize((width,)), network)


def augmentation(spec: ParentSpec) -> Augment | None:
    """What changes the parent's training examples; None if nothing does."""
    if spec.augment is None:
        return None
    return build(spec.augment, "parent.augment", Augment, trusted=spec.trusted)


def view_augmentation(spec: BranchSpec) -> Augment:
    """What makes views of the branch's training examples."""
    return build(spec.views.augment or {}, "views.augment", Augment, trusted=spec.trusted)


def shared_stages(spec: ParentSpec) -> tuple[str, ...] | None:
    """The stages that one pass of a parent keeps with their default readouts; None for its main stages.

    Raises:
        InputError: if one that was asked for is unknown.
    """
    if spec.kept.stages is None:
        return None
    asked = {*spec.kept.stages} | ({"logits"} if spec.labels.names else set())
    network = outline(spec).network
    for stage in asked:
        network.place(stage, "a stage in activations.stages")
    return network.ordered(asked)


def kept_stages(parent: ParentSpec, branch: BranchSpec) -> tuple[str, ...] | None:
    """The stages of the parent that one pass for a branch keeps; None for all main stages.

    Jobs share one pass. Another readout or another node of a graph takes a pass of its own.
    """
    shared, network = shared_stages(parent), outline(parent).network
    if set(branch.stages) <= set(shared or network.main_stages) and branch.readout.kind == "auto":
        return shared
    return network.ordered(branch.stages)


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
            return _joined_width(branch, branch_outline(branch.trunk, width), torch.zeros(1, width))
        return _joined_width(branch, outline(parent), parent.input.blank())
    except ArgumentError as error:
        raise ArgumentError(f"{place}.{error.argument}", error.problem) from None


def _joined_width(branch: BranchSpec, of: StandardizedNetwork, blank: Tensor) -> int:
    """Length of the vectors of a branch's stages, one after another, of what it grows from."""
    for stage in branch.stages:
        of.network.place(stage)
    return sum(stage_widths(of, blank, branch.stages, branch.readout).values())


def check_budget(parent: ParentSpec, branch: BranchSpec, examples: int, training: int) -> None:
    """Check that the activations fit into the budget, before anything is trained.

    Args:
        parent: what a pass goes through.
        branch: what it is for, growing from the parent.
        examples: number of all examples.
        training: number of those that views are made of.

    Raises:
        InputError: if a pass would take more bytes than ``views.budget``.
    """
    network, views = outline(parent), branch.views
    widths = stage_widths(network, parent.input.blank(), kept_stages(parent, branch), branch.readout)
    vectors = max(examples, views.count * training)
    needed = item_size(parent.kept.dtype) * vectors * sum(widths.values())
    if needed > views.budget:
        made = f"{views.count} views of {training:,} examples"
        what = f"{examples:,} examples" if vectors == examples else made
        raise InputError(
            f"The activations of {what} at {', '.join(widths)} take {needed:,} bytes, and views.budget is "
            f"{views.budget:,}: raise it, or take fewer views or a smaller readout."
        )


@lru_cache(maxsize=16)
def check_parent(spec: ParentSpec) -> None:
    """Check what only the parent's network knows, before anything is trained.

    Raises:
        InputError: if it cannot take the examples or gives no logits of its labels, its checkpoint does not
            fit, or an option of the network or the augmentation cannot be used.
    """
    state = read_state(spec.checkpoint) if spec.checkpoint else None
    parent = outline(spec)
    if (parent.network.tokenizer is None) == isinstance(spec.input, TextInputs):
        takes = "no texts" if parent.network.tokenizer is None else "texts"
        raise InputError(f"parent={spec.name} takes {takes}, and the data are {spec.input.name}.")
    shape = _output_shape(parent, spec.input)
    if state is not None:
        with torch.device("meta"):
            new_parent(spec).adopt(state, f"The checkpoint {spec.checkpoint}")
    if spec.exits:
        exit_widths(spec)
    if isinstance(parent.network, Backbone) and spec.normalize != "none":
        raise InputError(
            f"parent.normalize is {spec.normalize!r}, and the model standardises what it sees by itself: "
            "write parent.normalize=none."
        )
    if bool(spec.labels.names) != ("logits" in parent.network.stage_names):
        gives = "no logits" if spec.labels.names else "logits"
        raise InputError(f"parent.labels is {spec.labels.kind!r}, and parent.network gives {gives}.")
    if spec.labels.names and shape != (len(spec.labels.names),):
        raise InputError(
            f"parent.network gives an output of shape {shape} for an example: it must give "
            f"{len(spec.labels.names)} logits, one per label."
        )
    shared_stages(spec)
    if augment := augmentation(spec):
        _try(augment, spec.input, "parent.augment")


def check_deferral(parent: ParentSpec, tree: Tree, branches: Mapping[str, BranchSpec]) -> None:
    """Check that every node that defers does so to a deeper one.

    Nodes that grow from another branch are as deep as that one's branch point.

    Args:
        parent: what the nodes grow from.
        tree: the nodes.
        branches: node → branch.

    Raises:
        InputError: for an unknown stage, and a node that defers to one that is no deeper.
    """
    network = outline(parent).network
    for name, node in tree.nodes.items():
        further = node.defer_to
        if further is None:
            continue
        stages = {one: _grown_from(branches[one]) for one in (name, further)}
        places = [max(network.place(one, "stage") for one in stages_of(stage)) for stage in stages.values()]
        if places[1] <= places[0]:
            of = {one: one if one == stage else f"{one} (at {stage})" for one, stage in stages.items()}
            raise InputError(
                f"{of[name]} defers to {of[further]}, which is no deeper: a node defers to what the parent "
                f"comes to later, its stages being {', '.join(_few(network.main_stages))}."
            )


def _grown_from(branch: BranchSpec) -> str:
    """The stage of the parent that a branch grows from, directly or through others."""
    return branch.stage if branch.trunk is None else _grown_from(branch.trunk)


def _few(names: Sequence[str]) -> list[str]:
    return list(names) if len(names) < 12 else [*names[:3], "…", *names[-3:]]


@lru_cache(maxsize=256)
def check_branch(parent: ParentSpec, branch: BranchSpec) -> None:
    """Check what only networks know of a branch, before anything is trained.

    Raises:
        InputError: as ``input_width``, and if an option of its network or of its views cannot be used.
    """
    branch_outline(branch, input_width(parent, branch))
    if branch.views.augment is None and not branch.views.count:
        return
    augment = view_augmentation(branch)
    if branch.views.count:
        _try(augment, parent.input, "views.augment")


def _output_shape(parent: StandardizedNetwork, adapter: InputAdapter) -> tuple[int, ...]:
    try:
        with torch.inference_mode():
            return tuple(parent.eval()(adapter.blank().to(parent.device)).shape[1:])
    except InputError:
        raise
    except Exception as error:  # anyone's module may raise anything
        reason = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
        raise InputError(
            f"parent.network cannot take {adapter.name} of {' × '.join(map(str, adapter.shape))}: {reason}."
        ) from error


def _try(augment: Augment, adapter: InputAdapter, where: str) -> None:
    """Check that blank examples can be augmented.

    Raises:
        InputError: if they cannot.
    """
    try:
        blank = adapter.blank(2)
        draws = augment.draw(blank.shape, torch.Generator())
        if len(draws) != len(blank):
            raise ArgumentError(
                "draw", f"gives {len(draws)} rows for {len(blank)} examples: it must give one each."
            )
        augment(blank, draws)
    except ArgumentError as error:
        raise ArgumentError(f"{where}.{error.argument}", error.problem) from None
    except Exception as error:  # anyone's augmentation may raise anything
        raise InputError(
            f"{where} cannot change {adapter.name} of {' × '.join(map(str, adapter.shape))} "
            f"({type(error).__name__}): choose another, or none."
        ) from error
