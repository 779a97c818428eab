"""A warm sweep of thresholds beside Hydra running as many empty jobs of the same configuration."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.benchmark
SHORT = os.environ.get("BENCH") == "short"
JOBS = 3 if SHORT else 48
EMPTY = """
import os

import hydra

from neural_branching.config import conf_dir

os.environ["NEURAL_BRANCHING_RUN"] = "sweep"
hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="train")(lambda config: None)()
"""


def seconds(folder: Path, program: list[str], thresholds: int, *overrides: str) -> float:
    values = ",".join(f"{0.5 + index / 100:.2f}" for index in range(thresholds))
    arguments = ["-m", "subset=lower", f"threshold.value={values}", "trainer.progress=false", *overrides]
    start = time.perf_counter()
    subprocess.run([sys.executable, *program, *arguments], cwd=folder, check=True, capture_output=True)
    return time.perf_counter() - start


def test_jobs_of_a_warm_sweep(tmp_path: Path, record) -> None:
    ours = ["-m", "neural_branching", "train"]
    empty = ["-c", EMPTY]
    bare = ("~hydra.callbacks.check_and_summarize",)
    seconds(tmp_path, ours, 1, "parent.fit.epochs=1")
    found: dict[str, list[float]] = {"ours": [], "plain": []}
    for _ in range(1 if SHORT else 3):
        for name, program, extra in (("plain", empty, bare), ("ours", ours, ())):
            one = seconds(tmp_path, program, 1, "parent.fit.epochs=1", *extra)
            many = seconds(tmp_path, program, JOBS, "parent.fit.epochs=1", *extra)
            found[name].append((many - one) / (JOBS - 1))
    record(
        f"one more job of a warm sweep of thresholds, from {JOBS} beside 1",
        "one more empty job of the same configuration",
        found["plain"],
        found["ours"],
    )
