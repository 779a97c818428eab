"""Tiny inputs that several test files share."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

import array_checks
import pictures
from tiny import ORDINARY, ClassFolders, GlyphRun, glyphs, networks, recipe

if TYPE_CHECKING:
    from neural_branching.pipeline import Run

# Recipes are spelled out, so that other defaults would not change what is tested with them.
SETTINGS = (
    *glyphs(2, size=16, train=100, test=20),
    *("data.split.train=0.5", "data.split.validation=0.1", "data.split.calibration=0.4"),
    *networks(),
    *recipe(epochs=20, lr=1e-2),
    "trainer.progress=false",
)


# The files whose tests take longest, longest first: begun last, one would leave the other workers idle.
LONGEST = (
    *("command_line", "faults", "study", "train_together", "predictor", "cascade", "treated_study", "route"),
    *("launchers", "run_folders", "groups", "search", "examples", "promises", "branch_points", "docs"),
)


# Rooms whose functions have the arrays checked that they take and return.
CHECKED = (
    *("selection", "routing", "evaluation", "networks", "training", "labs"),
    *("artifacts.activations", "artifacts.outputs"),
)


def pytest_configure(config: pytest.Config) -> None:
    os.environ.pop("COLUMNS", None)  # which pytest-xdist sets: tests say how wide a screen is
    if config.option.markexpr != "benchmark":  # checks take time
        array_checks.install(CHECKED)
        pictures.install()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    array_checks.counted.clear()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {f"test_{name}": place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(places)))


def leave_out_pictures(patch: pytest.MonkeyPatch) -> None:
    """Draw nothing from here on: pictures take longer than all else that a small run does."""
    for place in ("branch_report.draw", "tree_report.draw", "summary.draw"):
        patch.setattr(f"neural_branching.report.{place}", lambda *_: {})


@pytest.fixture
def unillustrated(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of runs that do not look at pictures."""
    leave_out_pictures(monkeypatch)


@pytest.fixture
def rendered() -> Iterator[None]:
    """For tests that look at pictures."""
    with pictures.rendering():
        yield


@pytest.fixture
def class_folders(tmp_path: Path) -> ClassFolders:
    """Write noisy one-colour PNG images: ``<class>/``, or ``{train,test}/<class>/`` if ``test`` > 0."""

    def write(
        classes: Sequence[str] = ("cat", "dog"),
        train: int = 10,
        test: int = 0,
        size: int = 8,
        root: str = "images",
    ) -> Path:
        rng = np.random.default_rng(0)
        folder = tmp_path / root
        for top, count in (("train" if test else "", train), ("test", test)):
            for label, name in enumerate(classes):
                colour = np.array([60 + 50 * label, 200 - 50 * label, 120])
                for index in range(count):
                    file = folder / top / name / f"{index}.png"
                    file.parent.mkdir(parents=True, exist_ok=True)
                    pixels = colour + rng.integers(-20, 21, (size, size, 3))
                    Image.fromarray(pixels.astype(np.uint8)).save(file)
        return folder

    return write


@pytest.fixture(scope="session")
def glyph_run(tmp_path_factory: pytest.TempPathFactory) -> GlyphRun:
    """Run three digits of the five glyph classes with some overrides; all runs share one store."""
    outputs = tmp_path_factory.mktemp("glyphs") / "outputs"

    @cache
    def run(*overrides: str) -> "Run":
        from composed import composed
        from neural_branching import pipeline
        from neural_branching.config.experiment import Experiment

        with _process_restored():
            config = composed("train", *SETTINGS, f"outputs={outputs}", *overrides)
            return pipeline.run(Experiment.from_config(config), overrides)

    run(*ORDINARY)  # first, whatever is asked for: it is the one that builds everything
    return run


@pytest.fixture(scope="session")
def run(glyph_run: GlyphRun) -> "Run":
    """An ordinary run: it answers about 60 % of the images, some of them wrongly."""
    return glyph_run(*ORDINARY)


@pytest.fixture(scope="session")
def folder(run: "Run", tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the ordinary run, with figures. To be read only."""
    return _written(run, tmp_path_factory.mktemp("ordinary"), draw_figures=True)


@pytest.fixture(scope="session")
def silent_run(glyph_run: GlyphRun) -> "Run":
    """A run that asks for more than its images can certify, and therefore answers nothing."""
    return glyph_run("threshold=sgr", "threshold.target=0.001")


@pytest.fixture(scope="session")
def silent(silent_run: "Run", tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the run that answers nothing, without figures. To be read only."""
    return _written(silent_run, tmp_path_factory.mktemp("silent"), draw_figures=False)


def _written(run: "Run", folder: Path, *, draw_figures: bool) -> Path:
    from neural_branching.report.run_report import write_run

    with pictures.rendering():
        write_run(run, folder, draw_figures=draw_figures)
    return folder


@contextmanager
def _process_restored() -> Iterator[None]:
    """Undo what training sets in the process: environment variables and the number of threads."""
    import torch

    with pytest.MonkeyPatch.context() as patch:
        for variable in ("PYTORCH_NVML_BASED_CUDA_CHECK", "PL_GLOBAL_SEED", "PL_SEED_WORKERS"):
            patch.setenv(variable, "0")
        before = torch.get_num_threads()
        yield
        torch.set_num_threads(before)
