"""What the commands that Hydra composes do with a configuration: check it, run it, sum up a sweep of it."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from neural_branching.config.data_spec import DataSpec
    from neural_branching.config.experiment import Experiment
    from neural_branching.data.table import DataTable
    from neural_branching.labs.decomposition.decomposition_spec import DecompositionSpec
    from neural_branching.labs.explanation.explanation_spec import ExplanationSpec
    from neural_branching.labs.self_evaluation.self_evaluation_spec import SelfEvaluationSpec
    from neural_branching.labs.specialization.study_spec import StudySpec
    from neural_branching.training.compute import Compute


class Asked(Protocol):
    """What every job was asked for, among other things: examples, and a folder of the store and the runs."""

    @property
    def data(self) -> "DataSpec":
        """The examples."""

    @property
    def compute(self) -> "Compute":
        """Where it runs."""

    @property
    def outputs(self) -> Path:
        """The folder."""


A = TypeVar("A", bound=Asked)


@dataclass(frozen=True)
class Done:
    """A finished job.

    Attributes:
        results: what was written of it.
        show: prints it.
    """

    results: Mapping[str, Any]
    show: Callable[[], None]


class Jobs(ABC, Generic[A]):
    """The jobs of a command. Methods import what takes torch when it is needed."""

    @abstractmethod
    def asked(self, config: "DictConfig") -> A:
        """What a composed configuration asks for, checked as far as that takes no torch.

        Raises:
            InputError: for the first thing that cannot be used.
        """

    @abstractmethod
    def check(self, asked: A) -> None:
        """Check what only networks know.

        Raises:
            InputError: for the first thing that cannot be used.
        """

    @abstractmethod
    def check_table(self, asked: A, table: "DataTable") -> None:
        """Check what only the examples know.

        Raises:
            InputError: if they are too few, or are not what is asked for.
        """

    def build_ahead(self, jobs: Sequence[A]) -> None:
        """Build what jobs of a sweep are better built together."""

    @abstractmethod
    def execute(self, asked: A, folder: Path, overrides: Sequence[str], sweep: Path | None) -> Done:
        """Run into a folder, which exists and is empty.

        Args:
            asked: what to do.
            folder: of the run.
            overrides: what the user typed.
            sweep: folder of the sweep that the run belongs to; None for a run of its own.
        """

    @abstractmethod
    def one_line(self, results: Mapping[str, Any]) -> str:
        """A finished run as a phrase, for the log of a sweep."""

    def objectives(self, results: Mapping[str, Any]) -> Sequence[float | None]:
        """What a search optimises."""
        return ()

    @abstractmethod
    def summarize(self, folder: Path, *, events: bool) -> bool:
        """Write and print the summary of a sweep.

        Args:
            folder: the sweep.
            events: also show its figures in TensorBoard.

        Returns:
            Whether every job has finished.
        """


class BranchJobs(Jobs["Experiment"]):
    """Branches of a parent, alone or as a tree.

    Args:
        command: "train" or "route".
    """

    def __init__(self, command: str) -> None:
        self.command = command

    def asked(self, config: "DictConfig") -> "Experiment":
        """See ``Jobs.asked``."""
        from neural_branching.config.experiment import Experiment

        return Experiment.from_config(config)

    def check(self, asked: "Experiment") -> None:
        """See ``pipeline.check``."""
        from neural_branching import pipeline

        pipeline.check(asked)

    def check_table(self, asked: "Experiment", table: "DataTable") -> None:
        """See ``pipeline.check_table``."""
        from neural_branching import pipeline

        pipeline.check_table(asked, table)

    def build_ahead(self, jobs: "Sequence[Experiment]") -> None:
        """Train parents, and branches of one shape at once."""
        from neural_branching.artifacts.train_together import train_together

        train_together(jobs)

    def execute(
        self, asked: "Experiment", folder: Path, overrides: Sequence[str], sweep: Path | None
    ) -> Done:
        """See ``execute.execute``."""
        from neural_branching.execute import execute
        from neural_branching.report.run_report import print_run

        run = execute(asked, folder, overrides, sweep, draw_figures=not sweep)
        return Done(run.results, lambda: print_run(run, folder))

    def one_line(self, results: Mapping[str, Any]) -> str:
        """Accuracy, and what was built."""
        from neural_branching.report.run_report import one_line

        return one_line(dict(results))

    def objectives(self, results: Mapping[str, Any]) -> Sequence[float | None]:
        """The objectives of the configuration; accuracy on validation, if there are none."""
        from neural_branching.report.results import records

        return [*results["objectives"].values()] or [records(results)[0]["validation"]["accuracy"]]

    def summarize(self, folder: Path, *, events: bool) -> bool:
        """Tables and figures that compare the runs."""
        from neural_branching.report.summary import show, summarize

        summary = summarize(folder, self.command, events=events)
        show(summary)
        return not (summary.failed or summary.unread)


class CascadeJobs(BranchJobs):
    """Branches at several depths of a parent, that defer to each other."""

    def __init__(self) -> None:
        super().__init__("cascade")

    def one_line(self, results: Mapping[str, Any]) -> str:
        """Accuracy, and at which share of the cost."""
        from neural_branching.report.cascade_report import one_line

        return one_line(results)

    def summarize(self, folder: Path, *, events: bool) -> bool:
        """A line per setting, over seeds, and the front."""
        from neural_branching.report.cascade_summary import summarize

        return summarize(folder, events=events)


class SpecializationJobs(Jobs["StudySpec"]):
    """Studies of branch specialization."""

    def asked(self, config: "DictConfig") -> "StudySpec":
        """See ``Jobs.asked``."""
        from neural_branching.labs.specialization.study_spec import StudySpec

        return StudySpec.from_config(config)

    def check(self, asked: "StudySpec") -> None:
        """See ``run_study.check``."""
        from neural_branching.labs.specialization.run_study import check

        check(asked)

    def check_table(self, asked: "StudySpec", table: "DataTable") -> None:
        """See ``run_study.check_table``."""
        from neural_branching.labs.specialization.run_study import check_table

        check_table(asked, table)

    def execute(self, asked: "StudySpec", folder: Path, overrides: Sequence[str], sweep: Path | None) -> Done:
        """See ``study_report.execute``."""
        from neural_branching.labs.specialization.study_report import execute, print_study

        results = execute(asked, folder, overrides, sweep)
        return Done(results, lambda: print_study(results, folder))

    def one_line(self, results: Mapping[str, Any]) -> str:
        """Which claims were seen."""
        from neural_branching.labs.specialization.study_report import one_line

        return one_line(results)

    def objectives(self, results: Mapping[str, Any]) -> Sequence[float | None]:
        """Accuracy on validation, over seeds."""
        last = [one["branched"]["validation_accuracy"][-1:] for one in results["seeds"].values()]
        return [sum(one[0] for one in last) / len(last) if all(last) else None]

    def summarize(self, folder: Path, *, events: bool) -> bool:
        """A line per study."""
        from neural_branching.labs.specialization.study_summary import summarize

        return summarize(folder)


class DecompositionJobs(Jobs["DecompositionSpec"]):
    """Studies of branched autoencoders."""

    def asked(self, config: "DictConfig") -> "DecompositionSpec":
        """See ``Jobs.asked``."""
        from neural_branching.labs.decomposition.decomposition_spec import DecompositionSpec

        return DecompositionSpec.from_config(config)

    def check(self, asked: "DecompositionSpec") -> None:
        """See ``run_decomposition.check``."""
        from neural_branching.labs.decomposition.run_decomposition import check

        check(asked)

    def check_table(self, asked: "DecompositionSpec", table: "DataTable") -> None:
        """See ``run_decomposition.check_table``."""
        from neural_branching.labs.decomposition.run_decomposition import check_table

        check_table(asked, table)

    def execute(
        self, asked: "DecompositionSpec", folder: Path, overrides: Sequence[str], sweep: Path | None
    ) -> Done:
        """See ``decomposition_report.execute``."""
        from neural_branching.labs.decomposition.decomposition_report import execute, print_study

        results = execute(asked, folder, overrides, sweep)
        return Done(results, lambda: print_study(results, folder))

    def one_line(self, results: Mapping[str, Any]) -> str:
        """Which findings were seen."""
        from neural_branching.labs.decomposition.decomposition_report import one_line

        return one_line(results)

    def objectives(self, results: Mapping[str, Any]) -> Sequence[float | None]:
        """Minus the error on validation, over seeds: more is better."""
        errors = [one["branched"]["validation_error"] for one in results["seeds"].values()]
        return [-sum(errors) / len(errors)]

    def summarize(self, folder: Path, *, events: bool) -> bool:
        """A line per study, and a figure where studies differ in their number of branches."""
        from neural_branching.labs.decomposition.decomposition_summary import summarize

        return summarize(folder, events=events)


class ExplanationJobs(Jobs["ExplanationSpec"]):
    """Studies of autoencoders that explain classifiers."""

    def asked(self, config: "DictConfig") -> "ExplanationSpec":
        """See ``Jobs.asked``."""
        from neural_branching.labs.explanation.explanation_spec import ExplanationSpec

        return ExplanationSpec.from_config(config)

    def check(self, asked: "ExplanationSpec") -> None:
        """See ``run_explanation.check``."""
        from neural_branching.labs.explanation.run_explanation import check

        check(asked)

    def check_table(self, asked: "ExplanationSpec", table: "DataTable") -> None:
        """See ``run_explanation.check_table``."""
        from neural_branching.labs.explanation.run_explanation import check_table

        check_table(asked, table)

    def execute(
        self, asked: "ExplanationSpec", folder: Path, overrides: Sequence[str], sweep: Path | None
    ) -> Done:
        """See ``explanation_report.execute``."""
        from neural_branching.labs.explanation.explanation_report import execute, print_study

        results = execute(asked, folder, overrides, sweep)
        return Done(results, lambda: print_study(results, folder))

    def one_line(self, results: Mapping[str, Any]) -> str:
        """The gate, and how many controls are beaten."""
        from neural_branching.labs.explanation.explanation_report import one_line

        return one_line(results)

    def summarize(self, folder: Path, *, events: bool) -> bool:
        """A line per study."""
        from neural_branching.labs.explanation.explanation_report import summarize

        return summarize(folder)


class SelfEvaluationJobs(Jobs["SelfEvaluationSpec"]):
    """Studies of branches that say whether their parent is right."""

    def asked(self, config: "DictConfig") -> "SelfEvaluationSpec":
        """See ``Jobs.asked``."""
        from neural_branching.labs.self_evaluation.self_evaluation_spec import SelfEvaluationSpec

        return SelfEvaluationSpec.from_config(config)

    def check(self, asked: "SelfEvaluationSpec") -> None:
        """See ``run_self_evaluation.check``."""
        from neural_branching.labs.self_evaluation.run_self_evaluation import check

        check(asked)

    def check_table(self, asked: "SelfEvaluationSpec", table: "DataTable") -> None:
        """See ``run_self_evaluation.check_table``."""
        from neural_branching.labs.self_evaluation.run_self_evaluation import check_table

        check_table(asked, table)

    def execute(
        self, asked: "SelfEvaluationSpec", folder: Path, overrides: Sequence[str], sweep: Path | None
    ) -> Done:
        """See ``self_evaluation_report.execute``."""
        from neural_branching.labs.self_evaluation.self_evaluation_report import execute, print_study

        results = execute(asked, folder, overrides, sweep)
        return Done(results, lambda: print_study(results, folder))

    def one_line(self, results: Mapping[str, Any]) -> str:
        """How well right answers are told from wrong ones, with and without a branch."""
        from neural_branching.labs.self_evaluation.self_evaluation_report import one_line

        return one_line(results)

    def summarize(self, folder: Path, *, events: bool) -> bool:
        """A line per study."""
        from neural_branching.labs.self_evaluation.self_evaluation_report import summarize

        return summarize(folder)


# Command → its jobs.
JOBS: dict[str, Jobs[Any]] = {
    "train": BranchJobs("train"),
    "route": BranchJobs("route"),
    "cascade": CascadeJobs(),
    "specialize": SpecializationJobs(),
    "decompose": DecompositionJobs(),
    "explain": ExplanationJobs(),
    "judge": SelfEvaluationJobs(),
}
