"""Curves of a training appear while it lasts, cost nothing where it is short, and change nothing."""

import csv
import logging
import shutil
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor

from device import DEVICE
from neural_branching.errors import InputError
from neural_branching.networks.mlp import MLP
from neural_branching.networks.standardize import Standardize
from neural_branching.networks.standardized_network import StandardizedNetwork
from neural_branching.store.checkpoint import Checkpoint
from neural_branching.training.classifier import Classifier
from neural_branching.training.compute import Compute
from neural_branching.training.fit import fit
from neural_branching.training.history import History
from neural_branching.training.loggers import Csv, Logger, TensorBoard
from neural_branching.training.recipe import Recipe
from noise import Noise

KEY = "0123456789abcdef0123"
NAME = "parent_toy-01234567"


class Watched(Classifier):
    """A classifier that looks, after so many epochs, at what is shown of it."""

    def __init__(self, folder: Path, epochs: int = 4, then: BaseException | None = None) -> None:
        torch.manual_seed(0)
        super().__init__(
            StandardizedNetwork(Standardize((4,)), MLP((4,), 3, [16])),
            Recipe(epochs=epochs, batch_size=8, lr=0.05),
        )
        self.folder, self.then = folder, then
        self.seen: list[list[int]] = []

    def batch_loss(self, x: Tensor, y: Tensor) -> Tensor:
        self.seen.append(steps(self.folder))
        if self.then and self.current_epoch == 2:
            raise self.then
        return super().batch_loss(x, y)


def steps(folder: Path, tag: str = "parent/val/loss") -> list[int]:
    """Epochs that lie in the folder of a training."""
    if (folder / NAME / "metrics.csv").exists():
        with (folder / NAME / "metrics.csv").open() as stream:
            return [int(line["step"]) for line in csv.DictReader(stream)]
    if not (folder / NAME).exists():
        return []
    events = EventAccumulator(str(folder / NAME)).Reload()
    return [event.step for event in events.Scalars(tag)] if tag in events.Tags()["scalars"] else []


def train(module: Classifier, logger: Logger | None, folder: Path, seconds: float = 60) -> History:
    torch.manual_seed(1)
    compute = Compute(DEVICE, progress=False, logger=logger, checkpoint_seconds=seconds)
    return fit(module, Noise(), compute, "parent toy", Checkpoint(folder / "checkpoints", f"parent-{KEY}"))


@pytest.mark.parametrize("kind", [TensorBoard, Csv])
def test_epochs_are_there_before_the_training_ends(kind: type[Logger], tmp_path: Path) -> None:
    module = Watched(tmp_path)
    history = train(module, kind(0, tmp_path), tmp_path)
    assert module.seen[-1] == [1, 2, 3]
    assert steps(tmp_path) == [1, 2, 3, 4]
    plain = Watched(tmp_path / "nowhere")
    assert train(plain, None, tmp_path) == history
    for mine, theirs in zip(module.parameters(), plain.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_a_short_training_opens_nothing(tmp_path: Path) -> None:
    train(Watched(tmp_path), TensorBoard(60, tmp_path), tmp_path)
    assert not (tmp_path / NAME).exists()


@pytest.mark.parametrize("error", [InputError("it diverged"), KeyboardInterrupt()])
def test_what_fails_or_is_interrupted_is_taken_back(error: BaseException, tmp_path: Path) -> None:
    module = Watched(tmp_path, then=error)
    with pytest.raises(type(error)):
        train(module, TensorBoard(0, tmp_path / "training"), tmp_path)
    module = Watched(tmp_path / "training", then=error)
    with pytest.raises(type(error)):
        train(module, TensorBoard(0, tmp_path / "training"), tmp_path)
    assert module.seen[-1] == [1, 2]
    assert not (tmp_path / "training").exists()


def test_a_training_that_continues_shows_its_earlier_epochs_too(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(Watched(tmp_path, then=KeyboardInterrupt()), None, tmp_path, seconds=0)
    (tmp_path / NAME).mkdir()
    (tmp_path / NAME / "events.out.tfevents.1.killed").touch()
    train(Watched(tmp_path), TensorBoard(0, tmp_path), tmp_path)
    assert steps(tmp_path) == [1, 2, 3, 4]
    assert not (tmp_path / NAME / "events.out.tfevents.1.killed").exists()


def test_a_full_disk_stops_no_training(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    with caplog.at_level(logging.WARNING):
        assert len(train(Watched(tmp_path), TensorBoard(0, tmp_path / "file"), tmp_path)) == 4
    assert caplog.text.count("Training the parent toy goes on without its curves") == 1


def test_a_run_that_shows_the_curves_takes_their_place(tmp_path: Path) -> None:
    logger = TensorBoard(0, tmp_path / "training")
    shutil.copytree(Path(__file__).parent, logger.place("parent toy", KEY))
    logger.place("branch digits at hidden2", "f" * 20).mkdir()
    logger.forget([KEY])
    assert [one.name for one in logger.folder.iterdir()] == ["branch_digits_at_hidden2-ffffffff"]
    logger.forget(["f" * 20])
    assert not logger.folder.exists()


def test_seconds_are_no_less_than_none() -> None:
    with pytest.raises(InputError, match="seconds is -1"):
        TensorBoard(-1)
