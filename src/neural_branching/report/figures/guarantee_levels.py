"""Coverage that each guaranteed rule keeps, against the number of calibration examples."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from neural_branching.report.figures.style import MARKERS, PALETTE, blank

if TYPE_CHECKING:
    from neural_branching.report.guarantee_simulation import Kept

COLUMNS = 4


def simulation(records: Sequence["Kept"], title: str) -> Figure:
    """One panel per setting, one line per rule, the oracle dashed."""
    settings = list(dict.fromkeys(record.setting for record in records))
    columns = min(COLUMNS, len(settings))
    rows = -(-len(settings) // columns)
    figure = blank(max(4.6, 2.9 * columns), 0.9 + 2.6 * rows)
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for axes, setting in zip(panels, settings, strict=False):
        mine = [record for record in records if record.setting == setting]
        for index, rule in enumerate(dict.fromkeys(record.rule for record in mine)):
            points = sorted((record.n, record.coverage) for record in mine if record.rule == rule)
            axes.plot(*zip(*points, strict=True), color=PALETTE[index], marker=MARKERS[index], label=rule)
        axes.axhline(mine[0].oracle, color="black", linestyle="--", linewidth=1, label="oracle")
        axes.set_title(setting, fontsize=10)
        axes.set_xscale("log")
        sizes = sorted({record.n for record in mine})
        axes.set_xticks(sizes, [str(size) for size in sizes])
        axes.minorticks_off()
        axes.set_ylim(-0.02, 1.04)
        axes.grid(alpha=0.3)
    for axes in panels[max(0, len(settings) - columns) : len(settings)]:
        axes.set_xlabel("calibration examples", fontsize=9)
    for axes in panels[len(settings) :]:
        axes.axis("off")
    figure.supylabel("coverage kept", fontsize=10)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, fontsize=9)
    figure.suptitle(title, fontsize=11)
    return figure
