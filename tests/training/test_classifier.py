"""The lean epoch loop does what Lightning's automatic optimisation does, bit for bit."""

from collections.abc import Iterator

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from device import DEVICE, REPEATED
from neural_branching.data.augment import Augmentation
from neural_branching.data.batches import Batches
from neural_branching.data.tensor_data import TensorDataModule
from neural_branching.networks.convnet import ConvNet
from neural_branching.networks.mlp import MLP
from neural_branching.networks.standardize import Standardize
from neural_branching.networks.standardized_network import StandardizedNetwork
from neural_branching.training.classifier import Classifier
from neural_branching.training.compute import Compute
from neural_branching.training.fit import new_trainer
from neural_branching.training.recipe import Recipe

N, BATCH_SIZE, EPOCHS = 70, 16, 3
STEPS = 5  # per epoch: 4 full batches and one of 6


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("PYTORCH_NVML_BASED_CUDA_CHECK", "0")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Random(TensorDataModule):
    """Random inputs; an epoch per step."""

    def __init__(self, shape: tuple[int, ...], augment: object = None) -> None:
        super().__init__(BATCH_SIZE, seed=7, augment=augment)  # type: ignore[arg-type]
        draw = torch.Generator().manual_seed(0)
        self.train, self.validation = (
            (torch.randn(n, *shape, generator=draw), torch.randint(0, 3, (n,), generator=draw))
            for n in (N, 20)
        )


class RandomBatches(Random):
    """The same, a batch per step."""

    def train_dataloader(self) -> Batches:  # type: ignore[override]
        return Batches(*self.train, self.batch_size, self.generator, self.augment)


class Reference(pl.LightningModule):
    """Plain Lightning: automatic optimisation of the same network, every choice written out."""

    def __init__(self, standardize: Standardize, network: nn.Module, recipe: Recipe) -> None:
        super().__init__()
        self.standardize, self.network, self.recipe = standardize, network, recipe

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        x, y = batch
        logits = self.network(self.standardize(x))
        return F.cross_entropy(logits, y, label_smoothing=self.recipe.label_smoothing)

    def validation_step(self, epoch: Batches, index: int) -> None:
        for x, _ in epoch:
            self.network(self.standardize(x))

    def configure_optimizers(self) -> dict:
        recipe = self.recipe
        if recipe.optimizer == "adam":
            optimizer = torch.optim.Adam(
                self.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay, fused=True
            )
        else:
            groups = [
                {
                    "params": [p for p in self.parameters() if p.ndim >= 2],
                    "weight_decay": recipe.weight_decay,
                },
                {"params": [p for p in self.parameters() if p.ndim < 2], "weight_decay": 0.0},
            ]
            optimizer = torch.optim.AdamW(groups, lr=recipe.lr, fused=True)
        if recipe.schedule == "constant":
            return {"optimizer": optimizer}
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, max_lr=recipe.lr, total_steps=EPOCHS * STEPS, pct_start=recipe.pct_start
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def network(kind: str) -> tuple[Standardize, nn.Module]:
    torch.manual_seed(0)
    if kind == "mlp":
        return Standardize((4,)), MLP((4,), 3, [8, 6], dropout=0.3)
    return Standardize((3, 1, 1)), ConvNet((3, 8, 8), 3, 8)


def trained(module: Classifier | Reference, data: pl.LightningDataModule) -> pl.Trainer:
    recipe = module.recipe
    with new_trainer(recipe, Compute(DEVICE), []) as trainer:
        torch.manual_seed(1)  # of the dropout
        trainer.fit(module, datamodule=data)
    return trainer


ADAM = {"optimizer": "adam", "weight_decay": 0.01}
ONE_CYCLE = {"optimizer": "adamw", "weight_decay": 0.05, "schedule": "one_cycle", "label_smoothing": 0.1}


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("mlp", ADAM),
        ("mlp", ADAM | {"label_smoothing": 0.1}),
        ("mlp", ONE_CYCLE),
        ("convnet", ONE_CYCLE | {"precision": "bf16-mixed"}),
    ],
)
def test_epoch_loop_is_bit_equal_to_automatic_optimisation(kind: str, options: dict) -> None:
    recipe = Recipe(epochs=EPOCHS, batch_size=BATCH_SIZE, lr=0.01, **options)
    shape = (4,) if kind == "mlp" else (3, 8, 8)
    augment = None if kind == "mlp" else Augmentation(pad=2, cutout=3, jitter=0.2)
    ours, reference = (
        Classifier(StandardizedNetwork(*network(kind)), recipe),
        Reference(*network(kind), recipe),
    )
    initial = {name: value.clone() for name, value in ours.state_dict().items()}
    mine = trained(ours, Random(shape, augment))
    plain = trained(reference, RandomBatches(shape, augment))

    weights = reference.state_dict()
    assert ours.state_dict().keys() == weights.keys()
    for name, value in ours.state_dict().items():
        torch.testing.assert_close(value, weights[name], rtol=REPEATED, atol=REPEATED)
    assert any(not torch.equal(value, weights[name]) for name, value in initial.items())
    assert mine.global_step == plain.global_step == EPOCHS * STEPS
    assert mine.current_epoch == EPOCHS


def test_adamw_decays_matrices_and_kernels_only() -> None:
    for kind in ("mlp", "convnet"):
        recipe = Recipe(epochs=1, batch_size=8, lr=0.1, optimizer="adamw", weight_decay=0.05)
        module = Classifier(StandardizedNetwork(*network(kind)), recipe)
        groups = module.configure_optimizers().param_groups
        decay = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
        assert len(decay) == len(list(module.parameters()))
        for name, parameter in module.named_parameters():
            assert decay[id(parameter)] == (0.05 if parameter.ndim > 1 else 0), name
        assert {p.ndim for p in module.parameters()} >= ({1, 2} if kind == "mlp" else {1, 2, 4})


def test_adamw_without_gradients_shrinks_weights_and_leaves_biases() -> None:
    recipe = Recipe(epochs=1, batch_size=8, lr=0.1, optimizer="adamw", weight_decay=0.5)
    module = Classifier(StandardizedNetwork(*network("mlp")), recipe)
    before = {name: parameter.detach().clone() for name, parameter in module.named_parameters()}
    for parameter in module.parameters():
        parameter.grad = torch.zeros_like(parameter)
    module.configure_optimizers().step()
    for name, parameter in module.named_parameters():
        shrunk = before[name] * (1 - 0.1 * 0.5 if parameter.ndim > 1 else 1)
        torch.testing.assert_close(parameter.detach(), shrunk)


def test_one_cycle_peaks_at_the_rate_after_its_share_of_the_steps() -> None:
    rates = []

    class Watched(Classifier):
        def batch_loss(self, x: Tensor, y: Tensor) -> Tensor:
            rates.append(self.optimizers().param_groups[0]["lr"])
            return super().batch_loss(x, y)

    recipe = Recipe(epochs=EPOCHS, batch_size=BATCH_SIZE, lr=0.02, schedule="one_cycle", pct_start=0.4)
    trained(Watched(StandardizedNetwork(*network("mlp")), recipe), Random((4,)))
    assert len(rates) == EPOCHS * STEPS
    assert max(rates) == pytest.approx(0.02)
    assert rates.index(max(rates)) == round(0.4 * EPOCHS * STEPS) - 1
    assert rates[0] == pytest.approx(0.02 / 25)
    assert rates[-1] < 1e-3 * rates[0]


@pytest.mark.parametrize("pct_start", [0.0, 0.2, 1 / 15, 0.99])
def test_one_cycle_works_for_every_share(pct_start: float) -> None:
    # 1/15: the rise would end with the first of 15 steps.
    recipe = Recipe(epochs=EPOCHS, batch_size=BATCH_SIZE, lr=0.02, schedule="one_cycle", pct_start=pct_start)
    assert (
        trained(Classifier(StandardizedNetwork(*network("mlp")), recipe), Random((4,))).global_step
        == EPOCHS * STEPS
    )


def test_batch_loss_is_the_place_to_change_what_is_optimised() -> None:
    class Still(Classifier):
        def batch_loss(self, x: Tensor, y: Tensor) -> Tensor:
            return 0 * super().batch_loss(x, y) + 2.5

    module = Still(StandardizedNetwork(*network("mlp")), Recipe(epochs=EPOCHS, batch_size=BATCH_SIZE, lr=0.1))
    before = {name: parameter.clone() for name, parameter in module.state_dict().items()}
    trainer = trained(module, Random((4,)))
    assert float(trainer.callback_metrics["train/loss"]) == 2.5
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name])


def test_logged_metrics_are_means_over_images() -> None:
    class Frozen(Classifier):
        """Steps of size ~0, so that every batch meets the same weights."""

    recipe = Recipe(epochs=EPOCHS, batch_size=BATCH_SIZE, lr=1e-30, label_smoothing=0.2)
    model = StandardizedNetwork(Standardize((4,)), MLP((4,), 3, [8]))
    module, data = Frozen(model, recipe), Random((4,))
    metrics = trained(module, data).callback_metrics
    module.eval()
    (x, y), (x_validation, y_validation) = data.train, data.validation
    with torch.no_grad():
        smoothed = F.cross_entropy(module(x), y, label_smoothing=0.2)
        logits = module(x_validation)
    torch.testing.assert_close(metrics["train/loss"], smoothed)
    torch.testing.assert_close(metrics["val/loss"], F.cross_entropy(logits, y_validation))  # not smoothed
    assert metrics["val/accuracy"] == (logits.argmax(1) == y_validation).float().mean()
