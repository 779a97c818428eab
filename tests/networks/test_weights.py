"""Weights from elsewhere are read without running code, and refused in one sentence if they do not fit."""

import pickle
import re
import resource
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from neural_branching.errors import InputError
from neural_branching.networks.weights import fill, read_state


def network(classes: int = 3) -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, classes))


def equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def refused(file: Path) -> str:
    with pytest.raises(InputError) as error:
        read_state(file)
    assert "\n" not in str(error.value)
    assert str(file) in str(error.value)
    return str(error.value)


def test_every_kind_of_file_gives_the_same_tensors(tmp_path: Path) -> None:
    state = network().state_dict()
    save_file(state, tmp_path / "a.safetensors")
    torch.save(state, tmp_path / "b.pt")
    torch.save({"state_dict": state, "epoch": 7, "hyper_parameters": {"lr": 0.1}}, tmp_path / "c.ckpt")
    torch.save({"model": state, "optimizer": {"lr": 0.1}, "args": None}, tmp_path / "d.pth")
    for file in tmp_path.iterdir():
        assert equal(read_state(file), dict(state)), file.name


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    assert "does not exist" in refused(tmp_path / "nothing.pt")
    assert "does not exist" in refused(tmp_path)


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pt"])
@pytest.mark.parametrize("keep", [0, 5, 100, -40])
def test_a_truncated_file_is_refused(name: str, keep: int, tmp_path: Path) -> None:
    file = tmp_path / name
    save_file(network().state_dict(), file) if "safe" in name else torch.save(network().state_dict(), file)
    file.write_bytes(file.read_bytes()[:keep])
    assert "cannot be read" in refused(file)


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pt"])
@pytest.mark.parametrize("content", [b"<html>404</html>", bytes(range(256)) * 8])
def test_a_file_of_something_else_is_refused(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    assert "cannot be read" in refused(tmp_path / name)


@pytest.mark.parametrize("content", [b"hello world", b"\x80\x02]q"])
def test_text_that_looks_like_a_pickle_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "weights.pt").write_bytes(content)
    assert "cannot be read" in refused(tmp_path / "weights.pt")


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("raise SystemExit('code was run')",)


@pytest.mark.parametrize("kind", ["torch", "pickle"])
def test_a_file_can_run_no_code(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "evil.pt"
    content = {"weight": torch.zeros(2), "evil": Evil()}
    torch.save(content, file) if kind == "torch" else file.write_bytes(pickle.dumps(content, protocol=2))
    assert "cannot be read" in refused(file)


@pytest.mark.parametrize("how", ["deflated", "overlapping"])
def test_what_would_inflate_is_refused_before_it_is_read(how: str, tmp_path: Path) -> None:
    plain, file = tmp_path / "plain.pt", tmp_path / "small.pt"
    torch.save({"weight": torch.zeros(1_000_000)}, plain)
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as target:
        for entry in source.infolist():
            target.writestr(entry.filename, source.read(entry))
        if how == "overlapping":  # many names for the same bytes
            target.filelist += [target.filelist[0]] * 1000
    assert file.stat().st_size < 100_000
    assert re.search(r"its [\d,]+ bytes would inflate to [\d,]{7,}", refused(file))


def test_a_checkpoint_larger_than_its_network_is_not_read_for_its_shapes(tmp_path: Path) -> None:
    file = tmp_path / "large.pt"
    torch.save({"weight": torch.zeros(50_000_000)}, file)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    state = read_state(file)
    with pytest.raises(InputError, match=r"of shape \(50000000,\), where the network needs \(2, 2\)"):
        fill(nn.Linear(2, 2, bias=False), state, "The file")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kilobytes, of 200,000


@pytest.mark.parametrize("content", [[torch.zeros(2)], torch.zeros(2), {}, {"model": {}}])
def test_a_file_without_named_tensors_is_refused(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "w.pt")
    assert "holds no state dict" in refused(tmp_path / "w.pt")


def test_filling_takes_everything() -> None:
    theirs, mine = network(), network()
    theirs(torch.randn(8, 4))  # statistics of its own
    fill(mine, theirs.state_dict(), "The file")
    assert equal(mine.state_dict(), theirs.state_dict())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"0.bias": None}, r"^The file lacks '0\.bias', which the network has: is it another network's\?$"),
        ({"3.weight": torch.zeros(1)}, r"^The file has '3\.weight', which the network lacks"),
        (
            {"0.weight": torch.zeros(5, 3)},
            r"^The file has '0\.weight' of shape \(5, 3\), where .* \(5, 4\)\.$",
        ),
        ({"2.bias": torch.zeros(9)}, r"^The file has '2\.bias' of shape \(9,\), where .* \(3,\)\.$"),
        (
            {"2.bias": torch.zeros(3, dtype=torch.complex64)},
            r"^The file has '2\.bias' of kind torch\.complex64: weights must be ordinary tensors of real",
        ),
        ({"2.bias": torch.zeros(3).to_sparse()}, r"'2\.bias' of kind torch\.sparse_coo: weights must be"),
        ({"2.bias": torch.tensor([0, torch.nan, 0])}, r"'2\.bias' with weights that are nan: every weight"),
        ({"1.running_var": torch.full((5,), torch.inf)}, r"'1\.running_var' with weights that are infinite"),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_is_changed(change: dict, message: str) -> None:
    mine = network()
    before = {name: value.clone() for name, value in mine.state_dict().items()}
    state = {name: value for name, value in (network().state_dict() | change).items() if value is not None}
    with pytest.raises(InputError, match=message):
        fill(mine, state, "The file")
    assert equal(before, mine.state_dict())


def test_side_exits_may_be_of_another_number_of_classes_too() -> None:
    def with_exit(classes: int) -> nn.ModuleDict:
        return nn.ModuleDict(
            {"exit": nn.Linear(4, classes), "between": nn.Linear(4, 4), "last": nn.Linear(4, classes)}
        )

    mine, theirs = with_exit(3), with_exit(9)
    kept = {name: value.clone() for name, value in mine.state_dict().items() if "between" not in name}
    fill(mine, theirs.state_dict(), "The file", other_classes=True)
    assert torch.equal(mine["between"].weight, theirs["between"].weight)
    assert equal(kept, {name: value for name, value in mine.state_dict().items() if name in kept})
    for strange in (torch.zeros(8, 4), torch.zeros(9, 5)):  # other classes than the last layer; other inputs
        with pytest.raises(InputError, match=r"'exit\.weight' of shape"):
            fill(mine, theirs.state_dict() | {"exit.weight": strange}, "The file", other_classes=True)


def test_the_last_layer_alone_may_be_of_another_number_of_classes() -> None:
    mine, theirs = network(), network(classes=9)
    last = mine[2].weight.clone(), mine[2].bias.clone()
    fill(mine, theirs.state_dict(), "The file", other_classes=True)
    assert torch.equal(mine[0].weight, theirs[0].weight)
    assert torch.equal(mine[2].weight, last[0])
    assert torch.equal(mine[2].bias, last[1])
    with pytest.raises(InputError, match=r"'0\.weight' of shape"):
        fill(mine, theirs.state_dict() | {"0.weight": torch.zeros(2, 4)}, "The file", other_classes=True)
