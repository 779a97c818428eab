"""A fit keeps the weights that its recipe names, and leaves no trace elsewhere."""

import logging
import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from pytorch_lightning.accelerators import CUDAAccelerator, MPSAccelerator
from torch import Tensor
from torch.nn import functional as F

from device import DEVICE, ELSEWHERE, REPEATED
from neural_branching.data.tensor_data import TensorDataModule
from neural_branching.errors import InputError
from neural_branching.networks.mlp import MLP
from neural_branching.networks.standardize import Standardize
from neural_branching.networks.standardized_network import StandardizedNetwork
from neural_branching.store import checkpoint as checkpoint_module
from neural_branching.store.checkpoint import Checkpoint
from neural_branching.training import fit as training
from neural_branching.training.classifier import Classifier
from neural_branching.training.compute import Compute
from neural_branching.training.history import History, best_epoch
from neural_branching.training.recipe import Recipe
from noise import Noise
from sweeps import close

QUIET = Compute(DEVICE, progress=False)
# Random labels and a high rate: validation loss is best early, and gets worse from there.
OVERFIT = {"epochs": 8, "batch_size": 8, "lr": 0.05}


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("PYTORCH_NVML_BASED_CUDA_CHECK", "0")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def classifier(**options: object) -> Classifier:
    torch.manual_seed(0)
    return Classifier(
        StandardizedNetwork(Standardize((4,)), MLP((4,), 3, [16], dropout=0.2)), Recipe(**options)
    )  # type: ignore[arg-type]


def fit(module: Classifier, data: TensorDataModule | None = None) -> History:
    torch.manual_seed(1)
    return training.fit(module, data or Noise(module.recipe.batch_size), QUIET, "toy")


def fit_in(folder: Path, module: Classifier, seed: int = 1) -> History:
    """The same with a checkpoint after every epoch."""
    torch.manual_seed(seed)
    compute = Compute(DEVICE, progress=False, checkpoint_seconds=0)
    return training.fit(module, Noise(module.recipe.batch_size), compute, "toy", Checkpoint(folder, "toy"))


def validation(module: Classifier) -> tuple[float, float]:
    x, y = Noise().validation
    with torch.no_grad():
        logits = module.eval()(x)
    return float(F.cross_entropy(logits, y)), float((logits.argmax(1) == y).float().mean())


def weights(module: Classifier) -> Tensor:
    return torch.cat([value.flatten() for value in module.state_dict().values()])


def check_equal(module: Classifier, other: Classifier) -> None:
    torch.testing.assert_close(module.state_dict(), other.state_dict(), rtol=REPEATED, atol=REPEATED)


@pytest.mark.parametrize("monitor", ["val/loss", "val/accuracy"])
def test_the_returned_weights_are_those_of_the_best_epoch(monitor: str) -> None:
    module = classifier(**OVERFIT, monitor=monitor)
    history = fit(module)
    values = [entry[monitor] for entry in history]
    best = values.index(min(values) if monitor == "val/loss" else max(values))
    assert len(history) == 8
    assert best < 7  # else nothing would have to be restored
    assert best_epoch(history, module.recipe) == best + 1
    loss, accuracy = validation(module)
    assert loss == pytest.approx(history[best]["val/loss"], rel=max(1e-6, ELSEWHERE))
    assert accuracy == pytest.approx(history[best]["val/accuracy"])
    assert loss != pytest.approx(history[-1]["val/loss"], rel=1e-3)

    # The same weights as a training that ends there: a true copy, of every tensor.
    shorter = classifier(**OVERFIT | {"epochs": best + 1}, keep="last")
    fit(shorter)
    check_equal(module, shorter)


def test_keep_last_keeps_the_last() -> None:
    best, last = classifier(**OVERFIT), classifier(**OVERFIT, keep="last")
    assert close(fit(best), history := fit(last), REPEATED)
    assert best_epoch(history, last.recipe) == 8
    assert validation(last)[0] == pytest.approx(history[-1]["val/loss"], rel=max(1e-6, ELSEWHERE))
    assert not torch.equal(weights(best), weights(last))


@pytest.mark.parametrize("monitor", ["val/loss", "val/accuracy"])
@pytest.mark.parametrize("patience", [1, 3])
def test_stops_after_so_many_epochs_without_an_improvement(monitor: str, patience: int) -> None:
    options = OVERFIT | {"epochs": 15, "monitor": monitor}
    full = fit(classifier(**options))
    best, waited, expected = -math.inf, 0, 0
    for entry in full:
        value = -entry[monitor] if monitor == "val/loss" else entry[monitor]
        best, waited = (value, 0) if value > best else (best, waited + 1)
        expected += 1
        if waited == patience:
            break
    assert expected < 15
    stopped = classifier(**options, patience=patience)
    history = fit(stopped)
    assert close(history, full[:expected], REPEATED)
    assert validation(stopped)[0] == pytest.approx(
        history[best_epoch(history, stopped.recipe) - 1]["val/loss"], rel=max(1e-6, ELSEWHERE)
    )


def test_the_first_of_equally_good_epochs_is_kept() -> None:
    history = [
        {"val/accuracy": a, "val/loss": b} for a, b in [(0.5, 0.9), (0.7, 0.8), (0.7, 0.8), (0.6, 0.85)]
    ]
    for monitor in ("val/loss", "val/accuracy"):
        assert best_epoch(history, Recipe(4, 1, 0.1, monitor=monitor)) == 2
    assert best_epoch(history, Recipe(4, 1, 0.1, keep="last")) == 4
    # A rate too small to change any prediction: accuracy never changes, the weights do.
    tiny = {"batch_size": 8, "lr": 1e-6, "monitor": "val/accuracy"}
    first, longer = classifier(epochs=1, **tiny), classifier(epochs=3, **tiny)
    fit(first)
    assert len({entry["val/accuracy"] for entry in fit(longer)}) == 1
    check_equal(first, longer)


def test_a_diverging_training_is_refused_with_its_epoch() -> None:
    data = Noise()
    with pytest.raises(
        InputError,
        match=r"Training the toy diverged in epoch 1 at step 2 of 5, whose loss is (nan|inf).*1e\+30",
    ):
        fit(classifier(**OVERFIT | {"lr": 1e30}), data)

    class Later(Classifier):
        def batch_loss(self, x: Tensor, y: Tensor) -> Tensor:
            return super().batch_loss(x, y) * (math.nan if self.current_epoch == 2 else 1)

    module = Later(StandardizedNetwork(Standardize((4,)), MLP((4,), 3, [16])), Recipe(**OVERFIT))
    with pytest.raises(InputError, match="in epoch 3"):
        fit(module)


@pytest.mark.parametrize("options", [{"patience": 2}, {"epochs": 1}, {"epochs": 1, "keep": "last"}])
def test_a_training_that_diverges_in_its_last_step_is_refused_too(options: dict) -> None:
    # One batch per epoch: its loss is that of the initial weights, and only validation sees the damage.
    module = classifier(**{"epochs": 8, "batch_size": 40, "lr": 1e30, **options})
    with pytest.raises(InputError, match=r"diverged.* in epoch 1"):
        fit(module)


def test_history_has_every_metric_of_every_epoch_as_plain_numbers() -> None:
    history = fit(classifier(**OVERFIT))
    for entry in history:
        assert list(entry) == ["train/loss", "val/loss", "val/accuracy"]
        assert all(type(value) is float and math.isfinite(value) for value in entry.values())
    assert history[-1]["train/loss"] < history[0]["train/loss"]


@pytest.mark.parametrize("progress", [True, False])
def test_nothing_is_printed_and_no_file_is_left(
    progress: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    module = classifier(epochs=2, batch_size=8, lr=0.01)
    training.fit(module, Noise(), Compute(DEVICE, progress=progress), "toy")
    out, err = capfd.readouterr()
    assert out == ""
    assert err == ""
    assert list(tmp_path.iterdir()) == []


def test_a_machine_of_a_cluster_is_like_any_other(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    srun = tmp_path / "srun"
    srun.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    history = fit(classifier(**OVERFIT))  # a warning would be an error
    for name, value in {"SLURM_NTASKS": "4", "SLURM_JOB_NAME": "sweep", "SLURM_PROCID": "0"}.items():
        monkeypatch.setenv(name, value)
    assert close(fit(classifier(**OVERFIT)), history, REPEATED)


def test_a_gpu_that_was_not_chosen_is_not_spoken_of(monkeypatch: pytest.MonkeyPatch) -> None:
    for there in (CUDAAccelerator, MPSAccelerator):
        with monkeypatch.context() as patch:
            patch.setattr(there, "is_available", staticmethod(lambda: True))
            training.fit(classifier(**OVERFIT), Noise(), Compute("cpu", progress=False), "toy")


@pytest.mark.skipif(DEVICE != "cpu", reason="of processors")
@pytest.mark.parametrize(
    ("precision", "there"), [("bf16-mixed", False), ("bf16-mixed", True), ("32-true", False)]
)
def test_who_imitates_bfloat16_is_told(
    precision: str, there: bool, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "has_bfloat16", lambda: there)
    with caplog.at_level(logging.INFO):
        fit(classifier(epochs=1, batch_size=8, lr=0.01, precision=precision))
    assert ("imitates" in caplog.text) == (precision == "bf16-mixed" and not there)


def test_lightning_is_quiet(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        fit(classifier(epochs=1, batch_size=8, lr=0.01))
    assert [record for record in caplog.records if "lightning" in record.name] == []


def test_matmul_precision_holds_during_the_fit_only() -> None:
    seen = []

    class Watched(Classifier):
        def batch_loss(self, x: Tensor, y: Tensor) -> Tensor:
            seen.append(torch.get_float32_matmul_precision())
            if len(seen) > 3:
                raise RuntimeError("stop")
            return super().batch_loss(x, y)

    before = torch.get_float32_matmul_precision()
    recipe = Recipe(**OVERFIT, matmul_precision="medium")
    assert before != "medium"
    with pytest.raises(RuntimeError, match="stop"):
        fit(Watched(StandardizedNetwork(Standardize((4,)), MLP((4,), 3)), recipe))
    assert set(seen) == {"medium"}
    assert torch.get_float32_matmul_precision() == before


def test_mixed_precision_keeps_float32_weights_and_changes_the_result() -> None:
    full, mixed = (
        classifier(**OVERFIT, keep="last"),
        classifier(**OVERFIT, keep="last", precision="bf16-mixed"),
    )
    fit(full)
    fit(mixed)
    assert {value.dtype for value in mixed.state_dict().values()} == {torch.float32}
    assert not torch.equal(weights(full), weights(mixed))


def test_the_order_of_batches_depends_on_the_seed_alone() -> None:
    torch.manual_seed(5)
    first = next(iter(Noise().train_dataloader()))
    torch.manual_seed(6)
    second = next(iter(Noise().train_dataloader()))
    for (x, _), (again, _) in zip(first, second, strict=True):
        assert torch.equal(x, again)


class Killed(Exception):  # noqa: N818
    """Stands for the end of the process."""


def dying(epoch: int, **options: object) -> Classifier:
    """The same classifier, and an end in the midst of an epoch, counted from 0."""

    class Dies(Classifier):
        trained: tuple[int, ...] = ()

        def batch_loss(self, x: Tensor, y: Tensor) -> Tensor:
            if self.training and self.current_epoch == epoch and len(self.trained) == 3:
                raise Killed
            self.trained = (*self.trained, len(y)) if self.current_epoch == epoch else ()
            return super().batch_loss(x, y)

    torch.manual_seed(0)
    return Dies(StandardizedNetwork(Standardize((4,)), MLP((4,), 3, [16], dropout=0.2)), Recipe(**options))  # type: ignore[arg-type]


@pytest.mark.parametrize("died_in", [1, 2, 5, 7])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"schedule": "one_cycle", "optimizer": "adamw", "weight_decay": 0.1},
        {"patience": 3, "monitor": "val/accuracy"},
        {"keep": "last"},
        {"precision": "bf16-mixed"},
    ],
)
def test_an_interrupted_training_ends_where_it_would_have(
    options: dict, died_in: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    undisturbed = classifier(**OVERFIT, **options)
    history = fit(undisturbed)
    try:
        fit_in(tmp_path, dying(died_in, **OVERFIT, **options))
        assert len(history) <= died_in
    except Killed:
        assert Checkpoint(tmp_path, "toy").latest(DEVICE) is not None
    continued = classifier(**OVERFIT, **options)
    with caplog.at_level(logging.INFO):
        found = fit_in(tmp_path, continued, seed=99)  # whatever has been drawn before
    assert close(found, history, REPEATED)
    check_equal(continued, undisturbed)
    assert "continues with epoch" in caplog.text


@pytest.mark.parametrize("damage", ["truncated", "flipped", "other versions", "another device"])
def test_a_checkpoint_that_cannot_be_trusted_is_not_used(
    damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = fit(classifier(**OVERFIT))
    with pytest.raises(Killed):
        fit_in(tmp_path, dying(3, **OVERFIT))
    [file] = tmp_path.glob("*.ckpt")
    content = bytearray(file.read_bytes())
    if damage == "truncated":
        file.write_bytes(content[:-100])
    elif damage == "flipped":
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    elif damage == "another device":
        file.rename(file.with_name(file.name.replace(f"-{DEVICE}-", "-other-")))
    else:
        monkeypatch.setattr(checkpoint_module, "version_of", lambda package: "0")
    assert close(fit_in(tmp_path, classifier(**OVERFIT)), history, REPEATED)
    assert ("damaged" in caplog.text) == (damage in ("truncated", "flipped"))
    assert len(list(tmp_path.glob("*.ckpt"))) == 1


def test_a_checkpoint_that_cannot_be_written_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    found = fit_in(tmp_path / "file", classifier(**OVERFIT))
    assert close(found, fit(classifier(**OVERFIT)), REPEATED)
    assert "goes on without a checkpoint" in caplog.text


def test_a_diverged_training_leaves_no_checkpoint(tmp_path: Path) -> None:
    class Late(Classifier):
        def batch_loss(self, x: Tensor, y: Tensor) -> Tensor:
            loss = super().batch_loss(x, y)
            return loss / 0 if self.current_epoch == 2 and len(y) == 8 else loss

    torch.manual_seed(0)
    module = Late(StandardizedNetwork(Standardize((4,)), MLP((4,), 3, [16])), Recipe(**OVERFIT))
    with pytest.raises(InputError, match="in epoch 3 at step 1 of 5, whose loss is inf"):
        fit_in(tmp_path, module)
    assert Checkpoint(tmp_path, "toy").latest(DEVICE) is None
