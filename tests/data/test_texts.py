"""Files of texts in every format give the same examples, and what cannot be used is refused in a sentence."""

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neural_branching.data.hashes import FileHashes
from neural_branching.data.inputs.text_inputs import TextInputs, packed
from neural_branching.data.sources.texts import Texts
from neural_branching.data.split import Split
from neural_branching.data.table import ensure_table
from neural_branching.errors import InputError
from neural_branching.store.artifact_store import Store
from text_writing import rows, write_texts

Rows = Sequence[Mapping[str, Any]]
TWO: Rows = [{"text": 'grüße, "so"\nzwei', "label": "b"}, {"text": " one ", "label": "a"}]


def write_jsonl(file: Path, texts: Rows) -> None:
    file.write_text("\n".join(json.dumps(row) for row in texts), encoding="utf-8")


def write_csv(file: Path, texts: Rows) -> None:
    with file.open("w", encoding="utf-8-sig", newline="") as stream:
        writer = csv.DictWriter(stream, [*texts[0], "other"])
        writer.writeheader()
        writer.writerows({**row, "other": "x"} for row in texts)


def write_parquet(file: Path, texts: Rows) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.Table.from_pylist(list(texts)), file)


WRITERS: dict[str, Callable[[Path, Rows], None]] = {
    "jsonl": write_jsonl,
    "csv": write_csv,
    "parquet": write_parquet,
}


@pytest.mark.parametrize("kind", WRITERS)
def test_every_format_gives_the_same_examples(kind: str, tmp_path: Path) -> None:
    file = tmp_path / f"texts.{kind}"
    WRITERS[kind](file, TWO)
    source = Texts(str(file))
    assert source.class_names(FileHashes(tmp_path)) == ("a", "b")
    found = source.read(("b", "a"))
    assert source.input.decoded(found.content) == ['grüße, "so"\nzwei', "one"]
    assert found.labels.tolist() == [0, 1]
    assert found.groups is None
    assert source.read(("a",)).names == ["[1]"]


def test_whole_numbers_are_classes_by_their_size(tmp_path: Path) -> None:
    file = write_texts(tmp_path, [{"text": f"t{label}", "label": label} for label in (10, 2, 10)])
    source = Texts(str(file))
    assert source.class_names(FileHashes(tmp_path)) == ("class_2", "class_10")
    assert source.read(("class_2", "class_10")).labels.tolist() == [1, 0, 1]


def test_bytes_are_texts_again() -> None:
    texts = ["a", "ends in a letter: é", "longer than the others are by some words"]
    content = packed(texts)
    assert content.shape == (3, len(texts[2]))
    assert TextInputs(content.shape[1]).decoded(content) == texts


def test_groups_stay_in_one_split_and_are_in_the_table(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    source = Texts(str(write_texts(tmp_path, rows(60, groups=20))))
    table = ensure_table(store, "text", source, ("games", "net", "sound"), Split())
    assert table.groups is not None
    for group in np.unique(table.groups):
        assert len(set(table.split[table.groups == group])) == 1
    assert len(np.unique(table.groups)) == 20


def test_splits_of_the_file_are_taken_as_they_are(tmp_path: Path) -> None:
    texts = [{**row, "split": "test" if place % 4 == 0 else "train"} for place, row in enumerate(rows(20))]
    source = Texts(str(write_texts(tmp_path, texts)))
    assert source.counts(("games",), FileHashes(tmp_path))["games"]["test"] == 5


LABELLED = {"text": "a b", "label": "x"}


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([{"text": "a"}], r"texts\.jsonl has no column 'label', only 'text': each row needs one\.$"),
        ([{"label": "a"}], r"has no column 'text', only 'label'"),
        ([{"words": "a"}], r"texts\.jsonl has no column 'text': each row needs one\.$"),
        ([], r"has no column 'text'"),
        ([LABELLED, {"text": " ", "label": "y"}], r"^Row 2 of .* has an empty text: leave such rows out\.$"),
        (
            [LABELLED, *[{"text": "", "label": "y"}] * 3],
            r"^Row 2 of .* has an empty text, as have 2 others: leave such rows out\.$",
        ),
        ([{"text": 3, "label": "x"}], r"^Row 1 of .* has the text 3: it must be text\.$"),
        ([{"text": "a\0b", "label": "x"}], r"a text with a null character"),
        ([LABELLED, LABELLED], r"has the label 'x' alone: a branch tells at least two classes apart\.$"),
        ([LABELLED, {"text": "b", "label": None}], r"^Row 2 of .* has the label None: it must be text or a"),
        ([LABELLED, {"text": "b"}], r"cannot be read: its row 2 has no 'label', as the first has\.$"),
        (
            [{**LABELLED, "split": "dev"}, {"text": "b", "label": "y", "split": "test"}],
            r"^Row 1 of .* has the split 'dev': allowed are train, validation, calibration, test\.$",
        ),
        (
            [
                {**LABELLED, "group": "g", "split": "train"},
                {"text": "b", "label": "y", "group": "g", "split": "test"},
            ],
            r"has rows of the group 'g' in several splits: a group has to stay in one\.$",
        ),
    ],
)
def test_what_cannot_be_used_is_refused(texts: Rows, message: str, tmp_path: Path) -> None:
    source, hashes = Texts(str(write_texts(tmp_path, texts))), FileHashes(tmp_path)

    def read() -> None:
        source.counts(source.class_names(hashes), hashes)
        source.read(source.class_names(hashes))

    with pytest.raises(InputError, match=message):
        read()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.jsonl", b'{"text": "a"}\n{', r"t\.jsonl cannot be read: its line 2 is no JSON\.$"),
        ("t.jsonl", b"[1]", r"its line 1 is no JSON object"),
        ("t.jsonl", b"\xff", r"cannot be read: .*decode"),
        ("t.csv", b"text,label\na", r"cannot be read: its row 1 has not as many cells as the header"),
        ("t.parquet", b"PAR1", r"t\.parquet cannot be read"),
        ("t.xml", b"", r"t\.xml is no file of texts: give a \.jsonl, \.csv or \.parquet file\.$"),
        (None, b"", r"does not exist: give a"),
    ],
)
def test_a_broken_file_is_refused(name: str | None, content: bytes, message: str, tmp_path: Path) -> None:
    file = tmp_path / (name or "none.csv")
    if name:
        file.write_bytes(content)
    with pytest.raises(InputError, match=message):
        Texts(str(file)).class_names(FileHashes(tmp_path))


def test_groups_that_leave_a_split_without_a_class_are_refused(tmp_path: Path) -> None:
    texts = [{**row, "group": row["label"]} for row in rows(30)]
    source = Texts(str(write_texts(tmp_path, texts)))
    with pytest.raises(
        InputError,
        match=r"split has no example of class '\w+', whose 30 examples are of 1 groups, each in one",
    ):
        ensure_table(Store(tmp_path / "store"), "text", source, ("games", "net", "sound"), Split())
