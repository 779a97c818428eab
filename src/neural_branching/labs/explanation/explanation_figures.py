"""Pictures of explanations: maps beside images, and accuracy without them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from neural_branching.labs.decomposition.part_figures import around_grey, bright, picture_grid
from neural_branching.labs.explanation.faithfulness import JUDGES, MAPS
from neural_branching.labs.explanation.run_explanation import Explanation
from neural_branching.report.figures.style import PALETTE, blank

PLAIN = ("image", "reconstruction")  # columns that are images


def draw(done: Explanation) -> dict[str, Figure]:
    """Name → figure; pictures are those of the first seed."""
    results = done.results
    return {
        "maps": maps_figure(done),
        "faithfulness": faithfulness(list(results["seeds"].values()), results["energies"]),
    }


def maps_figure(done: Explanation) -> Figure:
    """A row per image: itself, its reconstruction, every map, grey where a map is 0."""
    columns = {}
    for name, one in done.pictures.items():
        if name in PLAIN:
            columns[name] = bright(done.module.pixels(one))
        else:
            part = one.numpy()
            reach = np.quantile(np.abs(part), 0.995, axis=(1, 2, 3), keepdims=True)
            columns[name.replace(" ", "\n", 1)] = around_grey(part / np.maximum(reach, 1e-12), 1.0)
    return picture_grid(columns, done.names)


def faithfulness(seeds: Sequence[Mapping[str, Any]], energies: Sequence[float]) -> Figure:
    """Accuracy by the energy of what is subtracted: a line per map, a band of one deviation over seeds."""
    figure = blank(8.8, 3.8)
    size = np.sqrt([0.0, *energies])
    for axes, judge in zip(figure.subplots(1, 2, sharey=True), JUDGES, strict=True):
        for place, name in enumerate(MAPS):
            curves = np.array([one["curves"][judge][name] for one in seeds])
            mean, colour = curves.mean(0), PALETTE[(place + 1) % len(PALETTE)]
            axes.plot(
                size, mean, "o-", color=colour, label=name, markersize=3, linewidth=2 if place == 0 else 1
            )
            if len(seeds) > 1:
                deviation = curves.std(0, ddof=1)
                axes.fill_between(
                    size, mean - deviation, mean + deviation, color=colour, alpha=0.15, linewidth=0
                )
        axes.set_title(f"answers of {judge}", fontsize=9)
        axes.set_xlabel("size of what is subtracted / size of the image")
    figure.axes[0].set_ylabel("accuracy")
    figure.axes[0].set_ylim(bottom=0)
    figure.legend(
        *figure.axes[0].get_legend_handles_labels(),
        loc="outside lower center",
        ncols=4,
        fontsize=7,
        frameon=False,
    )
    return figure
