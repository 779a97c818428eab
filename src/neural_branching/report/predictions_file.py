"""Reading back what a run answered to every held-out example."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neural_branching.errors import InputError
from neural_branching.files.csv_text import text_cell
from neural_branching.report.results import PREDICTIONS


@dataclass(frozen=True)
class Predictions:
    """One line per held-out example, columns as arrays of length n.

    Attributes:
        row: row numbers in the data table, int64.
        split: names of the splits.
        fits: what an example was used to fit: "score", "threshold" or "".
        foreign: whether the example is of a class that the branch was not trained on.
        error: whether the branch's answer is wrong; true for every foreign example.
        score: the branch's confidence, float64.
        group: equal for examples of one group, int64; None where each is by itself.
    """

    row: NDArray[np.int64]
    split: NDArray[np.str_]
    fits: NDArray[np.str_]
    foreign: NDArray[np.bool_]
    error: NDArray[np.bool_]
    score: NDArray[np.float64]
    group: NDArray[np.int64] | None = None

    def of(self, split: str, *, foreign: bool = False, fits: str | None = None) -> "Predictions":
        """The subset's (or the foreign) examples of a split, all or those that fitted something."""
        chosen = (self.split == split) & (self.foreign == foreign)
        if fits is not None:
            chosen &= self.fits == fits
        return self[chosen]

    def __getitem__(self, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> "Predictions":
        """Some of the examples."""
        columns: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        some: dict[str, Any] = {name: None if one is None else one[chosen] for name, one in columns.items()}
        return Predictions(**some)

    def __len__(self) -> int:
        return len(self.row)


def read_predictions(run: Path, classes: Sequence[str]) -> Predictions:
    """Read a run's predictions.csv.

    Args:
        run: the run's folder.
        classes: class names of its subset.

    Raises:
        InputError: if the file is missing or damaged.
    """
    file = run / PREDICTIONS
    known = {text_cell(name) for name in classes}
    try:
        with file.open(newline="", encoding="utf-8") as stream:
            lines = list(csv.DictReader(stream))
        labels = [line["label"] for line in lines]
        predictions = Predictions(
            row=np.array([int(line["row"]) for line in lines]),
            split=np.array([line["split"] for line in lines]),
            fits=np.array([line["fits"] for line in lines]),
            foreign=np.array([label not in known for label in labels]),
            error=np.array([line["prediction"] != line["label"] for line in lines]),
            score=np.array([float(line["score"]) for line in lines]),
            group=np.array([int(line["group"]) for line in lines]) if lines and "group" in lines[0] else None,
        )
        if not np.isfinite(predictions.score).all():
            raise ValueError("score")
    except (OSError, KeyError, ValueError, TypeError, csv.Error) as error:
        raise InputError(
            f"{file} cannot be read ({type(error).__name__}): repeat the run that made it."
        ) from error
    if not len(predictions):
        raise InputError(f"{file} holds no predictions: repeat the run that made it.")
    return predictions
