"""Real processes, killed, crowded and starved: nothing is lost, and no number is wrong.

Every fault ends with the same command given once more; what it leaves must equal what a sweep leaves
that nothing has disturbed.
"""

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from neural_branching import upkeep

SWEEP = [
    *("train", "-m", "subset=digits,upper", "branch_point=hidden1,hidden2"),
    "data.classes=[digit_0,digit_1,digit_2,upper_O,upper_I,upper_Z]",
    "data.superclasses={digit:[digit_0,digit_1,digit_2],upper:[upper_O,upper_I,upper_Z]}",
    *("data.source.train_per_class=40", "data.source.test_per_class=10", "data.image_size=12"),
    *("parent.network.widths=[64,32]", "branch.network.widths=[8]", "threshold.value=0.5"),
    *("parent.fit.epochs=30", "branch.fit.epochs=10"),
    *("trainer.accelerator=cpu", "trainer.threads=1", "trainer.checkpoint_seconds=0"),
]
TWELVE = [*SWEEP[:-1], "trainer.checkpoint_seconds=60", "threshold.value=0.3,0.5,0.7"]

Nursery = Callable[..., tuple[list[int], float]]


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    """Runs the command line in so many processes, in a folder, and kills them after so many seconds."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTORCH_NVML_BASED_CUDA_CHECK": "0"}
    with subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("nursery.py"))],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin
        assert process.stdout

        def run(
            folder: Path, arguments: list[str], *, count: int = 1, seconds: float | None = None
        ) -> tuple[list[int], float]:
            process.stdin.write(json.dumps([str(folder), count, seconds, arguments]) + "\n")
            process.stdin.flush()
            codes, took = json.loads(process.stdout.readline())
            return codes, took

        yield run
        process.stdin.close()


@pytest.fixture(scope="module")
def undisturbed(nursery: Nursery, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """Folder of the sweep that nothing has disturbed, and how many seconds it took."""
    folder = tmp_path_factory.mktemp("undisturbed")
    codes, seconds = nursery(folder, SWEEP)
    assert codes == [0], said(folder)
    return folder, seconds


def said(folder: Path, process: int = 0) -> str:
    return (folder / f"process{process}.log").read_text()


def numbers(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Every finished job of every sweep: what was built, seconds and paths apart."""
    found: dict[str, list[dict[str, Any]]] = {}
    for file in sorted((folder / "outputs" / "sweeps").rglob("results.json")):
        results = json.loads(file.read_text())
        keys = {name: one["key"] for name, one in results.pop("artifacts").items()}
        found.setdefault(file.parent.name, []).append({**results, "keys": keys})
    return found


def same(folder: Path, other: Path, jobs: int = 4) -> None:
    """Every job of the one is finished, and as in the other; so are the files of the store."""
    mine, theirs = numbers(folder), numbers(other)
    assert len(theirs) == jobs
    assert mine.keys() == theirs.keys()
    for name, runs in mine.items():
        assert all(close(run, theirs[name][0]) for run in runs), name
    assert weights(folder) == weights(other)


def close(one: object, other: object) -> bool:
    """Equal; numbers up to what a processor rounds in stacks of other sizes."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(close(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(close, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return one == pytest.approx(other, abs=1e-6)
    return one == other


def weights(folder: Path) -> dict[str, Any]:
    """Checksums of everything that does not depend on who was trained with whom."""
    found = {}
    for file in (folder / "outputs" / "store").glob("*/*/manifest.json"):
        manifest = json.loads(file.read_text())
        content = None if manifest["kind"] == "branch" else manifest["files"]
        found[f"{manifest['kind']}/{manifest['key']}"] = content
    return found


def check_sound(folder: Path) -> None:
    """Whatever is there now is whole: every artifact, and every results.json."""
    outputs = folder / "outputs"
    if (outputs / "store").is_dir():
        assert [problem for _, problem in upkeep.verify(outputs) if problem] == []
    for file in outputs.rglob("results.json"):
        json.loads(file.read_text())


def kill_and_repeat(
    nursery: Nursery, folder: Path, undisturbed: tuple[Path, float], draw: random.Random, kills: int
) -> int:
    """A sweep killed some times at any moment, then left alone; how many times it was really killed."""
    reference, seconds = undisturbed
    killed = 0
    for _ in range(kills):
        codes, _ = nursery(folder, SWEEP, seconds=draw.uniform(0, seconds))
        assert codes[0] in (0, -9), said(folder)
        killed += codes[0] == -9
        check_sound(folder)
    codes, _ = nursery(folder, SWEEP)
    assert codes == [0], said(folder)
    same(folder, reference)
    return killed


@pytest.mark.timeout(300)
def test_a_sweep_that_is_killed_ends_as_if_undisturbed(nursery, undisturbed, tmp_path) -> None:
    draw = random.Random(0)
    assert sum(kill_and_repeat(nursery, tmp_path / str(turn), undisturbed, draw, 4) for turn in range(2)) > 3


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_two_hundred_kills(nursery, undisturbed, tmp_path) -> None:
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    draw, killed, turn = random.Random(seed), 0, 0
    while killed < 200:
        killed += kill_and_repeat(nursery, tmp_path / str(turn), undisturbed, draw, draw.randint(1, 6))
        turn += 1
    print(f"{killed} kills in {turn} sweeps")


def crowd(nursery: Nursery, folder: Path, sweep: list[str], jobs: int) -> None:
    """Four processes do the same sweep at the same moment."""
    codes, _ = nursery(folder / "four", sweep, count=4)
    logs = [said(folder / "four", process) for process in range(4)]
    assert codes == [0] * 4, logs
    assert nursery(folder / "one", sweep)[0] == [0]
    same(folder / "four", folder / "one", jobs)
    assert all(len(runs) == 4 for runs in numbers(folder / "four").values())
    everything = "\n".join(logs)
    assert everything.count("Training the parent") == 1
    assert everything.count("Computing the activations") == 1
    assert everything.count("Training 2 branches of one shape at once") == 2
    assert "Waiting for another process that is building parent" in everything
    built = [
        name
        for file in (folder / "four").rglob("results.json")
        for name, one in json.loads(file.read_text())["artifacts"].items()
        if one["built"]
    ]
    assert {name: built.count(name) for name in built} == {
        "data": 1,
        "parent": 1,
        "activations": 1,
        "branch": 4,
    }


@pytest.mark.timeout(300)
def test_four_processes_share_the_work(nursery, tmp_path) -> None:
    crowd(nursery, tmp_path, SWEEP, 4)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_four_processes_share_the_work_of_twelve_jobs(nursery, tmp_path) -> None:
    crowd(nursery, tmp_path, TWELVE, 12)


@pytest.mark.timeout(300)
def test_a_parent_that_is_killed_in_training_continues(nursery, undisturbed, tmp_path) -> None:
    for attempt in range(40):
        nursery(tmp_path, SWEEP, seconds=undisturbed[1] * (attempt + 1) / 40)
        if list(tmp_path.glob("outputs/store/checkpoints/parent-*.ckpt")):
            break
    codes, _ = nursery(tmp_path, SWEEP)
    assert codes == [0], said(tmp_path)
    assert "Training the parent mlp continues with epoch" in said(tmp_path)
    same(tmp_path, undisturbed[0])
    assert list(tmp_path.glob("outputs/store/checkpoints/*")) == []
