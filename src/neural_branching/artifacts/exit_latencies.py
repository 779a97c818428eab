"""How long it takes to come to each exit of a cascade, measured once."""

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
import torch

from neural_branching.artifacts.build_networks import input_width, new_branch, new_parent
from neural_branching.artifacts.macs import latency
from neural_branching.config.experiment import Experiment
from neural_branching.files.writing import write_atomically
from neural_branching.networks.readout import stages_of
from neural_branching.routing.exits import ExitCosts
from neural_branching.store.artifact_store import Artifact, Facts, Store
from neural_branching.training.parent import Parent

RECIPE = 1
FILE = "milliseconds.json"
ROUNDS = 3  # of which the least disturbed counts


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
        heads = {
            name: (new_branch(one, width).to(device).eval(), torch.zeros(1, width, device=device))
            for name, one in experiment.branches.items()
            for width in [input_width(parent, one)]
        }
        walks = [partial(_walk, network, stages_of(one.stage)) for one in experiment.branches.values()]
        # Round after round, so that what disturbs one exit disturbs all alike.
        rounds = [
            ([latency(walk, blank) for walk in walks], [latency(*head) for head in heads.values()])
            for _ in range(ROUNDS)
        ]
        prefix, head = (np.min([one[part] for one in rounds], axis=0) for part in (0, 1))
        # A deeper exit takes no less: what is measured otherwise is noise.
        measured = {"prefix": np.maximum.accumulate(prefix).tolist(), "head": head.tolist()}
        write_atomically(folder / FILE, json.dumps(measured))
        return {"batch": 1, "rounds": ROUNDS}

    return store.fetch("latencies", identity, make, needs=[FILE])


def exit_milliseconds(artifact: Artifact) -> ExitCosts:
    """The same as costs."""
    measured: Mapping[str, list[float]] = artifact.json(FILE)
    return ExitCosts(*(np.array(measured[name], np.float64) for name in ("prefix", "head")))


def _walk(network: Parent, stages: tuple[str, ...], blank: torch.Tensor) -> torch.Tensor:
    *_, (_, output) = network.walk(blank, stages)
    return output
