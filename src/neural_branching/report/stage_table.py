"""The branch points of a parent as a table, without training it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from neural_branching.artifacts.activations import main_stages, stage_shapes
from neural_branching.artifacts.build_networks import branch_outline, new_branch, new_parent, outline
from neural_branching.artifacts.macs import cost, latency
from neural_branching.config.branch_spec import BranchSpec
from neural_branching.config.experiment import Experiment
from neural_branching.data.inputs.adapter import InputAdapter
from neural_branching.errors import InputError
from neural_branching.networks.readout import Readout
from neural_branching.networks.standardized_network import StandardizedNetwork
from neural_branching.report.screen_table import Column, ScreenTable, console, print_table

# One example as it comes, and as many as keep a processor busy.
BATCHES = (1, 256)


@dataclass(frozen=True)
class Stage:
    """One branch point.

    Attributes:
        name: what ``branch_point.stage`` takes.
        shape: shape of its output for one example.
        readout: the default readout.
        width: length of the vector that a branch sees by default.
        macs: multiply–accumulates from the example up to there.
        parameters: parameters that its output depends on.
        path_macs: multiply–accumulates from the example through the configured branch.
        latency: median milliseconds of that path by batch size; empty if not measured.
    """

    name: str
    shape: tuple[int, ...]
    readout: str
    width: int
    macs: int
    parameters: int
    path_macs: int
    latency: Mapping[int, float] = field(default_factory=dict)


def stages(experiment: Experiment, *, every: bool = False, timed: bool = False) -> list[Stage]:
    """The branch points of an experiment's parent.

    Args:
        experiment: with the branch that costs are worked out for.
        every: all of them, instead of those whose activations are kept together.
        timed: also measure how long it takes through a branch, on the run's device with its threads.

    Raises:
        InputError: if the parent cannot be built.
    """
    spec, branch, found = experiment.parent, experiment.usual.branch, []
    parent, blank = outline(spec), spec.input.blank()
    experiment.compute.apply()
    real = new_parent(spec.anew()).to(experiment.compute.device()).eval() if timed else None
    readout = Readout("auto")
    for name in parent.network.stage_names if every else main_stages(parent, blank):
        try:
            output = stage_shapes(parent, blank, (name,))[name]
        except InputError:  # no tensor of activations: not a branch point
            continue
        token = parent.network.token_readout(name)
        width = readout(torch.zeros(1, *output), token).shape[1]
        price, head = cost(parent, blank, name), cost(branch_outline(branch, width), torch.zeros(1, width))
        found.append(
            Stage(
                name=name,
                shape=output,
                readout=readout.resolve(output, token),
                width=width,
                macs=price.macs,
                parameters=price.parameters,
                path_macs=price.macs + head.macs,
                latency=_latencies(branch, real, spec.input, name, width) if real else {},
            )
        )
    return found


def _latencies(
    spec: BranchSpec, parent: StandardizedNetwork, adapter: InputAdapter, stage: str, width: int
) -> dict[int, float]:
    """Milliseconds from examples to the branch's logits, with weights as they were drawn."""
    branch = new_branch(spec, width).to(parent.device).eval()
    readout, token = Readout("auto"), parent.network.token_readout(stage)

    def path(examples: Tensor) -> Tensor:
        logits: Tensor = branch(readout(parent(examples, until=stage), token, parent.network.mask(examples)))
        return logits

    examples = adapter.blank(max(BATCHES)).to(parent.device)
    return {batch: latency(path, examples[:batch]) for batch in BATCHES}


def print_stages(experiment: Experiment, found: list[Stage], *, every: bool) -> None:
    """Print the table."""
    screen, branch, inputs = console(), experiment.usual.branch, experiment.data.input
    name, shape = experiment.parent.name, " × ".join(map(str, inputs.shape))
    columns = [
        Column("stage", "name"),
        Column("shape"),
        Column("readout", "setting"),
        Column("width"),
        Column("MACs up to there"),
        Column("parameters up to there", rank=1),
        Column("MACs with the branch", rank=2),
        *(Column(f"ms, batch of {batch}") for batch in found[0].latency),
    ]
    rows = [
        [
            stage.name,
            " × ".join(map(str, stage.shape)),
            stage.readout,
            *(f"{number:,}" for number in (stage.width, stage.macs, stage.parameters, stage.path_macs)),
            *(f"{milliseconds:.2f}" for milliseconds in stage.latency.values()),
        ]
        for stage in found
    ]
    print_table(screen, ScreenTable(f"Branch points of {name}, {inputs.name} of {shape}", columns, rows))
    last = "logits" if experiment.parent.labels.names else "output"
    whole = f"The parent by itself takes those up to its {last}."
    if experiment.data.input.stages:
        whole = "What computed given activations is not counted."
    screen.print(
        "MACs: multiply–accumulates of one example, from the input on; biases and norms are not counted. "
        f"{whole} Branch: {branch.kind} for "
        f"{len(branch.classes)} classes; times are from the input to its logits.",
        highlight=False,
    )
    if not every:
        screen.print(
            "These are kept from one pass; --all lists every node or submodule, each at a pass of its own.",
            highlight=False,
        )
