"""Which folders are runs and which files belong to them; what a sweep was to have, by what it notes."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from neural_branching.errors import InputError
from neural_branching.files.reading import read_json
from neural_branching.files.writing import write_atomically
from neural_branching.store.artifact_store import MANIFEST, sha256_of

RESULTS, CONFIG, JOBS = "results.json", "config.yaml", "jobs.json"
MOST_JOBS = 1_000_000
# Ends the names of our TensorBoard events, so that those of a killed run are known for what they are.
EVENTS = ".neural-branching"
# Folder beside those of runs and sweeps: the curves of a training, until a run shows them.
TRAINING = "training"
# What a run's folder has in their place, where numbers alone are logged.
LOGGED = "metrics.csv"
# What summaries and comparisons write into a sweep's folder.
STUDIES = "studies.csv"
CASCADES = "cascades.csv"
OWN_BRANCHES = "own_branches"  # name of the files
BY_BRANCHES = "by_branches"
TABLES = (
    *("summary.csv", "summary.md", "baselines.csv", "routers.csv", "routers.md", STUDIES, CASCADES),
    *(f"{OWN_BRANCHES}.csv", f"{OWN_BRANCHES}.md"),
)
FIGURES = (
    *("risk_coverage", "accuracy", "aurc", "depth", "heat_maps", "by_threshold"),
    *("pareto", "learning_curve", "routers", OWN_BRANCHES, BY_BRANCHES, "cascades"),
)

# Of a job that its sweep was to have.
NOTHING = "has left nothing: not started yet, or died at once"


def runs_below(folder: Path) -> set[Path]:
    """Every folder that looks like a run: finished, failed, running or killed."""
    return {file.parent for pattern in (RESULTS, CONFIG) for file in folder.rglob(pattern)}


def natural(path: Path) -> tuple[tuple[int, str], ...]:
    """Sort job 10 after job 2."""
    parts = []
    for part in path.parts:
        number = part.split("_", 1)[0]
        parts.append((int(number), part) if number.isdigit() else (-1, part))
    return tuple(parts)


def is_of_a_run(file: Path) -> bool:
    """Whether a file lies where a run, a sweep or an artifact keeps its own."""
    return any((file.parent / name).exists() for name in (RESULTS, CONFIG, JOBS, MANIFEST))


def begin(folder: Path) -> None:
    """Clear a run's folder of what an earlier run has left in it, the results first.

    So results never stand beside files of another run, whenever a process is killed. Files that the
    earlier run does not name as its own, or that have changed since, stay. Events of a run that was killed
    go as well: TensorBoard shows all of a folder as one run.

    Raises:
        OSError: if something cannot be removed.
    """
    _unlink(folder, events_of(folder))
    file = folder / RESULTS
    if not file.exists():
        return
    try:
        named = files_of(read_json(file))
    except InputError:
        named = {}
    file.unlink()
    _unlink(folder, {name for name in named if belongs(folder, named, name)})


def discard(folder: Path) -> None:
    """Take back a run's folder that has come to nothing: with its configuration it would look like a run."""
    (folder / CONFIG).unlink(missing_ok=True)
    if not any(folder.iterdir()):
        folder.rmdir()


def begin_sweep(folder: Path) -> None:
    """Clear a sweep's folder of what an earlier sweep has left in it: each job's results, and the summary.

    Otherwise jobs of an earlier, longer sweep would be taken for jobs of this one. What was built for them
    is in the store.

    Raises:
        OSError: if something cannot be removed.
    """
    if not (folder / JOBS).exists():
        return
    _unlink(
        folder,
        {*TABLES, *(f"{name}.{end}" for name in FIGURES for end in ("png", "svg")), *events_of(folder)},
    )
    for run in runs_below(folder):
        if run.parent == folder and _number(run).isdecimal():
            begin(run)
            _unlink(run, {CONFIG})  # of a job that was killed; without it nothing is taken for a run
            with suppress(OSError):  # where something else lies in it
                run.rmdir()


def events_of(folder: Path) -> set[str]:
    """Names of our files of TensorBoard events in a folder, those of single thresholds among them."""
    files = (
        file
        for place in ("", "threshold_*/")
        for file in folder.glob(f"{place}events.out.tfevents.*{EVENTS}")
    )
    return {file.relative_to(folder).as_posix() for file in files}


def _unlink(folder: Path, names: Iterable[str]) -> None:
    for name in names:
        (folder / name).unlink(missing_ok=True)
        if (folder / name).parent != folder:
            with suppress(OSError):  # where something else lies in it
                (folder / name).parent.rmdir()


def _number(run: Path) -> str:
    """What the folder of a sweep's job starts with."""
    return run.name.partition("_")[0]


def checksums(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """sha256 of files of a folder, by their names."""
    return {name: sha256_of(folder / name) for name in sorted(names)}


def files_of(results: Any) -> dict[str, str]:
    """The files that results name as their run's own → sha256; empty for runs of before they did."""
    written = results.get("written") if isinstance(results, Mapping) else None
    files = written.get("files") if isinstance(written, Mapping) else None
    return {str(name): str(sha) for name, sha in files.items()} if isinstance(files, Mapping) else {}


def belongs(folder: Path, named: Mapping[str, str], name: str) -> bool:
    """Whether a file of a run's folder is there as the run has written it."""
    # Nothing but what runs write: a file of the folder, or the events of one of several thresholds.
    file = folder / name
    if not re.fullmatch(r"(threshold_\d+/)?[^/\\]+", name) or file.parent.is_symlink() or not file.is_file():
        return False
    return sha256_of(folder / name) == named[name]


def check_tables(folder: Path, results: Any) -> None:
    """Refuse results beside tables that were not written with them: they are of another run, or edited.

    Tables that are lost are no matter here.

    Raises:
        InputError: naming the first.
    """
    named = files_of(results)
    for name in named:
        if name.endswith(".csv") and (folder / name).exists() and not belongs(folder, named, name):
            raise InputError(
                f"{folder / name} is not the file that was written with {RESULTS} beside it: repeat the run."
            )


@dataclass(frozen=True)
class Plan:
    """What a sweep is to do.

    Attributes:
        command: "train" or "route".
        jobs: number of jobs; None if only a search knows when it ends.
        data: digest of the settings of data → fingerprint of the examples that were found at the start.
    """

    command: str
    jobs: int | None
    data: Mapping[str, str] = field(default_factory=dict)


def write_jobs(sweep: Path, command: str, count: int | None, data: Mapping[str, str] | None = None) -> None:
    """Note in a sweep's folder what it is to do, by which is known what is missing or has changed.

    Args:
        sweep: the folder, which is made.
        command: "train" or "route".
        count: number of jobs; None for a search.
        data: as in ``Plan``.

    Raises:
        OSError: if it cannot be written.
    """
    sweep.mkdir(parents=True, exist_ok=True)
    write_atomically(sweep / JOBS, json.dumps(asdict(Plan(command, count, dict(data or {})))))


def read_plan(file: Path) -> Plan:
    """Read what a sweep has noted.

    Raises:
        InputError: if the file is none of a sweep.
    """
    noted = read_json(file)
    match noted:
        case {"command": str(command), "jobs": int() | None as jobs, **rest} if (jobs or 0) <= MOST_JOBS:
            data = rest.get("data", {})
            if isinstance(data, dict) and all(isinstance(key, str) for key in data.values()):
                return Plan(command, jobs, data)
    raise InputError(f"{file} is not what a sweep notes of its jobs.")


def digest_of(settings: Mapping[str, Any]) -> str:
    """What a plan knows settings of data by."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()[:20]


def planned_data(sweep: Path, settings: Mapping[str, Any]) -> str | None:
    """The fingerprint of the data that a sweep started with, for these settings of data.

    Returns:
        None if the sweep has noted none.

    Raises:
        InputError: if what the sweep has noted cannot be read.
    """
    file = sweep / JOBS
    return read_plan(file).data.get(digest_of(settings)) if file.exists() else None


def missing_jobs(folder: Path, command: str = "") -> dict[Path, str]:
    """Jobs of the sweeps below a folder that have left nothing, and sweeps that cannot be read.

    Args:
        folder: a sweep, or any folder of them.
        command: only sweeps of this command; all of them if empty.

    Returns:
        ``SWEEP/NUMBER`` of each job, or the file that cannot be read → why.
    """
    missing: dict[Path, str] = {}
    for file in sorted(folder.rglob(JOBS)):
        try:
            plan = read_plan(file)
        except InputError as error:
            missing[file] = str(error)
            continue
        count = (plan.jobs or 0) if command in ("", plan.command) else 0
        there = [run for run in runs_below(file.parent) if run.parent == file.parent]
        if len(there) < count:
            numbers = {_number(run) for run in there}
            missing |= {file.parent / str(job): NOTHING for job in range(count) if str(job) not in numbers}
    return missing


def outputs_of(folder: Path, results: Mapping[str, Any]) -> Path:
    """The folder of the store that has every artifact of a run: around the run, or where it was made.

    Raises:
        InputError: if there is none, or the results name none.
    """
    try:
        kept = [Path(entry["path"]) for entry in results["artifacts"].values()]
    except (TypeError, KeyError, AttributeError):
        kept = []
    if not kept:
        raise InputError(
            f"{folder / RESULTS} does not say which artifacts it rests on: repeat the run that made it."
        )
    for outputs in (*folder.parents, kept[0].parents[2]):
        if all((outputs / "store" / path.parent.name / path.name).is_dir() for path in kept):
            return outputs
    lost = next((path for path in kept if not path.is_dir()), kept[0])
    raise InputError(f"The run {folder} rests on {lost}, which is gone: repeat the run that made it.")
