"""What happens around runs and sweeps: everything is checked before, and summarised after.

Hydra turns an exception of a callback into a warning, but lets SystemExit through: so that is what
stops a run here.
"""

import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, TypeVar

from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, configure_log
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from neural_branching.commands.composition import compose_jobs, compose_values, is_grid
from neural_branching.commands.jobs import JOBS
from neural_branching.config.build import unresolved
from neural_branching.config.hydra_session import REFUSALS, explained
from neural_branching.config.objectives import check_directions
from neural_branching.errors import InputError, refused_file
from neural_branching.store.run_folders import begin_sweep, digest_of, write_jobs
from neural_branching.training.loggers import TensorBoard

T = TypeVar("T")

log = logging.getLogger(__name__)


# Folders of sweeps that have started in this process and not come to their end.
RUNNING: list[Path] = []

# Artifacts that a sweep counts.
_SHOWN = ("data", "parent", "activations", "branch")


class CheckAndSummarize(Callback):
    """Refuses a run or a whole sweep before anything starts; writes a sweep's summary at its end.

    Args:
        command: a name of ``JOBS``.
    """

    def __init__(self, command: str) -> None:
        self.command, self.events = command, True

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Check a single run before its folder is made."""
        _exit_on_bad_input(lambda: check(self.command, [_task(config)], Path(config.hydra.run.dir)))

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Compose and check every job of a sweep before the first one starts."""
        jobs, sweep = _jobs(config, kwargs["config_name"]), Path(config.hydra.sweep.dir)
        _check_jobs_once()
        if not jobs:
            sys.exit("The sweep has no job: one of its lists of values is empty.")
        asked, data = _exit_on_bad_input(lambda: check(self.command, jobs, sweep))
        self.events = isinstance(asked[0].compute.logger, TensorBoard)
        if "direction" in config.hydra.sweeper:
            wanted = config.hydra.sweeper.direction
            directions = [
                getattr(one, "name", one) for one in (wanted if OmegaConf.is_list(wanted) else [wanted])
            ]
            objectives = getattr(asked[0], "objectives", ())
            _exit_on_bad_input(lambda: check_directions(objectives, directions))
        count = len(jobs) if is_grid(config.hydra.sweeper) else None
        try:
            begin_sweep(sweep)
            write_jobs(sweep, self.command, count, data)
        except OSError as error:
            sys.exit(
                f"{sweep} cannot be written ({error.strerror}): free some space or choose another folder "
                "with outputs=FOLDER."
            )
        if is_grid(config.hydra.sweeper) and not config.hydra.launcher._target_.endswith("SlurmLauncher"):
            # Jobs of this machine. Those of a cluster train for themselves, where there is room for it.
            from neural_branching.store.artifact_store import store_at

            configure_log(config.hydra.job_logging, config.hydra.verbose)  # as in a job
            with store_at(asked[0].outputs / "store").building_ahead():
                _exit_on_bad_input(lambda: JOBS[self.command].build_ahead(asked))
        RUNNING.append(sweep)

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Forget a job's configuration, which Hydra would keep until the end of the sweep."""
        job_return.cfg = job_return.hydra_cfg = None

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Summarise the sweep; exit with 1 if a job failed."""
        from neural_branching.store.artifact_store import store_at

        RUNNING.clear()
        folder = Path(config.hydra.sweep.dir)
        ahead = store_at(Path(config.outputs).absolute() / "store").built_ahead()
        counts = ", ".join(f"{ahead[kind]} {kind}" for kind in _SHOWN if kind in ahead)
        if counts:
            print(f"Built before the jobs, by the process that launched them: {counts}.")
        try:
            finished = JOBS[self.command].summarize(folder, events=self.events)
        except InputError as error:
            sys.exit(str(error))
        except OSError as error:
            sys.exit(
                f"The summary of {folder} cannot be written ({error.strerror}): free some space and "
                f"type neural-branching report {folder}; every finished job is kept."
            )
        except Exception as error:  # of which Hydra would make a warning, and the exit code 0
            log.exception("The summary of %s failed", folder)
            sys.exit(f"The summary of {folder} failed ({type(error).__name__}); every finished job is kept.")
        if not finished:
            sys.exit(1)


def check(command: str, jobs: Sequence[DictConfig], folder: Path) -> tuple[list[Any], dict[str, str]]:
    """Check everything that can be known before a run starts, the cheapest first.

    Args:
        command: a name of ``JOBS``.
        jobs: the composed configurations.
        folder: where results will go.

    Returns:
        What each job is to do; and digest of their settings of data → fingerprint of the examples.

    Raises:
        InputError: for the first thing that cannot be used.
    """
    kind = JOBS[command]
    asked = [kind.asked(job) for job in jobs]
    _check_writable(folder)
    _check_writable(asked[0].outputs / "store")
    for one in asked:  # only now what takes torch
        kind.check(one)
    # Data last, which may have to be downloaded.
    from neural_branching.artifacts.ensure_data import ensure_data
    from neural_branching.store.artifact_store import store_at

    tables = {}
    for one in asked:
        data = digest_of(one.data.described)
        if data not in tables:
            tables[data] = ensure_data(one.data, store_at(one.outputs / "store"))
        kind.check_table(one, tables[data])
    return asked, {data: table.artifact.key for data, table in tables.items()}


def _check_jobs_once() -> None:
    """Keep Hydra's sweeper from composing every job to check it, as has been done.

    It takes as long as a warm job does by itself.
    """
    # The class that Hydra knows, which is not the one of an import: it loads its plugins anew.
    sweeper: Any = Plugins.instance().class_name_to_class[
        "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"
    ]
    sweeper.validate_batch_is_legal = lambda *_: None


def _jobs(config: DictConfig, config_name: str) -> list[DictConfig]:
    """The configuration of every job that the sweep will run.

    Only Hydra's basic sweeper says beforehand what it will run; of a search every single value is
    checked that it can choose.
    """
    overrides = [f"{name}={value}" for name, value in (config.hydra.sweeper.params or {}).items()]
    # As typed: a job has values of its own for what they refer to.
    typed = OmegaConf.to_container(config.hydra.overrides, resolve=False)
    assert isinstance(typed, dict)
    # Where further groups lie; the rest of Hydra's own part is of no matter here.
    overrides += [*typed["task"], *(one for one in typed["hydra"] if one.startswith("hydra.searchpath="))]
    try:
        return (compose_jobs if is_grid(config.hydra.sweeper) else compose_values)(overrides, config_name)
    except REFUSALS as error:
        sys.exit(str(explained(error, overrides, config_name)))


def _task(config: DictConfig) -> DictConfig:
    """The configuration as a job sees it, without Hydra's own part."""
    return OmegaConf.masked_copy(config, [str(name) for name in config if name != "hydra"])


def _check_writable(folder: Path) -> None:
    """Refuse a folder that cannot be made or written to, without making it."""
    existing = folder.absolute()
    try:
        while not existing.exists():
            existing = existing.parent
        with TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise InputError(
            f"{folder} cannot be written, because {existing} is not a writable folder ({error.strerror}): "
            "choose another with outputs=FOLDER."
        ) from error


def _exit_on_bad_input(action: Callable[[], T]) -> T:
    try:
        return action()
    except InputError as error:
        sys.exit(str(error))
    except OmegaConfBaseException as error:
        sys.exit(str(unresolved(error)))
    except OSError as error:
        if sentence := refused_file(error):
            sys.exit(str(sentence))
        raise
