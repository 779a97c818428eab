"""Tables fit the terminal, and no word of them is broken."""

import io
import re

import pytest
from rich.console import Console

from neural_branching.report.fitting import print_table

HEADER = ["subset", "branch point", "threshold", "accuracy", "AURC", "selective accuracy", "ECE", "its floor"]
HEADER += ["false accepts", "parent restricted", "its AURC"]
LINES = [
    [name, stage, "risk 0.1", *["0.853±0.012 [0.809, 0.891]"] * 3, "0.033", "0.032", *["0.193"] * 3]
    for name in ("large_man_made_outdoor_things", "fish")
    for stage in ("hidden1", "block3")
]


def printed(width: int, header: list[str] = HEADER, lines: list[list[str]] = LINES, numbers: int = 8) -> str:
    screen = Console(file=io.StringIO(), width=width, markup=False)
    print_table(screen, "4 runs", header, lines, numbers)
    text = screen.file.getvalue()
    assert max(map(len, text.splitlines())) <= width
    return text


@pytest.mark.parametrize("width", [80, 100, 130, 200])
def test_words_and_numbers_stay_whole_and_what_is_missing_is_said(width: int) -> None:
    text = printed(width)
    assert "4 runs · threshold risk 0.1" in text  # which is the same in all lines
    body = text.split("Left out")[0]
    for word in ("large_man_made_outdoor_things", "hidden1", "accuracy", "0.853±0.012"):
        assert word in body
    said = " ".join(text.partition("Left out, for want of room:")[2].split())
    for heading in HEADER[3:]:
        shown = all(re.search(rf"\b{word}\b", body) for word in heading.split())
        assert shown or heading in said
    assert ("[0.809, 0.891]" in body) != ("intervals" in said)
    assert bool(said) == (width < 200)


def test_the_first_number_stays_however_narrow_it_is() -> None:
    text = printed(60)
    assert "accuracy" in text.split("Left out")[0]
    assert "parent restricted" in " ".join(text.split())


def test_a_single_line_keeps_its_settings() -> None:
    text = printed(200, lines=LINES[:1])
    assert "threshold" in text
    assert "· threshold" not in text
