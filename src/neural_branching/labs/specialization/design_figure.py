"""What a sweep says of designs, each beside a plain network of equal cost: branches × where they meet."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from neural_branching.networks.branched import LAYERS
from neural_branching.report.figures.style import MARKERS, PALETTE, blank

JOINS = (*LAYERS[1:], "logits")
_SHIFT = 0.06  # between designs of one place


@dataclass(frozen=True)
class Design:
    """A network with branches beside the plain one that costs as much, seed by seed.

    Attributes:
        branches: their number, or their shares.
        join: the first stage that sees all of them.
        stage: where a branch was lesioned.
        gains: test accuracy − that of the plain network of equal multiply–accumulates.
        excesses: what a branch costs beyond random units, in accuracy.
    """

    branches: str
    join: str
    stage: str
    gains: Sequence[float]
    excesses: Sequence[float]

    @classmethod
    def of(cls, results: Mapping[str, Any]) -> "Design | None":
        """The design of a study; None if there is no choice of where branches meet, or no plain network.

        Raises:
            KeyError: for results of something else.
        """
        network, seeds = results["networks"]["branched"]["network"], [*results["seeds"].values()]
        if "plain" not in results["networks"] or "join" not in network:
            return None
        branches = network["branches"]
        return cls(
            branches=str(branches) if isinstance(branches, int) else " : ".join(map(str, branches)),
            join=str(network["join"]),
            stage=str(results["stage"]),
            gains=[
                one["branched"]["accuracy"]["colour"] - one["plain"]["accuracy"]["colour"] for one in seeds
            ],
            excesses=[one["branched"]["lesions"]["colour"]["excess"] for one in seeds],
        )


def compare_designs(found: Sequence[Design]) -> Figure | None:
    """Accuracy beyond the plain network and lesions by where branches meet; a line per number of branches.

    None unless the studies differ in branches or joins, and in nothing else.
    """
    places = {(one.branches, one.join) for one in found}
    if len(places) < max(2, len(found)) or len({one.stage for one in found}) > 1:
        return None
    kinds = sorted({one.branches for one in found}, key=lambda kind: (len(kind), kind))
    joins = [join for join in JOINS if any(one.join == join for one in found)]
    figure = blank(8.4, 3.4)
    gain, excess = figure.subplots(1, 2)
    for number, kind in enumerate(kinds):
        mine = sorted((one for one in found if one.branches == kind), key=lambda one: joins.index(one.join))
        places_x = [joins.index(one.join) + _SHIFT * (number - (len(kinds) - 1) / 2) for one in mine]
        colour, marker = PALETTE[number % len(PALETTE)], MARKERS[number % len(MARKERS)]
        for axes, name in ((gain, "gains"), (excess, "excesses")):
            values = [getattr(one, name) for one in mine]
            for x, seeds in zip(places_x, values, strict=True):
                axes.plot([x] * len(seeds), seeds, ".", color=colour, alpha=0.4)
            axes.plot(
                places_x, list(map(np.mean, values)), f"{marker}-", color=colour, label=f"{kind} branches"
            )
    for axes in (gain, excess):
        axes.axhline(0, color="#999999", linewidth=0.8)
        axes.set_xticks(range(len(joins)), joins)
        axes.set_xlabel("where branches meet")
    gain.set_ylabel("test accuracy − plain network's\nof equal MACs")
    excess.set_ylabel(f"accuracy lost without a branch of\n{found[0].stage} − without random units")
    seeds = {len(one.gains) for one in found}
    gain.set_title(f"dots: {'–'.join(map(str, sorted(seeds)))} seeds; lines: means", fontsize=8, loc="left")
    excess.legend(fontsize=8, frameon=False)
    return figure
