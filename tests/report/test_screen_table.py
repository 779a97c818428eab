"""Tables fit the screen: nothing is broken inside a word, and what has no room is named."""

import pytest
from rich.console import Console

from neural_branching.report.cells import Cell, setting
from neural_branching.report.screen_table import Column, ScreenTable, console, print_table

LONG = "large_man_made_outdoor_things"
HEADINGS = ("accuracy", "AURC", "coverage", "selective accuracy", "false accepts", "parent restricted", "ECE")
COLUMNS = [
    Column("data", "setting"),
    Column("subset", "setting"),
    Column("branch point", "setting"),
    *(Column(heading, rank=max(0, place - 2)) for place, heading in enumerate(HEADINGS)),
]


def table(*subsets: str) -> ScreenTable:
    rows = [
        [
            "cifar100",
            subset,
            "block3",
            *(Cell((7 * row + place) / 100, 0.012, (0.1, 0.2)) for place in range(len(HEADINGS))),
        ]
        for row, subset in enumerate(subsets)
    ]
    return ScreenTable("3 runs, test examples", COLUMNS, rows, "summary.csv")


def printed(one: ScreenTable, width: int, capsys: pytest.CaptureFixture[str]) -> list[str]:
    print_table(Console(width=width, markup=False), one)
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("width", [80, 100, 130, 200])
def test_no_word_is_broken_and_what_leaves_is_named(width: int, capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(table(LONG, "fish", "flowers"), width, capsys)
    words = set(" ".join(lines).split())
    assert max(map(len, lines)) <= width
    assert {LONG, "fish", "flowers", "accuracy", "AURC", "coverage", "selective"} <= words
    assert {"0.000±0.012", "0.070±0.012", "0.140±0.012", "0.160±0.012"} <= words
    assert "All: data cifar100 · branch point block3" in lines
    left_out = [line for line in lines if line.startswith("No room on")]
    assert bool(left_out) == (width < 200)
    shown = {word.strip(",:") for word in words}  # in the table, or named as left out
    assert {word for heading in HEADINGS for word in heading.split()} <= shown
    assert ("[0.100, 0.200]" in " ".join(lines)) == (width >= 130)


def test_intervals_of_what_matters_least_leave_first(capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(table(LONG, "fish", "flowers"), 130, capsys)
    [row] = [place for place, line in enumerate(lines) if line.startswith("fish")]
    assert lines[row].count("±") == len(HEADINGS)
    assert 0 < lines[row + 1].count("[0.100, 0.200]") < len(HEADINGS)
    assert lines[row + 1].index("[") < lines[row].index("0.08")
    assert "No room on 130 columns for some intervals: summary.csv has all." in lines


def test_a_single_row_keeps_its_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(table(LONG), 200, capsys)
    assert f"data cifar100 · subset {LONG} · branch point block3" in lines
    assert lines[3].split()[0] == "accuracy"


def test_names_are_never_cut_to_fit(capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(table(LONG, "fish"), 30, capsys)
    assert any(LONG in line for line in lines)


def test_however_narrow_it_is_the_first_number_stays(capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(table("fish", "flowers"), 30, capsys)
    assert {"accuracy", "0.000±0.012", "0.070±0.012"} <= set(" ".join(lines).split())
    assert max(map(len, lines)) <= 60


def test_settings_stay_in_one_line_before_headings_do(capsys: pytest.CaptureFixture[str]) -> None:
    columns = [Column("threshold", "setting"), Column("selective accuracy"), Column("hierarchical coverage")]
    rows = [[f"random_walk {target}", Cell(target), Cell(0.5 + target)] for target in (0.1, 0.2)]
    lines = printed(ScreenTable("2 runs", columns, rows), 42, capsys)
    assert [line.split() for line in lines if line.startswith("random_walk")] == [
        ["random_walk", "0.1", "0.100", "0.600"],
        ["random_walk", "0.2", "0.200", "0.700"],
    ]


def test_phrases_above_a_table_stay_whole(capsys: pytest.CaptureFixture[str]) -> None:
    columns = [Column("threshold", "setting"), Column("parent, all classes"), Column("accuracy")]
    rows = [["fixed 0.96", Cell(0.5), Cell(accuracy)] for accuracy in (0.1, 0.2)]
    lines = printed(ScreenTable("2 runs", columns, rows), 40, capsys)
    assert lines[2:4] == ["All: threshold fixed 0.96", "parent, all classes 0.500"]


def test_a_legend_explains_what_stands_on_the_screen(capsys: pytest.CaptureFixture[str]) -> None:
    wide, narrow = (
        print_table(Console(width=width, markup=False), table("fish", "a")) for width in (200, 60)
    )
    assert "restricted" in wide
    assert "[0.100" in wide
    assert "restricted" not in narrow
    assert "[" not in narrow
    assert capsys.readouterr().out


def test_a_long_table_has_no_line_of_intervals_below_each_row(capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(table(*(f"subset_{place}" for place in range(40))), 160, capsys)
    assert len(lines) < 50
    assert any(line.startswith("No room on 160 columns for intervals") for line in lines)


def test_the_width_is_that_of_the_terminal_or_what_columns_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    assert console().width == 200
    monkeypatch.setenv("COLUMNS", "80")
    assert console().width == 80


def test_settings_have_four_digits() -> None:
    assert setting("0.0013718126148712325") == "0.001372"
    assert setting("risk 0.123456789") == "risk 0.1235"
    assert setting("1.3718126148712325e-05") == "1.372e-05"
    assert setting("[0.05, 1e-4]") == "[0.05, 1e-4]"
