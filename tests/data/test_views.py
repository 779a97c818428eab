"""Augmented views of the training images, kept beside the activations of the images themselves."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from neural_branching.artifacts import activations as act
from neural_branching.artifacts.activation_data import ActivationDataModule
from neural_branching.data.augment import Augmentation
from neural_branching.data.views import Views
from neural_branching.errors import InputError
from neural_branching.networks.mlp import MLP
from neural_branching.networks.standardize import Standardize
from neural_branching.networks.standardized_network import StandardizedNetwork
from tiny import ORDINARY, GlyphRun

SHAPE = (3, 12, 12)
CPU = torch.device("cpu")


def parent() -> StandardizedNetwork:
    torch.manual_seed(0)
    return StandardizedNetwork(Standardize((3, 1, 1)), MLP(SHAPE, 4, [6]))


def images(n: int) -> np.ndarray:
    return np.random.default_rng(0).integers(256, size=(n, *SHAPE), dtype=np.uint8)


def test_views_are_the_parent_s_answers_to_augmented_images_view_after_view(tmp_path: Path) -> None:
    network, pixels, rows = parent(), images(7), np.array([1, 4, 5])
    augment = Augmentation(pad=2, cutout=4)
    facts = act.extract_views(network, pixels, rows, Views(2, seed=3), augment, tmp_path, CPU)
    generator = torch.Generator().manual_seed(3)
    with torch.inference_mode():
        chosen = torch.from_numpy(pixels[rows])
        batches = [augment(chosen, augment.draw(chosen.shape, generator)) for _ in range(2)]
        expected = torch.cat([network.eval()(batch, until="hidden1") for batch in batches])
    found = load_file(tmp_path / "hidden1.safetensors")["activations"]
    assert torch.equal(found, expected)
    assert not torch.equal(found[:3], found[3:])
    assert facts["examples"] == 6


def test_a_branch_learns_from_the_images_and_their_views(glyph_run: GlyphRun) -> None:
    plain, more = glyph_run(*ORDINARY), glyph_run(*ORDINARY, "views.count=2")
    assert more.results["views"] == 2
    keys = [run.results["artifacts"] for run in (plain, more)]
    assert keys[0]["parent"]["key"] == keys[1]["parent"]["key"]
    assert keys[0]["activations"]["key"] == keys[1]["activations"]["key"]
    assert keys[0]["branch"]["key"] != keys[1]["branch"]["key"]
    assert "views" not in keys[0]
    assert "views" in keys[1]


def test_targets_repeat_with_the_views(glyph_run: GlyphRun) -> None:
    run = glyph_run(*ORDINARY, "views.count=2")
    folder = Path(run.results["artifacts"]["views"]["path"])
    table = run.table
    n, everyone = len(table.rows("train", run.experiment.tree.classes)), len(table.rows("train"))
    assert len(load_file(folder / "hidden2.safetensors")["activations"]) == 2 * everyone

    class Found:
        path = folder

    class Clean:
        path = Path(run.results["artifacts"]["activations"]["path"])

    data = ActivationDataModule(
        lambda: Clean,  # type: ignore[arg-type,return-value]
        table,
        run.experiment.usual.branch.groups,
        "hidden2",
        8,
        0,
        lambda: Found,  # type: ignore[arg-type,return-value]
    )
    data.setup("fit")
    x, y = data.train
    assert len(x) == len(y) == 3 * n
    assert torch.equal(y[:n], y[n : 2 * n])
    views = load_file(folder / "hidden2.safetensors")["activations"]
    mine = np.isin(table.rows("train"), table.rows("train", run.experiment.tree.classes))
    assert torch.equal(x[n : 2 * n], views[:everyone][mine])
    assert torch.equal(x[2 * n :], views[everyone:][mine])


def test_the_budget_is_checked_before_anything_is_trained(glyph_run: GlyphRun) -> None:
    with pytest.raises(
        InputError, match=r"activations of 600 examples at .* bytes, and views.budget is 1,000"
    ):
        glyph_run(*ORDINARY, "views.budget=1000", "parent.seed=77")
    with pytest.raises(
        InputError, match=r"The activations of 100 views of 250 examples at .*: raise it, or take"
    ):
        glyph_run(*ORDINARY, "views.budget=1000000", "views.count=100", "parent.seed=77")


@pytest.mark.parametrize(("option", "value"), [("count", -1), ("seed", 0.5), ("budget", 0)])
def test_impossible_numbers_are_refused(option: str, value: object) -> None:
    with pytest.raises(InputError, match=f"{option} is {value}: it must be a whole number"):
        Views(**{option: value})
