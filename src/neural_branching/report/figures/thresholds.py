"""What several thresholds would do, as a table."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from neural_branching.report.figures.style import blank

if TYPE_CHECKING:
    from neural_branching.evaluation.operating_points import OperatingPoint

HEADER = ("threshold", "answered", "coverage", "selective accuracy", "foreign answered")


def thresholds(points: Sequence["OperatingPoint"], title: str) -> Figure:
    """One line per threshold, with 95 % intervals; the run's own is marked."""
    lines = threshold_lines(points)
    figure = blank(9.2, 1.0 + 0.3 * len(lines))
    axes = figure.add_subplot()
    axes.axis("off")
    table = axes.table(lines, colLabels=HEADER, loc="center", cellLoc="center", bbox=Bbox.unit())
    table.auto_set_font_size(False)
    table.set_fontsize(9)
    for (row, _), cell in table.get_celld().items():
        cell.set_edgecolor("#cccccc")
        if row == 0:
            cell.set_facecolor("#eeeeee")
        elif points[row - 1].chosen:
            cell.set_facecolor("#d6e8f5")
            cell.set_text_props(weight="bold")
    axes.set_title(title, fontsize=11)
    return figure


def threshold_lines(points: Sequence["OperatingPoint"]) -> list[list[str]]:
    """The cells of the table."""
    lines = []
    for point in points:
        coverage = f"{point.coverage:.3f}  [{point.coverage_low:.3f}, {point.coverage_high:.3f}]"
        low, high = point.selective_accuracy_low, point.selective_accuracy_high
        accuracy = f"{point.selective_accuracy:.3f}  [{low:.3f}, {high:.3f}]" if point.n_accepted else "–"
        rate, ends = point.false_accept_rate, (point.false_accept_rate_low, point.false_accept_rate_high)
        foreign = "–" if rate is None else f"{rate:.3f}  [{ends[0]:.3f}, {ends[1]:.3f}]"
        own = " (this run)" if point.chosen else ""
        lines.append([f"{point.threshold:.4g}{own}", str(point.n_accepted), coverage, accuracy, foreign])
    return lines
