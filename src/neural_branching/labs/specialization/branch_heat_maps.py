"""Heat maps: labels of units by branch, and what the loss of each branch costs every class."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from neural_branching.labs.consistency import match_seeds
from neural_branching.labs.permutation_tests import ALPHA, Localised
from neural_branching.labs.specialization.matched_branches import branch_features, matching_stage
from neural_branching.report.figures.style import blank

_DARK = 0.6  # share from which text is white


def labels_by_branch(places: Sequence[Localised], sizes: Mapping[str, int], title: str) -> Figure:
    """Of each label the share of its units in each branch, beside the same of all units.

    Args:
        places: every label × branch.
        sizes: branch → its units.
        title: what is shown.
    """
    found = {(one.label, one.branch): one for one in places}
    order = sorted({one.label for one in places}, key=lambda label: _sorting(found, label, [*sizes]))
    total = sum(sizes.values())
    table = [[size / total for size in sizes.values()]]
    texts = [[f"{size} of {total}" for size in sizes.values()]]
    for label in order:
        row = [found[label, branch] for branch in sizes]
        table.append([one.found / max(1, one.labelled) for one in row])
        texts.append([f"{one.found} of {one.labelled}" + " *" * (one.holm <= ALPHA) for one in row])
    longest = max(map(len, [*order, "all units"]))
    figure = blank(1.0 * len(sizes) + 0.08 * longest + 1.6, 0.26 * len(table) + 1.3)
    axes = figure.subplots()
    shown = axes.imshow(table, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for height, (values, line) in enumerate(zip(table, texts, strict=True)):
        for column, (value, text) in enumerate(zip(values, line, strict=True)):
            colour = "white" if value > _DARK else "black"
            axes.text(column, height, text, color=colour, fontsize=7, ha="center", va="center")
    axes.axhline(0.5, color="white", linewidth=3)
    axes.set_xticks(range(len(sizes)), list(sizes), fontsize=8)
    axes.set_yticks(range(len(table)), ["all units", *order], fontsize=8)
    axes.set_xlabel(f"branch (* more than chance allows, Holm ≤ {ALPHA})", fontsize=8)
    axes.set_title(title, fontsize=9)
    figure.colorbar(shown, label="share of the label's units")
    return figure


def classes(seeds: Mapping[str, Mapping[str, Any]], stage: str, names: Sequence[str]) -> Figure:
    """What losing a branch costs every class, in accuracy: a panel per seed.

    Branches have no names: those of other seeds stand in the lines of the first seed's which they resemble
    by the features of their units. Classes have the order of the first seed.

    Args:
        seeds: seed → role → numbers.
        stage: where branches were lesioned.
        names: of the classes.
    """
    found = [one["branched"] for one in seeds.values()]
    place = matching_stage(found[0], stage)
    lines = match_seeds([branch_features(one, place) for one in found])
    tables, branches = [], []
    for one, mine in zip(found, lines, strict=True):
        by_class = one["lesions"]["colour"]["by_class"]
        own = [[name for name in by_class if name][line] for line in mine]
        tables.append(np.stack([np.array(by_class[""]) - by_class[name] for name in own]))
        branches.append(own)
    order = np.argsort(tables[0][0] - tables[0][1:].mean(0))
    reach = max(np.abs(table).max() for table in tables) or 1
    height = len(found) * (0.2 * len(tables[0]) + 0.28)
    longest = max(map(len, names))
    figure = blank(max(4.0, 0.16 * len(names) + 2.2), height + 0.08 * longest + 0.6)
    panels = figure.subplots(len(found), 1, sharex=True, squeeze=False)[:, 0]
    for axes, seed, table, own in zip(panels, seeds, tables, branches, strict=True):
        shown = axes.imshow(table[:, order], cmap="RdBu_r", vmin=-reach, vmax=reach, aspect="auto")
        axes.set_yticks(range(len(table)), [f"without {name}" for name in own], fontsize=7)
        axes.set_title(f"seed {seed}", fontsize=7, loc="left", pad=2)
        axes.tick_params(bottom=axes is panels[-1])
    panels[-1].set_xticks(range(len(names)), [names[index] for index in order], rotation=90, fontsize=6)
    figure.colorbar(shown, ax=list(panels), label="accuracy lost")
    return figure


def _sorting(
    found: Mapping[tuple[str, str], Localised], label: str, branches: Sequence[str]
) -> tuple[int, float]:
    """The branch that has most of a label, and how little of it lies there."""
    shares = [found[label, branch].found for branch in branches]
    best = int(np.argmax(shares))
    return best, -shares[best] / max(1, found[label, branches[best]].labelled)
