"""A plain network costs as much as the branched one, and is divided in the same shares."""

from pathlib import Path

import numpy as np
import pytest

from composed import composed
from neural_branching.artifacts.build_networks import outline
from neural_branching.artifacts.ensure_data import ensure_data
from neural_branching.artifacts.macs import cost
from neural_branching.errors import InputError
from neural_branching.labs.shown import Shown
from neural_branching.labs.specialization.designs import by_order, divided_stages, roles_of
from neural_branching.labs.specialization.study_spec import StudySpec
from neural_branching.store.artifact_store import store_at
from tiny import glyphs


def study(folder: Path, *overrides: str) -> StudySpec:
    return StudySpec.from_config(composed("specialize", f"outputs={folder}", *overrides))


@pytest.mark.parametrize(
    "options",
    [
        ("parent.network.branches=2",),
        ("parent.network.branches=4", "parent.network.width=32"),
        ("parent.network.branches=[2,4,1,1]", "parent.network.width=64", "parent.network.kernel=[1,3,5,3]"),
        ("parent.network.branches=2", "parent.network.join=conv3", "branch_point.stage=conv2"),
        ("parent=convnet", "branch_point.stage=block2.add"),
        ("parent=convnet", "branch_point.stage=block2.add", "parent.network.width=33"),
    ],
)
def test_a_plain_network_costs_as_much_and_has_parts_of_the_same_shares(
    options: tuple[str, ...], tmp_path: Path
) -> None:
    spec = study(tmp_path, *options)
    roles, blank = roles_of(spec.parent), spec.parent.input.blank()
    branched, plain = cost(outline(roles["branched"]), blank).macs, cost(outline(roles["plain"]), blank).macs
    assert plain == pytest.approx(branched, rel=0.1)
    assert roles["untrained"].recipe is None
    divided = divided_stages(outline(spec.parent), blank.float())
    for stage, parts in by_order(divided, outline(roles["plain"])).items():
        shares, wanted = (
            np.array([len(units) for units in one.branches.values()]) / len(one.units)
            for one in (parts, divided[stage])
        )
        assert shares == pytest.approx(wanted, abs=1.01 / len(parts.units))
        assert np.array_equal(parts.units, np.arange(len(parts.units)))


def test_parts_of_fewer_than_three_units_are_refused(tmp_path: Path) -> None:
    spec = study(tmp_path, "parent=convnet", "branch_point.stage=block3.add", "parent.network.width=1")
    # block1 has two units, which are no branch; block2 has four, whose halves are none.
    divided = divided_stages(outline(spec.parent), spec.parent.input.blank().float())
    assert [*divided] == ["block2.add", "block3.add"]
    with pytest.raises(InputError, match="4 units at block2, too few for 2 parts of 3 at least"):
        by_order(divided, outline(roles_of(spec.parent)["plain"]))


def test_units_are_shown_as_many_examples_of_each_label(tmp_path: Path) -> None:
    spec = study(tmp_path, *glyphs(3, size=12, train=40, test=20), "subset=all", "parent.network.kernel=3")
    table = ensure_data(spec.data, store_at(tmp_path / "store"), content=True)
    shown = Shown.of(table, spec.parent, 30)
    assert np.bincount(shown.test_labels).tolist() == [5] * 6
    assert np.bincount(shown.training_labels).tolist() == [5] * 6
    everything = Shown.of(table, spec.parent, 10_000)
    assert len(everything.test) == 120
    assert not everything.is_grey
