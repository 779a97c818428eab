"""Vectors from every format of file, their classes, groups and splits; and what is refused of them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.torch import save_file

from neural_branching.data.hashes import FileHashes
from neural_branching.data.inputs.vector_inputs import VectorInputs
from neural_branching.data.sources.source import Source
from neural_branching.data.sources.vectors import Vectors
from neural_branching.data.split import CODES, SPLITS, Split
from neural_branching.data.table import DataTable, ensure_table
from neural_branching.data.vector_file import VectorFile
from neural_branching.errors import InputError
from neural_branching.store.artifact_store import Store
from vector_writing import FORMATS, examples, write

PETS = ("ant", "bee", "cat", "dog")
Changes = Callable[[dict[str, NDArray[Any]]], object]


@pytest.fixture(params=FORMATS)
def kind(request: pytest.FixtureRequest) -> str:
    if request.param == "parquet":
        pytest.importorskip("pyarrow")
    return str(request.param)


def table_of(store: Path, file: Path, split: Split | None = None, **options: Any) -> DataTable:
    source = Vectors(str(file))
    names = source.class_names(FileHashes(store / "hashes"))
    return ensure_table(Store(store), "given", source, names, split or Split(), **options)


# --- formats ------------------------------------------------------------------------------------


def test_every_format_gives_the_same_examples(kind: str, tmp_path: Path) -> None:
    columns = examples()
    file = write(tmp_path, kind, columns, PETS)
    source: Source = Vectors(str(file))
    assert source.class_names(FileHashes(tmp_path)) == PETS
    assert dict(source.input.stages) == {"layer2": 6, "layer10": 5, "logits": 4}
    assert list(source.input.stages) == ["layer2", "layer10", "logits"]  # numbers as numbers, logits last
    assert source.input.shape == (15,)
    found = source.read(PETS)
    expected = np.concatenate([columns[name] for name in ("layer2", "layer10", "logits")], axis=1)
    assert found.content.dtype == np.float32
    np.testing.assert_array_equal(found.content, expected.astype(np.float32))
    np.testing.assert_array_equal(found.labels, columns["labels"])
    assert set(found.split) == {SPLITS.index("train")}
    assert found.groups is None
    assert source.counts(PETS, FileHashes(tmp_path))["cat"] == dict(zip(SPLITS, (30, 0, 0, 0), strict=True))


def test_the_table_is_the_same_whatever_the_format_and_the_order_of_rows(tmp_path: Path, kind: str) -> None:
    columns = examples()
    order = np.random.default_rng(1).permutation(len(columns["labels"]))
    first = table_of(tmp_path / "store", write(tmp_path / "a", "safetensors", columns, PETS))
    shuffled = {name: array[order] for name, array in columns.items()}
    second = table_of(tmp_path / "store", write(tmp_path / "b", kind, shuffled, PETS))
    assert first.artifact.key == second.artifact.key
    assert not second.artifact.built
    rows = np.concatenate([first.rows(split) for split in SPLITS])
    assert sorted(rows) == list(range(len(order)))


def test_other_stages_in_the_same_numbers_are_another_table(tmp_path: Path) -> None:
    columns = examples(logits=False)
    both = np.concatenate([columns["layer2"], columns["layer10"]], axis=1).astype(np.float32)
    keys = set()
    for name, cut in (("a", 6), ("b", 5)):
        mine = {"layer1": both[:, :cut], "layer2": both[:, cut:], "labels": columns["labels"]}
        keys.add(table_of(tmp_path / "store", write(tmp_path / name, "npy", mine, PETS)).artifact.key)
    assert len(keys) == 2


def test_half_precision_becomes_float32(tmp_path: Path) -> None:
    import torch

    values = torch.tensor([[1.5, -2.25], [0.125, 3.0]])
    for index, dtype in enumerate((torch.bfloat16, torch.float16, torch.float64)):
        file = tmp_path / f"{index}.safetensors"
        save_file({"x": values.to(dtype), "labels": torch.tensor([0, 1])}, file)
        found = Vectors(str(file)).read(("class_0", "class_1"))
        np.testing.assert_array_equal(found.content, values.numpy())


def test_names_of_classes(tmp_path: Path) -> None:
    columns, hashes = examples(logits=False), FileHashes(tmp_path)
    plain = write(tmp_path / "plain", "npy", {**columns, "labels": columns["labels"] * 3})
    assert Vectors(str(plain)).class_names(hashes) == ("class_0", "class_3", "class_6", "class_9")
    names = np.array(PETS[::-1])[columns["labels"]]
    text = Vectors(str(write(tmp_path / "text", "npy", {**columns, "labels": names})))
    assert text.class_names(hashes) == PETS
    assert [PETS[label] for label in text.read(PETS).labels] == names.tolist()
    order = ("dog", "cat", "ant", "bee")
    listed = Vectors(str(write(tmp_path / "listed", "npy", {**columns, "labels": names}, order)))
    assert listed.class_names(hashes) == order


def test_rows_of_some_classes(tmp_path: Path) -> None:
    columns = examples(logits=False)
    found = Vectors(str(write(tmp_path, "safetensors", columns, PETS))).read(("dog", "bee"))
    assert found.labels.tolist() == [1] * 30 + [0] * 30
    np.testing.assert_array_equal(found.content[30:, :6], columns["layer2"][columns["labels"] == 3])


# --- splits and groups --------------------------------------------------------------------------


def test_splits_of_the_file_are_kept_and_the_others_drawn(kind: str, tmp_path: Path) -> None:
    columns = examples(per_class=40)
    codes = np.tile(np.repeat([0, 3, 1], (28, 8, 4)), 4)
    splits = codes if kind == "safetensors" else np.array(SPLITS)[codes]
    table = table_of(tmp_path / "store", write(tmp_path, kind, {**columns, "splits": splits}, PETS))
    sizes = [len(table.rows(split, ["cat"])) for split in SPLITS]
    assert sizes == [28 - round(0.2 * 28), 4, round(0.2 * 28), 8]
    tests = table.examples()[table.rows("test")][:, :6]
    assert {row.tobytes() for row in tests} == {row.tobytes() for row in columns["layer2"][codes == 3]}


def test_groups_stay_in_one_split(kind: str, tmp_path: Path) -> None:
    columns = examples(per_class=60)
    numbers = np.arange(240) % 80  # three rows each, of three classes
    groups = numbers if kind == "safetensors" else np.array([f"patient {number}" for number in numbers])
    table = table_of(tmp_path / "store", write(tmp_path, kind, {**columns, "groups": groups}, PETS))
    of = {row.tobytes(): number for row, number in zip(columns["layer2"], numbers, strict=True)}
    found = [of[row[:6].tobytes()] for row in table.examples()]
    split_of: dict[int, set[int]] = {}
    for number, split in zip(found, table.split.tolist(), strict=True):
        split_of.setdefault(number, set()).add(split)
    assert all(len(splits) == 1 for splits in split_of.values())
    assert set().union(*split_of.values()) == {0, 1, 2, 3}


def test_equal_rows_are_duplicates_and_alike_ones_are_not(tmp_path: Path) -> None:
    from neural_branching.data.overlap import Overlap, read_duplicates

    columns = examples()
    for name in ("layer2", "layer10", "logits"):
        columns[name][7] = columns[name][3]
        columns[name][8] = columns[name][4] * 1.001
    table = table_of(tmp_path / "store", write(tmp_path, "npy", columns, PETS), duplicates=True)
    assert table.duplicates
    counts = Overlap(read_duplicates(table.duplicates), table.labels, table.split).counts()
    assert counts["exact"]["pairs"] == 1
    assert counts["near"]["pairs"] == 0
    moved = table_of(tmp_path / "store", tmp_path / "arrays", Split(duplicates="drop"))
    assert (moved.split == CODES.index("left_out")).sum() == 1


# --- what is refused ----------------------------------------------------------------------------


def poisoned(value: float) -> Changes:
    def change(columns: dict[str, NDArray[Any]]) -> None:
        columns["layer10"][5, 2] = value

    return change


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda c: c.pop("labels"), "has no 'labels', only layer2, layer10, logits: each row needs a label"),
        (poisoned(float("nan")), "has nan or infinity, as float32, in row 5 of 'layer10'"),
        (poisoned(float("-inf")), "in row 5 of 'layer10'"),
        (poisoned(1e300), "in row 5 of 'layer10'"),
        (lambda c: c.update(layer2=c["layer2"][:-1]), r"has \d+ rows of 'layer2' and \d+ of"),
        (lambda c: c.update(labels=c["labels"][1:]), "has 120 rows of 'layer2' and 119 of 'labels'"),
        (lambda c: c.update(layer2=c["layer2"][:, :, None]), r"'layer2' of shape \(120, 6, 1\)"),
        (lambda c: c.update(layer2=c["layer2"].astype(int)), "'layer2' .*floating-point numbers"),
        (lambda c: c.update(labels=c["labels"] - 1), "has the label -1: labels must be from 0 to 3"),
        (lambda c: c.update(labels=c["labels"] + 1), "has the label 4: labels must be from 0 to 3"),
        (lambda c: c.update(labels=c["labels"] * 0.5), "'labels' .*one whole number or text per row"),
        (lambda c: c.update(splits=c["labels"] + 1), "has the split 4: allowed are train, validation"),
        (lambda c: c.update(logits=c["logits"][:, :3]), "has 3 columns of 'logits' and 4 classes"),
        (lambda c: [c.pop(name) for name in ("layer2", "layer10", "logits")], "holds 0 matrices"),
        (
            lambda c: c.update(groups=c["labels"] * 0, splits=np.arange(120) % 4),
            "rows of the group 0 in several splits",
        ),
        (lambda c: c.update({"../up": c["layer2"]}), "only letters, digits"),
    ],
)
def test_what_does_not_fit_is_one_sentence(change: Changes, sentence: str, tmp_path: Path) -> None:
    columns = examples()
    change(columns)
    file = write(tmp_path, "safetensors", columns, PETS)
    with pytest.raises(InputError, match=sentence) as caught:
        table_of(tmp_path / "store", file)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "store" / "data").exists()


def test_a_class_without_rows_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path, "npy", examples(logits=False), (*PETS, "emu"))
    source = Vectors(str(file))
    hashes = FileHashes(tmp_path)
    with pytest.raises(InputError, match="has no example of class 'emu', which has 0 examples"):
        Split().check(source.counts(source.class_names(hashes), hashes))


def test_logits_are_of_all_classes(tmp_path: Path) -> None:
    source = Vectors(str(write(tmp_path, "npy", examples(), PETS)))
    with pytest.raises(
        InputError, match=r"logits of 4 classes, and data\.classes chooses 2: .*subset\.classes"
    ):
        source.counts(("ant", "cat"), FileHashes(tmp_path))


@pytest.mark.parametrize(
    "names", ['["a", "a", "b", "c"]', '{"a": 1}', "[1, 2, 3, 4]", "[", "[]", '["a", ""]']
)
def test_lists_of_classes_that_are_none(names: str, tmp_path: Path) -> None:
    file = write(tmp_path, "npy", examples(logits=False))
    (file / "classes.json").write_text(names)
    with pytest.raises(InputError, match="has 'classes' that are no JSON list of different names"):
        Vectors(str(file)).class_names(FileHashes(tmp_path))


def damage(file: Path) -> None:
    if file.is_dir():
        file = file / "layer2.npy"
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])


def test_a_truncated_file_is_one_sentence(kind: str, tmp_path: Path) -> None:
    file = write(tmp_path, kind, examples(), PETS)
    damage(file)
    with pytest.raises(InputError, match=r"cannot be read: .*\.$") as caught:
        table_of(tmp_path / "store", file)
    assert "\n" not in str(caught.value)


def test_files_that_hide_something_else(tmp_path: Path) -> None:
    folder = write(tmp_path, "npy", examples(), PETS)
    np.save(folder / "layer2.npy", np.array([{"any": "object"}] * 120, dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="cannot be read: "):
        Vectors(str(folder)).class_names(FileHashes(tmp_path))
    with (folder / "layer2.npy").open("wb") as stream:
        np.savez(stream, x=np.zeros(3))
    with pytest.raises(InputError, match=r"cannot be read: layer2\.npy is an archive and no array"):
        Vectors(str(folder)).class_names(FileHashes(tmp_path))
    (folder / "layer2.npy").unlink()
    # A header that promises terabytes in a file of some bytes.
    head = b"{'descr': '<f4', 'fortran_order': False, 'shape': (120, 4000000000), }"
    head += b" " * (63 - (len(head) + 10) % 64) + b"\n"
    (folder / "layer2.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head)
    with pytest.raises(InputError, match="cannot be read: "):
        Vectors(str(folder)).class_names(FileHashes(tmp_path))


def test_what_memory_cannot_hold_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path, "safetensors", examples(), PETS)
    monkeypatch.setattr("neural_branching.data.vector_file.os.sysconf", lambda name: 80)
    with pytest.raises(InputError, match="and half of this machine's memory is"):
        Vectors(str(file)).class_names(FileHashes(tmp_path))


@pytest.mark.parametrize("name", ["gone.safetensors", "notes.txt", "gone"])
def test_what_is_no_file_of_vectors(name: str, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no vectors")
    with pytest.raises(InputError, match=r"(does not exist|holds no vectors): give a \.safetensors file"):
        Vectors(str(tmp_path / name)).class_names(FileHashes(tmp_path))


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path, "safetensors", examples(), PETS)
    source = Vectors(str(file))
    source.signature(PETS, FileHashes(tmp_path / "hashes"))
    write(tmp_path, "safetensors", examples(seed=1, per_class=31), PETS)
    with pytest.raises(InputError, match=r"changed while it was being read|cannot be read"):
        source.read(PETS)


def test_parquet_names_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(
        InputError, match=r"needs the package pyarrow: pip install 'neural-branching\[parquet\]'"
    ):
        Vectors(str(tmp_path / "x.parquet")).class_names(FileHashes(tmp_path))


def test_parquet_rows_of_other_lengths_and_empty_ones(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    tables = {
        "that do not hold 2 numbers": {"x": [[1.0, 2.0], [3.0]], "labels": [0, 1]},
        "has nothing in some rows of 'x'": {"x": [[1.0, 2.0], None], "labels": [0, 1]},
        "are called x.0 to x.1": {"x.0": [1.0, 2.0], "x.2": [1.0, 2.0], "labels": [0, 1]},
        "has nothing in some rows of 'labels'": {"x": [[1.0], [2.0]], "labels": [0, None]},
    }
    for index, (sentence, columns) in enumerate(tables.items()):
        file = tmp_path / f"{index}.parquet"
        parquet.write_table(pyarrow.table(columns), file)
        with pytest.raises(InputError, match=sentence):
            Vectors(str(file)).read(("class_0", "class_1"))


def test_parquet_as_pandas_writes_it(tmp_path: Path) -> None:
    pandas, file = pytest.importorskip("pandas"), tmp_path / "frame.parquet"
    pytest.importorskip("pyarrow")
    vectors = [[float(row), 1.0] for row in range(6)]
    labels = pandas.Categorical(["b", "a", "c", "a", "b", "c"])
    frame = pandas.DataFrame({"layer.1": vectors, "layer.2": vectors, "labels": labels})
    frame[frame["labels"] != "c"].to_parquet(file)  # with the numbers of the rows that are left
    found = VectorFile(file)
    assert found.stages == {"layer.1": 2, "layer.2": 2}
    assert found.classes == ("a", "b")
    assert found.content({"layer.2": 2})[:, 0].tolist() == [0, 1, 3, 4]
    for changed, sentence in (
        ({"layer.1": [None, *vectors[1:]]}, "has 'layer.1' of shape"),
        ({"labels": np.full(6, 2**63, np.uint64)}, "cannot be read: "),
    ):
        frame.assign(**changed).to_parquet(file)
        with pytest.raises(InputError, match=sentence):
            _ = VectorFile(file).labels


def test_an_answer_looks_at_the_stages_of_its_run_alone(tmp_path: Path) -> None:
    columns = examples()
    columns["labels"] = np.array([0.5])  # neither as long as the rest nor of a type that labels have
    columns["ids"] = np.arange(len(columns["layer2"]))
    file = write(tmp_path, "safetensors", columns)
    inputs = VectorInputs({"layer10": 5})
    _, batches = inputs.read_files([file], 256, 1)
    [(names, rows, broken)] = list(batches)
    np.testing.assert_array_equal(rows, columns["layer10"].astype(np.float32))
    assert (len(names), names[3], broken) == (120, f"{file}[3]", {})
    with pytest.raises(InputError, match=r"a run on vectors of layer3 \(2\) answers"):
        VectorInputs({"layer3": 2}).read_files([write(tmp_path / "a", "safetensors", examples())], 256, 1)


def test_names_of_files_do_not_matter(tmp_path: Path) -> None:
    file = write(tmp_path, "safetensors", examples(), PETS)
    hashes = FileHashes(tmp_path / "hashes")
    first = Vectors(str(file)).signature(PETS, hashes)
    other = file.rename(tmp_path / "other.safetensors")
    assert json.dumps(Vectors(str(other)).signature(PETS, hashes)) == json.dumps(first)
