"""Runs and sweeps: Hydra composes their configurations and calls ``job`` for each."""

import argparse
import logging
import os
import secrets
import sys
import traceback
from contextlib import suppress
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neural_branching.commands import terminal
from neural_branching.errors import InputError, is_full_disk, refused_file

if TYPE_CHECKING:
    from collections.abc import Sequence

    from omegaconf import DictConfig

    from neural_branching.commands.jobs import Done

    Optimised = float | list[float]

log = logging.getLogger(__name__)

# Preset of a launcher or sweeper → the extra that brings it.
_EXTRAS = {
    "joblib": "joblib",
    "submitit_local": "submitit",
    "submitit_slurm": "submitit",
    "optuna": "optuna",
}


def launch(command: str, arguments: list[str]) -> None:
    """Run or sweep: Hydra composes the configuration and calls ``job``.

    Args:
        command: name of the primary configuration, and of ``JOBS``.
        arguments: what was typed behind it.

    Raises:
        InputError: for what Hydra cannot compose, and a launcher or sweeper that is not installed.
    """
    import hydra
    from hydra._internal.utils import get_args_parser

    from neural_branching.config.build import conf_dir
    from neural_branching.config.hydra_session import REFUSALS, explained, hydra_session

    _check_extras(arguments)

    # One name per command, with a random end: Hydra's ${now:} alone gives two runs one folder. In the
    # environment, since launchers run jobs in other processes.
    os.environ["NEURAL_BRANCHING_RUN"] = f"{datetime.now():%Y-%m-%d_%H-%M-%S}_{secrets.token_hex(3)}"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # it raises what it would print
    typed = get_args_parser().parse_intermixed_args(arguments)
    arguments = [
        *(one for one in arguments if one not in typed.overrides),
        *typed.overrides,
    ]  # as Hydra wants
    if typed.help:
        from neural_branching.commands.option_help import print_options

        name = typed.config_name or command
        with hydra_session(typed.config_dir, typed.config_path):
            try:
                print_options(command, typed.overrides, name)
            except REFUSALS as error:
                raise explained(error, typed.overrides, name) from error
        return
    sys.argv = [f"neural-branching {command}", *_one_job_for_thresholds(command, arguments, typed)]
    try:
        hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=command)(job)()
    except (Exception, SystemExit) as error:
        if isinstance(error, REFUSALS):
            with hydra_session(typed.config_dir, typed.config_path):
                sentence = explained(error, typed.overrides, typed.config_name or command)
            if sentence is not error:
                raise sentence from error
        _say_what_is_there()
        raise


def _say_what_is_there() -> None:
    """Say of a sweep whose launcher or sweeper has given up where its jobs are."""
    from neural_branching.commands.callbacks import RUNNING

    while RUNNING:
        print(
            f"The sweep ended early: neural-branching report {RUNNING.pop()} shows what is there, and the "
            "same command does what is missing.",
            file=sys.stderr,
        )


def _one_job_for_thresholds(command: str, arguments: list[str], typed: argparse.Namespace) -> list[str]:
    """The arguments of a sweep with its thresholds joined; as they are for a search or a single run."""
    from neural_branching.commands.composition import joined_thresholds
    from neural_branching.config.hydra_session import REFUSALS, hydra_session

    if not typed.multirun or not any("threshold" in one for one in typed.overrides):
        return arguments
    try:
        with hydra_session(typed.config_dir, typed.config_path):
            joined = joined_thresholds(list(typed.overrides), typed.config_name or command)
    except REFUSALS:  # which come again where they are reported
        return arguments
    return [*(one for one in arguments if one not in typed.overrides), *joined]


def _check_extras(arguments: list[str]) -> None:
    """Name the extra that a launcher or sweeper needs, where Hydra would say that it does not exist.

    Raises:
        InputError: if it is not installed.
    """
    for argument in arguments:
        name, _, value = argument.partition("=")
        extra = _EXTRAS.get(value) if name in ("hydra/launcher", "hydra/sweeper") else None
        if extra is None and name != "search":
            continue
        extra = extra or "optuna"
        try:
            version(f"hydra-{extra}-{'sweeper' if extra == 'optuna' else 'launcher'}")
        except PackageNotFoundError:
            raise InputError(
                f"{argument} needs a package that is not installed: "
                f"pip install 'neural-branching[{extra}]' (in a checkout: pip install -e '.[{extra}]')."
            ) from None


def hydra_flags() -> argparse.ArgumentParser:
    """Hydra's own flags that say where configurations lie, for commands that compose one."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--config-dir", "-cd", metavar="DIR", help="a folder with further groups")
    parser.add_argument("--config-path", "-cp", metavar="DIR", help="a folder instead of conf/")
    parser.add_argument("--config-name", "-cn", metavar="NAME", help="a configuration other than train")
    return parser


def first_job(typed: argparse.Namespace, command: str = "train") -> Any:
    """What overrides describe; of several values the first of each.

    Args:
        typed: ``overrides``, and the values of ``hydra_flags``.
        command: name of the primary configuration, and of ``JOBS``.

    Returns:
        As ``Jobs.asked``.

    Raises:
        InputError: if they cannot be composed or used.
    """
    from neural_branching.commands.composition import compose_values
    from neural_branching.commands.jobs import JOBS
    from neural_branching.config.hydra_session import REFUSALS, explained, hydra_session

    name = typed.config_name or command
    with hydra_session(typed.config_dir, typed.config_path):
        try:
            config = compose_values(typed.overrides, name)[0]
        except REFUSALS as error:
            raise explained(error, typed.overrides, name) from error
    return JOBS[command].asked(config)


def job(config: "DictConfig") -> "Optimised | None":
    """One run, alone or as a job of a sweep. A failure is recorded in its folder, and stops no other job.

    Returns:
        The objectives, or validation accuracy if there are none; None if the job of a sweep failed, or if
        one of them is undefined.
    """
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from neural_branching.commands.jobs import JOBS
    from neural_branching.store.run_folders import begin, discard

    terminal.prepare()  # launchers run jobs in other processes
    hydra_config = HydraConfig.get()
    command = hydra_config.callbacks["check_and_summarize"]["command"]
    kind = JOBS[command]
    folder, sweep = Path(hydra_config.runtime.output_dir), None
    if hydra_config.mode == RunMode.MULTIRUN:
        sweep = Path(hydra_config.runtime.cwd) / hydra_config.sweep.dir
    try:
        begin(folder)
        done = kind.execute(kind.asked(config), folder, list(hydra_config.overrides.task), sweep)
    except Exception as found:
        error = _recorded(found, command, folder)
        if sweep:
            # One failed job must not stop the others; the summary reports it and exits with 1.
            log.error("%s failed: %s", folder.name, error)
            return None
        if isinstance(error, InputError):
            sys.exit(str(error))
        raise
    except BaseException:
        # Ctrl-C: what was finished is in the store, and the folder would only look like a run.
        discard(folder)
        raise
    if sweep:
        log.info("%s: %s", folder.name, kind.one_line(done.results))
    else:
        _show(done, folder)
    return _to_optimise(kind.objectives(done.results))


def _recorded(found: Exception, command: str, folder: Path) -> Exception:
    """The error to report, after it was written into the run's folder."""
    from neural_branching.report.results import write_results

    error = found if isinstance(found, InputError) else refused_file(found) or found
    if error is not found and is_full_disk(found):
        error = InputError(
            f"The disk that holds {folder} is full: free some space or choose another with "
            "outputs=FOLDER, and repeat the command; what was finished before is kept."
        )
    failure = {"type": type(error).__name__, "message": str(error), "traceback": traceback.format_exc()}
    with suppress(OSError):  # where nothing more can be written, the summary finds no results
        write_results(folder, {"command": command, "status": "failed", "error": failure})
    return error


def _show(done: "Done", folder: Path) -> None:
    """Print a finished run. It is written, whether or not it can be printed."""
    try:
        done.show()
    except OSError as error:
        sys.exit(f"The results are in {folder}, but cannot be printed ({error.strerror}).")


def _to_optimise(values: "Sequence[float | None]") -> "Optimised | None":
    """What a sweeper optimises; None if one of the values is undefined."""
    found = [value for value in values if value is not None]
    if not values or len(found) < len(values):
        return None
    return found if len(found) > 1 else found[0]
