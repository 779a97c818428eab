"""The networks of a study, and where they are divided."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cache

import numpy as np
from torch import Tensor

from neural_branching.artifacts.build_networks import outline
from neural_branching.artifacts.macs import cost
from neural_branching.config.parent_spec import ParentSpec
from neural_branching.errors import InputError
from neural_branching.labs.specialization.partition import FEWEST_UNITS, Partition
from neural_branching.labs.specialization.traced_network import divided_in_graph
from neural_branching.networks.branched import BranchedNet
from neural_branching.networks.convnet import ConvNet
from neural_branching.networks.standardized_network import StandardizedNetwork
from neural_branching.selection.array_types import Shaped


def roles_of(parent: ParentSpec, *, treated: bool = False) -> dict[str, ParentSpec]:
    """Role → network: "branched", "untrained" (initial weights), "plain" of equal cost where it can be.

    With a treatment there is "treated" too, which is the branched network before it.
    """
    roles = {"branched": parent, "untrained": replace(parent.anew(), recipe=None)}
    if parent.learns and isinstance(outline(parent).network, BranchedNet | ConvNet):
        roles["plain"] = plain_of_equal_cost(parent)
    return roles | ({"treated": parent} if treated else {})


def divided_stages(model: StandardizedNetwork, blank: Shaped[Tensor, "1 ..."]) -> dict[str, Partition]:
    """The divided stages of a network in order.

    Of other networks than ``BranchedNet`` these are what ``graph_partitions`` finds.

    Raises:
        InputError: if there is none.
    """
    network = model.network
    divided: dict[str, Partition] = {}
    if isinstance(network, BranchedNet):
        divided = {
            stage: Partition.of(stage, branches, sum(map(len, branches.values())))
            for stage, branches in network.branch_units().items()
        }
    else:
        divided = {one.partition.stage: one.partition for one in divided_in_graph(network, blank)}
    if not divided:
        raise InputError(
            f"parent.network, a {type(network.bare).__name__}, has no branches to compare: choose "
            "parent=branched with parent.network.branches of 2 or more, or a model whose layers are divided."
        )
    return divided


def plain_of_equal_cost(spec: ParentSpec) -> ParentSpec:
    """The same network without branches, of the width whose multiply–accumulates come nearest.

    ``BranchedNet`` of kernels of several sizes has the largest, and ``ConvNet`` has no shortcuts.
    """
    network = dict(spec.network)
    if isinstance(outline(spec).network, ConvNet):
        plain = network | {"residual": False}
    else:
        kernel = network.get("kernel", 5)
        largest = kernel if isinstance(kernel, int) else max(kernel)
        plain = network | {"branches": 1, "join": "logits", "kernel": largest}

    def of_width(width: int) -> ParentSpec:
        return replace(spec.anew(), network=plain | {"width": width})

    blank = spec.input.blank()

    @cache
    def macs(width: int) -> int:
        return cost(outline(of_width(width)), blank).macs

    wanted = cost(outline(spec), blank).macs
    low, high = 1, 1
    while macs(high) < wanted:
        low, high = high + 1, 2 * high
    while low < high:  # MACs rise with the width
        middle = (low + high) // 2
        if macs(middle) < wanted:
            low = middle + 1
        else:
            high = middle
    nearest = min(
        (width for width in (low - 1, low) if width),
        key=lambda width: abs(macs(width) - wanted),
    )
    return of_width(nearest)


def by_order(divided: Mapping[str, Partition], model: StandardizedNetwork) -> dict[str, Partition]:
    """The same stages of a plain network, their units in parts of the same shares, by their order.

    What is added in ``ConvNet`` are a block's convolutions and its shortcut: of the plain network it is the
    block's output.

    Args:
        divided: divided stage → its units.
        model: the plain network.

    Returns:
        Divided stage → units of the plain network's stage that stands for it.

    Raises:
        InputError: if a part has fewer than 3 units.
    """
    network = model.network
    if isinstance(network, ConvNet):
        blocks = {stage: stage.partition(".")[0] for stage in divided}
        places = {stage: (block, network.block_units[block]) for stage, block in blocks.items()}
    else:
        assert isinstance(network, BranchedNet)
        places = {stage: (stage, network.unit_count(stage)) for stage in divided}
    plain = {}
    for stage, partition in divided.items():
        place, count = places[stage]
        sizes = [len(units) for units in partition.branches.values()]
        ends = np.round(np.cumsum([0, *sizes]) / sum(sizes) * count).astype(np.int64).tolist()
        parts = {name: range(*ends[i : i + 2]) for i, name in enumerate(partition.branches)}
        if min(map(len, parts.values())) < FEWEST_UNITS:
            raise InputError(
                f"The plain network of equal cost has {count} units at {place}, too few for {len(parts)} "
                f"parts of {FEWEST_UNITS} at least: raise parent.network.width."
            )
        plain[stage] = Partition.of(place, parts, count)
    return plain
