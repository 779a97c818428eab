"""Everything that a finished run leaves in its folder and on the screen."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from neural_branching.report import branch_report, cascade_report, tree_report
from neural_branching.report.figures.style import save
from neural_branching.report.provenance import provenance
from neural_branching.report.results import records, write_config, write_results, written
from neural_branching.report.run_logs import log_run
from neural_branching.report.screen_table import console
from neural_branching.report.tensorboard import write_events
from neural_branching.store.run_folders import CONFIG, LOGGED, events_of
from neural_branching.training.loggers import TensorBoard

if TYPE_CHECKING:
    from neural_branching.pipeline import Run


def write_run(run: "Run", folder: Path, *, draw_figures: bool) -> None:
    """Write the run's files; results.json comes last, so that its presence means a complete run.

    Args:
        run: the finished run.
        folder: its folder, which exists.
        draw_figures: also draw the figures, as files and for the logger. A sweep leaves this to its
            summary: drawing takes longer than a job that finds everything in the store.
    """
    part = _part(run.experiment.command)
    write_config(folder, run.experiment.config)
    names = [CONFIG, *part.write_tables(run, folder)]
    drawn = draw(run) if draw_figures else {}
    names += save(drawn, folder, ("png", "svg"))
    every, logger = records(run.results), run.experiment.compute.logger
    if isinstance(logger, TensorBoard):
        curve, tables = part.shown(run)
        write_events(folder, every, run.histories, curve, tables, drawn)
        names += events_of(folder)
    elif logger:
        log_run(logger, folder, every, run.histories)
        names += [LOGGED] if (folder / LOGGED).exists() else []
    results = {**run.results, "written": written(folder, names, run.experiment.outputs)}
    write_results(folder, results, compact=len(every) > 1)
    if logger:
        logger.forget(one.rpartition("/")[2] for one in run.results["used"])


def draw(run: "Run") -> dict[str, Any]:
    """Name → figure of a run."""
    return dict(_part(run.experiment.command).draw(run))


def print_run(run: "Run", folder: Path) -> None:
    """Print short tables: what was found, what is guaranteed, and what was reused."""
    _part(run.experiment.command).print_results(run.results)
    console().print(f"{provenance(run.results)}. Results in {folder}", highlight=False, soft_wrap=True)


def _part(command: str) -> Any:
    """What knows the files and the screen of a command's runs."""
    return {"train": branch_report, "route": tree_report, "cascade": cascade_report}[command]


def one_line(results: dict[str, Any]) -> str:
    """A finished run as a phrase, for the log of a sweep."""
    mine = results["routers"][results["router"]] if results["router"] else records(results)[0]["test"]
    return f"test accuracy {mine['accuracy']:.3f}; {provenance(results)}"
