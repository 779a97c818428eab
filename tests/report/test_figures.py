"""Every figure draws exactly what it is given, also where there is next to nothing to draw."""

import io
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.table import Table

from neural_branching.evaluation.operating_points import OperatingPoint
from neural_branching.evaluation.reliability import Bins, bins_of
from neural_branching.report.cells import Cell
from neural_branching.report.collect import cell
from neural_branching.report.figures.confusion import confusion
from neural_branching.report.figures.heat_maps import HeatMap, heat_maps
from neural_branching.report.figures.histograms import BINS, histograms
from neural_branching.report.figures.pareto import pareto
from neural_branching.report.figures.reliability_diagram import reliability
from neural_branching.report.figures.risk_coverage_curves import Line, risk_coverage, risk_coverages
from neural_branching.report.figures.router_comparison import routers
from neural_branching.report.figures.style import (
    FOREIGN,
    MARKERS,
    PALETTE,
    REST,
    RIGHT,
    STYLES,
    WRONG,
    Group,
    blank,
    save,
)
from neural_branching.report.figures.thresholds import HEADER, threshold_lines, thresholds
from neural_branching.report.figures.trends import Panel, trends

pytestmark = pytest.mark.usefixtures("rendered")

NOTHING = np.empty(0)


def draws_without_a_warning(figure: Figure) -> bool:
    """Whether the figure can be laid out and rendered; warnings are errors here."""
    stream = io.BytesIO()
    figure.savefig(stream, dpi=30)
    return stream.tell() > 0


def data(axes: Axes) -> list[tuple[tuple[float, ...], tuple[float, ...]]]:
    return [tuple(map(tuple, line.get_data())) for line in axes.lines]


def texts(labels: Sequence) -> list[str]:
    return [label.get_text() for label in labels]


# Risk–coverage.


def test_the_risk_coverage_figure_draws_its_lines_and_points() -> None:
    lines = {"a": Line([1.0, 0.5], [0.7, 0.9], {"": (0.5, 0.9)}), "b": Line([1.0, 0.2], [0.6, 1.0])}
    [axes] = risk_coverage(lines, "title").axes
    assert data(axes) == [((1.0, 0.5), (0.7, 0.9)), ((0.5,), (0.9,)), ((1.0, 0.2), (0.6, 1.0))]
    assert axes.lines[0].get_color() == axes.lines[1].get_color() != axes.lines[2].get_color()
    assert texts(axes.get_legend().get_texts()) == ["a", "b"]
    assert axes.get_title() == "title"
    assert axes.get_xlabel() == "coverage: share of test examples answered (mark: at the threshold)"
    assert axes.get_ylim()[0] == pytest.approx(0.55)
    assert not axes.collections


def test_marks_of_the_risk_coverage_figure_differ_by_their_rule() -> None:
    lines = {
        "a": Line([1.0, 0.5], [0.7, 0.9], {"sgr": (0.5, 0.9), "risk": (0.6, 0.8)}),
        "b": Line([1.0, 0.2], [0.6, 1.0], {"risk": (0.2, 1.0), "bayes": (1.0, 0.6)}),
    }
    figure = risk_coverage(lines, "title")
    [axes] = figure.axes
    marks = [line for line in axes.lines if len(line.get_xdata()) == 1]
    places = [(line.get_xdata()[0], line.get_ydata()[0]) for line in marks]
    assert places == [(0.5, 0.9), (0.6, 0.8), (0.2, 1.0), (1.0, 0.6)]
    assert [line.get_marker() for line in marks] == [MARKERS[index] for index in (0, 1, 1, 2)]
    colours = [line.get_color() for line in marks]
    assert colours == [PALETTE[0], PALETTE[0], PALETTE[1], PALETTE[1]]
    assert texts(axes.get_legend().get_texts()) == ["a", "b", "sgr", "risk", "bayes"]
    shown = [handle.get_marker() for handle in axes.get_legend().legend_handles[2:]]
    assert shown == list(MARKERS[:3])
    assert draws_without_a_warning(figure)


def test_more_rules_than_markers_are_not_told_apart(tmp_path: Path) -> None:
    points = {f"fixed {value / 100:g}": (1 - value / 200, 0.9) for value in range(100)}
    figure = risk_coverage({"digits": Line([1, 0.5], [0.8, 0.9], points)}, "title")
    [axes] = figure.axes
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["digits"]
    assert {line.get_marker() for line in axes.lines[1:]} == {"."}
    assert {line.get_markeredgecolor() for line in axes.lines[1:]} == {
        PALETTE[0]
    }  # white would hide the curve
    figure.savefig(tmp_path / "figure.png")  # a layout that collapses would warn


@pytest.mark.parametrize("setting", ["figure.autolayout", "figure.constrained_layout.use"])
def test_a_layout_stays_in_every_file_whatever_the_users_settings(setting: str, rendered: None) -> None:
    with rc_context({setting: True}):
        figure = blank(4, 3)
        axes = figure.subplots()
        figure.colorbar(axes.imshow(np.eye(3)), ax=axes)
        places = []
        for ending in ("png", "svg"):
            figure.savefig(io.BytesIO(), format=ending)
            places.append([one.get_position().bounds for one in figure.axes])
    assert places[0] == places[1]


def test_every_line_has_its_place_in_the_legend(tmp_path: Path) -> None:
    figure = risk_coverage({f"line {place}": Line([1, 0.5], [0.8, 0.9]) for place in range(60)}, "title")
    figure.savefig(tmp_path / "figure.png")
    [axes] = figure.axes
    legend = axes.get_legend().get_window_extent()
    assert legend.height <= figure.bbox.height


def test_a_single_rule_needs_no_entry_in_the_legend() -> None:
    lines = {name: Line([1.0, 0.5], [0.7, 0.9], {"sgr": (0.5, 0.9)}) for name in ("a", "b")}
    [axes] = risk_coverage(lines, "title").axes
    assert texts(axes.get_legend().get_texts()) == ["a", "b"]
    assert [line.get_marker() for line in axes.lines[1::2]] == [MARKERS[0]] * 2


def test_the_risk_coverage_figure_says_whose_share_coverage_is() -> None:
    [axes] = risk_coverage({"a": Line([1.0], [0.7])}, "title", examples="all examples").axes
    assert axes.get_xlabel() == "coverage: share of all examples answered"  # and no mark to explain


def test_the_risk_coverage_figure_fills_its_bands() -> None:
    line = Line([1.0, 0.5], [0.7, 0.9], {}, ([0.4, 0.8], [0.75, 0.95]))
    [axes] = risk_coverage({"a": line}, "title", "bands: made up").axes
    [band] = axes.collections
    corners = {tuple(corner) for corner in band.get_paths()[0].vertices}
    assert corners == {(1.0, 0.4), (0.5, 0.8), (0.5, 0.95), (1.0, 0.75)}
    assert to_hex(band.get_facecolor()[0]) == to_hex(axes.lines[0].get_color())
    assert axes.get_legend().get_title().get_text() == "bands: made up"
    assert axes.get_ylim()[0] == pytest.approx(0.35)


def test_accuracies_at_very_small_coverages_do_not_stretch_the_risk_coverage_figure() -> None:
    [axes] = risk_coverage({"a": Line([1.0, 0.5, 0.05], [0.7, 0.9, 0.0])}, "title").axes
    assert axes.get_ylim()[0] == pytest.approx(0.65)


def test_undefined_parts_of_a_curve_are_left_out() -> None:
    nan = math.nan
    line = Line([1.0, 0.5, 0.2], [0.7, nan, nan], {}, ([0.6, nan, nan], [0.8, nan, nan]))
    figure = risk_coverage({"a": line}, "title")
    assert figure.axes[0].get_ylim()[0] == pytest.approx(0.55)
    assert draws_without_a_warning(figure)
    assert draws_without_a_warning(risk_coverage({"a": Line([1.0], [nan])}, "title"))


def test_more_lines_than_colours_differ_by_their_style() -> None:
    lines = {str(index): Line([1.0, 0.5], [0.7, 0.9]) for index in range(len(PALETTE) + 1)}
    [axes] = risk_coverage(lines, "title").axes
    assert len({(line.get_color(), line.get_linestyle()) for line in axes.lines}) == len(lines)
    assert axes.lines[-1].get_linestyle() == STYLES[1]


# Confusion.


def test_the_confusion_figure_shows_every_count() -> None:
    table = {"rows": ["x", "y"], "columns": ["x", "y", "abstain"], "counts": [[5, 1, 0], [2, 3, 4]]}
    figure = confusion(table, "title")
    [axes] = figure.axes
    shown = {
        (round(text.get_position()[1]), round(text.get_position()[0])): text.get_text() for text in axes.texts
    }
    assert shown == {(0, 0): "5", (0, 1): "1", (0, 2): "0", (1, 0): "2", (1, 1): "3", (1, 2): "4"}
    assert texts(axes.get_xticklabels()) == table["columns"]
    assert texts(axes.get_yticklabels()) == table["rows"]
    [example] = axes.images
    assert example.get_array().ravel().tolist() == pytest.approx([5 / 6, 1 / 6, 0, 2 / 9, 3 / 9, 4 / 9])
    assert [text.get_color() for text in axes.texts] == ["white", *["black"] * 5]
    assert draws_without_a_warning(figure)


def test_a_class_without_images_has_an_empty_row() -> None:
    table = {"rows": ["x", "y"], "columns": ["x", "y", "abstain"], "counts": [[0, 0, 0], [2, 3, 4]]}
    [axes] = confusion(table, "title").axes
    assert axes.images[0].get_array()[0].tolist() == [0, 0, 0]


# Trends.


def cells(**points: Sequence[float]) -> dict[str, Cell]:
    return {point: cell(seeds) for point, seeds in points.items()}


def drawn_means(axes: Axes) -> list[list[float]]:
    return [container[0].get_ydata().tolist() for container in axes.containers]


def test_trends_show_mean_and_standard_deviation() -> None:
    values = {
        ("", "fish"): cells(hidden1=[0.5, 0.7], hidden2=[0.8]),
        ("", "flowers"): cells(hidden2=[0.4]),
    }
    beside = {("", "fish"): 0.3, ("", "flowers"): 0.2}
    panel = Panel("accuracy", "branch point", values, beside)
    figure = trends([panel], dict.fromkeys(values, 0.0), ["hidden1", "hidden2"], "the parent")
    [axes] = figure.axes
    assert drawn_means(axes) == [[pytest.approx(0.6), 0.8], [0.4]]
    [bars] = axes.containers[0][2]
    low, high = bars.get_segments()[0][:, 1]
    assert (high - low) / 2 == pytest.approx(np.std([0.5, 0.7], ddof=1))
    assert not axes.containers[1][2]  # nothing varies, no error bars
    assert texts(axes.get_xticklabels()) == ["hidden1", "hidden2"]
    assert axes.get_xlabel() == "branch point"
    assert figure.get_supxlabel() == "bars: standard deviation over seeds; dashed: the parent"
    assert axes.get_ylabel() == "accuracy"
    assert texts(axes.get_legend().get_texts()) == ["fish", "flowers"]
    dashed = [line for line in axes.lines if line.get_linestyle() == "--"]
    assert [line.get_ydata()[0] for line in dashed] == [0.3, 0.2]
    assert [line.get_color() for line in dashed] == list(PALETTE[:2])
    assert draws_without_a_warning(figure)


def test_a_single_seed_shows_the_interval_over_examples() -> None:
    line = {0.5: Cell(0.8, None, (0.7, 0.85)), 0.9: Cell(0.6, None, (0.5, 0.7))}
    figure = trends([Panel("coverage", "threshold", {("", "fish"): line})], {("", "fish"): 0.0})
    [axes] = figure.axes
    [bars] = axes.containers[0][2]
    assert np.array(bars.get_segments())[:, :, 1].tolist() == [
        pytest.approx([0.7, 0.85]),
        pytest.approx([0.5, 0.7]),
    ]
    assert axes.containers[0][0].get_xdata().tolist() == [0.5, 0.9]
    assert figure.get_supxlabel() == "bars: 95 % interval over test examples"
    assert draws_without_a_warning(figure)


def test_groups_stand_side_by_side_at_their_branch_point() -> None:
    values = {("", "a"): cells(x=[0.1], z=[0.1]), ("", "b"): cells(y=[0.2])}
    figure = trends([Panel("accuracy", "", values)], dict.fromkeys(values, 0.0), ["x", "y", "z"])
    places = [container[0].get_xdata().tolist() for container in figure.axes[0].containers]
    assert places == [pytest.approx([-0.04, 1.96]), pytest.approx([1.04])]
    assert figure.get_supxlabel() == ""  # neither bars nor dashed lines


def many(subsets: int, settings: int) -> dict[Group, float]:
    return {
        (f"subset {row}", f"{'a rather long name ' * 3}{place}"): float(-place)
        for row in range(subsets)
        for place in range(settings)
    }


def test_of_more_settings_than_colours_the_best_have_one() -> None:
    loss = many(2, 20)
    values = {group: cells(x=[0.1], y=[0.2 + area / 100]) for group, area in loss.items()}
    panels = [Panel(name, "branch point", values) for name in ("accuracy", "AURC")]
    figure = trends(panels, loss, ["x", "y"])
    assert len(figure.axes) == 4
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["subset 0", "", "subset 1", ""]
    for axes in figure.axes[1::2]:
        looks = [(one[0].get_color(), one[0].get_marker()) for one in axes.containers]
        assert looks[:7] == list(zip(PALETTE[:7], MARKERS[:7], strict=True))
        assert {colour for colour, _ in looks[7:]} == {REST}
        *best, others = texts(axes.get_legend().get_texts())
        assert [name.split()[-1] for name in best] == [str(place) for place in range(13, 20)]
        assert others == "13 others (larger AURC)"
    assert draws_without_a_warning(figure)


@pytest.mark.parametrize("subsets", [1, 20])
def test_many_panels_have_room(subsets: int) -> None:
    loss = many(subsets, 3)
    values = {group: cells(x=[0.1], y=[0.2]) for group in loss}
    assert draws_without_a_warning(trends([Panel(str(n), "", values) for n in range(3)], loss, ["x", "y"]))
    lines = {name: Line([1, 0.5], [0.8, 0.9]) for _, name in loss}
    assert draws_without_a_warning(risk_coverages({f"subset {row}": lines for row in range(subsets)}))


def test_curves_that_are_not_told_apart_are_grey_and_counted() -> None:
    line = Line([1.0, 0.5], [0.7, 0.9], {"fixed": (0.5, 0.9)}, ([0.6, 0.8], [0.8, 0.95]))
    lines = {"a": replace(line, told=False), "b": line, "c": replace(line, told=False)}
    figure = risk_coverages({"fish": lines, "flowers": {"d": line}}, "bands")
    fish, flowers = figure.axes[:2]
    assert [axes.get_title() for axes in (fish, flowers)] == ["fish", "flowers"]
    assert texts(fish.get_legend().get_texts()) == ["b", "2 others (larger AURC)"]
    curves = [one for one in fish.lines if len(one.get_xdata()) == 2]
    assert [one.get_color() for one in curves] == [PALETTE[0], REST, REST]
    assert len(fish.collections) == 1  # the others have neither band
    assert len(fish.lines) == 4  # nor mark


# Heat maps.


def test_heat_maps_say_every_number_and_leave_out_what_was_not_run() -> None:
    values = np.array([[0.1, 0.2, 0.3], [0.4, math.nan, 0.5]])
    maps = [
        HeatMap(subset, ("lr", ["0.1", "0.2", "0.3"]), ("branch point", ["stem", "pool"]), values + place)
        for place, subset in enumerate(("fish", "flowers"))
    ]
    figure = heat_maps(maps, "AURC")
    fish, flowers = figure.axes
    shown = {tuple(map(round, text.get_position())): text.get_text() for text in fish.texts}
    assert shown == {(0, 0): "0.100", (1, 0): "0.200", (2, 0): "0.300", (0, 1): "0.400", (2, 1): "0.500"}
    assert [text.get_color() for text in fish.texts] == ["white", "white", "white", "black", "black"]
    assert texts(fish.get_xticklabels()) == ["0.1", "0.2", "0.3"]
    assert (fish.get_xlabel(), fish.get_ylabel()) == ("lr", "branch point")
    assert [axes.get_title(loc="left") for axes in (fish, flowers)] == ["fish", "flowers"]
    assert draws_without_a_warning(figure)


def test_a_heat_map_of_one_number_is_drawn() -> None:
    one = HeatMap("fish", ("lr", ["1", "2"]), ("a", ["1", "2"]), np.full((2, 2), math.nan))
    one.values[0, 0] = 0.5
    assert draws_without_a_warning(heat_maps([one], "AURC"))


# Routers and searches.


def test_routers_of_more_settings_than_colours_are_told_apart_by_the_best() -> None:
    values = {
        f"lr {place}": {"soft": Cell(place / 100, 0.01), "oracle*": Cell(place / 50, 0.01)}
        for place in range(12)
    }
    figure = routers(values, "glyphs")
    [axes] = figure.axes
    assert axes.get_title() == "glyphs"
    [legend] = figure.legends
    assert texts(legend.get_texts()) == [*(f"lr {place}" for place in range(5, 12)), "5 others"]
    assert axes.get_xlabel() == "test accuracy (bars: standard deviation over seeds)"
    assert draws_without_a_warning(figure)


def test_a_search_over_more_branch_points_than_colours_names_those_of_the_front() -> None:
    points = {f"block{place}": [(float(place), place / 20)] for place in range(12)}
    figure = pareto(points, [(10.0, 0.5), (11.0, 0.55)], ("MACs", "accuracy"), cheap=True)
    [axes] = figure.axes
    names = texts(axes.get_legend().get_texts())
    assert {"Pareto front", "block10", "block11", "5 others"} <= set(names)
    assert len(names) == 1 + 7 + 1
    assert draws_without_a_warning(figure)


# Reliability.


def test_the_reliability_figure_draws_bars_means_and_counts() -> None:
    nan = math.nan
    edges = np.array([0, 0.25, 0.5, 1.0])
    before = Bins(
        edges, np.array([0, 3, 5]), np.array([nan, 0.4, 0.9]), np.array([nan, 1 / 3, 0.6]),
        np.array([nan, 0.1, 0.5]), np.array([nan, 0.8, 1.0]),
    )  # fmt: skip
    after = Bins(
        edges, np.array([2, 0, 6]), np.array([0.2, nan, 0.7]), np.array([0.5, nan, 1.0]),
        np.array([0.0, nan, 0.4]), np.array([0.6, nan, 0.9]),
    )  # fmt: skip
    errors = {"one": (0.1234, 0.05), "two": (0.01, 0.0456)}
    figure = reliability({"one": before, "two": after}, errors, "8 examples")
    tops, bottoms = figure.axes[:2], figure.axes[2:]
    assert [axes.get_title() for axes in tops] == [
        "one: ECE 0.123\n(0.050 if calibrated)",
        "two: ECE 0.010\n(0.046 if calibrated)",
    ]
    assert figure.get_suptitle() == "8 examples"
    for axes, bins in zip(tops, (before, after), strict=True):
        there = bins.count > 0
        bars = axes.containers[0]
        assert [bar.get_height() for bar in bars] == bins.accuracy[there].tolist()
        assert [bar.get_x() for bar in bars] == edges[:-1][there].tolist()
        assert [bar.get_width() for bar in bars] == np.diff(edges)[there].tolist()
        bands = axes.containers[1]
        assert [(bar.get_y(), bar.get_height()) for bar in bands] == [
            (low, pytest.approx(high - low))
            for low, high in zip(bins.low[there], bins.high[there], strict=True)
        ]
        dots, diagonal = axes.lines
        assert dots.get_xdata().tolist() == dots.get_ydata().tolist() == bins.confidence[there].tolist()
        assert tuple(map(tuple, diagonal.get_data())) == ((0, 1), (0, 1))
    for axes, bins in zip(bottoms, (before, after), strict=True):
        assert [bar.get_height() for bar in axes.containers[0]] == bins.count.tolist()
        assert [bar.get_x() for bar in axes.containers[0]] == edges[:-1].tolist()
    assert draws_without_a_warning(figure)


def test_a_reliability_diagram_of_one_image_has_one_bar() -> None:
    bins = bins_of(np.array([[0.3, 0.7]]), np.array([1]))
    figure = reliability({"only": bins}, {"only": (0.3, 0.42)}, "one example")
    above, below = figure.axes
    [bar] = above.containers[0]
    assert bar.get_height() == 1
    assert bar.get_x() < 0.7 <= bar.get_x() + bar.get_width()
    assert sum(bar.get_height() for bar in below.containers[0]) == 1
    assert draws_without_a_warning(figure)


# Scores.


def heights(axes: Axes) -> list[float]:
    return [patch.get_height() for patch in axes.patches]


def test_the_histograms_show_the_share_of_each_group() -> None:
    rng = np.random.default_rng(0)
    groups = {"right": rng.normal(3, 1, 400), "wrong": rng.normal(1, 1, 50), "foreign": rng.normal(0, 1, 90)}
    figure = histograms(*groups.values(), 1.5, "energy", "title")
    assert figure.get_suptitle() == "title"
    for axes, (name, scores), color in zip(figure.axes, groups.items(), (RIGHT, WRONG, FOREIGN), strict=True):
        assert len(axes.patches) == BINS
        assert sum(heights(axes)) == pytest.approx(1)
        [note] = axes.texts
        accepted = sum(score >= 1.5 for score in scores)
        assert 0 < accepted < len(scores)
        label = "foreign classes" if name == "foreign" else name
        assert note.get_text() == f"{label}: {accepted} of {len(scores)} examples accepted"
        assert {to_hex(patch.get_facecolor()) for patch in axes.patches} == {to_hex(color)}
        assert [line.get_xdata()[0] for line in axes.lines] == [1.5]
    everything = np.concatenate(list(groups.values()))
    left = figure.axes[0].patches[0].get_x()
    right = figure.axes[0].patches[-1].get_x() + figure.axes[0].patches[-1].get_width()
    assert (left, right) == pytest.approx(tuple(np.quantile(everything, [0.005, 0.995])))
    assert figure.axes[-1].get_xlabel() == "score: energy (dashed: threshold)"
    assert draws_without_a_warning(figure)


def test_a_single_bin_of_the_histograms_counts_its_images() -> None:
    right = np.concatenate([np.zeros(300), np.ones(100)])
    figure = histograms(right, np.array([0.0, 1.0]), NOTHING, 0.5, "score", "title")
    first, second = (heights(axes) for axes in figure.axes)
    assert (first[0], first[-1]) == pytest.approx((0.75, 0.25))
    assert (second[0], second[-1]) == pytest.approx((0.5, 0.5))
    assert sum(first[1:-1]) == sum(second[1:-1]) == 0


def test_far_off_scores_are_gathered_at_the_ends_of_the_histograms() -> None:
    right = np.concatenate([np.linspace(0, 1, 999), [1e9]])
    [axes] = histograms(right, NOTHING, NOTHING, 0.5, "score", "title").axes
    assert axes.patches[-1].get_x() + axes.patches[-1].get_width() < 2
    assert sum(heights(axes)) == pytest.approx(1)


def test_groups_without_images_have_no_panel() -> None:
    scores = np.array([0.2, 0.8])
    for groups, names in (
        ((scores, NOTHING, scores), ["right", "foreign classes"]),
        ((scores, scores, NOTHING), ["right", "wrong"]),
        ((NOTHING, scores, NOTHING), ["wrong"]),
    ):
        figure = histograms(*groups, 0.5, "score", "title")
        assert [axes.texts[0].get_text().split(":")[0] for axes in figure.axes] == names
    assert draws_without_a_warning(figure)


def test_a_threshold_that_accepts_nothing_has_no_line_in_the_histograms() -> None:
    scores = np.array([0.2, 0.8, 0.9])
    figure = histograms(scores, scores, scores, math.inf, "score", "title")
    for axes in figure.axes:
        assert not axes.lines
        assert axes.texts[0].get_text().endswith(": 0 of 3 examples accepted")
    assert figure.axes[-1].get_xlabel() == "score: score (everything is refused)"
    assert draws_without_a_warning(figure)


@pytest.mark.parametrize("value", [0.0, 1.0, -1e12, 1e17])
def test_constant_scores_fill_one_bin(value: float) -> None:
    figure = histograms(np.full(5, value), np.full(2, value), NOTHING, value, "score", "title")
    for axes, note in zip(figure.axes, ("right: 5 of 5", "wrong: 2 of 2"), strict=True):
        assert sorted(heights(axes))[-1] == pytest.approx(1)
        assert sum(heights(axes)) == pytest.approx(1)
        assert axes.texts[0].get_text() == f"{note} examples accepted"
    assert draws_without_a_warning(figure)


def test_scores_that_differ_by_a_rounding_error_are_drawn() -> None:
    scores = np.array([1.0, np.nextafter(1.0, 2.0)])
    figure = histograms(scores, NOTHING, NOTHING, scores[1], "score", "title")
    assert sum(heights(figure.axes[0])) == pytest.approx(1)
    assert draws_without_a_warning(figure)


# Thresholds.

POINTS = [
    OperatingPoint(0.25, False, 9, 0.9, 0.8, 1.0, 2 / 3, 0.5, 0.75, 0.5, 0.4, 0.6),
    OperatingPoint(0.123456, True, 5, 0.5, 0.4, 0.6, 0.8, 0.7, 0.9, 0.125, 0.1, 0.2),
    OperatingPoint(math.inf, False, 0, 0.0, 0.0, 0.0, math.nan, math.nan, math.nan, 0.0, 0.0, 0.1),
]
FOREIGN_RATE = ("false_accept_rate", "false_accept_rate_low", "false_accept_rate_high")
CELLS = [
    ["0.25", "9", "0.900  [0.800, 1.000]", "0.667  [0.500, 0.750]", "0.500  [0.400, 0.600]"],
    ["0.1235 (this run)", "5", "0.500  [0.400, 0.600]", "0.800  [0.700, 0.900]", "0.125  [0.100, 0.200]"],
    ["inf", "0", "0.000  [0.000, 0.000]", "–", "0.000  [0.000, 0.100]"],
]


def table_of(figure: Figure) -> Table:
    [axes] = figure.axes
    [table] = axes.tables
    return table


def test_the_thresholds_figure_is_a_table_with_the_runs_own_row_marked() -> None:
    figure = thresholds(POINTS, "title")
    cells = table_of(figure).get_celld()
    shown = [[cells[row, column].get_text().get_text() for column in range(5)] for row in range(4)]
    assert shown == [list(HEADER), *CELLS]
    weights = [cells[row, 0].get_text().get_weight() for row in range(1, 4)]
    assert weights == ["normal", "bold", "normal"]
    colours = {row: {cells[row, column].get_facecolor() for column in range(5)} for row in range(1, 4)}
    assert colours[1] == colours[3] != colours[2]
    assert len(colours[2]) == 1
    assert figure.axes[0].get_title() == "title"
    assert draws_without_a_warning(figure)


def test_a_refusing_threshold_can_be_the_runs_own() -> None:
    own = [replace(POINTS[0]), replace(POINTS[2], chosen=True)]
    assert [line[0] for line in threshold_lines(own)] == ["0.25", "inf (this run)"]
    assert draws_without_a_warning(thresholds(own, "title"))


def test_without_foreign_classes_the_table_has_no_number_for_them() -> None:
    lines = threshold_lines([replace(point, **dict.fromkeys(FOREIGN_RATE)) for point in POINTS])
    assert [line[-1] for line in lines] == ["–"] * 3
    assert [line[:-1] for line in lines] == [line[:-1] for line in CELLS]


NAMES = ("$\\foo$", "$a", "$x_1$ and $y$", "a\\b", "{x}", "caf\udce9", "two\nlines")


@pytest.mark.parametrize("name", NAMES)
def test_names_of_users_are_drawn_as_they_are(name: str, tmp_path: Path) -> None:
    counts = {"counts": [[1, 2], [3, 4]], "rows": [name, "b"], "columns": [name, "uncertain"]}
    line = Line([1.0, 0.5], [0.5, 0.75])
    drawn = {
        "confusion": confusion(counts, f"{name} at hidden1"),
        "curve": risk_coverage({name: line, "other": line}, name, name),
        "trends": trends([Panel(name, name, {(name, name): {name: Cell(0.5)}})], {(name, name): 0.0}, [name]),
    }
    files = save(drawn, tmp_path, ("png", "svg"))
    assert {file.name for file in tmp_path.iterdir()} == set(files)
    shown = {text.get_text() for text in drawn["confusion"].axes[0].get_xticklabels()}
    assert name.replace("\udce9", "\\udce9") in shown
