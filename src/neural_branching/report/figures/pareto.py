"""What a search of two objectives has found."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from neural_branching.report.figures.style import MARKERS, PALETTE, REST, blank, others_label, told_apart

Point = tuple[float, float]


def pareto(
    points: Mapping[str, Sequence[Point]],
    front: Sequence[Point],
    labels: tuple[str, str],
    *,
    cheap: bool,
) -> Figure:
    """Every run as a point, and the runs that no other beats joined by steps.

    Args:
        points: group → (x, y) of its runs.
        front: (x, y) of the front.
        labels: of both axes.
        cheap: whether small x are better: a step then shows the best that so much x buys.
    """
    figure = blank(6.4, 4.0)
    axes = figure.add_subplot()
    steps = sorted(front)
    axes.step(
        [x for x, _ in steps],
        [y for _, y in steps],
        where="post" if cheap else "pre",
        color="black",
        linewidth=1,
        label="Pareto front",
        zorder=1,
    )
    axes.scatter(
        [x for x, _ in steps], [y for _, y in steps], s=90, facecolors="none", edgecolors="black", zorder=2
    )
    # Of more groups than colours those with the most of the front have one.
    share = {group: -float(len(set(runs) & set(front))) for group, runs in points.items()}
    told = told_apart(list(points), share)
    others = [group for group in points if group not in told]
    for group, runs in ((group, points[group]) for group in (*told, *others)):
        index = told.index(group) if group in told else 0
        axes.scatter(
            [x for x, _ in runs],
            [y for _, y in runs],
            s=24,
            color=PALETTE[index] if group in told else REST,
            marker=MARKERS[index] if group in told else ".",
            label=group if group in told else others_label(others, "") if group == others[0] else None,
            zorder=4 if group in told else 3,
        )
    axes.set_xlabel(labels[0])
    axes.set_ylabel(labels[1])
    axes.grid(alpha=0.3)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=8)
    return figure
