"""Units of a layer divided among branches: what every measure of this room is about."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from neural_branching.errors import InputError
from neural_branching.selection.array_types import Bool, Int64

FEWEST_UNITS = 3  # of which a branch can be told from another


@dataclass(frozen=True)
class Partition:
    """Units of a stage, each in at most one branch.

    Attributes:
        stage: the stage whose outputs the units are.
        branches: name → indices of its units, ascending, int64.
    """

    stage: str
    branches: Mapping[str, Int64[np.ndarray, " units"]]

    @classmethod
    def of(cls, stage: str, branches: Mapping[str, Sequence[int]], width: int) -> "Partition":
        """Check units and put them in order.

        Args:
            stage: the stage.
            branches: name → indices of its units.
            width: number of units of the stage.

        Raises:
            InputError: for a single branch, a branch of fewer than 3 units, a unit of two branches, or one
                that the stage does not have.
        """
        if len(branches) < 2:
            raise InputError(
                f"The stage {stage!r} has {'a single branch' if branches else 'no branches'}: specialization "
                "compares two at least."
            )
        taken: dict[int, str] = {}
        for name, units in branches.items():
            if len(set(units)) < FEWEST_UNITS:
                raise InputError(
                    f"The branch {name!r} of the stage {stage!r} has {len(set(units))} units: "
                    f"a branch needs {FEWEST_UNITS} at least."
                )
            for unit in units:
                if not 0 <= unit < width:
                    raise InputError(
                        f"The branch {name!r} of the stage {stage!r} has a unit {unit}: the stage has the "
                        f"units 0 to {width - 1}."
                    )
                if taken.setdefault(int(unit), name) != name:
                    raise InputError(
                        f"The unit {unit} of the stage {stage!r} is of the branches {taken[int(unit)]!r} and "
                        f"{name!r}: a unit is of one branch."
                    )
        return cls(stage, {name: np.unique(np.asarray(units)) for name, units in branches.items()})

    @classmethod
    def even(cls, stage: str, width: int, branches: int) -> "Partition":
        """Equal branches of neighbouring units, as grouped convolutions have them.

        Args:
            stage: the stage.
            width: number of its units.
            branches: number of branches.

        Raises:
            InputError: as ``of``, and if the units cannot be divided evenly.
        """
        if branches < 1 or width % branches:
            raise InputError(
                f"{width} units of the stage {stage!r} cannot be divided among {branches} equal branches."
            )
        size = width // branches
        return cls.of(stage, {str(i): range(i * size, (i + 1) * size) for i in range(branches)}, width)

    @property
    def units(self) -> Int64[np.ndarray, " n"]:
        """All units of the branches, ascending."""
        return np.sort(np.concatenate(list(self.branches.values())))

    @property
    def owner_of(self) -> dict[int, str]:
        """Unit → name of its branch."""
        return {int(unit): name for name, units in self.branches.items() for unit in units}

    @property
    def owners(self) -> Int64[np.ndarray, " n"]:
        """Number of the branch of each of ``units``."""
        numbers = {name: number for number, name in enumerate(self.branches)}
        owner_of = self.owner_of
        return np.array([numbers[owner_of[int(unit)]] for unit in self.units])

    def without(self, dead: Bool[np.ndarray, " width"]) -> "Partition":
        """The same without dead units.

        Raises:
            InputError: if a branch has fewer than 3 units left.
        """
        alive = {name: units[~dead[units]] for name, units in self.branches.items()}
        for name, units in alive.items():
            if len(units) < FEWEST_UNITS:
                raise InputError(
                    f"The branch {name!r} of the stage {self.stage!r} has {len(units)} live units: "
                    f"a branch needs {FEWEST_UNITS} at least."
                )
        return Partition(self.stage, alive)

    def leaving_out(self, some: Sequence[int]) -> "Partition":
        """The same without some units."""
        left = {name: units[~np.isin(units, some)] for name, units in self.branches.items()}
        return Partition(self.stage, left)

    def shuffled(self, generator: np.random.Generator) -> "Partition":
        """The same units, divided at random among branches of the same sizes: the null hypothesis."""
        units = generator.permutation(self.units)
        ends = np.cumsum([len(mine) for mine in self.branches.values()])[:-1]
        parts = zip(self.branches, np.split(units, ends), strict=True)
        return Partition(self.stage, {name: np.sort(part) for name, part in parts})
