"""Studies of a folder side by side: a sweep over branches, where they meet, widths, data."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from neural_branching.labs.permutation_tests import ALPHA
from neural_branching.labs.specialization.design_figure import Design, compare_designs
from neural_branching.labs.study_table import at, over_seeds, tabulate
from neural_branching.report.cells import Cell

COMMAND, DESIGNS = "specialize", "designs"
_COLUMNS = {  # of the table → on the screen; the last three are empty without a treatment
    "accuracy": "accuracy",
    "plain_accuracy": "plain",
    "excess": "excess",
    "excess_seeds": "seeds p≤.05",
    "cka": "CKA",
    "cka_random": "random",
    "eta2": "η²",
    "eta2_null": "permuted",
    "treated_accuracy": "treated: accuracy",
    "treated_cka": "treated: CKA",
    "treated_eta2": "treated: η²",
}


def summarize(folder: Path) -> tuple[dict[str, Figure], bool]:
    """Write studies.csv, print a line per study, and draw designs that a sweep compares.

    Args:
        folder: a sweep, a run, or any folder of them.

    Returns:
        Name → figure, and whether every study has finished.

    Raises:
        InputError: if no study below the folder has results.
        OSError: if the table cannot be written.
    """
    lines, finished = tabulate(folder, COMMAND, _COLUMNS, _cells)
    figure = compare_designs([one for line in lines if (one := Design.of(line.results))])
    return {DESIGNS: figure} if figure else {}, finished


def _cells(results: Mapping[str, Any]) -> dict[str, Cell]:
    """A study as one line of numbers."""
    seeds, stage = list(results["seeds"].values()), results["stage"]
    first = next(iter(seeds[0]["branched"]["stages"]))

    def mean(*path: str) -> Cell:
        return Cell(over_seeds(seeds, *path).mean)

    Design.of(results)  # damaged results are found here
    p = [at(one, "branched", "lesions", "colour", "p") for one in seeds]
    values = (
        mean("branched", "accuracy", "colour"),
        mean("plain", "accuracy", "colour"),
        mean("branched", "lesions", "colour", "excess"),
        Cell(None if None in p else sum(one is not None and one <= ALPHA for one in p)),
        mean("branched", "stages", stage, "cka", "value"),
        mean("branched", "stages", stage, "cka", "null_mean"),
        mean("branched", "stages", first, "omnibus", "value"),
        mean("branched", "stages", first, "omnibus", "null_mean"),
        mean("treated", "accuracy", "colour"),
        mean("treated", "stages", stage, "cka", "value"),
        mean("treated", "stages", first, "omnibus", "value"),
    )
    return dict(zip(_COLUMNS, values, strict=True))
