"""Which folders are runs, and which jobs a sweep was to have, by the files that they leave."""

import json
from pathlib import Path

from neural_branching.store import write_atomically

RESULTS, CONFIG, JOBS = "results.json", "config.yaml", "jobs.json"


def runs_below(folder: Path) -> set[Path]:
    """Every folder that looks like a run: finished, failed, running or killed."""
    return {file.parent for pattern in (RESULTS, CONFIG) for file in folder.rglob(pattern)}


def write_jobs(sweep: Path, command: str, count: int) -> None:
    """Note in a sweep's folder how many jobs it is to have, by which those are known that left nothing.

    Args:
        sweep: the folder, which is made.
        command: "train" or "route".
        count: number of jobs.
    """
    sweep.mkdir(parents=True, exist_ok=True)
    write_atomically(sweep / JOBS, json.dumps({"command": command, "jobs": count}))


def missing_jobs(folder: Path, command: str = "") -> list[Path]:
    """Jobs of the sweeps below a folder that have left nothing: they never started, or died at once.

    Args:
        folder: a sweep, or any folder of them.
        command: only sweeps of this command; all of them if empty.

    Returns:
        ``SWEEP/NUMBER`` of each.
    """
    missing = []
    for file in sorted(folder.rglob(JOBS)):
        try:
            plan = json.loads(file.read_text())
            count = int(plan["jobs"]) if command in ("", plan["command"]) else 0
        except (OSError, ValueError, KeyError, TypeError):
            continue
        there = [run.name for run in runs_below(file.parent) if run.parent == file.parent]
        if len(there) < count:
            numbers = {name.partition("_")[0] for name in there}
            missing += [file.parent / str(job) for job in range(count) if str(job) not in numbers]
    return missing
