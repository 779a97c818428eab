"""Pictures of measures over seeds: features, ablation, classes and regions, known components, training."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from neural_branching.report.figures.style import PALETTE, blank

COLOURS = {
    "branched": PALETTE[1],
    "separate": PALETTE[0],
    "untrained": "#999999",
    "split": PALETTE[2],
    "sum": "#000000",
}
Seeds = Sequence[Mapping[str, Any]]


def features(seeds: Seeds) -> Figure:
    """Chroma, frequency and share of every branch: a column per seed, a dot per branch."""
    figure = blank(8.4, 3.2)
    grid = figure.subplots(1, 3)
    roles = ("branched", "separate", "untrained")
    for axes, name in zip(grid, ("chroma", "frequency", "share"), strict=True):
        for place, role in enumerate(roles):
            for number, one in enumerate(seeds):
                values = one[role][name]
                x = place + 0.7 * ((number + 0.5) / len(seeds) - 0.5)
                axes.plot([x, x], [min(values), max(values)], color=COLOURS[role], linewidth=0.8)
                axes.plot([x] * len(values), values, "o", color=COLOURS[role], markersize=4)
        axes.set_xticks(range(len(roles)), roles, fontsize=8)
        axes.set_title(name if name != "frequency" else "frequency, cycles per pixel", fontsize=9)
    figure.supxlabel("a line per seed, a dot per branch", fontsize=8)
    return figure


def ablation(seeds: Seeds) -> Figure:
    """By what factor the error grows without each branch, branches from the least to the most needed."""
    figure = blank(5, 3.2)
    axes = figure.subplots()
    roles = ("branched", "separate")
    for place, role in enumerate(roles):
        values = np.sort([one[role]["error_without"] for one in seeds], axis=1)
        count = values.shape[1]
        for branch in range(count):
            x = place + 0.8 * ((branch + 0.5) / count - 0.5)
            axes.bar(x, values[:, branch].mean(), 0.7 / count, color=COLOURS[role])
            axes.plot(
                [x] * len(values),
                values[:, branch],
                "o",
                color="white",
                markeredgecolor="black",
                markersize=3,
            )
    axes.axhline(1, color="#999999", linewidth=0.8)
    axes.set_xticks(range(len(roles)), ["trained together", "trained alone, averaged"])
    axes.set_ylabel("error without a branch / error (dots: seeds)")
    return figure


def use(seeds: Seeds, names: Sequence[str]) -> Figure:
    """Of the first seed: by what factor each class's error grows without a branch; where each part lies."""
    first = seeds[0]["branched"]
    table, places = np.array(first["by_class"]), np.array(first["regions"])
    figure = blank(max(5.0, 0.22 * len(names) + 2), 0.35 * len(table) + 3.4)
    above, below = figure.subfigures(2, 1, height_ratios=[1.2, 1], squeeze=False)[:, 0]
    axes = above.subplots()
    shown = axes.imshow(table, cmap="viridis", aspect="auto")
    axes.set_yticks(range(len(table)), [f"branch {branch}" for branch in range(len(table))], fontsize=8)
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=7)
    above.colorbar(shown, label="error × without")
    grid = below.subplots(1, len(places), squeeze=False)[0]
    for branch, (one, cells) in enumerate(zip(grid, places, strict=True)):
        picture = one.imshow(cells, cmap="viridis", vmin=0, vmax=places.max())
        one.set_title(f"branch {branch}", fontsize=8)
        one.set_xticks([])
        one.set_yticks([])
    below.colorbar(picture, ax=grid, label="share of variance")
    return figure


def components(seeds: Seeds, names: Sequence[str]) -> Figure:
    """|r| of known components: with each branch of the first seed, with the nearest branch of every seed."""
    first = seeds[0]["branched"]
    table = np.abs([[*first["known"][name], first["known_of_sum"][name]] for name in names])
    figure = blank(8.6, 3.2)
    left, right = figure.subplots(1, 2, width_ratios=[1, 1.5])
    left.imshow(table, cmap="viridis", vmin=0, vmax=1, aspect="auto")
    for (row, column), value in np.ndenumerate(table):
        colour = "white" if value < 0.6 else "black"
        left.text(column, row, f"{value:.2f}", ha="center", va="center", color=colour, fontsize=8)
    labels = [*(f"branch {branch}" for branch in range(table.shape[1] - 1)), "sum"]
    left.set_xticks(range(len(labels)), labels, fontsize=7)
    left.set_yticks(range(len(names)), names, fontsize=8)
    left.set_title("|r|, first seed", fontsize=9)
    best = {
        role: np.array([[np.abs(one[role]["known"][name]).max() for name in names] for one in seeds])
        for role in ("branched", "separate", "untrained")
    }
    best["sum"] = np.array([[abs(one["branched"]["known_of_sum"][name]) for name in names] for one in seeds])
    width = 0.8 / len(best)
    for place, (role, values) in enumerate(best.items()):
        x = np.arange(len(names)) + (place - (len(best) - 1) / 2) * width
        right.bar(x, values.mean(0), 0.9 * width, color=COLOURS[role], label=role)
        right.plot(x, values.T, "o", color="white", markeredgecolor="black", markersize=2.5)
    right.set_xticks(range(len(names)), names, fontsize=8)
    right.set_ylabel("|r| with the nearest branch (dots: seeds)", fontsize=8)
    right.legend(fontsize=7, frameon=False)
    return figure


def over_epochs(seeds: Seeds) -> Figure:
    """Correlation between branches of outputs, and of what gradients change in them: seeds and their mean."""
    figure = blank(6.6, 3)
    titles = {"outputs": "outputs", "gradients": "what a gradient step changes in them"}
    for axes, (name, title) in zip(figure.subplots(1, 2, sharey=True), titles.items(), strict=True):
        for role in ("branched", "separate"):
            values = np.array([one[role]["over_epochs"][name] for one in seeds])
            axes.plot(values.T, color=COLOURS[role], linewidth=0.6, alpha=0.5)
            axes.plot(values.mean(0), color=COLOURS[role], linewidth=2, label=role)
        axes.set_title(title, fontsize=9)
        axes.set_xlabel("epoch")
    figure.axes[0].set_ylabel("mean r between branches")
    figure.axes[0].legend(fontsize=7, frameon=False)
    return figure
