"""The branch points of a parent as a table, without training it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from rich.table import Table

from neural_branching.activations import main_stages, stage_shapes
from neural_branching.cost import cost, latency
from neural_branching.errors import InputError
from neural_branching.models import image_shape, new_parent
from neural_branching.readout import Readout
from neural_branching.report.tables import console
from neural_branching.settings import Settings

# One image as it comes, and as many as keep a processor busy.
BATCHES = (1, 256)


@dataclass(frozen=True)
class Stage:
    """One branch point.

    Attributes:
        name: what ``branch_point.stage`` takes.
        shape: shape of its output for one image.
        readout: the default readout.
        width: length of the vector that a branch sees by default.
        macs: multiply–accumulates from the image up to there.
        parameters: parameters that its output depends on.
        latency: median milliseconds of a pass up to there by batch size; empty if not measured.
    """

    name: str
    shape: tuple[int, ...]
    readout: str
    width: int
    macs: int
    parameters: int
    latency: Mapping[int, float] = field(default_factory=dict)


def stages(settings: Settings, *, every: bool = False, timed: bool = False) -> list[Stage]:
    """The branch points of a run's parent.

    Args:
        settings: the run's settings.
        every: all of them, instead of those whose activations are kept together.
        timed: also measure how long a pass takes, on the run's device and with its threads.

    Raises:
        InputError: if the parent cannot be built.
    """
    shape, found = image_shape(settings), []
    with torch.device("meta"):
        parent = new_parent(settings)
    settings.compute.apply()
    real = new_parent(settings).to(settings.compute.device()) if timed else None
    token, readout = parent.network.class_token, Readout("auto")
    for name in parent.network.stage_names if every else main_stages(parent, shape):
        try:
            output = stage_shapes(parent, shape, (name,))[name]
        except InputError:  # no tensor of activations: not a branch point
            continue
        price = cost(parent, shape, name)
        found.append(
            Stage(
                name=name,
                shape=output,
                readout=readout.resolve(output, token),
                width=readout(torch.empty(1, *output, device="meta"), token).shape[1],
                macs=price.macs,
                parameters=price.parameters,
                latency={batch: latency(real, shape, name, batch) for batch in BATCHES} if real else {},
            )
        )
    return found


def print_stages(settings: Settings, found: list[Stage], *, every: bool) -> None:
    """Print the table."""
    size, screen = settings.image_size, console()
    name = settings.config["parent"]["name"]
    table = Table(title=f"Branch points of {name}, images of {size} × {size} pixels")
    timed = [f"ms, batch of {batch}" for batch in found[0].latency]
    for heading in (
        "stage",
        "shape",
        "readout",
        "width",
        "MACs up to there",
        "parameters up to there",
        *timed,
    ):
        table.add_column(heading, justify="left" if heading in ("stage", "shape", "readout") else "right")
    for stage in found:
        numbers = (stage.width, stage.macs, stage.parameters)
        times = [f"{milliseconds:.2f}" for milliseconds in stage.latency.values()]
        shape = " × ".join(map(str, stage.shape))
        table.add_row(stage.name, shape, stage.readout, *(f"{number:,}" for number in numbers), *times)
    screen.print(table)
    screen.print(
        "MACs: multiply–accumulates of one image; biases and norms are not counted.", highlight=False
    )
    if not every:
        screen.print(
            "These are kept from one pass; --all lists every node or submodule, each at a pass of its own.",
            highlight=False,
        )
