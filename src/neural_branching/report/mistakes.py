"""The answers of a run that it was most confident of and that are wrong, to look at."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from neural_branching.errors import InputError
from neural_branching.report.figures.example_grid import Shown, example_grid

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from neural_branching.pipeline import Run
    from neural_branching.selection.answers import Answers


def mistakes(run: "Run", count: int) -> "Figure":
    """The most confident errors on test, and the foreign test examples that are accepted.

    Of several thresholds the first decides what is accepted.

    Args:
        run: of a single branch.
        count: most examples of each of the two kinds.

    Raises:
        InputError: for several branches, for examples that cannot be looked at, and if there is no mistake.
    """
    if len(run.nodes) != 1:
        raise InputError("--mistakes shows the answers of a single branch, and this run has several.")
    [evaluation] = run.nodes.values()
    branch, classes = evaluation.threshold_free.branch, evaluation.threshold_free.classes
    known, score = branch.answers.known["test"], branch.known["test"]
    value = evaluation.thresholds[0].branch.choice.value
    kinds = {"most confident errors": list(_shown(run, known, score, known.error, count, classes))}
    if "test" in branch.foreign:
        foreign, theirs = branch.answers.foreign["test"], branch.foreign["test"]
        accepted = list(_shown(run, foreign, theirs, theirs >= value, count, classes))
        kinds["accepted examples of foreign classes"] = accepted
    if not any(kinds.values()):
        raise InputError(
            "The run has no wrong answer and accepts no foreign example: there is nothing to show."
        )
    rule = evaluation.thresholds[0].branch.rule
    return example_grid(kinds, f"{run.experiment.tree.name}: mistakes on test, {rule}")


def _shown(
    run: "Run",
    answers: "Answers",
    score: "NDArray[np.float64]",
    chosen: "NDArray[np.bool_]",
    count: int,
    classes: Sequence[str],
) -> Iterator[Shown]:
    table = run.table
    content = table.examples()
    candidates = np.flatnonzero(chosen)
    for index in candidates[np.argsort(-score[candidates], kind="stable")][:count].tolist():
        row = int(answers.rows[index])
        picture = table.input.picture(content[row])
        if picture is None:
            raise InputError(f"--mistakes needs examples to look at, and this run is on {table.input.name}.")
        truth, answer = table.classes[table.labels[row]], classes[answers.predictions[index]]
        yield Shown(picture, f"{truth}\n→ {answer} {score[index]:.3f}", table.names[row])
