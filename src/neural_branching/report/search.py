"""What a search has found: the best runs by one objective, or those that no other beats in several."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neural_branching.config.objectives import DIRECTIONS
from neural_branching.report.cells import Cell, Entry, setting
from neural_branching.report.collect import Summary
from neural_branching.report.results import Row
from neural_branching.selection.arrays import Floats

BEST = 5  # runs that the table of a single objective shows


@dataclass(frozen=True)
class Search:
    """Runs with the same objectives.

    Attributes:
        objectives: their names.
        rows: the runs in which each of them is defined, one per setting and seeds.
        front: those that no other run beats: at least as good in every objective and better in one. The
            best first, by the first objective.
    """

    objectives: tuple[str, ...]
    rows: list[Row]
    front: list[Row]

    @classmethod
    def of(cls, summary: Summary) -> "Search | None":
        """The search that a folder's runs are part of; None if they are of none, or of several."""
        every = [row for rows in summary.groups().values() for row in rows]
        kinds = {tuple(row["objectives"]) for row in every}
        if len(kinds) != 1 or () in kinds:
            return None
        [kind] = kinds
        rows = [row for row in every if None not in _values(row)]
        if not rows:
            return None
        losses = np.array([_values(row) for row in rows], np.float64)
        losses *= [1 if DIRECTIONS[name] == "minimize" else -1 for name in kind]
        order = np.argsort(losses[:, 0], kind="stable")
        free = undominated(losses)
        best = [rows[place] for place in order if free[place]]
        if len(kind) == 1:
            best = [rows[place] for place in order[:BEST]]
        return cls(kind, rows, best)

    def values(self, row: Row) -> list[float]:
        """What a run reached in every objective."""
        return _values(row)

    def title(self) -> str:
        """What a table of the front is."""
        wanted = ", ".join(f"{DIRECTIONS[name]} {name}" for name in self.objectives)
        kind = "The best" if len(self.objectives) == 1 else "Pareto front"
        return f"{kind} of {len(self.rows)} runs: {wanted}"

    def table(self, names: list[str]) -> tuple[list[str], list[list[Entry]]]:
        """Header and lines of the front: the settings of these names, and every objective."""
        lines: list[list[Entry]] = [
            [*(setting(row[name]) for name in names), *map(Cell, self.values(row)), row["run"]]
            for row in self.front
        ]
        return [*(name.replace("_", " ") for name in names), *self.objectives, "run"], lines


def undominated(losses: Floats) -> NDArray[np.bool_]:
    """Which rows no other row dominates: nowhere larger, somewhere smaller.

    Args:
        losses: (n, k), smaller is better.

    Returns:
        Boolean (n,).
    """
    no_worse = (losses[:, None] <= losses[None]).all(2)
    better = (losses[:, None] < losses[None]).any(2)
    dominated: NDArray[np.bool_] = np.any(no_worse & better, axis=0)
    return ~dominated


def _values(row: Row) -> list[float]:
    return [*row["objectives"].values()]
