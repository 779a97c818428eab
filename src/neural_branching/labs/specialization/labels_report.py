"""Labels of units × branches, tested, printed and drawn: for labels that somebody else has given."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from neural_branching.labs.permutation_tests import (
    ALPHA,
    Localised,
    Tested,
    compare_labels,
    localise,
)
from neural_branching.labs.specialization.branch_heat_maps import labels_by_branch
from neural_branching.labs.specialization.labels_file import UnitLabels, read_unit_labels
from neural_branching.report.figures.style import save
from neural_branching.report.screen_table import Column, ScreenTable, console, print_table
from neural_branching.report.tensorboard import write_figures
from neural_branching.store.run_folders import events_of

LABELS = "labels_by_branch"


def locate_labels(found: UnitLabels, permutations: int) -> tuple[list[Localised], Tested | None]:
    """Where each label lies, among all units of the branches; and Cramér's V of all labels together.

    Units of no label count for where a label lies, and not for V: they are no label of their own.

    Args:
        found: labels and branches.
        permutations: of V.

    Returns:
        Every label × branch, the most surprising first; and V, None where fewer than two labels or branches
        have labelled units.
    """
    partition = found.partition
    places = localise(found.labels, partition.branches)
    label_of = {
        int(unit): number for number, units in enumerate(found.labels.values()) for unit in units.tolist()
    }
    labelled = np.array([int(unit) in label_of for unit in partition.units])
    labels = np.array([label_of[int(unit)] for unit in partition.units[labelled]], dtype=np.int64)
    owners = partition.owners[labelled]
    if min(len(np.unique(labels)), len(np.unique(owners))) < 2:
        return places, None
    return places, compare_labels(labels, owners, permutations)


def report_labels(file: Path, permutations: int) -> None:
    """Test the labels of a file, print what was found, and draw it.

    The picture lies in a folder beside the file that has its name, as PNG, as SVG and for TensorBoard.

    Raises:
        InputError: as ``read_unit_labels``.
        OSError: if the picture cannot be written.
    """
    found = read_unit_labels(file)
    places, together = locate_labels(found, permutations)
    screen = console()
    branches, total = found.partition.branches, len(found.partition.units)
    print_table(screen, _table(places, f"{found.partition.stage}: {total} units in {len(branches)} branches"))
    if together:
        screen.print(
            f"Labels × branches: Cramér's V {together.value:.3f}, of units permuted {together.null_mean:.3f} "
            f"(95 %: {together.null_edge:.3f}), p {together.p:.2g}.",
            highlight=False,
        )
    screen.print(
        "p: hypergeometric, of at least as many units of a label in the branch; Holm: over all labels × "
        "branches.",
        highlight=False,
    )
    sizes = {name: len(units) for name, units in branches.items()}
    drawn = {LABELS: labels_by_branch(places, sizes, found.partition.stage)}
    folder = file.with_name(f"{file.stem}_{LABELS}")
    folder.mkdir(exist_ok=True)
    for old in events_of(folder):
        (folder / old).unlink()
    save(drawn, folder, ("png", "svg"))
    write_figures(folder, drawn)
    screen.print(f"Picture: {folder / LABELS}.png", highlight=False, soft_wrap=True)


def _table(places: Sequence[Localised], title: str) -> ScreenTable:
    """Labels that lie in one branch more than chance allows; the best of each other label."""
    rows, said = [], set()
    for one in places:
        if one.label in said and one.holm > ALPHA:
            continue
        said.add(one.label)
        rows.append(
            [one.label, one.branch, f"{one.found} of {one.labelled}", f"{one.p:.4g}", f"{one.holm:.2g}"]
        )
    columns = [Column("label", "name"), Column("branch", "name"), *map(Column, ("in it", "p", "Holm"))]
    return ScreenTable(title, columns, rows)
