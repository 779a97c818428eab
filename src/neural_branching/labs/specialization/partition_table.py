"""The divided stages of a network as a table."""

from neural_branching.artifacts.build_networks import outline
from neural_branching.config.parent_spec import ParentSpec
from neural_branching.errors import InputError
from neural_branching.labs.specialization.graph_partitions import FoundPartition
from neural_branching.labs.specialization.traced_network import divided_in_graph
from neural_branching.networks.branched import BranchedNet
from neural_branching.report.screen_table import Column, ScreenTable, console, print_table

_MOST = 6  # branches that are listed


def print_partitions(spec: ParentSpec) -> None:
    """Find and print where a network is divided.

    Raises:
        InputError: if it is nowhere, or cannot be looked into.
    """
    network = outline(spec).network
    if isinstance(network, BranchedNet):
        lines = [
            ("branches", stage, [f"{name}: {len(units)}" for name, units in branches.items()])
            for stage, branches in network.branch_units().items()
        ]
    else:
        found = divided_in_graph(network, spec.input.blank().float())
        lines = [(one.kind, one.partition.stage, _sizes(one)) for one in found]
    if not lines:
        raise InputError(
            f"parent.network, a {type(network.bare).__name__}, is divided nowhere: it has no branches."
        )
    rows: list[list[str]] = []
    for kind, stage, sizes in lines:
        listed = ", ".join(sizes[:_MOST]) + (f" and {len(sizes) - _MOST} more" if len(sizes) > _MOST else "")
        rows.append([stage, kind, listed])
    columns = [Column("stage", "name"), Column("divided by", "setting"), Column("branches: units", "name")]
    print_table(console(), ScreenTable(f"{len(lines)} divided stages of {spec.name}", columns, rows))


def _sizes(one: FoundPartition) -> list[str]:
    return [f"{name}: {len(units)}" for name, units in one.partition.branches.items()]
