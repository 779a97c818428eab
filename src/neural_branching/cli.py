"""The command ``neural-branching``. Heavy imports happen inside a command, after its input is checked."""

import argparse
import logging
import os
import secrets
import sys
import traceback
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neural_branching import terminal
from neural_branching.errors import InputError, is_full_disk, one_of, refused_file

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from omegaconf import DictConfig

    from neural_branching.settings import Settings

    Optimised = float | list[float]

log = logging.getLogger(__name__)

HELP = """\
neural-branching: grow small, selective networks from the layers of a frozen parent.

usage: neural-branching COMMAND ...

commands:
  train [-m] [OVERRIDES]   parent → activations → branch → threshold; -m sweeps comma-separated values
  route [-m] [OVERRIDES]   a tree of branches as one system: routers compared, answers backed off or refused
  study [OVERRIDES]        train -m over all main stages of the parent: accuracy, AURC and MACs by depth
  stages [OVERRIDES]       the parent's branch points: shape, readout, MACs and parameters, without training
  predict RUN IMAGES ...   what a finished run answers to image files or folders of them, with a trace
  export RUN FILE          a finished run as one program: FILE.pt2 (torch.export) or FILE.onnx
  report FOLDER            table and figures of every run below a folder; --compare A B pairs two settings
  store ACTION [FOLDER]    list what is kept, verify that it is whole, prune what no run needs
  simulate FOLDER          what each guaranteed threshold would keep with other numbers of calibration images

examples:
  neural-branching train subset=lower branch_point=hidden1 threshold.value=0.8
  neural-branching train -m subset=digits,upper,lower branch_point=hidden1,hidden2
  neural-branching train experiment=cifar100_fish
  neural-branching train subset=lower baselines=all
  neural-branching stages parent=torchvision parent.model=resnet18
  neural-branching study subset=digits,upper,lower parent=convnet
  neural-branching train -m "score=glob(*)" threshold=coverage
  neural-branching route hierarchy=glyphs_by_case router=soft threshold=risk threshold.target=0.1
  neural-branching predict outputs/runs/NAME photos/ --output answers.csv
  neural-branching report outputs/sweeps/NAME --compare score=margin score=energy
  neural-branching store prune outputs --dry-run
  neural-branching study search=pareto subset=digits
  neural-branching train -m hydra/launcher=joblib "seed=range(20)"
  neural-branching simulate outputs/sweeps/NAME --target 0.1 --images 300 1000 3000

`neural-branching train --help` lists every option and its value."""


# Preset of a launcher or sweeper → the extra that brings it.
_EXTRAS = {
    "joblib": "joblib",
    "submitit_local": "submitit",
    "submitit_slurm": "submitit",
    "optuna": "optuna",
}


TRUST = "also build what the run's configuration names of other packages, such as a parent of your own"


def main() -> None:
    """Entry point of the console script."""
    terminal.prepare()
    arguments = sys.argv[1:]
    commands = {
        "train": train,
        "route": route,
        "study": study,
        "stages": stages,
        "predict": predict,
        "export": export,
        "report": report,
        "simulate": simulate,
        "store": store,
    }
    try:
        if not arguments or arguments[0] in ("-h", "--help"):
            print(HELP)
        else:
            commands[one_of(arguments[0], commands, "The command")](arguments[1:])
        sys.stdout.flush()
    except InputError as error:
        sys.exit(str(error))
    except OSError as error:
        if sentence := refused_file(error):
            sys.exit(str(sentence))
        raise
    if not arguments:
        sys.exit(2)


def train(arguments: list[str]) -> None:
    """Run or sweep single branches: Hydra composes the configuration and calls ``train_job``.

    Args:
        arguments: what follows ``train`` on the command line.
    """
    _hydra("train", train_job, arguments)


def route(arguments: list[str]) -> None:
    """Run or sweep systems of branches: Hydra composes the configuration and calls ``route_job``.

    Args:
        arguments: what follows ``route`` on the command line.
    """
    _hydra("route", route_job, arguments)


def _hydra(command: str, job: "Callable[[DictConfig], Optimised | None]", arguments: list[str]) -> None:
    import hydra

    from neural_branching.config import conf_dir

    _check_extras(arguments)

    # One name per command, with a random end: Hydra's ${now:} alone gives two runs one folder. In the
    # environment, since launchers run jobs in other processes.
    os.environ["NEURAL_BRANCHING_RUN"] = f"{datetime.now():%Y-%m-%d_%H-%M-%S}_{secrets.token_hex(3)}"
    sys.argv = [f"neural-branching {command}", *arguments]
    try:
        hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=command)(job)()
    except SystemExit:
        from neural_branching.callbacks import RUNNING

        while RUNNING:  # a launcher or a sweeper has given up
            print(
                f"The sweep ended early: neural-branching report {RUNNING.pop()} shows what is there, and "
                "the same command does what is missing.",
                file=sys.stderr,
            )
        raise


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


def train_job(config: "DictConfig") -> "Optimised | None":
    """One run of a branch, alone or as a job of a sweep.

    Returns:
        The objectives, or validation accuracy if there are none; None if the job of a sweep failed, or if
        one of them is undefined.
    """
    from neural_branching import pipeline
    from neural_branching.report.results import write_config
    from neural_branching.report.run import print_run, provenance, write_run
    from neural_branching.settings import Settings

    def work(job: Job) -> "Done":
        settings = Settings.from_config(config)
        write_config(job.folder, settings.config)  # at once, by which a summary knows a run that was killed
        run = pipeline.run(settings, job.overrides, job.planned(settings.config["data"]))
        write_run(run, job.folder, draw_figures=not job.sweep)
        said = f"test accuracy {run.results['test']['accuracy']:.3f}; {provenance(run.results)}"
        return Done(run.results, said, lambda: print_run(run, job.folder))

    return _job("train", work)


def route_job(config: "DictConfig") -> "Optimised | None":
    """One run of a system, alone or as a job of a sweep.

    Returns:
        End-to-end accuracy of the chosen router on validation; None if the job of a sweep failed.
    """
    from neural_branching import system_pipeline
    from neural_branching.report.results import write_config
    from neural_branching.report.run import provenance
    from neural_branching.report.system import print_system, write_system
    from neural_branching.system import System

    def work(job: Job) -> "Done":
        system = System.from_config(config)
        write_config(job.folder, system.config)  # as for a branch
        run = system_pipeline.run_system(system, job.overrides, job.planned(system.base.config["data"]))
        write_system(run, job.folder, draw_figures=not job.sweep)
        mine = run.results["routers"][run.results["router"]]
        said = f"test accuracy {mine['accuracy']:.3f}; {provenance(run.results)}"
        return Done(run.results, said, lambda: print_system(run.results, job.folder))

    return _job("route", work)


def _to_optimise(results: "Mapping[str, Any]") -> "Optimised | None":
    """What a sweeper optimises: accuracy on validation, if nothing else is asked for; None if undefined."""
    found = [*results.get("objectives", {}).values()] or [results["validation"]["accuracy"]]
    if None in found:
        return None
    values = [float(value) for value in found]
    return values if len(values) > 1 else values[0]


@dataclass(frozen=True)
class Job:
    """One run, alone or as a part of a sweep.

    Attributes:
        overrides: what was typed.
        folder: of the run.
        sweep: folder of the sweep; None for a run alone.
    """

    overrides: list[str]
    folder: Path
    sweep: Path | None

    def planned(self, data: "Mapping[str, Any]") -> str | None:
        """The fingerprint that data of these settings had when the sweep started; None if it says none."""
        from neural_branching.runs import planned_data

        return planned_data(self.sweep, data) if self.sweep else None


@dataclass(frozen=True)
class Done:
    """What a finished run has to say.

    Attributes:
        results: as in results.json.
        said: a phrase for the log of a sweep.
        show: prints the results of a run alone.
    """

    results: "Mapping[str, Any]"
    said: str
    show: "Callable[[], None]"


def _job(command: str, work: "Callable[[Job], Done]") -> "Optimised | None":
    """Do what a run does, in its folder; a failure is recorded there, and stops no other job of a sweep."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from neural_branching.report.results import write_results
    from neural_branching.runs import CONFIG, begin

    terminal.prepare()  # launchers run jobs in other processes
    hydra_config = HydraConfig.get()
    folder, sweep = Path(hydra_config.runtime.output_dir), None
    if hydra_config.mode == RunMode.MULTIRUN:
        sweep = Path(hydra_config.runtime.cwd) / hydra_config.sweep.dir
    try:
        begin(folder)
        done = work(Job(list(hydra_config.overrides.task), folder, sweep))
    except Exception as found:
        error = found if isinstance(found, InputError) else refused_file(found) or found
        if error is not found and is_full_disk(found):
            error = InputError(
                f"The disk that holds {folder} is full: free some space or choose another with "
                "outputs=FOLDER, and repeat the command; what was finished before is kept."
            )
        failure = {"type": type(error).__name__, "message": str(error), "traceback": traceback.format_exc()}
        with suppress(OSError):  # where nothing more can be written, the summary finds no results
            write_results(folder, {"command": command, "status": "failed", "error": failure})
        if sweep:
            # One failed job must not stop the others; the summary reports it and exits with 1.
            log.error("%s failed: %s", folder.name, error)
            return None
        if isinstance(error, InputError):
            sys.exit(str(error))
        raise
    except BaseException:
        # Ctrl-C: what was finished is in the store, and the folder would only look like a run.
        (folder / CONFIG).unlink(missing_ok=True)
        if not any(folder.iterdir()):
            folder.rmdir()
        log.info("Interrupted: the same command continues with what is finished.")
        raise
    # What is written is finished, whether or not it can be shown.
    if sweep:
        log.info("%s: %s", folder.name, done.said)
    else:
        try:
            done.show()
        except OSError as error:
            sys.exit(f"The results are in {folder}, but cannot be printed ({error.strerror}).")
    return _to_optimise(done.results)


def stages(arguments: list[str]) -> None:
    """List the branch points of the parent that a configuration describes.

    Args:
        arguments: overrides as ``train`` takes them, and ``--all``.

    Raises:
        InputError: if the configuration cannot be used.
    """
    parser = argparse.ArgumentParser(
        prog="neural-branching stages", description="The parent's branch points, without training it."
    )
    parser.add_argument(
        "--all", action="store_true", help="every node or submodule, not only the main stages"
    )
    parser.add_argument("--latency", action="store_true", help="also measure passes of 1 and of 256 images")
    parser.add_argument(
        "overrides", nargs="*", metavar="OVERRIDE", help="as for train, such as parent=convnet"
    )
    options = parser.parse_intermixed_args(arguments)

    settings = _first_job(options.overrides)

    from neural_branching.report.stages import print_stages
    from neural_branching.report.stages import stages as found

    print_stages(settings, found(settings, every=options.all, timed=options.latency), every=options.all)


def study(arguments: list[str]) -> None:
    """Sweep the branch points of a parent: every main stage, beside whatever else is swept.

    Args:
        arguments: overrides as ``train -m`` takes them.

    Raises:
        InputError: if the configuration cannot be used.
    """
    parser = argparse.ArgumentParser(
        prog="neural-branching study", description="train -m over all main stages of the parent."
    )
    parser.add_argument(
        "overrides", nargs="*", metavar="OVERRIDE", help="as for train -m, such as subset=a,b"
    )
    overrides = parser.parse_args(arguments).overrides
    settings = _first_job(overrides)

    import torch

    from neural_branching.activations import main_stages
    from neural_branching.models import image_shape, new_parent

    with torch.device("meta"):
        names = ",".join(main_stages(new_parent(settings), image_shape(settings)))
    train(["-m", *overrides, f"branch_point.stage={names}"])


def _first_job(overrides: list[str]) -> "Settings":
    from hydra import initialize_config_dir
    from hydra.errors import HydraException

    from neural_branching.callbacks import compose_values
    from neural_branching.config import conf_dir
    from neural_branching.settings import Settings

    try:
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            return Settings.from_config(compose_values(overrides, "train")[0])
    except HydraException as error:
        raise InputError(str(error)) from error


def predict(arguments: list[str]) -> None:
    """Answer image files with a finished run.

    Args:
        arguments: the run's folder, images and options.

    Raises:
        InputError: if the run cannot be loaded, or there is no image.
    """
    from neural_branching.data.decode import MAX_PIXELS

    parser = argparse.ArgumentParser(
        prog="neural-branching predict", description="What a finished run answers to image files."
    )
    parser.add_argument("run", type=Path, help="folder of the run")
    parser.add_argument("images", type=Path, nargs="+", help="image files, or folders of them")
    parser.add_argument("--output", type=Path, help="also write every answer to a .csv or .jsonl file")
    parser.add_argument("--batch", type=int, default=256, help="images per pass (256)")
    parser.add_argument("--device", help="cpu, cuda or mps; what the run was told if left out")
    parser.add_argument(
        "--max-pixels", type=int, default=MAX_PIXELS, help=f"of an image that is opened ({MAX_PIXELS:,})"
    )
    parser.add_argument("--trust", action="store_true", help=TRUST)
    options = parser.parse_args(arguments)

    import time

    from neural_branching.data.files import decoded, image_files
    from neural_branching.errors import whole
    from neural_branching.report.prediction import Writer, check_output

    batch, files = whole(options.batch, "--batch", 1), image_files(options.images)
    max_pixels = whole(options.max_pixels, "--max-pixels", 1)
    check_output(options.output)

    from rich.progress import track

    from neural_branching.prediction import load

    predictor, writer = load(options.run, options.device, trust=options.trust), Writer()
    with writer.to(options.output):
        start, passes = time.perf_counter(), -(-len(files) // batch)
        batches = decoded(files, predictor.image_size, batch, max_pixels)
        for good, images, broken in track(batches, "Predicting", passes, transient=True):
            for file, answer in zip(good, predictor.predict(images), strict=True):
                writer.answered(file, answer)
            for file, reason in broken.items():
                writer.failed(file, reason)
        seconds = time.perf_counter() - start
    writer.finish(options.output, seconds)
    if writer.errors:
        sys.exit(1)


def export(arguments: list[str]) -> None:
    """Write a finished run as one program, from pixels to answers.

    Args:
        arguments: the run's folder and the file.

    Raises:
        InputError: if the run cannot be loaded or written down.
    """
    parser = argparse.ArgumentParser(
        prog="neural-branching export",
        description="Write a finished run as one program, and check that it answers as the run does.",
    )
    parser.add_argument("run", type=Path, help="folder of the run")
    parser.add_argument("file", type=Path, help="FILE.pt2 for torch.export, FILE.onnx for ONNX")
    parser.add_argument("--trust", action="store_true", help=TRUST)
    options = parser.parse_args(arguments)
    one_of(options.file.suffix, (".pt2", ".onnx"), "The suffix of the file")

    from neural_branching.export import export
    from neural_branching.prediction import load

    predictor = load(options.run, "cpu", trust=options.trust)
    compared, difference = export(predictor, options.file)
    print(
        f"{options.file}: answers {compared} test images as the run does, confidences within "
        f"{difference:.1e}; {len(predictor.examples) - compared} lie within rounding of a threshold."
    )


def report(arguments: list[str]) -> None:
    """Summarise a folder of runs, or compare two settings in it.

    Args:
        arguments: the folder and options.

    Raises:
        InputError: if the folder holds no results, or no runs to compare.
    """
    parser = argparse.ArgumentParser(
        prog="neural-branching report", description="Write and print the summary of every run below a folder."
    )
    parser.add_argument("folder", type=Path, help="a run, a sweep, or any folder of them")
    parser.add_argument(
        "--compare",
        nargs=2,
        metavar=("A", "B"),
        help="instead, pair the runs of two settings by their seeds, each as column=value[,column=value], "
        "and print the differences on the same test images",
    )
    options = parser.parse_args(arguments)
    if options.compare:
        from neural_branching.report.paired import compare, print_comparison

        first, second = options.compare
        print_comparison(compare(options.folder, first, second), first, second, options.folder)
        return

    from neural_branching.report.collect import collect
    from neural_branching.report.results import is_system
    from neural_branching.report.summary import write as write_summary
    from neural_branching.report.systems import collect_systems, print_systems
    from neural_branching.report.systems import write as write_systems
    from neural_branching.report.tables import print_summary
    from neural_branching.runs import runs_below

    # Shown first: a folder that cannot be written can still be read.
    kinds = {is_system(run) for run in runs_below(options.folder)}
    if True in kinds:
        systems = collect_systems(options.folder)
        print_systems(systems)
        write_systems(systems)
    if kinds != {True}:
        summary = collect(options.folder)
        print_summary(summary)
        write_summary(summary)


def simulate(arguments: list[str]) -> None:
    """Redraw calibration images from runs' own answers, or test images from known populations.

    Args:
        arguments: the folder and options.

    Raises:
        InputError: if the folder holds no completed run, or a number is out of range.
    """
    parser = argparse.ArgumentParser(
        prog="neural-branching simulate",
        description="What each guaranteed threshold would keep with n calibration images; with --intervals "
        "how often the printed 95 % intervals hold the truth with n test images.",
    )
    parser.add_argument(
        "folder", type=Path, help="a run, a sweep, or any folder of them (with --intervals: any)"
    )
    parser.add_argument("--intervals", action="store_true", help="write intervals.md into the folder")
    parser.add_argument("--target", type=float, default=0.1, help="selective risk not to be exceeded")
    parser.add_argument("--delta", type=float, default=0.1, help="probability of failure")
    parser.add_argument("--images", type=int, nargs="+", default=[300, 1000, 3000], metavar="N")
    parser.add_argument("--draws", type=int, default=1000)
    options = parser.parse_args(arguments)
    if options.intervals:
        from neural_branching.report.interval_coverage import interval_coverage, write_coverage

        write_coverage(options.folder / "intervals.md", interval_coverage(options.images, options.draws))
        return

    from neural_branching.report.simulation import simulate, write_simulation

    records, figure = simulate(options.folder, options.target, options.delta, options.images, options.draws)
    write_simulation(options.folder, records, figure)


def store(arguments: list[str]) -> None:
    """List, verify or prune the artifacts of a folder of outputs.

    Args:
        arguments: the action, the folder and options.

    Raises:
        InputError: if the folder has no store, or another process uses what is to be pruned.
    """
    parser = argparse.ArgumentParser(
        prog="neural-branching store",
        description="What a store holds, whether it is whole, and what no run needs any more.",
    )
    parser.add_argument(
        "action",
        choices=("list", "verify", "prune"),
        help="list artifacts; hash all of them again, exit code 1 if one is damaged; remove what no run "
        "refers to",
    )
    parser.add_argument("folder", type=Path, nargs="?", default=Path("outputs"), help="as given by outputs=")
    parser.add_argument("--dry-run", action="store_true", help="prune: only say what would go")
    parser.add_argument("--all", action="store_true", help="prune: also what runs refer to")
    options = parser.parse_args(arguments)

    from neural_branching.report.upkeep import print_contents, print_problems, print_pruned
    from neural_branching.upkeep import contents, prune, verify

    if options.action == "list":
        print_contents(contents(options.folder))
    elif options.action == "verify":
        if print_problems(verify(options.folder)):
            sys.exit(1)
    else:
        pruned = prune(options.folder, everything=options.all, really=not options.dry_run)
        print_pruned(pruned, really=not options.dry_run)
