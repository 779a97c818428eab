"""One growing task in a process of its own: ``python -m benchmarks.growth TASK SIZE FOLDER``.

Prints its wall time in seconds and the peak memory of the process in MiB (on Linux).
"""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from neural_branching.artifacts.activations import extract
from neural_branching.artifacts.train_together import MEMBERS
from neural_branching.networks.mlp import MLP
from neural_branching.networks.standardize import Standardize
from neural_branching.networks.standardized_network import StandardizedNetwork
from neural_branching.selection import risk_coverage_curve
from neural_branching.training.compute import Compute
from neural_branching.training.recipe import Recipe
from neural_branching.training.stack import Member, fit_together

IMAGE = (3, 32, 32)


def images(count: int, folder: Path) -> Callable[[], object]:
    """Activations of both hidden layers of the original parent for so many generated images on disk."""
    parent = StandardizedNetwork(Standardize((3, 1, 1)), MLP(IMAGE, 6, widths=[1024, 512]))
    return lambda: extract(parent, _images(count, folder), folder, torch.device("cpu"))


def branch_points(count: int, folder: Path) -> Callable[[], object]:
    """Activations of so many hidden layers of width 256 for 3,000 images."""
    parent = StandardizedNetwork(Standardize((3, 1, 1)), MLP(IMAGE, 6, widths=[256] * count))
    return lambda: extract(parent, _images(3000, folder), folder, torch.device("cpu"))


def branches(count: int, folder: Path) -> Callable[[], object]:
    """So many branches [64, 32, 3] trained for five epochs of 1,050 rows, in stacks as a sweep makes them."""
    draw = torch.Generator().manual_seed(0)
    rows = tuple(
        (torch.randn(n, 64, generator=draw), torch.randint(0, 3, (n,), generator=draw)) for n in (1050, 150)
    )

    def member(seed: int) -> Member:
        torch.manual_seed(seed)
        branch = StandardizedNetwork(Standardize((64,)), MLP((64,), 3, widths=[32], dropout=0.5))
        draws = (torch.Generator().manual_seed(seed) for _ in range(2))
        return Member(branch, Recipe(5, 32, 1e-3), *rows, *draws)

    def train() -> None:
        size = MEMBERS["cpu"]
        for start in range(0, count, size):
            members = [member(seed) for seed in range(start, min(start + size, count))]
            fit_together(members, Compute(accelerator="cpu", progress=False), "branches")

    return train


def thresholds(count: int, folder: Path) -> Callable[[], object]:
    """So many thresholds over 3,000 samples."""
    generator = np.random.default_rng(0)
    score, some = generator.random(3000), generator.random(count)
    return lambda: risk_coverage_curve(score, generator.random(3000) > score).at(some)


def jobs(count: int, folder: Path) -> Callable[[], object]:
    """So many warm jobs of a sweep on the command line."""
    program = [sys.executable, "-m", "neural_branching", "train", "-m", "subset=lower", "parent.fit.epochs=1"]
    program += ["trainer.progress=false", "trainer.threads=1"]

    def sweep(amount: int) -> None:
        command = [*program, f"baseline_epochs=range(1,{amount + 1})"]  # changes no result
        subprocess.run(command, cwd=folder, check=True, capture_output=True)

    sweep(1)
    return lambda: sweep(count)


def swept_thresholds(count: int, folder: Path) -> Callable[[], object]:
    """So many thresholds of a warm sweep on the command line."""
    program = [sys.executable, "-m", "neural_branching", "train", "-m", "subset=lower", "parent.fit.epochs=1"]
    program += ["trainer.progress=false", "trainer.threads=1"]

    def sweep(amount: int) -> None:
        values = ",".join(f"{0.5 + index / 1000:.3f}" for index in range(amount))
        subprocess.run([*program, f"threshold.value={values}"], cwd=folder, check=True, capture_output=True)

    sweep(1)
    return lambda: sweep(count)


def files(count: int, folder: Path) -> Callable[[], object]:
    """A warm run on the command line over so many image files in 100 class folders."""
    _write_files(folder, 100, count // 100)
    _on_files(folder, 2)
    return lambda: _on_files(folder, 2)


def classes(count: int, folder: Path) -> Callable[[], object]:
    """An epoch of a branch of three quarters of so many classes of 30 image files, the parent being there."""
    _write_files(folder, count, 30)
    _on_files(folder, 2)
    return lambda: _on_files(folder, 3 * count // 4)


def jobs_on_files(count: int, folder: Path) -> Callable[[], object]:
    """So many warm jobs of a sweep on the command line, over 300,000 image files."""
    shared = folder.parent  # of all sizes
    if not (shared / "files").exists():
        _write_files(shared, 100, 3000)
        _on_files(shared, 2)
    return lambda: _on_files(shared, 2, "-m", f"baseline_epochs=range(1,{count + 1})")


TASKS = {
    one.__name__: one
    for one in (
        images,
        branch_points,
        branches,
        thresholds,
        swept_thresholds,
        jobs,
        files,
        classes,
        jobs_on_files,
    )
}


def _write_files(folder: Path, classes: int, each: int) -> None:
    """Class folders of tiny noisy images."""
    generator = np.random.default_rng(0)
    for label in range(classes):
        place = folder / "files" / f"class_{label:04d}"
        place.mkdir(parents=True)
        for index, pixels in enumerate(generator.integers(0, 256, (each, 8, 8, 3), np.uint8)):
            Image.fromarray(pixels).save(place / f"{index:05d}.png", compress_level=1)


def _on_files(folder: Path, subset: int, *arguments: str) -> None:
    """Run on the command line with a subset of so many classes; networks are as small as the images."""
    names = ",".join(f"class_{label:04d}" for label in range(subset))
    command = [sys.executable, "-m", "neural_branching", "train", *arguments, "data=image_folder"]
    command += ["data.root=files", "data.image_size=8", "subset=custom", f"subset.classes=[{names}]"]
    for part, widths in (("parent", "[64,32]"), ("branch", "[32]")):
        command += [f"{part}.network.widths={widths}", f"{part}.fit.epochs=1", f"{part}.fit.batch_size=512"]
    command += ["trainer.progress=false", "trainer.threads=1", "trainer.accelerator=cpu"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)


def _images(count: int, folder: Path) -> np.memmap:
    generator = np.random.default_rng(0)
    file = np.memmap(folder / "images", np.uint8, "w+", shape=(count, *IMAGE))
    for start in range(0, count, 10_000):
        block = file[start : start + 10_000]
        block[:] = generator.integers(0, 256, block.shape, np.uint8)
    file.flush()
    return np.memmap(folder / "images", np.uint8, "r", shape=(count, *IMAGE))


def memory() -> float:
    """MiB of memory that this process and its children hold, without pages of files that are only mapped."""
    found = 0
    for status in Path("/proc").glob("[0-9]*/status"):
        with suppress(OSError):
            facts = dict(line.split(":", 1) for line in status.read_text().splitlines())
            if os.getpid() in (int(facts["Pid"]), int(facts["PPid"])):
                found += int(facts.get("RssAnon", "0 kB").split()[0])
    return found / 1024


def main() -> None:
    """Do the task that the command line names, and look at the memory ten times a second meanwhile."""
    torch.set_num_threads(1)
    name, size, folder = sys.argv[1:]
    action = TASKS[name](int(size), Path(folder))
    done, peak = threading.Event(), [memory()]

    def watch() -> None:
        while not done.wait(0.1):
            peak.append(memory())

    watcher = threading.Thread(target=watch)
    watcher.start()
    start = time.perf_counter()
    action()
    seconds = time.perf_counter() - start
    done.set()
    watcher.join()
    print(seconds, max(peak))


if __name__ == "__main__":
    main()
