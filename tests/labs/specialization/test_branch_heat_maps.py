"""Heat maps show every label, branch, class and seed where it belongs."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from neural_branching.labs.permutation_tests import localise
from neural_branching.labs.specialization.branch_heat_maps import classes, labels_by_branch


def texts(figure: Figure) -> list[str]:
    return [one.get_text() for one in figure.axes[0].texts]


def test_shares_of_a_label_stand_beside_those_of_all_units() -> None:
    branches = {"a": np.arange(24), "b": np.arange(24, 30)}
    labels = {"colour": np.arange(24, 30), "lines": np.array([0, 1, 25]), "curves": np.arange(2, 6)}
    figure = labels_by_branch(localise(labels, branches), {"a": 24, "b": 6}, "mixed3a")
    axes = figure.axes[0]
    [table] = [one.get_array() for one in axes.images]
    assert [one.get_text() for one in axes.get_yticklabels()] == ["all units", "curves", "lines", "colour"]
    np.testing.assert_allclose(np.asarray(table), [[0.8, 0.2], [1, 0], [2 / 3, 1 / 3], [0, 1]])
    assert texts(figure)[-2:] == ["0 of 6", "6 of 6 *"]


def network(costs: dict[str, list[float]], chroma: dict[str, float]) -> dict[str, Any]:
    by_class = {"": [1.0] * 3} | {name: [1 - one for one in cost] for name, cost in costs.items()}
    return {
        "branched": {
            "stages": {"conv1": {"features": {"chroma": {"means": chroma}}}},
            "lesions": {"colour": {"by_class": by_class}},
        }
    }


def test_branches_of_other_seeds_stand_beside_those_that_they_resemble() -> None:
    first, second = [0.4, 0.1, 0.2], [0.0, 0.3, 0.1]
    seeds = {
        "3": network({"0": first, "1": second}, {"0": 0.9, "1": 0.1}),
        "4": network({"0": second, "1": first}, {"0": 0.2, "1": 0.8}),
    }
    figure = classes(seeds, "conv1", ["crab", "shark", "tulip"])
    one, other, _ = figure.axes
    for axes in (one, other):
        np.testing.assert_allclose(np.asarray(axes.images[0].get_array()), [[0.1, 0.2, 0.4], [0.3, 0.1, 0.0]])
    assert [tick.get_text() for tick in other.get_yticklabels()] == ["without 1", "without 0"]
    assert [tick.get_text() for tick in other.get_xticklabels()] == ["shark", "tulip", "crab"]
    assert one.get_title(loc="left") == "seed 3"
