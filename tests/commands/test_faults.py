"""Real processes, killed, crowded and starved: nothing is lost, and no number is wrong.

Every fault ends with the same command given once more; what it leaves must equal what a sweep leaves
that nothing has disturbed.
"""

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from device import ON_CPU, TOGETHER, TRAINER
from neural_branching.store import upkeep
from sweeps import close, numbers

pytestmark = pytest.mark.thorough

SWEEP = [
    *("train", "-m", "subset=digits,upper", "branch_point=hidden2"),
    "data.classes=[digit_0,digit_1,digit_2,upper_O,upper_I,upper_Z]",
    "data.superclasses={digit:[digit_0,digit_1,digit_2],upper:[upper_O,upper_I,upper_Z]}",
    *("data.source.train_per_class=40", "data.source.test_per_class=10", "data.image_size=12"),
    *("parent.network.widths=[64,32]", "branch.network.widths=[8]", "threshold.value=0.5"),
    *("parent.fit.epochs=30", "branch.fit.epochs=10"),
    *TRAINER,
    "trainer.checkpoint_seconds=0",
]
FOUR = [*SWEEP, "branch_point=hidden1,hidden2"]
TWELVE = [*FOUR, "baseline_epochs=1,2,3"]

Nursery = Callable[..., tuple[list[int], float]]


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    """Runs the command line in so many processes; kills them after a time, or once a file is there."""
    # Asked without NVML, a GPU is lost to all forks.
    nvml = {"PYTORCH_NVML_BASED_CUDA_CHECK": "0" if ON_CPU else "1"}
    environment = {**os.environ, **nvml, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [sys.executable, str(Path(__file__).parents[1] / "nursery.py")],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin
        assert process.stdout

        def run(
            folder: Path,
            arguments: list[str],
            *,
            count: int = 1,
            seconds: float | None = None,
            once: str | None = None,
        ) -> tuple[list[int], float]:
            process.stdin.write(json.dumps([str(folder), count, seconds, once, arguments]) + "\n")
            process.stdin.flush()
            codes, took = json.loads(process.stdout.readline())
            return codes, took

        yield run
        process.stdin.close()


@pytest.fixture(scope="module")
def undisturbed(nursery: Nursery, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """Folder of the sweep that nothing has disturbed, and how many seconds it took."""
    return finished(nursery, tmp_path_factory.mktemp("undisturbed"), SWEEP)


def finished(nursery: Nursery, folder: Path, sweep: list[str]) -> tuple[Path, float]:
    codes, seconds = nursery(folder, sweep)
    assert codes == [0], said(folder)
    return folder, seconds


def said(folder: Path, process: int = 0) -> str:
    return (folder / f"process{process}.log").read_text()


def same(folder: Path, other: Path, jobs: int = 2) -> None:
    """Every job of the one is finished, and as in the other; so are the files of the store."""
    mine, theirs = numbers(folder / "outputs"), numbers(other / "outputs")
    assert len(theirs) == jobs
    assert mine.keys() == theirs.keys()
    for name, runs in mine.items():
        assert all(close(run, theirs[name][0], TOGETHER) for run in runs), name
    assert not ON_CPU or weights(folder) == weights(other)


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
    nursery: Nursery, folder: Path, sweep: list[str], seconds: float, draw: random.Random, kills: int
) -> int:
    """A sweep killed some times at any moment, then left alone; how many times it was really killed."""
    killed = 0
    for _ in range(kills):
        codes, _ = nursery(folder, sweep, seconds=draw.uniform(0, seconds))
        assert codes[0] in (0, -9), said(folder)
        killed += codes[0] == -9
        if codes[0] == 0:  # with what is finished, or on a quiet machine, it is over earlier
            seconds /= 2
        check_sound(folder)
    finished(nursery, folder, sweep)
    return killed


@pytest.mark.timeout(300)
def test_a_sweep_that_is_killed_ends_as_if_undisturbed(nursery, undisturbed, tmp_path) -> None:
    reference, seconds = undisturbed
    assert kill_and_repeat(nursery, tmp_path, SWEEP, seconds, random.Random(0), 5) > 2
    same(tmp_path, reference)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_two_hundred_kills(nursery, tmp_path) -> None:
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    draw, killed, turn = random.Random(seed), 0, 0
    reference, seconds = finished(nursery, tmp_path / "undisturbed", FOUR)
    while killed < 200:
        folder = tmp_path / str(turn)
        killed += kill_and_repeat(nursery, folder, FOUR, seconds, draw, draw.randint(1, 6))
        same(folder, reference, 4)
        shutil.rmtree(folder)
        turn += 1
    print(f"{killed} kills in {turn} sweeps")


def crowd(nursery: Nursery, folder: Path, sweep: list[str], jobs: int, stages: int) -> None:
    """Four processes do the same sweep of two subsets and some branch points at the same moment."""
    codes, _ = nursery(folder / "four", sweep, count=4)
    logs = [said(folder / "four", process) for process in range(4)]
    assert codes == [0] * 4, logs
    assert nursery(folder / "one", sweep)[0] == [0]
    same(folder / "four", folder / "one", jobs)
    assert all(len(runs) == 4 for runs in numbers(folder / "four" / "outputs").values())
    everything = "\n".join(logs)
    assert everything.count("Training the parent") == 1
    assert everything.count("Computing the activations") == 1
    assert everything.count("Training 2 branches of one shape at once") == stages
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
        "branch": 2 * stages,
    }


@pytest.mark.timeout(300)
def test_four_processes_share_the_work(nursery, tmp_path) -> None:
    crowd(nursery, tmp_path, SWEEP, jobs=2, stages=1)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_four_processes_share_the_work_of_twelve_jobs(nursery, tmp_path) -> None:
    crowd(nursery, tmp_path, TWELVE, jobs=12, stages=2)


@pytest.mark.timeout(300)
def test_a_parent_that_is_killed_in_training_continues(nursery, undisturbed, tmp_path) -> None:
    codes, _ = nursery(tmp_path, SWEEP, once="outputs/store/checkpoints/parent-*.ckpt")
    assert codes == [-9], said(tmp_path)
    codes, _ = nursery(tmp_path, SWEEP)
    assert codes == [0], said(tmp_path)
    assert "Training the parent mlp continues with epoch" in said(tmp_path)
    same(tmp_path, undisturbed[0])
    assert list(tmp_path.glob("outputs/store/checkpoints/*")) == []


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Folders on file systems of so many KiB, where mounting one is permitted."""
    mounted: list[Path] = []

    def mount(size: int) -> Path:
        folder = tmp_path / f"disk{size}"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}k", "none", str(folder)]
        if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
            pytest.skip("mounting a small disk is not permitted here")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "share", [0.6, *(pytest.param(share, marks=pytest.mark.slow) for share in (0.1, 0.2, 0.3, 0.4, 0.8, 0.9))]
)
def test_a_disk_that_fills_up_in_a_sweep(share: float, nursery, undisturbed, disk, tmp_path) -> None:
    sizes = [file.stat().st_size for file in (undisturbed[0] / "outputs").rglob("*") if file.is_file()]
    most = sum(sizes) // 1024
    small, folder = disk(int(share * most)), tmp_path / "folder"
    codes, _ = nursery(folder, [*SWEEP, f"outputs={small}"])
    words = said(folder)
    assert codes == [1], words
    assert "Traceback" not in words
    assert "is full" in words or "cannot be written" in words, words
    for file in small.rglob("results.json"):
        json.loads(file.read_text())
    if (small / "store").is_dir():
        assert [problem for _, problem in upkeep.verify(small) if problem] == []
    subprocess.run(["mount", "-o", f"remount,size={4 * most}k", str(small)], check=True)
    assert nursery(folder, [*SWEEP, f"outputs={small}"])[0] == [0]
    (folder / "outputs").symlink_to(small)
    same(folder, undisturbed[0])


ONE = ["train", *SWEEP[4:], "subset=digits", "branch_point=hidden1"]


@pytest.fixture(scope="module")
def one(nursery: Nursery, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a single run."""
    folder = tmp_path_factory.mktemp("one")
    assert nursery(folder, ONE)[0] == [0], said(folder)
    return folder


def largest(store: Path, kind: str) -> Path:
    """The largest file of an artifact of a kind."""
    return max(store.glob(f"{kind}/*/*"), key=lambda file: file.stat().st_size)


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def truncate(file: Path) -> None:
    os.truncate(file, file.stat().st_size - 1)


def age(store: Path) -> None:
    file = next(store.glob("parent/*/manifest.json"))
    file.write_text(json.dumps({**json.loads(file.read_text()), "schema": 0}))


def descend(store: Path) -> None:
    """As if the clock had been wrong by decades, in both directions."""
    for number, path in enumerate(sorted(store.rglob("*"))):
        os.utime(path, (4_000_000_000, 4_000_000_000) if number % 2 else (0, 0))


def spoil_images(store: Path) -> None:
    """They are read where activations are computed, and not before."""
    flip(next(store.glob("data/*/examples.npy")))
    shutil.rmtree(next(store.glob("activations/*")))


def lock(store: Path) -> None:
    """Locks of processes that are no more."""
    for file in [*store.glob("parent/*"), *store.glob("activations/*"), *store.glob("branch/*")]:
        (store / "locks" / f"{file.parent.name}-{file.name}.lock").write_text("12345")
    (store / "locks" / "user-somewhere-12345-abcdef01.lock").touch()
    (store / "locks" / "entrance.lock").write_text("12345")


# Fault → what it does to the store, what the next run says, and which kinds it builds anew.
FAULTS: dict[str, tuple[Callable[[Path], object], str, set[str]]] = {
    **{
        f"a bit flipped in {kind}": (
            lambda store, kind=kind: flip(largest(store, kind)),
            "is damaged: ",
            {kind},
        )
        for kind in ("reading", "split", "parent", "activations", "branch")
    },
    "a bit flipped in the images": (
        spoil_images,
        "is damaged: the checksum of examples.npy",
        {"data", "activations"},
    ),
    **{
        f"{kind} truncated": (
            lambda store, kind=kind: truncate(largest(store, kind)),
            "is damaged: ",
            {kind},
        )
        for kind in ("parent", "activations")
    },
    "a manifest lost": (
        lambda store: next(store.glob("activations/*/manifest.json")).unlink(),
        "is damaged: it cannot be read",
        {"activations"},
    ),
    "a manifest torn": (
        lambda store: truncate(next(store.glob("branch/*/manifest.json"))),
        "is damaged: it cannot be read",
        {"branch"},
    ),
    "an old schema": (age, "is damaged: its manifest belongs to another artifact or version", {"parent"}),
    "an artifact removed": (
        lambda store: shutil.rmtree(next(store.glob("branch/*"))),
        "Training",
        {"branch"},
    ),
    "the store removed": (shutil.rmtree, "Training the parent", {"data", "parent", "activations", "branch"}),
    "a foreign file in an artifact": (
        lambda store: (next(store.glob("parent/*")) / "notes.txt").touch(),
        "",
        set(),
    ),
    "a foreign file in the store": (
        lambda store: (store / "parent" / "notes.txt").touch(),
        "",
        set(),
    ),
    "locks of dead processes": (lock, "", set()),
    "a clock that jumped": (descend, "", set()),
}


HARMLESS = ("a foreign file in an artifact", "a foreign file in the store", "locks of dead processes")


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_the_next_run_heals_every_fault(fault: str, nursery, one, tmp_path) -> None:
    heal([fault], nursery, one, tmp_path)


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "faults",
    [
        ["a bit flipped in reading", "a bit flipped in parent", "a bit flipped in the images", *HARMLESS],
        ["parent truncated", "a manifest lost", "a manifest torn", "a bit flipped in split"],
    ],
)
def test_the_next_run_heals_several_faults(faults: list[str], nursery, one, tmp_path) -> None:
    heal(faults, nursery, one, tmp_path)


def heal(faults: list[str], nursery: Nursery, one: Path, folder: Path) -> None:
    """Do harm to a copy of a finished run, and repeat the run."""
    copy = folder / "copy"
    shutil.copytree(one, copy, symlinks=True)
    for harm, *_ in map(FAULTS.__getitem__, faults):
        harm(copy / "outputs" / "store")
    codes, _ = nursery(copy, ONE)
    assert codes == [0], said(copy)
    before, after = (json.loads(file.read_text()) for file in runs_of(copy))
    built = {name for name, entry in after["artifacts"].items() if entry["built"]}
    for _, words, rebuilt in map(FAULTS.__getitem__, faults):
        assert words in said(copy) or not rebuilt
        assert rebuilt & before["artifacts"].keys() <= built
    assert len(faults) > 1 or built == FAULTS[faults[0]][2] & before["artifacts"].keys()
    for results in (before, after):
        del results["written"]
        results["keys"] = {name: entry["key"] for name, entry in results.pop("artifacts").items()}
    assert close(after, before, TOGETHER)
    check_sound_but_for_strangers(copy)


def runs_of(folder: Path) -> list[Path]:
    """results.json of every single run, the oldest first."""
    return sorted(folder.glob("outputs/runs/*/results.json"), key=lambda file: file.stat().st_mtime_ns)


def check_sound_but_for_strangers(folder: Path) -> None:
    problems = {problem for _, problem in upkeep.verify(folder / "outputs")}
    assert problems <= {"", "it holds notes.txt, which is no part of it"}
