"""Stored activations are what a direct pass of the frozen parent gives."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from device import DEVICE, REPEATED
from neural_branching.artifacts import activations as act
from neural_branching.artifacts.activation_data import ActivationDataModule
from neural_branching.data.split import SPLITS
from neural_branching.data.table import DataTable
from neural_branching.errors import InputError
from neural_branching.files import row_file
from neural_branching.networks.convnet import ConvNet
from neural_branching.networks.mlp import MLP
from neural_branching.networks.readout import Readout
from neural_branching.networks.standardize import Standardize
from neural_branching.networks.standardized_network import StandardizedNetwork
from neural_branching.store.artifact_store import Artifact, Store

IMAGE, N, BATCH = (3, 12, 12), 40, 16
CPU = torch.device("cpu")
AUTO = Readout("auto")
IMAGES = np.random.default_rng(0).integers(0, 256, (N, *IMAGE), dtype=np.uint8)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(act, "BATCH", BATCH)  # two full batches and a part of one


def new_parent(kind: str) -> StandardizedNetwork:
    torch.manual_seed(0)
    network = MLP(IMAGE, 4, [10, 7], dropout=0.5) if kind == "mlp" else ConvNet(IMAGE, 4, 2)
    parent = StandardizedNetwork(Standardize(IMAGE if kind == "mlp" else (3, 1, 1)), network)
    parent.standardize.learn(torch.from_numpy(IMAGES[:30]))
    if kind == "convnet":
        parent.train()(torch.from_numpy(IMAGES))  # running statistics other than any batch's
    return parent


def widths(parent: StandardizedNetwork) -> dict[str, int]:
    """What a branch would see at every stage, by the default readout."""
    return act.stage_widths(parent, torch.zeros(1, *IMAGE), None, AUTO)


def fetched(parent: StandardizedNetwork, tmp_path: Path, device: torch.device = CPU) -> Artifact:
    store = Store(tmp_path / "store")
    return store.fetch("activations", {}, lambda folder: act.extract(parent, IMAGES, folder, device))


@pytest.mark.parametrize("kind", ["mlp", "convnet"])
def test_cached_equals_direct_bit_for_bit_at_every_stage(kind: str, tmp_path: Path) -> None:
    place = torch.device(DEVICE)
    artifact = fetched(new_parent(kind).train(), tmp_path, place)  # extraction itself must switch to eval
    direct = new_parent(kind).eval().to(place)
    assert {file.stem for file in artifact.path.glob("*.safetensors")} == set(direct.network.stage_names)
    for stage in direct.network.stage_names:
        with torch.no_grad():
            batches = torch.from_numpy(IMAGES).to(place).split(BATCH)
            expected = torch.cat([AUTO(direct(batch, until=stage), None) for batch in batches]).cpu()
        cached = act.read(artifact, stage)
        assert cached.dtype == torch.float32
        torch.testing.assert_close(cached, expected, rtol=REPEATED, atol=REPEATED)
    assert artifact.facts["examples"] == N
    assert artifact.facts["widths"] == widths(new_parent(kind).to("meta"))


@pytest.mark.parametrize("kind", ["mlp", "convnet"])
def test_the_parent_is_left_in_eval_with_unchanged_statistics(kind: str, tmp_path: Path) -> None:
    parent = new_parent(kind)
    before = {name: value.clone() for name, value in parent.state_dict().items()}
    fetched(parent.train(), tmp_path)
    assert not any(module.training for module in parent.modules())
    for name, value in parent.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_hidden_activations_are_post_relu_and_free_of_dropout(tmp_path: Path) -> None:
    parent = new_parent("mlp").train()
    artifact = fetched(parent, tmp_path)
    x = torch.from_numpy(IMAGES)
    linear1, linear2 = parent.network.stages["hidden1"][1], parent.network.stages["hidden2"][1]
    with torch.no_grad():
        hidden1 = F.relu(linear1(parent.standardize(x).flatten(1)))
        hidden2 = F.relu(linear2(hidden1))
    torch.testing.assert_close(act.read(artifact, "hidden1"), hidden1)
    torch.testing.assert_close(act.read(artifact, "hidden2"), hidden2)
    assert (hidden1 == 0).any()
    assert (act.read(artifact, "logits") < 0).any()


def test_rows_follow_the_images(tmp_path: Path) -> None:
    whole = act.read(fetched(new_parent("mlp"), tmp_path), "hidden2")
    parent = new_parent("mlp").eval()
    for row in (0, 15, 16, 39):
        with torch.no_grad():
            one = parent(torch.from_numpy(IMAGES[[row]]), until="hidden2")[0]
        torch.testing.assert_close(whole[row], one)
    rows = np.array([3, 17, 39])
    artifact = fetched(parent, tmp_path)
    assert torch.equal(act.read(artifact, "hidden2", rows), whole[[3, 17, 39]])


def test_maps_are_averaged_over_their_four_quadrants() -> None:
    maps = torch.randn(5, 3, 8, 6, generator=torch.Generator().manual_seed(0))
    quadrants = [maps[:, :, rows, columns].mean((2, 3)) for rows in (slice(4), slice(4, 8))
                 for columns in (slice(3), slice(3, 6))]  # fmt: skip
    torch.testing.assert_close(AUTO(maps, None), torch.stack(quadrants, 2).flatten(1))
    vectors = torch.randn(5, 7)
    assert torch.equal(AUTO(vectors, None), vectors)


@pytest.mark.parametrize("kind", ["mlp", "convnet"])
def test_widths_are_known_without_computing(kind: str) -> None:
    expected = (
        {"hidden1": 10, "hidden2": 7, "logits": 4}
        if kind == "mlp"
        else {"stem": 8, "block1": 16, "block2": 32, "block3": 64, "pool": 16, "logits": 4}
    )
    assert widths(new_parent(kind).to("meta")) == expected


def test_a_full_disk_is_refused_beforehand_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = 4 * N * (10 + 7 + 4)
    folder = tmp_path / "direct"
    folder.mkdir()
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=needed - 1))
    with pytest.raises(InputError, match=r"activations of all stages need .*outputs=FOLDER"):
        act.extract(new_parent("mlp"), IMAGES, folder, CPU)
    assert list(folder.iterdir()) == []
    with pytest.raises(InputError, match="activations of all stages need"):
        fetched(new_parent("mlp"), tmp_path)
    assert list((tmp_path / "store" / "activations").iterdir()) == []
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=needed))
    assert fetched(new_parent("mlp"), tmp_path).built


def table() -> DataTable:
    """Four classes of ten images, each with every split."""
    labels = np.repeat(np.arange(4), 10)
    split = np.tile(np.array([0, 0, 0, 1, 1, 0, 2, 2, 3, 0], dtype=np.int8), 4)
    return DataTable(None, None, ("a", "b", "c", "d"), labels, split, "key", 0)  # type: ignore[arg-type]


@pytest.mark.parametrize("classes", [("b", "d"), ("c", "a", "b")])
def test_the_data_module_selects_the_rows_and_targets_of_its_subset(
    classes: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact, data = fetched(new_parent("mlp"), tmp_path), table()
    monkeypatch.setattr(DataTable, "examples", lambda self: pytest.fail("a branch touched a pixel"))
    asked = []

    def ask() -> Artifact:
        asked.append(True)
        return artifact

    module = ActivationDataModule(ask, data, [(name,) for name in classes], "hidden2", batch_size=4, seed=0)
    module.prepare_data()
    assert asked
    module.setup("fit")
    stored = act.read(artifact, "hidden2")
    for split, (x, y) in {"train": module.train, "validation": module.validation}.items():
        rows = [
            row
            for row in range(N)
            if data.classes[data.labels[row]] in classes and SPLITS[data.split[row]] == split
        ]
        assert len(rows) == {"train": 5, "validation": 2}[split] * len(classes)
        assert torch.equal(x, stored[rows])
        assert [classes[target] for target in y] == [data.classes[data.labels[row]] for row in rows]
        assert y.dtype == torch.int64
    assert module.steps_per_epoch == -(-5 * len(classes) // 4)


def test_rows_of_other_classes_have_no_target() -> None:
    targets = act.subset_targets(table(), np.array([0, 10, 20, 30]), [("d",), ("b",)])
    assert targets.tolist() == [-1, 1, -1, 0]


@pytest.mark.parametrize("sync_every", [1, 10**9])
def test_files_are_whole_however_often_they_are_synced(
    sync_every: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_file, "SYNC_EVERY", sync_every)
    facts = act.extract(new_parent("mlp"), IMAGES, tmp_path, CPU)
    assert list(facts["widths"]) == ["hidden1", "hidden2", "logits"]
    for name, width in facts["widths"].items():
        assert load_file(tmp_path / f"{name}.safetensors")["activations"].shape == (N, width)


def test_extraction_builds_no_graph(tmp_path: Path) -> None:
    class Watches(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            assert torch.is_inference_mode_enabled()
            return x

    parent = new_parent("mlp")
    parent.network.stages["logits"].append(Watches())
    fetched(parent, tmp_path)


def test_batches_fit_the_largest_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    parent, blank = new_parent("convnet"), torch.zeros(1, *IMAGE)
    sizes = []
    hooks = [
        module.register_forward_hook(lambda _, __, output: sizes.append(output.nbytes))
        for module in parent.modules()
        if not [*module.children()]
    ]
    with torch.inference_mode():
        parent.eval()(blank)
    for hook in hooks:
        hook.remove()
    largest = max(sizes)
    for device, room, expected in (
        ("cpu", 5 * largest, 4),
        ("cuda", 8 * largest, 8),
        ("cpu", largest - 1, 1),
    ):
        monkeypatch.setitem(act.LARGEST, device, room)
        assert act.fitting_batch(parent, blank, torch.device(device)) == expected
    monkeypatch.setitem(act.LARGEST, "cpu", 2**40)
    assert act.fitting_batch(parent, blank, CPU) == act.BATCH
