"""Steps that are captured once and replayed train the same networks, wherever something can capture them."""

import gc
import json
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from itertools import count
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

from conftest import SETTINGS
from device import DEVICE, ON_GPU, REPEATED
from neural_branching import cli
from neural_branching.data.augment import Augmentation
from neural_branching.data.batches import Augment, Batches
from neural_branching.data.tensor_data import EpochLoader, TensorDataModule
from neural_branching.errors import InputError
from neural_branching.labs.decomposition.autoencoder import Autoencoder, PartsLoss
from neural_branching.labs.decomposition.branched_autoencoder import BranchedAutoencoder
from neural_branching.networks.convnet import ConvNet
from neural_branching.networks.mlp import MLP
from neural_branching.networks.standardize import Standardize
from neural_branching.networks.standardized_network import StandardizedNetwork
from neural_branching.networks.vit import VisionTransformer
from neural_branching.store.checkpoint import Checkpoint
from neural_branching.training import captured_step
from neural_branching.training import fit as fit_module
from neural_branching.training import stack as stack_module
from neural_branching.training.captured_step import CapturedStep
from neural_branching.training.classifier import Classifier
from neural_branching.training.compute import Compute
from neural_branching.training.deep_supervision import DeeplySupervised
from neural_branching.training.epoch_module import EpochModule
from neural_branching.training.fit import fit
from neural_branching.training.history import History
from neural_branching.training.recipe import Recipe
from neural_branching.training.stack import Member, StackedBranches, fit_together
from neural_branching.training.treatment import Treatment
from tape import Tape, given_up

SHAPE, CLASSES, ROWS = (3, 8, 8), 3, 22
COMPUTE = Compute("cpu", threads=1, progress=False)
ONE_CYCLE = {"optimizer": "adamw", "weight_decay": 0.05, "schedule": "one_cycle", "label_smoothing": 0.1}


class Images(TensorDataModule):
    def __init__(self, batch_size: int, augment: Augment | None = None, seed: int = 0) -> None:
        super().__init__(batch_size, seed, augment)

    def load(self) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        draw = torch.Generator().manual_seed(5)
        labels = torch.randint(0, CLASSES, (ROWS + 10,), generator=draw)
        images = torch.randint(0, 256, (ROWS + 10, *SHAPE), dtype=torch.uint8, generator=draw)
        return (images[:ROWS], labels[:ROWS]), (images[ROWS:], labels[ROWS:])


def standardized(network: nn.Module) -> StandardizedNetwork:
    return StandardizedNetwork(Standardize((3, 1, 1)), network)


def mlp(recipe: Recipe) -> EpochModule:
    return Classifier(standardized(MLP(SHAPE, CLASSES, [8, 6], dropout=0.3)), recipe)


def convnet(recipe: Recipe) -> EpochModule:
    return Classifier(standardized(ConvNet(SHAPE, CLASSES, 8)), recipe)


def vit(recipe: Recipe) -> EpochModule:
    network = VisionTransformer(SHAPE, CLASSES, patch=4, width=8, depth=1, heads=2)
    return Classifier(standardized(network), recipe)


def supervised(recipe: Recipe) -> EpochModule:
    parent = standardized(MLP(SHAPE, CLASSES, [8, 6], dropout=0.3))
    return DeeplySupervised(parent, recipe, {"hidden1": 0.5}, {"hidden1": 8}, CLASSES)


def autoencoder(recipe: Recipe) -> EpochModule:
    network = BranchedAutoencoder(SHAPE, branches=2, width=4, depth=2, latent=3, variational=True)
    return Autoencoder(network, recipe, noise=0.1, beta=0.1)


@pytest.fixture
def tapes(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Tape]]:
    """Has trainings on the CPU captured; the tapes that were used."""
    used: list[Tape] = []

    def tape() -> Tape:
        used.append(Tape())
        return used[-1]

    for module in (fit_module, stack_module):
        monkeypatch.setattr(module, "capturer_of", lambda compute: tape if compute.cuda_graphs else None)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield used
    torch.set_num_threads(before)


def trained(
    make: Callable[[Recipe], EpochModule],
    recipe: Recipe,
    graphs: bool,
    augment: Augment | None = None,
    device: str = "cpu",
) -> tuple[EpochModule, History]:
    torch.manual_seed(0)
    module = make(recipe)
    compute = Compute(device, threads=1, progress=False, cuda_graphs=graphs)
    torch.manual_seed(1)
    return module, fit(module, Images(recipe.batch_size, augment), compute, "toy")


CASES = pytest.mark.parametrize(
    ("make", "options", "augment"),
    [
        (mlp, {}, None),
        (mlp, ONE_CYCLE, Augmentation(pad=2, cutout=3, jitter=0.2)),
        (convnet, {"patience": 1}, Augmentation(pad=2, cutout=3)),
        (convnet, ONE_CYCLE | {"precision": "bf16-mixed"}, Augmentation(pad=2, cutout=0)),
        (vit, ONE_CYCLE, None),
        (supervised, {"keep": "last"}, None),
        (autoencoder, {}, None),
    ],
)


@CASES
def test_a_captured_training_is_the_same_to_the_bit(tapes, caplog, make, options: dict, augment) -> None:
    recipe = Recipe(**{"epochs": 4, "batch_size": 8, "lr": 0.01} | options)
    plain, expected = trained(make, recipe, False, augment)
    assert not tapes
    captured, found = trained(make, recipe, True, augment)
    assert found == expected
    for name, value in plain.state_dict().items():
        assert torch.equal(captured.state_dict()[name], value), name
    # Batches of 8, 8 and 6: each shape runs twice before it is captured, and once as it is while it is.
    [tape] = tapes
    assert tape.captured == 2
    assert tape.replayed == 3 * len(found) - 6
    assert not given_up(caplog)  # every replay was kept that was tried out


@ON_GPU
@CASES
def test_a_cuda_graph_trains_the_same(caplog, make, options: dict, augment) -> None:
    recipe = Recipe(**{"epochs": 6, "batch_size": 8, "lr": 0.01} | options)
    plain, expected = trained(make, recipe, False, augment, DEVICE)
    captured, found = trained(make, recipe, True, augment, DEVICE)
    for mine, theirs in zip(found, expected, strict=True):
        assert mine == pytest.approx(theirs, abs=REPEATED)
    torch.testing.assert_close(captured.state_dict(), plain.state_dict(), rtol=REPEATED, atol=REPEATED)
    assert not given_up(caplog)


def stacked(recipes: list[Recipe], graphs: bool, device: str = "cpu") -> list[Member]:
    members, rows = [], {}
    for seed, recipe in enumerate(recipes):
        torch.manual_seed(seed)
        branch = StandardizedNetwork(Standardize((4,)), MLP((4,), CLASSES, (8, 6), dropout=0.3))
        if seed % 2 not in rows:
            draw = torch.Generator().manual_seed(seed)
            rows[seed % 2] = [
                (torch.randn(n, 4, generator=draw), torch.randint(0, CLASSES, (n,), generator=draw))
                for n in (46, 20)
            ]
        dropout, order = torch.Generator(device).manual_seed(seed), torch.Generator().manual_seed(seed)
        members.append(Member(branch, recipe, *rows[seed % 2], order, dropout))
    compute = Compute(device, threads=1, progress=False, cuda_graphs=graphs)
    histories = fit_together(members, compute, "all")
    assert all(histories)
    return members


STACKS = pytest.mark.parametrize(
    "options", [{"patience": 2}, {"patience": 2, **ONE_CYCLE}, {"optimizer": "adamw"}]
)


def recipes_of(options: dict) -> list[Recipe]:
    return [Recipe(epochs=9, batch_size=8, lr=lr, **options) for lr in (0.3, 0.01, 0.3, 0.003) * 2]


@STACKS
def test_a_captured_stack_is_the_same_also_when_branches_leave_it(
    tapes, monkeypatch, caplog, options: dict
) -> None:
    plain = stacked(recipes_of(options), False)
    left: list[tuple[int, int]] = []
    keep = StackedBranches.keep

    def noted(module: StackedBranches, rows: list[int]) -> None:
        left.append((len(module.places), len(rows)))
        keep(module, rows)

    monkeypatch.setattr(StackedBranches, "keep", noted)
    captured = stacked(recipes_of(options), True)
    for mine, theirs in zip(captured, plain, strict=True):
        for name, value in theirs.branch.state_dict().items():
            assert torch.equal(mine.branch.state_dict()[name], value), name
    # Captured anew whenever a quarter is done, and not for every branch.
    assert all(before - after >= before / 4 for before, after in left)
    assert len(tapes) == 1 + len(left)
    assert bool(left) == ("patience" in options)
    assert sum(tape.replayed for tape in tapes) > 4
    assert not given_up(caplog)


@ON_GPU
@STACKS
def test_a_cuda_graph_trains_the_same_stack(caplog, options: dict) -> None:
    plain, captured = (stacked(recipes_of(options), graphs, DEVICE) for graphs in (False, True))
    for mine, theirs in zip(captured, plain, strict=True):
        torch.testing.assert_close(
            mine.branch.state_dict(), theirs.branch.state_dict(), rtol=REPEATED, atol=REPEATED
        )
    assert not given_up(caplog)


def test_a_step_takes_what_it_is_given_and_leaves_its_own_gradients(tapes) -> None:
    weight = nn.Parameter(torch.ones(3))

    def step(x: Tensor) -> Tensor:
        weight.grad = None
        loss = (x * weight).sum()
        loss.backward()
        return loss.detach()

    captured = CapturedStep(step, Tape(), [weight], lambda: [[weight]], pytest.fail)
    results = []
    for number in range(1, 13):
        x = torch.full((2 if number % 2 else 5, 3), float(number))
        results.append(captured(x))
        assert torch.equal(weight.grad, x.sum(0))
    # A result stays what it was when the next step has been taken.
    assert [float(one) for one in results] == [float(3 * n * (2 if n % 2 else 5)) for n in range(1, 13)]


def test_a_step_for_which_python_decides_anew_runs_as_it_is() -> None:
    counted, told = count(1), []
    step = CapturedStep(lambda x: x * next(counted), Tape(), [], list, lambda: told.append(1))
    # The third number is that of the capture, which does nothing.
    assert [float(step(torch.ones(()))) for _ in range(7)] == [1, 2, 4, 5, 6, 7, 8]
    assert told == [1]


def test_a_step_that_reads_memory_that_others_have_left_runs_as_it_is() -> None:
    held, told = {}, []
    step = CapturedStep(lambda x: x * held["factor"], Tape(), [], list, lambda: told.append(1))
    for number in range(1, 8):
        held["factor"] = torch.tensor(float(number))
        assert float(step(torch.ones(()))) == number
    assert told == [1]


def test_gradients_of_other_parameters_are_another_step() -> None:
    weights, which, told = [nn.Parameter(torch.ones(3)) for _ in range(2)], count(), []

    def step(x: Tensor) -> Tensor:
        for one in weights:
            one.grad = None
        loss = (x * weights[next(which) // 4]).sum()  # the fourth is the first that is tried out
        loss.backward()
        return loss.detach()

    captured = CapturedStep(step, Tape(), weights, lambda: [weights], lambda: told.append(1))
    for _ in range(4):
        captured(torch.ones(3))
    assert weights[0].grad is None
    assert torch.equal(weights[1].grad, torch.ones(3))
    assert told == [1]


def test_a_number_that_is_not_finite_hides_no_others() -> None:
    told, scale = [], torch.tensor([0.0, 2.0, 4.0])

    class Lost(Tape):
        def capture(self, run: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
            replay, result = super().capture(run)
            return lambda: (replay(), result[1:].zero_()), result

    for kind, expected in ((Tape, []), (Lost, [1])):
        step = CapturedStep(lambda x: x / scale, kind(), [], list, lambda: told.append(1))
        for _ in range(5):
            found = step(scale)
            assert found[0].isnan()
            assert found[1:].tolist() == [1, 1]
        assert told == expected


def test_values_of_the_capture_are_no_replay_and_graphs_are_freed() -> None:
    kept: list[weakref.ref] = []

    class Idle(Tape):
        def capture(self, run: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
            replay, result = super().capture(run)
            replay()  # what it would leave is there already
            kept.append(weakref.ref(replay))
            return lambda held=replay: None, result

    told: list[int] = []
    step = CapturedStep(lambda x: x * 2, Idle(), [], list, lambda: told.append(1))
    for _ in range(5):
        assert float(step(torch.ones(()))) == 2
    assert told == [1]
    gc.collect()
    assert kept[0]() is None


def _nothing(tape: Tape, replay: Callable[[], None]) -> None:
    """What was captured is empty."""


def _without_weights(tape: Tape, replay: Callable[[], None]) -> None:
    """What writes over the weights was left out."""
    _put_back(Wrong.module.parameters(), replay)


def _without_bias(tape: Tape, replay: Callable[[], None]) -> None:
    """What writes over the smallest of the weights was left out."""
    _put_back([min(Wrong.module.parameters(), key=torch.numel)], replay)


def _put_back(weights: Iterable[Tensor], replay: Callable[[], None]) -> None:
    kept = [(one, one.detach().clone()) for one in weights]
    replay()
    with torch.no_grad():
        for one, old in kept:
            one.copy_(old)


class Wrong(Tape):
    """A device that replays something else."""

    module: ClassVar[EpochModule]
    replaying: ClassVar[Callable[[Tape, Callable[[], None]], None]]

    def capture(self, run: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
        replay, result = super().capture(run)
        return lambda: Wrong.replaying(self, replay), result


@pytest.mark.parametrize(
    ("replaying", "schedule"),
    [
        (_nothing, "constant"),
        (_nothing, "one_cycle"),
        (_without_weights, "constant"),
        (_without_bias, "constant"),
    ],
)
def test_a_device_that_replays_something_else_trains_the_same(
    tapes, monkeypatch, caplog, replaying, schedule: str
) -> None:
    recipe = Recipe(epochs=4, batch_size=8, lr=0.01, schedule=schedule)
    plain, expected = trained(mlp, recipe, False)

    def made(recipe: Recipe) -> EpochModule:
        Wrong.module = mlp(recipe)
        return Wrong.module

    monkeypatch.setattr(Wrong, "replaying", staticmethod(replaying), raising=False)
    monkeypatch.setattr(fit_module, "capturer_of", lambda compute: Wrong if compute.cuda_graphs else None)
    module, found = trained(made, recipe, True)
    assert found == expected
    for name, value in plain.state_dict().items():
        assert torch.equal(module.state_dict()[name], value), name
    [said] = given_up(caplog)
    assert "does something else than the step itself" in said
    assert module.capturer is None


def test_a_step_that_asks_the_device_for_something_is_refused() -> None:
    step = CapturedStep(lambda x: x * x.sum().item(), Tape(), [], list, pytest.fail)
    for _ in range(2):
        step(torch.ones(2))
    with pytest.raises(InputError, match=r"cannot be captured .* \(.*\): in a new process, trainer"):
        step(torch.ones(2))


def test_the_first_thing_that_went_wrong_is_named() -> None:
    class Broken(Tape):
        def capture(self, run: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
            try:
                return super().capture(run)
            except RuntimeError:
                raise RuntimeError("operation failed due to a previous error during capture") from None

    step = CapturedStep(lambda x: x * x.sum().item(), Broken(), [], list, pytest.fail)
    for _ in range(2):
        step(torch.ones(2))
    with pytest.raises(InputError, match=r"\(aten\._local_scalar_dense"):
        step(torch.ones(2))


class Nothing(Treatment):
    def identity(self) -> dict[str, int]:
        return {}


class NoLoss(PartsLoss):
    def identity(self) -> dict[str, int]:
        return {}

    def loss(self, module: Autoencoder, images: Tensor, parts: Tensor) -> Tensor:
        return parts.sum() * 0


def test_what_may_do_something_else_in_every_step_is_not_captured(tapes) -> None:
    recipe = Recipe(epochs=4, batch_size=8, lr=0.01)

    def treated(recipe: Recipe) -> EpochModule:
        return Classifier(standardized(MLP(SHAPE, CLASSES, [8])), recipe, Nothing())

    def foreign(recipe: Recipe) -> EpochModule:
        return Classifier(standardized(nn.Sequential(nn.Flatten(), nn.LazyLinear(CLASSES))), recipe)

    def explained(recipe: Recipe) -> EpochModule:
        module = autoencoder(recipe)
        module.parts_loss = NoLoss()
        return module

    for make in (treated, explained, foreign):
        trained(make, recipe, True)
    assert not tapes


def test_a_graph_is_gone_when_its_training_is_over_or_has_failed(monkeypatch, tapes) -> None:
    alive: list[weakref.ref] = []
    collects = gc.isenabled()
    gc.disable()
    try:
        for options in ({}, {"lr": 1e30}):
            recipe = Recipe(**{"epochs": 9, "batch_size": 8, "lr": 0.01} | options)
            with nullcontext() if not options else pytest.raises(InputError, match="diverged"):
                trained(mlp, recipe, True)
        stacked(recipes_of({"patience": 2}), True)
        assert len(tapes) > 2
        alive = [weakref.ref(tapes.pop()) for _ in range(len(tapes))]
        assert not [one for one in alive if one() is not None]
    finally:
        if collects:
            gc.enable()


class Killed(Exception):  # noqa: N818
    """Stands for the end of the process."""


class Dying(Images):
    """Ends in the midst of the fourth epoch."""

    def train_dataloader(self) -> EpochLoader[Batches]:
        [epoch] = super().train_dataloader()
        begun, draw = count(), epoch.draw

        def drawn() -> Iterator[tuple[Tensor, ...]]:
            everything = draw()
            yield next(everything)
            if next(begun) == 3:
                raise Killed
            yield from everything

        epoch.draw = drawn  # type: ignore[method-assign]
        return EpochLoader(epoch)


@pytest.mark.parametrize("options", [{}, ONE_CYCLE])
@pytest.mark.parametrize("make", [mlp, vit])
def test_a_captured_training_continues_to_the_same_weights(
    tapes, tmp_path, make, options: dict, caplog
) -> None:
    recipe = Recipe(**{"epochs": 8, "batch_size": 8, "lr": 0.01} | options)
    compute = Compute("cpu", threads=1, progress=False, checkpoint_seconds=0)
    whole, history = trained(make, recipe, True)

    def begun(seed: int) -> EpochModule:
        torch.manual_seed(0)
        module = make(recipe)
        torch.manual_seed(seed)
        return module

    with pytest.raises(Killed):
        fit(begun(1), Dying(8), compute, "toy", Checkpoint(tmp_path, "toy"))
    continued = begun(2)
    assert fit(continued, Images(8), compute, "toy", Checkpoint(tmp_path, "toy")) == history
    for name, value in whole.state_dict().items():
        assert torch.equal(continued.state_dict()[name], value), name
    assert tapes[-1].replayed
    assert not given_up(caplog)


def test_memory_that_runs_out_is_no_fault_of_the_step() -> None:
    class Full(Tape):
        def capture(self, run: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    step = CapturedStep(lambda x: x * 2, Full(), [], list, pytest.fail)
    for _ in range(2):
        step(torch.ones(2))
    with pytest.raises(torch.OutOfMemoryError):
        step(torch.ones(2))


def test_only_cuda_captures(monkeypatch) -> None:
    assert captured_step.capturer_of(COMPUTE) is None
    monkeypatch.setattr(Compute, "device", lambda self: torch.device("cuda", 0))
    assert captured_step.capturer_of(Compute("cuda")) is not None
    assert captured_step.capturer_of(Compute("cuda", cuda_graphs=False)) is None


@pytest.mark.usefixtures("unillustrated")
def test_a_run_is_the_same_when_its_trainings_are_captured(tapes, monkeypatch, caplog, tmp_path) -> None:
    found = []
    for graphs in ("false", "true"):
        folder = tmp_path / graphs
        folder.mkdir()
        monkeypatch.chdir(folder)
        settings = (*SETTINGS, "trainer.accelerator=cpu", f"trainer.cuda_graphs={graphs}")
        monkeypatch.setattr("sys.argv", ["neural-branching", "train", *settings])
        cli.main()
        [results] = folder.rglob("results.json")
        found.append(json.loads(results.read_text()))
    assert len(tapes) == 2  # parent and branch
    plain, captured = found
    for name in ("parent", "branch"):
        assert captured["artifacts"][name]["key"] == plain["artifacts"][name]["key"]
    assert captured["nodes"] == plain["nodes"]
    assert not given_up(caplog)
