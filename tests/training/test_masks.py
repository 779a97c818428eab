"""Dropout masks that are drawn ahead follow dropout's law, and are a branch's own wherever it is trained."""

import math

import pytest
import torch

from device import DEVICE, REPEATED, TOGETHER
from neural_branching.networks.dropout import Dropout
from neural_branching.networks.mlp import MLP
from neural_branching.networks.standardize import Standardize
from neural_branching.networks.standardized_network import StandardizedNetwork
from neural_branching.training import fit as fit_module
from neural_branching.training import masks as masks_module
from neural_branching.training import stack as stack_module
from neural_branching.training.classifier import Classifier
from neural_branching.training.compute import Compute
from neural_branching.training.fit import fit
from neural_branching.training.masks import Masks, drawn_ahead
from neural_branching.training.recipe import Recipe
from neural_branching.training.stack import Member, fit_together
from noise import Noise
from tape import Tape, given_up

COMPUTE = Compute(DEVICE, threads=1, progress=False)
PLACE = torch.device(DEVICE)


@pytest.fixture
def ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draws masks ahead on every device, for at least 16 rows at once."""
    for name in ("epoch_module", "stack"):
        monkeypatch.setattr(f"neural_branching.training.{name}.drawn_ahead", lambda device: True)
    monkeypatch.setattr(masks_module, "ROWS", 16)


def generator(seed: int) -> torch.Generator:
    return torch.Generator(PLACE).manual_seed(seed)


def masks(seeds: list[int], n: int = 50, batch_size: int = 8, rate: float = 0.25) -> Masks:
    return Masks([40, 30], rate, [generator(seed) for seed in seeds], n, batch_size, PLACE)


def passed(drawn: Masks, networks: int, steps: int, layer: int = 0, rows: int = 8) -> torch.Tensor:
    """What is left of ones, (steps, networks, rows, width)."""
    ones, found = torch.ones(networks, rows, (40, 30)[layer], device=PLACE), []
    for step in range(steps):
        drawn.begin(step)
        found.append(drawn.keep(ones, layer))
    return torch.stack(found).cpu()


def test_units_are_dropped_at_the_rate_and_the_others_scaled() -> None:
    found = passed(masks([0, 1, 2]), 3, 40)
    assert found.unique().tolist() == pytest.approx([0, 1 / 0.75])
    n = found.numel()
    assert abs(float((found == 0).float().mean()) - 0.25) < 4 * math.sqrt(0.25 * 0.75 / n)


def test_masks_of_networks_layers_rows_and_steps_are_independent() -> None:
    drawn = masks([0, 1])
    kept = (passed(drawn, 2, 40) > 0).float() - 0.75
    other = (passed(masks([0, 1]), 2, 40, layer=1) > 0).float() - 0.75
    pairs = {
        "networks": (kept[:, 0], kept[:, 1]),
        "rows": (kept[:, :, :-1], kept[:, :, 1:]),
        "units": (kept[..., :-1], kept[..., 1:]),
        "steps": (kept[:-1], kept[1:]),
        "layers": (kept[..., :30], other),
    }
    for name, (one, another) in pairs.items():
        products = one * another
        assert abs(float(products.mean())) < 4 * 0.1875 / math.sqrt(products.numel()), name


def test_a_network_draws_the_same_whatever_its_neighbours() -> None:
    alone = passed(masks([7]), 1, 12)
    for seeds in ([7, 1], [3, 4, 7]):
        assert torch.equal(passed(masks(seeds), len(seeds), 12)[:, seeds.index(7)], alone[:, 0])


def test_a_smaller_batch_takes_the_first_of_its_rows() -> None:
    full, short = passed(masks([0]), 1, 3), passed(masks([0]), 1, 3, rows=5)
    assert torch.equal(short, full[:, :, :5])


@pytest.mark.parametrize(("n", "batch_size", "drawn"), [(5000, 32, 32), (50, 32, 2), (5000, 3000, 1)])
def test_one_draw_serves_many_steps(n: int, batch_size: int, drawn: int) -> None:
    """1,024 rows or an epoch, and never less than a batch."""
    drawing = masks([0], n, batch_size)
    before = torch.get_rng_state()
    states = []
    for step in range(2 * drawn):
        drawing.begin(step)
        states.append(bytes(drawing._generators[0].get_state().tolist()))
    assert len(set(states)) == 2
    assert torch.equal(before, torch.get_rng_state())


def branch(seed: int) -> StandardizedNetwork:
    torch.manual_seed(seed)
    data = Noise()
    made = StandardizedNetwork(Standardize((4,)), MLP((4,), 3, [16, 12], dropout=0.3))
    made.standardize.learn(data.train[0])
    return made


def alone(seed: int, recipe: Recipe, compute: Compute = COMPUTE) -> StandardizedNetwork:
    made = branch(seed)
    data = Noise(recipe.batch_size)
    data.generator.manual_seed(seed)
    # What draws is the device's own generator, which is given this seed.
    torch.manual_seed(seed)
    fit(Classifier(made, recipe), data, compute, "toy")
    return made


def together(seeds: list[int], recipe: Recipe) -> list[StandardizedNetwork]:
    members = []
    for seed in seeds:
        made, data = branch(seed), Noise()
        rows = [(made.standardize(x), y) for x, y in (data.train, data.validation)]
        order, dropout = torch.Generator().manual_seed(seed), generator(seed)
        members.append(Member(made, recipe, rows[0], rows[1], order, dropout))
    assert all(fit_together(members, COMPUTE, "all"))
    return [member.branch for member in members]


RECIPE = Recipe(epochs=5, batch_size=8, lr=0.01, patience=2)


@pytest.mark.usefixtures("ahead")
def test_a_branch_is_the_same_alone_and_in_a_stack() -> None:
    seeds = [3, 1, 2]
    for seed, found in zip(seeds, together(seeds, RECIPE), strict=True):
        within = max(1e-5, TOGETHER)
        torch.testing.assert_close(
            found.state_dict(), alone(seed, RECIPE).state_dict(), atol=within, rtol=within
        )


@pytest.mark.usefixtures("ahead")
def test_a_captured_training_takes_new_masks_in_every_step(monkeypatch, caplog) -> None:
    plain = alone(3, RECIPE)
    stack = together([3, 1], RECIPE)
    tapes: list[Tape] = []
    for module in (fit_module, stack_module):
        monkeypatch.setattr(module, "capturer_of", lambda _: lambda: tapes.append(Tape()) or tapes[-1])
    for one, other in zip([alone(3, RECIPE), *together([3, 1], RECIPE)], [plain, *stack], strict=True):
        torch.testing.assert_close(one.state_dict(), other.state_dict(), rtol=REPEATED, atol=REPEATED)
    assert all(tape.replayed for tape in tapes)
    assert not given_up(caplog)


@pytest.mark.usefixtures("ahead")
def test_nothing_of_it_stays_with_the_network() -> None:
    made = alone(0, RECIPE)
    layers = [module for module in made.modules() if isinstance(module, Dropout)]
    assert len(layers) == 2
    assert all(layer.drawn is None for layer in layers)


def test_only_cuda_draws_ahead() -> None:
    assert [drawn_ahead(torch.device(name)) for name in ("cpu", "mps", "cuda")] == [False, False, True]
