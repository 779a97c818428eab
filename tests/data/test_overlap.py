"""What duplicates splits and classes share, in the store, in a list and in counts."""

import csv
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from neural_branching.data.duplicates import Duplicates
from neural_branching.data.hashes import FileHashes
from neural_branching.data.inputs import image_inputs as images
from neural_branching.data.inputs.image_inputs import ImageInputs
from neural_branching.data.overlap import LIST, Overlap, ensure_list, read_duplicates
from neural_branching.data.sources.cifar100 import Cifar100
from neural_branching.data.sources.glyphs import Glyphs
from neural_branching.data.sources.image_folder import ImageFolder
from neural_branching.data.sources.source import Examples
from neural_branching.data.split import CODES, LEFT_OUT, TEST, TRAIN, Split
from neural_branching.data.table import DataTable, ensure_table
from neural_branching.errors import InputError
from neural_branching.store.artifact_store import Store, key_of

PETS = ("cat", "dog")


class Fake:
    """Random images of two classes, some of them several times: [(row, class, in test), …]."""

    def __init__(self, *copies: tuple[int, int, bool], mirror: bool = False, images: int = 40) -> None:
        self.copies, self.input, self.images = copies, ImageInputs(8, mirror), images

    def class_names(self, hashes: FileHashes) -> tuple[str, ...]:
        return PETS

    def signature(self, classes: Sequence[str], hashes: FileHashes) -> Any:
        return [self.copies, self.images]

    def read(self, classes: Sequence[str]) -> Examples:
        rows = np.arange(self.images)
        pixels = np.random.default_rng(0).integers(0, 256, (len(rows), 3, 8, 8), dtype=np.uint8)
        labels, is_test = rows % 2, rows >= 0.8 * len(rows)
        again, classes_of, tests = (np.array([copy[i] for copy in self.copies], int) for i in range(3))
        return Examples(
            np.concatenate([pixels, pixels[again]]),
            np.concatenate([labels, classes_of]).astype(np.int64),
            np.where(np.concatenate([is_test, tests.astype(bool)]), TEST, TRAIN).astype(np.int8),
        )


def table_of(store: Store, source: Fake, split: Split | None = None) -> DataTable:
    return ensure_table(store, "pets", source, PETS, split or Split(), duplicates=True)  # type: ignore[arg-type]


def overlap_of(table: DataTable) -> Overlap:
    assert table.duplicates
    return Overlap(read_duplicates(table.duplicates), table.labels, table.split)


# --- counts -------------------------------------------------------------------------------------


@st.composite
def overlaps(draw: st.DrawFn) -> tuple[Overlap, NDArray[np.bool_]]:
    """Any duplicates, and which pairs of images are near."""
    rng, n = np.random.default_rng(draw(st.integers(0, 2**32 - 1))), draw(st.integers(1, 25))
    contents = rng.integers(draw(st.integers(1, 30)), size=n)
    first = np.array([contents.tolist().index(one) for one in contents])
    different = np.unique(first)
    pairs = np.array(
        [(a, b) for a in different for b in different if a < b and rng.random() < 0.1], np.int64
    ).reshape(-1, 2)
    near = np.zeros((n, n), dtype=bool)
    for a, b in pairs:
        near |= np.outer(first == a, first == b) | np.outer(first == b, first == a)
    linked = near | np.equal.outer(first, first)
    for _ in range(n):
        linked = linked @ linked
    found = Duplicates(
        first=first,
        pairs=pairs,
        correlation=np.full(len(pairs), 0.97),
        mirrored=np.zeros(len(pairs), bool),
        group=linked.argmax(axis=1),
        complete=True,
    )
    return Overlap(found, rng.integers(3, size=n), rng.integers(len(CODES), size=n).astype(np.int8)), near


@settings(deadline=None)
@given(case=overlaps())
def test_counts_are_those_of_all_pairs(case: tuple[Overlap, NDArray[np.bool_]]) -> None:
    overlap, near = case
    n, first = len(overlap.labels), overlap.found.first
    expected: dict[str, Counter[str]] = {"exact": Counter(), "near": Counter()}
    inside = overlap.split != LEFT_OUT
    kinds = {"exact": np.equal.outer(first, first) & ~np.eye(n, dtype=bool), "near": near}
    differ = {"splits": overlap.split, "classes": overlap.labels}
    for kind, pairs in kinds.items():
        mine = pairs & np.outer(inside, inside)
        expected[kind] = Counter(pairs=mine.sum() // 2, examples=mine.any(axis=1).sum())
        for what, codes in differ.items():
            across = mine & np.not_equal.outer(codes, codes)
            expected[kind][f"pairs_across_{what}"] = across.sum() // 2
            expected[kind][f"examples_across_{what}"] = across.any(axis=1).sum()
    assert overlap.counts() == expected
    assert overlap.left_out == n - inside.sum()
    assert bool(overlap) == any(pairs.any() for pairs in kinds.values())


@settings(deadline=None)
@given(case=overlaps())
def test_who_has_a_duplicate_among_others(case: tuple[Overlap, NDArray[np.bool_]]) -> None:
    overlap, near = case
    first = overlap.found.first
    rows, others = np.flatnonzero(overlap.split == 3), np.flatnonzero(overlap.split == 0)
    equal = np.equal.outer(first, first)[np.ix_(rows, others)].any(axis=1)
    either = equal | near[np.ix_(rows, others)].any(axis=1)
    found, exact = overlap.among(rows, others)
    np.testing.assert_array_equal(exact, equal)
    np.testing.assert_array_equal(found, either)


def test_of_an_incomplete_list_a_whole_group_counts() -> None:
    found = Duplicates(
        first=np.arange(4),
        pairs=np.array([[0, 1], [1, 2]]),
        correlation=np.ones(2),
        mirrored=np.zeros(2, bool),
        group=np.array([0, 0, 0, 3]),
        complete=False,
    )
    overlap = Overlap(found, np.zeros(4, np.int64), np.array([0, 1, 3, 3], np.int8))
    assert overlap.among(np.array([2, 3]), np.array([0]))[0].tolist() == [True, False]


# --- store --------------------------------------------------------------------------------------


def test_they_are_looked_for_once_per_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    real = images.find_near_duplicates
    monkeypatch.setattr(
        images, "find_near_duplicates", lambda *args, **kw: calls.append(1) or real(*args, **kw)
    )
    source = Fake((0, 0, True))
    first = table_of(Store(tmp_path), source)
    again = table_of(Store(tmp_path), source, Split(seed=1))
    assert len(calls) == 1
    assert first.duplicates
    assert again.duplicates
    assert first.duplicates.key == again.duplicates.key
    assert first.duplicates.kind == "duplicates"
    table_of(Store(tmp_path), Fake((0, 0, True), mirror=True))
    assert len(calls) == 2


def test_by_default_no_key_changes(tmp_path: Path) -> None:
    store, source = Store(tmp_path), Fake((0, 0, True), (1, 1, False))
    shares = {"train": 0.7, "validation": 0.1, "calibration": 0.2, "test": 0.2}
    keys = set()
    for rule in ("report", "together", "drop"):
        table = table_of(store, source, Split(duplicates=rule))
        keys.add(table.split_key)
        before = {"recipe": 2, "data": table.artifact.key, "shares": shares, "seed": 0}
        assert (tmp_path / "split" / key_of("split", before)).is_dir()
    plain = ensure_table(store, "pets", source, PETS, Split())  # type: ignore[arg-type]
    assert len(keys) == 3
    assert plain.split_key in keys
    assert len(list((tmp_path / "split").iterdir())) == 3
    assert len(list((tmp_path / "data").iterdir())) == len(list((tmp_path / "duplicates").iterdir())) == 1


def test_whether_mirroring_keeps_the_class_is_no_part_of_what_is_read(
    class_folders: Callable[..., Path],
) -> None:
    root, hashes = class_folders(PETS), FileHashes(class_folders().parent / "hashes")
    both = (ImageFolder(str(root), mirror_keeps_class=choice) for choice in (False, True))
    first, second = (source.signature(PETS, hashes) for source in both)
    assert first == second
    assert Cifar100("nowhere").input.mirror_keeps_class
    assert not Glyphs().input.mirror_keeps_class
    with pytest.raises(InputError, match=r"mirror_keeps_class is 'no'"):
        ImageFolder(str(root), mirror_keeps_class="no")  # type: ignore[arg-type]


def test_nobody_looks_who_does_not_ask(tmp_path: Path) -> None:
    table = ensure_table(Store(tmp_path), "pets", Fake(), PETS, Split())
    assert table.duplicates is None
    assert not (tmp_path / "duplicates").exists()


def test_damaged_pixels_are_made_again_before_they_are_compared(tmp_path: Path) -> None:
    source = Fake((0, 0, True))
    table = ensure_table(Store(tmp_path), "pets", source, PETS, Split())
    (table.artifact.path / "examples.npy").write_bytes(b"")
    assert overlap_of(table_of(Store(tmp_path), source)).counts()["exact"]["pairs"] == 1


def test_the_list_names_rows_splits_and_classes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    table = table_of(Store(tmp_path), Fake((0, 0, True), (0, 1, True), (1, 0, False)))
    overlap = overlap_of(table)
    assert table.duplicates
    arguments = table.duplicates, overlap, PETS, table.split_key, table.input
    with caplog.at_level(logging.INFO):
        listed = ensure_list(Store(tmp_path), *arguments)
    assert "4 exact and 0 near pairs (correlation ≥ 0.95), " in caplog.text
    assert f"3 across classes. Listed in {listed.path / LIST}." in caplog.text
    with (listed.path / LIST).open() as stream:
        lines = list(csv.DictReader(stream))
    content = table.examples()
    assert len(lines) == 3  # of three equals, each with the first
    for line in lines:
        rows = [int(line[f"row_{end}"]) for end in "ab"]
        assert np.array_equal(*content[rows])
        assert [line[f"split_{end}"] for end in "ab"] == [CODES[table.split[row]] for row in rows]
        assert [line[f"class_{end}"] for end in "ab"] == [PETS[table.labels[row]] for row in rows]
        assert (float(line["correlation"]), line["mirrored"], line["exact"]) == (1, "0", "1")
    caplog.clear()
    ensure_list(Store(tmp_path), *arguments)
    assert not caplog.text
    # The two in test stay.
    fewer = table_of(
        Store(tmp_path), Fake((0, 0, True), (0, 1, True), (1, 0, False)), Split(duplicates="drop")
    )
    assert fewer.duplicates
    with caplog.at_level(logging.INFO):
        ensure_list(Store(tmp_path), fewer.duplicates, overlap_of(fewer), PETS, fewer.split_key, fewer.input)
    assert "Duplicates among 41 images (2 more left out): 1 exact and 0 near" in caplog.text
