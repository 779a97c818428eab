"""Designs of a sweep are drawn where nothing else differs."""

from dataclasses import replace

import numpy as np

from neural_branching.labs.specialization.design_figure import Design, compare_designs

TOWERS = Design("2", "logits", "conv1", [0.01, 0.03], [0.05, 0.07])
EARLY = replace(TOWERS, join="conv2", gains=[-0.01, -0.03])


def test_a_line_per_number_of_branches_in_the_order_of_the_layers() -> None:
    figure = compare_designs([TOWERS, replace(TOWERS, branches="4"), EARLY])
    assert figure
    gain, excess = figure.axes
    assert [tick.get_text() for tick in gain.get_xticklabels()] == ["conv2", "logits"]
    means = {line.get_label(): line.get_ydata() for line in gain.lines if "branches" in str(line.get_label())}
    np.testing.assert_allclose(means["2 branches"], [-0.02, 0.02])
    np.testing.assert_allclose(means["4 branches"], [0.02])
    assert "conv1" in excess.get_ylabel()
    assert "2 seeds" in gain.get_title(loc="left")


def test_studies_that_differ_otherwise_are_not_drawn() -> None:
    assert compare_designs([TOWERS]) is None
    assert compare_designs([TOWERS, TOWERS, EARLY]) is None
    assert compare_designs([TOWERS, replace(EARLY, stage="conv2")]) is None
