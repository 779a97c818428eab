"""What a search of two objectives has found."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from neural_branching.report.figures.style import MARKERS, PALETTE, blank

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
    for index, (group, runs) in enumerate(points.items()):
        axes.scatter(
            [x for x, _ in runs],
            [y for _, y in runs],
            s=24,
            color=PALETTE[index % len(PALETTE)],
            marker=MARKERS[index % len(MARKERS)],
            label=group,
            zorder=3,
        )
    axes.set_xlabel(labels[0])
    axes.set_ylabel(labels[1])
    axes.grid(alpha=0.3)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=8)
    return figure
