"""A warm sweep beside Hydra running as many empty jobs of the same configuration."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.benchmark
SHORT = os.environ.get("BENCH") == "short"
MANY = 3 if SHORT else 48
EMPTY = """
import os

import hydra

from neural_branching.config.build import conf_dir

os.environ["NEURAL_BRANCHING_RUN"] = "sweep"
hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="train")(lambda config: None)()
"""


def seconds(folder: Path, program: list[str], swept: str, *overrides: str) -> float:
    arguments = ["-m", "subset=lower", swept, "trainer.progress=false", "parent.fit.epochs=1", *overrides]
    start = time.perf_counter()
    subprocess.run([sys.executable, *program, *arguments], cwd=folder, check=True, capture_output=True)
    return time.perf_counter() - start


def thresholds(count: int) -> str:
    return f"threshold.value={','.join(f'{0.3 + index / 100:.2f}' for index in range(count))}"


@pytest.mark.parametrize("what", ["job", "threshold"])
def test_a_warm_sweep(what: str, tmp_path: Path, record) -> None:
    ours = ["-m", "neural_branching", "train"]
    empty = ["-c", EMPTY]
    bare = ("~hydra.callbacks.check_and_summarize",)
    jobs, one_job = f"baseline_epochs=range(1,{MANY + 1})", "baseline_epochs=range(1,2)"
    many, one = (thresholds(MANY), thresholds(1)) if what == "threshold" else (jobs, one_job)
    seconds(tmp_path, ours, one)
    found: dict[str, list[float]] = {"ours": [], "plain": []}
    for _ in range(1 if SHORT else 3):
        for name, program, swept, extra in (
            ("plain", empty, (jobs, one_job), bare),
            ("ours", ours, (many, one), ()),
        ):
            first, second = (seconds(tmp_path, program, values, *extra) for values in swept)
            found[name].append((first - second) / (MANY - 1))
    record(
        f"one more {what} of a warm sweep, from {MANY} beside 1",
        "one more empty job of the same configuration",
        found["plain"],
        found["ours"],
    )
