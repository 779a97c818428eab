"""A branch takes vectors as they are stored, and learns what can be learned from them."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from device import DEVICE
from neural_branching.data.tensor_data import TensorDataModule
from neural_branching.networks.mlp import MLP
from neural_branching.networks.standardize import Standardize
from neural_branching.networks.standardized_network import StandardizedNetwork
from neural_branching.training.classifier import Classifier
from neural_branching.training.compute import Compute
from neural_branching.training.fit import fit
from neural_branching.training.recipe import Recipe

RECIPE = Recipe(epochs=25, batch_size=16, lr=0.02)


def branch(width: int = 4, widths: tuple[int, ...] = (8,)) -> Classifier:
    torch.manual_seed(0)
    return Classifier(StandardizedNetwork(Standardize((width,)), MLP((width,), 3, widths)), RECIPE)


def blobs(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Three separated classes in two of four dimensions of very different size, one never firing."""
    draw = torch.Generator().manual_seed(seed)
    y = torch.randint(0, 3, (n,), generator=draw)
    angle = 2 * torch.pi * y / 3
    x = torch.stack([angle.cos(), angle.sin()], 1) + 0.1 * torch.randn(n, 2, generator=draw)
    x = torch.cat(
        [1e3 * x[:, :1], 1e-3 * x[:, 1:] + 5, torch.randn(n, 1, generator=draw), torch.zeros(n, 1)], 1
    )
    return x, y


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("PYTORCH_NVML_BASED_CUDA_CHECK", "0")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Blobs(TensorDataModule):
    train, validation = blobs(90, 1), blobs(60, 2)


def test_activations_are_standardised_by_the_training_rows() -> None:
    module, (x, _) = branch(), blobs(90, 1)
    module.standardize.learn(x)
    standard = module.standardize(x)
    torch.testing.assert_close(standard.mean(0), torch.zeros(4), atol=1e-4, rtol=0)
    torch.testing.assert_close(standard.std(0, correction=0), torch.tensor([1.0, 1, 1, 0]), atol=1e-3, rtol=0)
    assert torch.equal(module(x), module.network(standard))


def test_learns_separable_classes_whatever_the_scale_of_the_activations() -> None:
    module, data = branch(), Blobs(16, seed=0)
    module.standardize.learn(data.train[0])
    history = fit(module, data, Compute(DEVICE, progress=False), "branch")
    assert max(entry["val/accuracy"] for entry in history) == 1
    assert (module.eval()(data.validation[0]).argmax(1) == data.validation[1]).all()


def test_stored_weights_take_the_same_raw_activations() -> None:
    module, copy, (x, _) = branch(), branch(), blobs(90, 1)
    module.standardize.learn(x)
    assert not torch.equal(copy(x), module(x))
    copy.load_state_dict(module.state_dict())
    assert torch.equal(copy(x), module(x))


def test_vectors_of_another_length_fail() -> None:
    with pytest.raises(RuntimeError):
        branch(width=4)(torch.zeros(2, 5))
