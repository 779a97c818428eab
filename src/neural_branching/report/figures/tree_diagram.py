"""A tree with what its nodes do."""

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from neural_branching.report.figures.style import RIGHT, WRONG, blank
from neural_branching.routing.hierarchy import Tree


def tree(drawn: Tree, nodes: Mapping[str, Any], answers: Mapping[str, Any]) -> Figure:
    """Nodes with load, coverage and selective accuracy; classes with the answers they are given.

    Args:
        drawn: the tree.
        nodes: the block "arrivals" of results.json.
        answers: the block "back_off" of "answers".
    """
    height = {name: float(index) for index, name in enumerate(drawn.classes)}
    for node in reversed(list(drawn.nodes.values())):
        places = [height[label] for label in node.labels]
        height[node.name] = sum(places) / len(places)
    # A column for each node that is asked on the way to another: exits of a cascade stand beside each other.
    depth = {name: len(drawn.before(name)) for name in drawn.nodes}
    columns = 1 + max(depth.values())
    figure = blank(3.2 * (columns + 1), 0.26 * len(drawn.classes) + 1.2)
    axes = figure.add_subplot()
    axes.set_axis_off()
    axes.invert_yaxis()
    total = nodes[drawn.root]["n"]
    for name, node in drawn.nodes.items():
        mine = nodes[name]
        for label in node.labels:
            share = mine["routed"][label] / total
            ends = [depth[name], depth.get(label, columns)], [height[name], height[label]]
            width = 0.4 + 8 * share
            axes.plot(*ends, color="#555555", linewidth=width, solid_capstyle="round", zorder=1, alpha=0.6)
        if node.defer_to:
            ends = [depth[name], depth[node.defer_to]], [height[name]] * 2
            axes.plot(*ends, color="#555555", linewidth=1, linestyle="--", zorder=1)
        accepted = mine["accepted"] / mine["n"] if mine["n"] else 0.0
        accuracy = mine["selective_accuracy"]
        text = f"{name}\n{mine['n']} arrive, {accepted:.0%} accepted\n"
        text += "–" if accuracy is None else f"{accuracy:.1%} of these right"
        box = {"boxstyle": "round", "facecolor": "white", "edgecolor": "#555555"}
        axes.text(depth[name], height[name], text, ha="center", va="center", fontsize=7, bbox=box, zorder=2)
    for name in drawn.classes:
        given = answers["by_answer"].get(name)
        text = name if given is None else f"{name}: {given['n']}, {given['accuracy']:.0%} right"
        colour = "#999999" if given is None else RIGHT if given["accuracy"] >= 0.5 else WRONG
        axes.text(columns + 0.03, height[name], text, ha="left", va="center", fontsize=7, color=colour)
    axes.set_xlim(-0.4, columns + 0.9)
    explained = "width: share of them; at a class: answers given, and right"
    axes.set_title(f"{drawn.name}: {total} test examples; {explained}", fontsize=9)
    return figure
