"""What a branch and its baselines make of few and of many examples."""

from collections.abc import Mapping

from matplotlib.figure import Figure

from neural_branching.report.cells import Cell
from neural_branching.report.figures.style import (
    MARKERS,
    PALETTE,
    blank,
    error_bars,
    explained_bars,
    legend_beside,
)

Curve = Mapping[int, Cell]


def learning_curve(panels: Mapping[str, Mapping[str, Mapping[str, Curve]]]) -> Figure:
    """One row of panels per metric, one column per group, over the training examples of each class.

    Args:
        panels: label of a metric → group → model → examples per class → the metric, over its seeds.
    """
    groups = list(dict.fromkeys(group for curves in panels.values() for group in curves))
    models = list(
        dict.fromkeys(model for curves in panels.values() for of in curves.values() for model in of)
    )
    examples = sorted(
        {n for curves in panels.values() for of in curves.values() for one in of.values() for n in one}
    )
    figure = blank(3.6 * len(groups) + 1.8, 2.6 * len(panels) + 0.6)
    axes = figure.subplots(len(panels), len(groups), sharex=True, sharey="row", squeeze=False)
    for row, (label, curves) in zip(axes, panels.items(), strict=True):
        row[0].set_ylabel(label)
        for panel, group in zip(row, groups, strict=True):
            for model, curve in curves.get(group, {}).items():
                index, there = models.index(model), sorted(curve)
                panel.errorbar(
                    there,
                    [curve[n].mean for n in there],
                    error_bars([curve[n] for n in there], of_seeds=True),
                    color=PALETTE[index % len(PALETTE)],
                    marker=MARKERS[index % len(MARKERS)],
                    markersize=5,
                    capsize=3,
                    label=model,
                )
            panel.set_xscale("log")
            panel.set_xticks(examples, [str(n) for n in examples])
            panel.minorticks_off()
            panel.grid(alpha=0.3)
    for panel, group in zip(axes[0], groups, strict=True):
        panel.set_title(group, fontsize=10)
    everything = (curve for curves in panels.values() for of in curves.values() for curve in of.values())
    bars = explained_bars(cell for curve in everything for cell in curve.values())
    figure.supxlabel("training examples per class" + (f" ({bars})" if bars else ""), fontsize=10)
    legend_beside([*axes.ravel(), axes[0][-1]])
    return figure
