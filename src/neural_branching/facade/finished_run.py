"""A finished run in Python: its numbers as pandas frames, activations as tensors, figures, predictions."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from neural_branching.artifacts import activations as act
from neural_branching.artifacts.ensure_branch import ensure_activations, ensure_logits
from neural_branching.artifacts.workspace import Workspace
from neural_branching.data.split import SPLITS
from neural_branching.errors import InputError, one_of
from neural_branching.facade.frames import frame, summary
from neural_branching.labs.self_evaluation.self_evaluation_figures import draw as draw_judge
from neural_branching.labs.self_evaluation.self_evaluation_report import TABLE
from neural_branching.load_run import load
from neural_branching.networks.readout import stages_of
from neural_branching.predictor import ExamplePredictor, Prediction
from neural_branching.report.results import PREDICTIONS, TRACE
from neural_branching.report.run_report import draw

if TYPE_CHECKING:
    import pandas as pd

    from neural_branching.pipeline import Run


@dataclass(frozen=True)
class Finished(ABC):
    """What one run found.

    Attributes:
        folder: its folder.
    """

    folder: Path

    @property
    @abstractmethod
    def results(self) -> dict[str, Any]:
        """What results.json holds."""

    @abstractmethod
    def summary(self) -> "pd.DataFrame":
        """The numbers that the run is summed up by."""

    @abstractmethod
    def figures(self) -> dict[str, Any]:
        """Name → matplotlib figure, as a single run of the command line draws them."""

    @cached_property
    def _predictors(self) -> dict[str | int | None, ExamplePredictor]:
        return {}

    def predict(self, examples: Any, threshold: str | int | None = None) -> Sequence[Prediction]:
        """Answers to new examples.

        Args:
            examples: as ``ExamplePredictor.predict`` takes them.
            threshold: which decides, if there are several: its number from 0 on or its rule, such as
                "fixed 0.5".

        Raises:
            InputError: as ``load`` and ``ExamplePredictor.predict``.
        """
        if threshold not in self._predictors:
            self._predictors[threshold] = load(self.folder, trust=True, threshold=threshold)
        return self._predictors[threshold].predict(examples)


@dataclass(frozen=True)
class FinishedJudge(Finished):
    """What a study of branches that judge their parent found.

    Attributes:
        found: what results.json holds.
    """

    found: dict[str, Any]

    @property
    def results(self) -> dict[str, Any]:
        """What results.json holds."""
        return self.found

    def summary(self) -> "pd.DataFrame":
        """One row for each split, stage and confidence."""
        return frame(self.folder / TABLE)

    def figures(self) -> dict[str, Any]:
        """See ``Finished.figures``."""
        return draw_judge(self.found)


@dataclass(frozen=True)
class FinishedRun(Finished):
    """What one run of an experiment found.

    Attributes:
        run: experiment, evaluations and results, as the reports take them.
    """

    run: "Run"

    @property
    def results(self) -> dict[str, Any]:
        """What results.json holds."""
        return self.run.results

    def summary(self) -> "pd.DataFrame":
        """One row for each threshold of a branch, or for each router of a tree."""
        return summary(self.folder)

    def predictions(self) -> "pd.DataFrame":
        """One row for each held-out example of a branch: class, prediction, score, logits, accepted.

        Raises:
            InputError: for a tree, which has a ``trace``, and without pandas.
        """
        if self.run.experiment.command != "train":
            raise InputError("The run is of several nodes that answer one after another: it has a trace().")
        return frame(self.folder / PREDICTIONS)

    def trace(self) -> "pd.DataFrame":
        """One row for each test example: of a tree the nodes that it went through, of a cascade its exit.

        Raises:
            InputError: for a single branch, which has ``predictions``, and without pandas.
        """
        if self.run.experiment.command == "train":
            raise InputError("The run is of a single branch: it has predictions().")
        return frame(self.folder / TRACE)

    def activations(self, stage: str, split: str | None = None) -> tuple[Tensor, Tensor]:
        """The parent's activations at a stage, and labels.

        Args:
            stage: a branch point of the run, or one or several ("block2+pool") of the parent's main stages.
            split: "train", "validation", "calibration" or "test"; None for all examples.

        Returns:
            float32 (n, width), and int64 (n,), indices into ``classes``.

        Raises:
            InputError: for another stage or split.
        """
        experiment, table = self.run.experiment, self.run.table
        workspace = Workspace.of(experiment, table)
        own = [spec for spec in experiment.branches.values() if spec.stage == stage and not spec.trunk]
        artifact = ensure_activations(workspace, own[0]) if own else ensure_logits(workspace)
        for one in stages_of(stage):
            one_of(one, artifact.facts["widths"], "stage")
        if split is not None:
            one_of(split, SPLITS, "split")
        labels = torch.from_numpy(table.labels)
        if split is None:
            return act.read(artifact, stage), labels
        rows = table.rows(split)
        return act.read(artifact, stage, rows), labels[torch.from_numpy(rows)]

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names of the data set, in label order."""
        return self.run.table.classes

    def figures(self) -> dict[str, Any]:
        """See ``Finished.figures``."""
        return draw(self.run)
