"""Where things run: what is there is found, what is not is refused in one sentence."""

from collections.abc import Iterator

import pytest
import torch

from neural_branching.errors import InputError
from neural_branching.training.compute import Compute


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch):
    """Pretend that this machine has so many CUDA devices, and MPS or not."""

    def pretend(cuda: int, mps: bool) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)

    return pretend


@pytest.fixture
def _threads_restored() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("cuda", "mps", "expected"),
    [(2, True, "cuda:0"), (1, False, "cuda:0"), (0, True, "mps"), (0, False, "cpu")],
)
def test_auto_takes_cuda_then_mps_then_cpu(machine, cuda: int, mps: bool, expected: str) -> None:
    machine(cuda, mps)
    assert Compute().device() == torch.device(expected)


def test_a_named_accelerator_is_used(machine) -> None:
    machine(3, True)
    assert Compute("cpu").device() == torch.device("cpu")
    assert Compute("mps").device() == torch.device("mps")
    assert Compute("cuda", devices=2).device() == torch.device("cuda", 2)


def test_missing_accelerators_and_devices_are_refused(machine) -> None:
    machine(0, False)
    with pytest.raises(InputError, match=r"trainer\.accelerator is 'cuda', which this machine lacks: .* cpu"):
        Compute("cuda").device()
    machine(2, False)
    with pytest.raises(InputError, match=r"trainer\.devices is 2: .* 2 CUDA"):
        Compute("cuda", devices=2).device()


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("accelerator", "gpu"),
        ("accelerator", None),
        ("devices", -1),
        ("devices", "0"),
        ("devices", True),
        ("threads", 0),
        ("threads", 1.5),
        ("progress", "yes"),
        ("progress", 1),
    ],
)
def test_bad_arguments_are_refused_by_name(argument: str, value: object) -> None:
    with pytest.raises(InputError, match=rf"^{argument} is {value!r}"):
        Compute(**{argument: value})  # type: ignore[arg-type]


@pytest.mark.usefixtures("_threads_restored")
def test_threads_are_set_only_if_asked_for() -> None:
    Compute(threads=1).apply()
    assert torch.get_num_threads() == 1
    torch.set_num_threads(2)
    Compute().apply()
    assert torch.get_num_threads() == 2
