"""A treatment is asked at its times, and weights of every epoch are kept, also of an interrupted training."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from device import DEVICE, REPEATED
from neural_branching.errors import InputError
from neural_branching.networks.mlp import MLP
from neural_branching.networks.network import Network
from neural_branching.networks.standardize import Standardize
from neural_branching.networks.standardized_network import StandardizedNetwork
from neural_branching.store.checkpoint import Checkpoint
from neural_branching.training.classifier import Classifier
from neural_branching.training.compute import Compute
from neural_branching.training.fit import fit
from neural_branching.training.history import History
from neural_branching.training.recipe import Recipe
from neural_branching.training.treatment import Treatment
from noise import Noise

EPOCHS, STEPS = 4, 5


class Killed(Exception):  # noqa: N818
    pass


class Watched(Treatment):
    """Notes when it is asked, and holds one weight at 7."""

    def __init__(self, dies: int | None = None) -> None:
        self.dies, self.asked, self.steps = dies, list[str](), 0

    def identity(self) -> Mapping[str, Any]:
        return {"name": "watched"}

    def begin(self, network: Network) -> None:
        self.asked.append("begin")

    def before_epoch(self, epoch: int, network: Network, optimizer: torch.optim.Optimizer) -> None:
        if epoch == self.dies:
            raise Killed
        self.asked.append(f"epoch {epoch}")

    def after_step(self, network: Network) -> None:
        self.steps += 1
        next(network.parameters()).data[0, 0] = 7.0


def classifier(**options: Any) -> Classifier:
    torch.manual_seed(0)
    recipe = Recipe(**{"epochs": EPOCHS, "batch_size": 8, "lr": 0.05, "keep": "every", **options})
    return Classifier(StandardizedNetwork(Standardize((4,)), MLP((4,), 3, [16])), recipe)


def trained(module: Classifier, folder: Path | None = None) -> History:
    torch.manual_seed(1)
    compute = Compute(DEVICE, progress=False, checkpoint_seconds=0)
    return fit(module, Noise(8), compute, "toy", Checkpoint(folder, "toy") if folder else None)


def test_a_treatment_is_asked_before_epochs_and_after_steps() -> None:
    module, watched = classifier(), Watched()
    module.treatment = watched
    trained(module)
    assert watched.asked == ["begin", *(f"epoch {epoch}" for epoch in range(1, EPOCHS + 1))]
    assert watched.steps == EPOCHS * STEPS
    assert next(module.network.parameters())[0, 0] == 7.0


def test_a_penalty_is_added_to_the_loss_and_one_of_nothing_changes_nothing() -> None:
    class Large(Treatment):
        @property
        def stages(self) -> tuple[str, ...]:
            return ("hidden1",)

        def identity(self) -> Mapping[str, Any]:
            return {}

        def penalty(self, outputs: Mapping[str, Tensor], network: Network) -> Tensor:
            return 3 * outputs["hidden1"].mean()

    class Nothing(Large):
        def penalty(self, outputs: Mapping[str, Tensor], network: Network) -> float:
            return 0.0

    module, (x, y) = classifier(), Noise(8).train
    bare = module.batch_loss(x, y)
    module.treatment = Large()
    expected = bare + 3 * module.network(module.standardize(x), until="hidden1").mean()
    assert torch.allclose(module.batch_loss(x, y), expected)
    treated, plain = classifier(), classifier()
    treated.treatment = Nothing()
    assert trained(treated) == trained(plain)


def test_every_epoch_is_kept_beside_the_last() -> None:
    every, last = classifier(), classifier(keep="last")
    initial = {name: tensor.clone() for name, tensor in every.state_dict().items()}
    assert trained(every) == trained(last)
    assert last.epochs == []
    assert len(every.epochs) == EPOCHS + 1
    torch.testing.assert_close(every.epochs[0], initial, rtol=0, atol=0)
    for kept in (every.state_dict(), every.epochs[-1]):
        torch.testing.assert_close(kept, dict(last.state_dict()), rtol=REPEATED, atol=REPEATED)
    shorter = classifier(epochs=2)
    trained(shorter)
    torch.testing.assert_close(every.epochs[2], shorter.epochs[-1], rtol=REPEATED, atol=REPEATED)


def test_an_interrupted_training_keeps_every_epoch_and_its_treatment(tmp_path: Path) -> None:
    whole, broken, continued = classifier(), classifier(), classifier()
    whole.treatment, broken.treatment, continued.treatment = Watched(), Watched(dies=3), Watched()
    history = trained(whole)
    with pytest.raises(Killed):
        trained(broken, tmp_path)
    assert trained(continued, tmp_path) == history
    assert continued.treatment.asked == ["begin", "epoch 3", "epoch 4"]
    assert len(continued.epochs) == EPOCHS + 1
    for one, other in zip(continued.epochs, whole.epochs, strict=True):
        torch.testing.assert_close(one, other, rtol=REPEATED, atol=REPEATED)


def test_who_keeps_every_epoch_does_not_stop_early() -> None:
    with pytest.raises(InputError, match="patience is 2 while keep is 'every'"):
        Recipe(4, 8, 0.1, keep="every", patience=2)
