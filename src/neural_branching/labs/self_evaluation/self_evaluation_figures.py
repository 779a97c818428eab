"""What branches know of their parent's answers, by depth."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from neural_branching.labs.self_evaluation.confidences import (
    BOTH,
    BRANCH,
    FEATURES,
    PRIOR,
    TEMPERATURE,
    WITH_BRANCH,
)
from neural_branching.report.cells import Cell
from neural_branching.report.figures.style import PALETTE, blank, error_bars

_PANELS = {"failure_auroc": "AUROC of being right", "aurc": "AURC", "coverage": "coverage at the threshold"}
# Of every study alike; the parent's own confidence, whatever it is called, has the first.
_COLOURS = dict(zip((TEMPERATURE, FEATURES, PRIOR, BRANCH, BOTH), PALETTE[1:], strict=False))


def draw(results: Mapping[str, Any]) -> dict[str, Figure]:
    """Name → figure."""
    return {"by_stage": by_stage(results)}


def by_stage(results: Mapping[str, Any]) -> Figure:
    """Every confidence by stage, means over splits; bars: standard deviation, of one split its interval."""
    stages, seeds = results["stages"], list(results["seeds"].values())
    figure = blank(max(10.5, 0.7 * len(stages) + 8), 3.9)
    names = [*seeds[0]["without_branch"], *seeds[0]["stages"][stages[0]]["confidences"]]
    for axes, (metric, title) in zip(figure.subplots(1, len(_PANELS)), _PANELS.items(), strict=True):
        for name in names:
            cells = [_cell(seeds, stage, name, metric) for stage in stages]
            values = [float("nan") if cell.mean is None else cell.mean for cell in cells]
            branch = name in WITH_BRANCH
            axes.errorbar(
                range(len(stages)),
                values,
                error_bars(cells, of_seeds=len(seeds) > 1) if branch else None,
                linestyle="-" if branch else "--",
                marker="o" if branch else None,
                color=_COLOURS.get(name, PALETTE[0]),
                markersize=4,
                capsize=2,
                label=name,
            )
        axes.set_title(title, fontsize=9)
        axes.set_xticks(range(len(stages)), stages, rotation=60 if len(stages) > 4 else 0, fontsize=7)
        axes.set_xlabel("stage")
    bars = (
        "mean over splits; bars: standard deviation" if len(seeds) > 1 else "one split; bars: 95 % interval"
    )
    figure.suptitle(f"Is {results['parent']} right? {results['data']}, {bars}", fontsize=9)
    handles = figure.axes[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=6, fontsize=7, frameon=False)
    return figure


def _cell(seeds: Sequence[Mapping[str, Any]], stage: str, name: str, metric: str) -> Cell:
    found = [{**one["without_branch"], **one["stages"][stage]["confidences"]}[name] for one in seeds]
    values = [one[metric] for one in found if one[metric] is not None and one[metric] == one[metric]]
    cell = Cell.over(values)
    return Cell(cell.mean, cell.deviation, found[0]["intervals"][metric] if len(found) == 1 else None)
