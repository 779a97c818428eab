"""Every row once per epoch, in an order that the seed alone decides."""

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from neural_branching.data.batches import Batches
from neural_branching.data.tensor_data import EpochLoader, TensorDataModule


def rows(n: int) -> tuple[Tensor, Tensor]:
    """Inputs whose row numbers can be read from them, and targets that belong to them."""
    x = torch.arange(2 * n, dtype=torch.float32).reshape(n, 2)
    return x, torch.arange(n) * 7


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def order(batches: Batches) -> list[int]:
    """Row numbers of one pass; checks that inputs and targets stay together."""
    seen: list[int] = []
    for x, y in batches:
        assert torch.equal(x[:, 0] / 2 * 7, y.float())
        assert torch.equal(x[:, 1], x[:, 0] + 1)
        seen += (y // 7).tolist()
    return seen


@given(n=st.integers(1, 40), batch_size=st.integers(1, 50), seed=st.none() | st.integers(0, 9))
def test_every_row_exactly_once_per_pass(n: int, batch_size: int, seed: int | None) -> None:
    batches = Batches(*rows(n), batch_size, None if seed is None else seeded(seed))
    for _ in range(2):
        assert sorted(order(batches)) == list(range(n))
        sizes = [len(y) for _, y in batches]
        assert len(sizes) == len(batches)
        assert sizes[:-1] == [batch_size] * (len(sizes) - 1)
        assert 1 <= sizes[-1] <= batch_size


def test_the_seed_decides_the_orders_and_every_pass_has_its_own() -> None:
    data = rows(50)
    first, again, other = (Batches(*data, 8, seeded(seed)) for seed in (0, 0, 1))
    passes = [order(first) for _ in range(3)]
    assert [order(again) for _ in range(3)] == passes
    assert len({tuple(one) for one in passes}) == 3
    assert order(other) not in passes


def test_without_a_generator_the_order_is_kept() -> None:
    batches = Batches(*rows(10), 4)
    assert order(batches) == order(batches) == list(range(10))


class Marked:
    """Adds to every row the number that was drawn for it."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, ...]] = []

    def draw(self, shape: Sequence[int], generator: torch.Generator) -> Tensor:
        self.calls.append(tuple(shape))
        return torch.rand(shape[0], 1, generator=generator)

    def __call__(self, batch: Tensor, draws: Tensor) -> Tensor:
        return batch + draws


def test_the_augmentation_draws_for_every_batch_before_the_first_is_taken() -> None:
    generator, augment = seeded(0), Marked()
    x, y = rows(10)
    passed = iter(Batches(x, y, 4, generator, augment))
    first = next(passed)
    assert augment.calls == [(4, 2), (4, 2), (2, 2)]
    expected = seeded(0)
    torch.randperm(10, generator=expected)
    for changed, targets in (first, *passed):
        drawn = torch.rand(len(targets), 1, generator=expected)
        assert torch.equal(changed, x[targets // 7] + drawn)
    assert torch.equal(generator.get_state(), expected.get_state())
    assert torch.equal(x, rows(10)[0])


class Data(TensorDataModule):
    def setup(self, stage: str) -> None:
        self.train, self.validation = rows(20), rows(1100)


def module(seed: int = 0, batch_size: int = 8) -> Data:
    data = Data(batch_size, seed)
    data.setup("fit")
    return data


def epoch(loader: EpochLoader) -> list[int]:
    assert len(loader) == 1
    [batches] = loader
    return order(batches)


def test_training_epochs_are_shuffled_by_the_modules_seed() -> None:
    first, again, other = module(0), module(0), module(1)
    epochs = [epoch(first.train_dataloader()) for _ in range(2)]
    assert sorted(epochs[0]) == list(range(20))
    assert epochs[0] != epochs[1]
    # Nothing else that draws random numbers may change the order.
    torch.rand(5)
    assert [epoch(again.train_dataloader()) for _ in range(2)] == epochs
    assert epoch(other.train_dataloader()) not in epochs


def test_validation_is_in_order_in_large_batches() -> None:
    data = module()
    before = data.generator.get_state()
    assert epoch(data.val_dataloader()) == list(range(1100))
    assert torch.equal(data.generator.get_state(), before)
    [batches] = data.val_dataloader()
    assert [len(y) for _, y in batches] == [512, 512, 76]


@pytest.mark.parametrize(("batch_size", "steps"), [(1, 20), (8, 3), (10, 2), (64, 1)])
def test_steps_per_epoch(batch_size: int, steps: int) -> None:
    assert module(batch_size=batch_size).steps_per_epoch == steps
