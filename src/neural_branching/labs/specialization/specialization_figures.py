"""The pictures of a study: filters, features, lesions, classes, singular vectors."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnnotationBbox, OffsetImage

from neural_branching.labs.specialization.branch_heat_maps import classes
from neural_branching.labs.specialization.claims import dull_costs
from neural_branching.labs.specialization.epoch_figure import over_epochs
from neural_branching.labs.specialization.filter_features import chroma, dead_filters
from neural_branching.labs.specialization.unit_figures import cards, unit_map
from neural_branching.networks.branched import LAYERS
from neural_branching.report.figures.style import PALETTE, blank
from neural_branching.selection.array_types import Float64

if TYPE_CHECKING:
    from neural_branching.labs.specialization.run_study import Measured, Study

_COLUMNS = 16  # filters in a row


def draw(done: "Study") -> dict[str, Figure]:
    """Name → figure; filters and singular vectors are those of the first seed."""
    results = done.results
    seeds = list(results["seeds"].values())
    drawn = {
        "features": features(seeds),
        "lesions": lesions(seeds),
        "classes": classes(results["seeds"], results["stage"], results["labels"]),
    }
    stages = seeds[0]["branched"]["stages"]
    if "chroma" in next(iter(stages.values()))["features"]:
        drawn["grey"] = grey_interaction(seeds)
    if "over_epochs" in seeds[0]["branched"]:
        drawn["over_epochs"] = over_epochs(seeds)
    networks: dict[str, Measured] = {role: one for (_, role), one in reversed([*done.networks.items()])}
    branched, plain = networks["branched"], networks.get("plain")
    if branched.kernels is not None:
        drawn["filters"] = filters_by_branch(branched.kernels, next(iter(branched.owners.values())))
    if plain and plain.kernels is not None:
        alive = ~dead_filters(plain.kernels)
        drawn["singular_vectors"] = singular_vector(plain.singular["centred"], plain.kernels[alive])
    for stage, portraits in branched.portraits.items():
        pictures = None
        if branched.kernels is not None and stage == LAYERS[0]:
            pictures = np.stack([*map(_picture, branched.kernels)])
        drawn[f"cards_{stage}"] = cards(stage, portraits, pictures)
        silhouette = branched.numbers["stages"][stage]["silhouette"]
        drawn[f"map_{stage}"] = unit_map(stage, portraits, silhouette)
    return drawn


def filters_by_branch(weights: Float64[np.ndarray, "n c k k"], owners: Mapping[int, str]) -> Figure:
    """Every filter, a block of rows per branch, from the greyest to the most coloured."""
    branches = list(dict.fromkeys(owners.values()))
    order = chroma(weights)
    blocks = []
    for branch in branches:
        units = sorted((unit for unit, owner in owners.items() if owner == branch), key=lambda u: order[u])
        blocks += [(branch, units[start : start + _COLUMNS]) for start in range(0, len(units), _COLUMNS)]
    figure = blank(0.45 * _COLUMNS + 1, 0.5 * len(blocks) + 0.5)
    grid = figure.subplots(len(blocks), _COLUMNS, squeeze=False)
    for row, (branch, units) in zip(grid, blocks, strict=True):
        row[0].set_ylabel(branch, rotation=0, labelpad=12)
        for column, axes in enumerate(row):
            axes.set_xticks([])
            axes.set_yticks([])
            if column < len(units):
                axes.imshow(_picture(weights[units[column]]))
            for spine in axes.spines.values():
                spine.set_visible(False)
    figure.supxlabel(
        "filters of the first layer by branch, from the greyest to the most coloured", fontsize=9
    )
    return figure


def features(seeds: Sequence[Mapping[str, Any]]) -> Figure:
    """η² of every feature at every divided stage: a dot per seed, 95 % of permutations, before training."""
    stages = list(seeds[0]["branched"]["stages"])
    figure = blank(6.5, 0.32 * sum(len(_of(seeds[0], "branched", s)) for s in stages) + 1.2)
    sizes = [len(_of(seeds[0], "branched", stage)) for stage in stages]
    grid = figure.subplots(len(stages), 1, sharex=True, squeeze=False, height_ratios=sizes)[:, 0]
    for axes, stage in zip(grid, stages, strict=True):
        names = list(_of(seeds[0], "branched", stage))
        for place, name in enumerate(names):
            trained = [_of(one, "branched", stage)[name] for one in seeds]
            high = np.mean([one["null_edge"] for one in trained])
            axes.barh(place, high, 0.7, color="#dddddd", label="95 % of permutations" if not place else None)
            for role, colour, label in (
                ("untrained", "#999999", "untrained"),
                ("branched", PALETTE[1], "trained"),
            ):
                values = [_of(one, role, stage)[name]["value"] for one in seeds]
                axes.plot(
                    *(values, [place] * len(values)),
                    "o",
                    color=colour,
                    markersize=4,
                    label=label if not place else None,
                )
        axes.set_yticks(range(len(names)), [name.replace("_", " ") for name in names], fontsize=8)
        axes.set_title(stage, fontsize=9, loc="left")
        axes.invert_yaxis()
    grid[-1].set_xlabel("η²: share of the variance between units that branches explain")
    figure.legend(
        *grid[0].get_legend_handles_labels(), fontsize=7, frameon=False, loc="outside upper right", ncols=3
    )
    return figure


def lesions(seeds: Sequence[Mapping[str, Any]]) -> Figure:
    """Accuracy without each branch beside that without random units, on coloured, grey and blurred images."""
    variants = list(seeds[0]["branched"]["lesions"])
    roles = [role for role, numbers in seeds[0].items() if "lesions" in numbers]
    figure = blank(3.2 * len(variants) + 0.5, 3.4)
    for axes, variant in zip(
        figure.subplots(1, len(variants), sharey=True, squeeze=False)[0], variants, strict=True
    ):
        for place, role in enumerate(roles):
            found = [one[role]["lesions"][variant] for one in seeds]
            branches = list(found[0]["without"])
            bars = {
                "whole": [one[role]["accuracy"][variant] for one in seeds],
                "random": [one["random"] for one in found],
                **{f"without {name}": [one["without"][name] for one in found] for name in branches},
            }
            width = 0.8 / len(bars)
            for index, (label, values) in enumerate(bars.items()):
                x = place + (index - (len(bars) - 1) / 2) * width
                colour = ("#000000", "#999999", *PALETTE)[index % (len(PALETTE) + 2)]
                axes.bar(x, np.mean(values), 0.9 * width, color=colour, label=label if not place else None)
                axes.plot(
                    [x] * len(values), values, "o", color="white", markeredgecolor="black", markersize=3
                )
        axes.set_xticks(range(len(roles)), roles)
        axes.set_title(f"{variant} images", fontsize=9)
    figure.axes[0].set_ylabel("test accuracy (dots: seeds)")
    figure.axes[-1].legend(fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1.01, 0.5))
    return figure


def grey_interaction(seeds: Sequence[Mapping[str, Any]]) -> Figure:
    """How much more the branch of lowest chroma costs than the others, on coloured and on grey images."""
    stage = next(iter(seeds[0]["branched"]["stages"]))
    figure = blank(4.2, 3.4)
    axes = figure.subplots()
    for number, one in enumerate(seeds):
        costs = dull_costs(one["branched"], stage)
        axes.plot(
            range(2),
            [costs["colour"], costs["grey"]],
            "o-",
            color=PALETTE[0],
            alpha=0.6,
            label=None if number else "one seed",
        )
    axes.axhline(0, color="#999999", linewidth=0.8)
    axes.set_xticks(range(2), ["colour images", "grey images"])
    axes.margins(x=0.25)
    axes.set_ylabel("accuracy lost without the branch that\nsees least colour − without another")
    axes.legend(fontsize=7, frameon=False)
    return figure


def singular_vector(vector: Any, weights: Float64[np.ndarray, "n c k k"]) -> Figure:
    """Units of the plain network by the first centred singular vector and chroma, each as its filter."""
    figure = blank(6, 4)
    axes = figure.subplots()
    colours = chroma(weights)
    axes.scatter(vector.vector, colours, s=1, alpha=0)
    for unit, (x, y) in enumerate(zip(vector.vector, colours, strict=True)):
        picture = OffsetImage(_picture(weights[unit]), zoom=14 / weights.shape[-1])
        axes.add_artist(AnnotationBbox(picture, (x, y), frameon=False))
    axes.margins(0.08)
    tested = vector.features["chroma"]
    axes.set_xlabel("entry of the first singular vector (columns centred)")
    axes.set_ylabel("chroma")
    axes.set_title(
        f"plain network, a hidden branch? |ρ| {tested.value:.2f}, permuted columns {tested.null_edge:.2f}, "
        f"p {tested.p:.3f}",
        fontsize=9,
    )
    return figure


def _of(one: Mapping[str, Any], role: str, stage: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = one[role]["stages"][stage]["features"]
    return found


def _picture(weights: Float64[np.ndarray, "c k k"]) -> Float64[np.ndarray, "k k c"]:
    """A filter as a picture, grey where it is 0."""
    reach = np.abs(weights).max() or 1
    return np.asarray((0.5 + 0.5 * weights / reach).transpose(1, 2, 0))
