"""The files and the screen of a comparison of own branches."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from neural_branching.errors import printable
from neural_branching.files.csv_text import write_table
from neural_branching.files.writing import write_atomically
from neural_branching.labs.permutation_tests import ALPHA, Tested
from neural_branching.labs.specialization.own_branches import BranchRelations
from neural_branching.labs.specialization.relation_tests import FEWEST_BRANCHES
from neural_branching.labs.verdicts import NOT_SEEN, SEEN, UNDECIDED
from neural_branching.report.cells import markdown_table, number
from neural_branching.report.figures.style import blank, save
from neural_branching.report.screen_table import Column, ScreenTable, console, print_table
from neural_branching.store.run_folders import OWN_BRANCHES

_PREDICTIONS: Mapping[str, str] = {
    "CKA": "Branches accept foreign classes of branches that are like them",
    "CKA, beyond nearness at the parent": "… whatever the parent makes of these classes",
    "CKA before training": "… and so do they by their initial weights",
    "nearness at the parent": "Branches accept foreign classes that lie near theirs in the parent",
    "mean CKA of a branch": "A branch that is like the others accepts more foreign images",
}


def report(found: BranchRelations, folder: Path) -> None:
    """Write ``own_branches.csv``, ``.md``, ``.png`` and ``.svg``, and print the claims.

    Raises:
        OSError: if a file cannot be written.
    """
    claims = _claims(found)
    title = f"{len(found.names)} branches of one parent"
    columns = [Column("claim", "name"), *map(Column, ("value", "without it", "p")), Column("verdict", "name")]
    shown = [[line[0], *line[2:]] for line in claims]
    screen = console()
    print_table(screen, ScreenTable(title, columns, shown))
    header = ["claim", "measure", "value", "without the effect", "p", "verdict"]
    text = printable("\n".join(markdown_table(header, claims)) + "\n")
    write_atomically(folder / f"{OWN_BRANCHES}.md", text)
    _write_pairs(folder / f"{OWN_BRANCHES}.csv", found)
    save({OWN_BRANCHES: heat_maps(found)}, folder, ("png", "svg"))
    alike = ", and branches of one seed start alike" if found.one_start else ""
    few = "" if found.predictions else f" Predictions of false accepts take {FEWEST_BRANCHES} branches."
    screen.print(
        f"Not seen: the opposite was. Where neither was, one parent decides nothing{alike}.{few} Every pair: "
        f"{folder / OWN_BRANCHES}.csv",
        highlight=False,
        soft_wrap=True,
    )


def heat_maps(found: BranchRelations) -> Figure:
    """CKA and false accepts of every pair, branches in the order in which they are alike."""
    order = np.argsort(-np.linalg.eigh(found.cka)[1][:, -2])
    names = [found.names[index] for index in order]
    side = max(3.0, 0.2 * len(names) + 1.8)
    figure = blank(2 * side + 1, side)
    tables = {
        "linear CKA of hidden outputs": (found.cka, "other branch"),
        "accepted of the classes": (found.accepted, "of the classes of"),
    }
    for axes, (label, (table, across)) in zip(figure.subplots(1, 2), tables.items(), strict=True):
        pairs = np.where(np.eye(len(names), dtype=bool), np.nan, table[np.ix_(order, order)])
        picture = axes.imshow(pairs, cmap="viridis")
        axes.set_xticks(range(len(names)), names, rotation=90, fontsize=6)
        axes.set_yticks(range(len(names)), names, fontsize=6)
        axes.set_ylabel("branch")
        axes.set_xlabel(across)
        figure.colorbar(picture, label=label)
    return figure


def _claims(found: BranchRelations) -> list[list[str]]:
    lines = [
        _line("Branches are less alike than their units divided at random", "mean linear CKA", found.random),
        _line("Training makes branches less alike", "mean linear CKA − before training", found.training),
    ]
    if found.one_start:
        lines[1][-1] = UNDECIDED
    for name, tested in found.predictions.items():
        kind = "Spearman, permuted" if name.startswith("mean") else "Mantel"
        kind = "partial Mantel" if "beyond" in name else kind
        measure = f"{name} × false accepts ({kind})"
        lines.append(_line(_PREDICTIONS[name], measure, tested, found.opposites[name]))
    return lines


def _line(claim: str, measure: str, tested: Tested, opposite: float = 1.0) -> list[str]:
    verdict = SEEN if tested.p <= ALPHA else NOT_SEEN if opposite <= ALPHA else UNDECIDED
    return [claim, measure, number(tested.value), number(tested.null_mean), f"{tested.p:.2g}", verdict]


def _write_pairs(file: Path, found: BranchRelations) -> None:
    """A line per ordered pair."""
    header = ["branch", "other", "cka", "cka_untrained", "parent_nearness", "accepted_of_the_other"]
    tables = (found.cka, found.untrained, found.nearness, found.accepted)
    rows = [
        [one, other, *(float(table[i, j]) for table in tables)]
        for i, one in enumerate(found.names)
        for j, other in enumerate(found.names)
        if i != j
    ]
    write_table(file, header, rows)
