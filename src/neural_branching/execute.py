"""One experiment into one folder: configuration first, results last."""

from collections.abc import Sequence
from pathlib import Path

from neural_branching import pipeline
from neural_branching.config.experiment import Experiment
from neural_branching.report.results import write_config
from neural_branching.report.run_report import write_run
from neural_branching.store.run_folders import planned_data


def execute(
    experiment: Experiment,
    folder: Path,
    overrides: Sequence[str] = (),
    sweep: Path | None = None,
    *,
    draw_figures: bool,
) -> pipeline.Run:
    """Do what is missing of an experiment and write its run.

    Args:
        experiment: what to do.
        folder: of the run, which exists and is empty (``run_folders.begin``).
        overrides: what the user typed, recorded so that a summary can tell runs apart.
        sweep: folder of the sweep that the run belongs to, whose data it has to see; None for none.
        draw_figures: whether to draw its figures too.

    Raises:
        InputError: as ``pipeline.run``.
    """
    write_config(folder, experiment.config)  # at once, by which a summary knows a run that was killed
    fingerprint = planned_data(sweep, experiment.data.described) if sweep else None
    run = pipeline.run(experiment, overrides, fingerprint)
    write_run(run, folder, draw_figures=draw_figures)
    return run
