"""What others have written is read as plain values within limits, or refused in a sentence."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neural_branching.errors import InputError
from neural_branching.files.reading import read_json
from neural_branching.report.shapes import NUMBER, Each, Maybe, misfit

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(values)
def test_plain_values_come_back(tmp_path_factory: pytest.TempPathFactory, value: object) -> None:
    file = tmp_path_factory.getbasetemp() / "plain.json"
    file.write_text(json.dumps(value), encoding="utf-8")
    assert read_json(file) == value


@given(st.binary(max_size=50))
def test_any_other_file_is_refused_in_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    file = tmp_path_factory.getbasetemp() / "binary.json"
    file.write_bytes(content)
    try:
        expected = json.loads(content.decode(), parse_constant=_refuse)
    except ValueError:
        with pytest.raises(InputError, match=f"^{file} cannot be read: [^\n]+$"):
            read_json(file)
    else:
        assert read_json(file) == expected


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def test_limits_are_exact(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_text('{"a": [[1]]}')
    assert read_json(file, limit=12, depth=3) == {"a": [[1]]}
    with pytest.raises(InputError, match="more than 11 bytes"):
        read_json(file, limit=11)
    with pytest.raises(InputError, match="more than 2 levels deep"):
        read_json(file, depth=2)


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="it is no regular file"):
        read_json(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(InputError, match=r"cannot be read: (Is a directory|No such file or directory)\."):
            read_json(path)


@pytest.mark.parametrize(
    ("value", "shape", "answer"),
    [
        ({"a": 1, "more": "x"}, {"a": NUMBER}, ""),
        ({"a": True}, {"a": NUMBER}, "a is 'True'"),
        ({}, {"a": {"b": NUMBER}}, "a is 'None'"),
        ({}, {"a": Maybe({"b": NUMBER})}, ""),
        ({"a": {"x": 1, "y": "z"}}, {"a": Each(NUMBER)}, "a.y is 'z'"),
        ([0.5, 10**400], [NUMBER, NUMBER], "[1] is '1000"),
        ([0.5], [NUMBER, NUMBER], "it is '[0.5]'"),
        (["a", 1], (str,), "[1] is '1'"),
        ("text", (str,), "it is 'text'"),
    ],
)
def test_shapes_name_the_first_misfit(value: object, shape: object, answer: str) -> None:
    assert misfit(value, shape).startswith(answer)
    assert bool(misfit(value, shape)) == bool(answer)
