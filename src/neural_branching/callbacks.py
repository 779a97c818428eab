"""What happens around runs and sweeps: everything is checked before, and summarised after.

Hydra turns an exception of a callback into a warning, but lets SystemExit through: so that is what
stops a run here.
"""

import copy
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, TypeVar

from hydra import compose
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, OverrideType
from hydra.core.utils import JobReturn, configure_log
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from neural_branching.errors import InputError, refused_file
from neural_branching.objectives import check_directions
from neural_branching.runs import begin_sweep, digest_of, write_jobs
from neural_branching.settings import Settings
from neural_branching.system import System

T = TypeVar("T")

log = logging.getLogger(__name__)


# Folders of sweeps that have started in this process and not come to their end.
RUNNING: list[Path] = []

# Artifacts that a sweep counts.
_SHOWN = ("data", "parent", "activations", "branch")


class CheckAndSummarize(Callback):
    """Refuses a run or a whole sweep before anything starts; writes a sweep's summary at its end."""

    command = "train"

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Check a single run before its folder is made."""
        _exit_on_bad_input(lambda: self.check([_task(config)], Path(config.hydra.run.dir)))

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Compose and check every job of a sweep before the first one starts."""
        jobs = _jobs(config, kwargs["config_name"])
        checked = _exit_on_bad_input(lambda: self.check(jobs, Path(config.hydra.sweep.dir)))
        branches = checked.branches
        if "direction" in config.hydra.sweeper:
            asked = config.hydra.sweeper.direction
            directions = [
                getattr(one, "name", one) for one in (asked if OmegaConf.is_list(asked) else [asked])
            ]
            _exit_on_bad_input(lambda: check_directions(branches[0].objectives, directions))
        sweep = Path(config.hydra.sweep.dir)
        count = len(jobs) if _is_grid(config) else None
        try:
            begin_sweep(sweep)
            write_jobs(sweep, self.command, count, checked.data)
        except OSError as error:
            sys.exit(
                f"{sweep} cannot be written ({error.strerror}): free some space or choose another folder "
                "with outputs=FOLDER."
            )
        if _is_grid(config) and not config.hydra.launcher._target_.endswith("SlurmLauncher"):
            # Jobs of this machine. Those of a cluster train for themselves, where there is room for it.
            from neural_branching.store import store_at
            from neural_branching.together import train_together

            configure_log(config.hydra.job_logging, config.hydra.verbose)  # as in a job
            with store_at(branches[0].outputs / "store").building_ahead():
                _exit_on_bad_input(lambda: train_together(branches))
        RUNNING.append(sweep)

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Forget a job's configuration, which Hydra would keep until the end of the sweep."""
        job_return.cfg = job_return.hydra_cfg = None

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Summarise the sweep; exit with 1 if a job failed."""
        from neural_branching.store import store_at

        RUNNING.clear()
        folder = Path(config.hydra.sweep.dir)
        ahead = store_at(Path(config.outputs).absolute() / "store").unclaimed_ahead()
        counts = ", ".join(f"{ahead[kind]} {kind}" for kind in _SHOWN if kind in ahead)
        if counts:
            print(f"Built before the jobs, by the process that launched them: {counts}.")
        try:
            finished = self.summarize(folder)
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

    def check(self, jobs: list[DictConfig], folder: Path) -> "Checked":
        """Check jobs whose results will go to a folder."""
        return check(jobs, folder)

    def summarize(self, folder: Path) -> bool:
        """Write and print the summary of a sweep; whether every job has finished."""
        from neural_branching.report.summary import summarize
        from neural_branching.report.tables import print_summary

        summary = summarize(folder, events=True)
        print_summary(summary)
        return not (summary.failed or summary.unread)


class CheckAndSummarizeSystems(CheckAndSummarize):
    """The same for systems of branches."""

    command = "route"

    def check(self, jobs: list[DictConfig], folder: Path) -> "Checked":
        """Check jobs whose results will go to a folder."""
        return check_systems(jobs, folder)

    def summarize(self, folder: Path) -> bool:
        """Write and print the summary of a sweep; whether every job has finished."""
        from neural_branching.report.systems import print_systems, summarize_systems

        summary = summarize_systems(folder, events=True)
        print_systems(summary)
        return not summary.failed


@dataclass(frozen=True)
class Checked:
    """What is known of jobs before they start.

    Attributes:
        branches: settings of every branch that they need.
        data: digest of their settings of data → fingerprint of the images.
    """

    branches: list[Settings]
    data: dict[str, str]


def check_systems(jobs: list[DictConfig], folder: Path) -> Checked:
    """Check everything that can be known before a run of a system starts.

    Args:
        jobs: the composed configurations.
        folder: where results will go.

    Raises:
        InputError: for the first thing that cannot be used.
    """
    systems = [System.from_config(job) for job in jobs]
    _check_writable(folder)
    _check_writable(systems[0].base.outputs / "store")
    from neural_branching.system_pipeline import branches_of, check_system

    for one in systems:
        check_system(one)
    data = _check_data([settings for one in systems for settings in (one.base, *one.nodes.values())])
    return Checked([branch for one in systems for branch in branches_of(one)], data)


def check(jobs: list[DictConfig], folder: Path) -> Checked:
    """Check everything that can be known before a run starts, the cheapest first.

    Args:
        jobs: the composed configurations.
        folder: where results will go.

    Raises:
        InputError: for the first thing that cannot be used.
    """
    settings = [Settings.from_config(job) for job in jobs]
    _check_writable(folder)
    _check_writable(settings[0].outputs / "store")
    # Only now torch, for what only the networks know; and data last, which may have to be downloaded.
    from neural_branching.models import check_models

    for one in settings:
        check_models(one)
    return Checked(settings, _check_data(settings))


def _check_data(settings: list[Settings]) -> dict[str, str]:
    """Check that the data is there, and that what will be written of it fits on the disk.

    Returns:
        Digest of the settings of data → fingerprint.

    Raises:
        InputError: if not.
    """
    from neural_branching import artifacts, models
    from neural_branching.store import store_at

    tables, checked = {}, set()
    for one in settings:
        data = digest_of(one.config["data"])
        if data not in tables:
            tables[data] = artifacts.ensure_data(one, store_at(one.outputs / "store"))
        sized = data, repr(one.config["parent"]), repr(one.config["views"]), one.stage, one.readout.kind
        if one.trunk is None and sized not in checked:
            checked.add(sized)
            models.check_budget(one, len(tables[data]), len(tables[data].rows("train")))
    return {data: table.artifact.key for data, table in tables.items()}


def _jobs(config: DictConfig, config_name: str) -> list[DictConfig]:
    """The configuration of every job that the sweep will run.

    Only Hydra's basic sweeper says beforehand what it will run; of a search every single value is
    checked that it can choose.
    """
    overrides = [f"{name}={value}" for name, value in (config.hydra.sweeper.params or {}).items()]
    overrides += [str(override) for override in config.hydra.overrides.task]
    try:
        return (compose_jobs if _is_grid(config) else compose_values)(overrides, config_name)
    except HydraException as error:
        sys.exit(str(error))


def _is_grid(config: DictConfig) -> bool:
    """Whether a sweep runs every combination of the values, and is no search among them."""
    return bool(config.hydra.sweeper._target_.endswith("BasicSweeper"))


def compose_jobs(overrides: list[str], config_name: str) -> list[DictConfig]:
    """The configuration of every job that overrides with commas stand for, while Hydra is initialised.

    Raises:
        HydraException: if an override cannot be parsed or composed.
    """
    parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
    [batch] = BasicSweeper.split_arguments(parser.parse_overrides(overrides), max_batch_size=None)
    return _compose(batch, config_name)


def compose_values(overrides: list[str], config_name: str) -> list[DictConfig]:
    """A configuration for every value that a search can choose, beside the first of all others.

    Raises:
        HydraException: if an override cannot be parsed or composed.
    """
    parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
    offered: dict[str, list[str]] = {}  # a later override of the same key counts
    for override in parser.parse_overrides(overrides):
        offered[override.get_key_element()] = [
            f"{override.get_key_element()}={one}" for one in _values(override)
        ]
    first = [lines[0] for lines in offered.values()]
    batch = [first]
    for place, lines in enumerate(offered.values()):
        batch += [[*first[:place], line, *first[place + 1 :]] for line in lines[1:]]
    return _compose(batch, config_name)


def _values(override: Override) -> list[str]:
    """The values of an override, or the ends of an interval."""
    value = override.value()
    if isinstance(value, IntervalSweep):
        return [str(value.start), str(value.end)]
    if override.is_sweep_override():
        return list(override.sweep_string_iterator())
    return [override.get_value_element_as_str()]


def _compose(batch: Sequence[Sequence[str]], config_name: str) -> list[DictConfig]:
    """The configuration of every job, each a list of overrides.

    Jobs that choose the same files and differ in values share one composition, as it reads and merges
    some thirty files anew each time.

    Raises:
        HydraException: if an override cannot be parsed or composed.
    """
    loader = GlobalHydra.instance().config_loader()
    parser = OverridesParser.create(config_loader=loader)
    composed: dict[tuple[str, ...], DictConfig] = {}
    is_group = cache(lambda key: bool(loader.get_group_options(key)))

    def job_of(lines: Sequence[str]) -> DictConfig:
        parsed = parser.parse_overrides(list(lines))
        values = [override for override in parsed if _is_value(override, is_group)]
        files = tuple(str(override.input_line) for override in parsed if override not in values)
        try:
            if files not in composed:
                composed[files] = compose(config_name, list(files))
            config = copy.deepcopy(composed[files])
            for override in values:
                OmegaConf.update(config, override.key_or_group, override.value(), merge=True)
        except (HydraException, OmegaConfBaseException):
            return compose(config_name, list(lines))  # where only Hydra knows the right message
        return config

    return [job_of(lines) for lines in batch]


def _is_value(override: Override, is_group: Callable[[str], bool]) -> bool:
    """Whether an override sets one value of the configuration, and chooses no file."""
    key = override.key_or_group
    plain = override.type is OverrideType.CHANGE and override.package is None and "/" not in key
    return plain and not key.startswith("hydra.") and not is_group(key)


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
    except OSError as error:
        if sentence := refused_file(error):
            sys.exit(str(sentence))
        raise
