"""Studies by number of branches: a line for each setting of what else differs."""

from neural_branching.labs.decomposition.decomposition_summary import by_branches
from neural_branching.labs.study_table import StudyLine
from neural_branching.report.cells import Cell

COLUMNS = ("error", "separate_error", "unbranched_error", "correlation", "separate_correlation")
COLUMNS += ("chroma_range", "separate_chroma_range")


def study(branches: int, *others: str) -> StudyLine:
    overrides = ("seed=1", f"autoencoder.network.branches={branches}", *others)
    cells = {name: Cell(branches / 10, 0.01) for name in COLUMNS}
    return StudyLine(overrides, 5, cells, {"branches": branches})


def test_settings_beside_the_branches_are_lines_of_their_own() -> None:
    narrow, wide = "parameters=100", "parameters=200"
    studies = [study(branches, size) for size in (narrow, wide) for branches in (4, 2)]
    figure = by_branches(studies)
    [legend] = figure.legends
    said = [text.get_text() for text in legend.get_texts()]
    assert said[-2:] == [narrow, wide]
    lines = [line for line in figure.axes[0].lines if len(line.get_xdata()) == 2]
    assert {tuple(line.get_xdata()) for line in lines} == {(2, 4)}  # in order, whatever the order of the jobs
    assert len({line.get_color() for line in lines}) == 2


def test_one_setting_needs_no_name() -> None:
    figure = by_branches([study(2), study(3)])
    [legend] = figure.legends
    assert len(legend.get_texts()) == 3  # the networks
