"""``train --help`` and ``route --help``: every option with what it means."""

import re
from itertools import pairwise

import pytest

from neural_branching import cli


def said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    monkeypatch.setattr("sys.argv", ["neural-branching", *words])
    monkeypatch.setenv("COLUMNS", "80")
    cli.main()
    return capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    [
        ("train", "--help"),
        ("route", "-h"),
        ("specialize", "--help"),
        ("decompose", "--help"),
        ("explain", "--help"),
        ("judge", "--help"),
        ("train", "parent=convnet", "threshold=sgr", "score=knn", "--help"),
        ("train", "parent=vit", "data=image_folder", "subset=superclass", "--help"),
        ("train", "parent=torchvision", "data=vectors", "threshold=false_accept", "--help"),
    ],
)
def test_every_option_is_explained(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    text = said(monkeypatch, capsys, *words)
    assert max(map(len, text.splitlines())) <= 130  # a list of files and a value are not broken
    lines = text.partition("options and their defaults")[2].splitlines()[1:]
    for option, meaning in pairwise(lines):
        if re.match(r"  \S+=", option):
            assert meaning.startswith("      "), option
    assert ".fit.lr=" in text or "data=vectors" in words
    for word in words[1:-1]:
        group, _, file = word.partition("=")
        assert re.search(rf"^  {group}=.*\b{file}\b|^  {group}=$", text, re.MULTILINE)


def test_groups_are_those_that_a_command_takes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "search={aurc|pareto}" in said(monkeypatch, capsys, "train", "--help")
    assert "search=" not in said(monkeypatch, capsys, "specialize", "--help")


def test_what_cannot_be_chosen_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["neural-branching", "train", "parent=mpl", "--help"])
    with pytest.raises(SystemExit, match="did you mean 'mlp'"):
        cli.main()
