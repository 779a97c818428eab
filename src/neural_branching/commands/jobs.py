"""What the commands that Hydra composes do with a configuration: check it, run it, sum up a sweep of it."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from neural_branching.config.data_spec import DataSpec
    from neural_branching.config.experiment import Experiment
    from neural_branching.data.table import DataTable
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


class StudyJobs(Jobs[Any]):
    """Studies of a laboratory.

    Args:
        room: of ``labs``, whose modules the others name.
        spec: module and class of what a study is asked for.
        run: module with ``check`` and ``check_table``.
        report: module with ``execute``, ``print_study`` and ``one_line``.
        summary: module with ``summarize``: figures that compare studies, and whether all have finished.
        objective: what a search optimises, of a study's results; None for nothing.
    """

    def __init__(
        self,
        room: str,
        spec: tuple[str, str],
        run: str,
        report: str,
        summary: str,
        objective: Callable[[Mapping[str, Any]], float | None] | None = None,
    ) -> None:
        self.room, self.spec, self.run = room, spec, run
        self.report, self.summary, self.objective = report, summary, objective

    def _module(self, name: str) -> Any:
        return import_module(f"neural_branching.labs.{self.room}.{name}")

    def asked(self, config: "DictConfig") -> Any:
        """See ``Jobs.asked``."""
        module, name = self.spec
        return getattr(self._module(module), name).from_config(config)

    def check(self, asked: Any) -> None:
        """See ``check`` of the laboratory."""
        self._module(self.run).check(asked)

    def check_table(self, asked: Any, table: "DataTable") -> None:
        """See ``check_table`` of the laboratory."""
        self._module(self.run).check_table(asked, table)

    def execute(self, asked: Any, folder: Path, overrides: Sequence[str], sweep: Path | None) -> Done:
        """See ``execute`` of the laboratory."""
        report = self._module(self.report)
        results = report.execute(asked, folder, overrides, sweep)
        return Done(results, lambda: report.print_study(results, folder))

    def one_line(self, results: Mapping[str, Any]) -> str:
        """What was seen, and what was built."""
        return str(self._module(self.report).one_line(results))

    def objectives(self, results: Mapping[str, Any]) -> Sequence[float | None]:
        """One number, over seeds."""
        return [self.objective(results)] if self.objective else []

    def summarize(self, folder: Path, *, events: bool) -> bool:
        """A line per study, and figures that compare them."""
        drawn, finished = self._module(self.summary).summarize(folder)
        if drawn:
            from neural_branching.report.figures.style import save
            from neural_branching.report.tensorboard import write_figures

            save(drawn, folder, ("png", "svg"))
            if events:
                write_figures(folder, drawn)
        return bool(finished)


def _branched_accuracy(results: Mapping[str, Any]) -> float | None:
    """Accuracy of the branched networks on validation; None if one was not trained."""
    last = [one["branched"]["validation_accuracy"][-1:] for one in results["seeds"].values()]
    return sum(one[0] for one in last) / len(last) if all(last) else None


def _less_error(results: Mapping[str, Any]) -> float | None:
    """Minus the error of the branched autoencoders on validation: more is better."""
    errors: list[float] = [one["branched"]["validation_error"] for one in results["seeds"].values()]
    return -sum(errors) / len(errors)


# Command → its jobs.
JOBS: dict[str, Jobs[Any]] = {
    "train": BranchJobs("train"),
    "route": BranchJobs("route"),
    "cascade": CascadeJobs(),
    "specialize": StudyJobs(
        "specialization",
        ("study_spec", "StudySpec"),
        "run_study",
        "study_report",
        "study_summary",
        _branched_accuracy,
    ),
    "decompose": StudyJobs(
        "decomposition",
        ("decomposition_spec", "DecompositionSpec"),
        "run_decomposition",
        "decomposition_report",
        "decomposition_summary",
        _less_error,
    ),
    "explain": StudyJobs(
        "explanation",
        ("explanation_spec", "ExplanationSpec"),
        "run_explanation",
        "explanation_report",
        "explanation_report",
    ),
    "judge": StudyJobs(
        "self_evaluation",
        ("self_evaluation_spec", "SelfEvaluationSpec"),
        "run_self_evaluation",
        "self_evaluation_report",
        "self_evaluation_report",
    ),
}
