"""By what branches of several networks are matched: the features of their units, at a stage that has them."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from neural_branching.selection.array_types import Float64


def branch_features(numbers: Mapping[str, Any], stage: str) -> Float64[np.ndarray, "branches features"]:
    """The mean features of each branch at a stage.

    Args:
        numbers: of a network, as ``run_study.run`` makes them.
        stage: a divided stage.
    """
    means = [feature["means"] for feature in numbers["stages"][stage]["features"].values()]
    return np.array([[mean[name] for mean in means] for name in means[0]])


def matching_stage(numbers: Mapping[str, Any], stage: str) -> str:
    """The first divided stage if it has the same branches as another one, or else that one.

    Args:
        numbers: of a network, as ``run_study.run`` makes them.
        stage: where its branches were lesioned.
    """
    branches = {
        name: [*next(iter(one["features"].values()))["means"]] for name, one in numbers["stages"].items()
    }
    first = next(iter(branches))
    return first if branches[first] == branches[stage] else stage
