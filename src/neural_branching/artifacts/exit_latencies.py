"""How long it takes to come to each exit of a cascade, measured once."""

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
import torch

from neural_branching.artifacts.build_networks import input_width, new_branch, new_parent
from neural_branching.artifacts.macs import latencies
from neural_branching.config.experiment import Experiment
from neural_branching.files.writing import write_atomically
from neural_branching.networks.readout import stages_of
from neural_branching.networks.standardized_network import StandardizedNetwork
from neural_branching.routing.exits import ExitCosts
from neural_branching.store.artifact_store import Artifact, Facts, Store

RECIPE = 2
FILE = "milliseconds.json"


def ensure_exit_latencies(experiment: Experiment, store: Store) -> Artifact:
    """Milliseconds of one example by itself up to each exit, and of the exit.

    They are an artifact, so that a finished run is found again with the exits that were chosen by them; a
    store that moves to another machine takes them along.

    Args:
        experiment: a cascade.
        store: where artifacts are kept.
    """
    parent, device = experiment.parent, experiment.compute.device()
    identity = {
        "recipe": RECIPE,
        "parent": parent.identity(),
        "input": [parent.input.name, parent.input.identity],
        "exits": {name: [one.stage, one.readout.kind] for name, one in experiment.branches.items()},
        "network": [one.network for one in experiment.branches.values()],
        "labels": len(experiment.tree.classes),
        "device": device.type,
        "threads": torch.get_num_threads(),
    }

    def make(folder: Path) -> Facts:
        network = new_parent(parent.anew()).to(device).eval()  # how long it takes is no matter of weights
        blank = parent.input.blank().to(device)
        walks, heads = [], []
        for one in experiment.branches.values():
            width = input_width(parent, one)
            head, vector = new_branch(one, width).to(device).eval(), torch.zeros(1, width, device=device)
            walks.append(partial(_walk, network, stages_of(one.stage), blank))
            heads.append(partial(head, vector))
        milliseconds = latencies([*walks, *heads], device)
        prefix, head_costs = milliseconds[: len(walks)], milliseconds[len(walks) :]
        # A deeper exit takes no less: what is measured otherwise is noise.
        measured = {"prefix": np.maximum.accumulate(prefix).tolist(), "head": head_costs}
        write_atomically(folder / FILE, json.dumps(measured))
        return {"batch": 1}

    return store.fetch("latencies", identity, make, needs=[FILE])


def exit_milliseconds(artifact: Artifact) -> ExitCosts:
    """The same as costs."""
    measured: Mapping[str, list[float]] = artifact.json(FILE)
    return ExitCosts(*(np.array(measured[name], np.float64) for name in ("prefix", "head")))


def _walk(network: StandardizedNetwork, stages: tuple[str, ...], blank: torch.Tensor) -> torch.Tensor:
    *_, (_, output) = network.walk(blank, stages)
    return output
