"""How time and memory grow with images, branch points, branches, thresholds, jobs, files and classes."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.growth import TASKS

pytestmark = pytest.mark.benchmark
SHORT = os.environ.get("BENCH") == "short"
SIZES = {
    "images": (3000, 50_000, 500_000),
    "branch_points": (1, 4, 16),
    "branches": (1, 32, 1000),
    "thresholds": (1, 1000, 100_000),
    "swept_thresholds": (1, 60, 300),
    "jobs": (1, 20, 200),
    "files": (3000, 30_000, 300_000),
    "classes": (20, 200, 2000),
    "jobs_on_files": (1, 4, 16),
}


# Writing 300,000 files takes minutes: the short form has the task with few of them.
@pytest.mark.parametrize("task", [task for task in SIZES if not (SHORT and task == "jobs_on_files")])
def test_growth(task: str, tmp_path: Path, lines) -> None:
    found = []
    for size in SIZES[task][: 1 if SHORT else None]:
        folder = tmp_path / str(size)
        folder.mkdir()
        command = [sys.executable, "-m", "benchmarks.growth", task, str(size), str(folder)]
        done = subprocess.run(
            command, cwd=Path(__file__).parents[1], check=True, capture_output=True, text=True
        )
        seconds, peak = map(float, done.stdout.split()[-2:])
        found.append((size, seconds, peak))
        shutil.rmtree(folder)
        print(f"{task} {size:,}: {seconds:.2f} s, peak {peak:,.0f} MiB")
    what = str(TASKS[task].__doc__).splitlines()[0].rstrip(".")
    lines.append({"what": what, "sizes": found})
