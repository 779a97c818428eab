"""The same sweep through every launcher gives the same numbers."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from device import REPEATED, TOGETHER, TRAINER
from neural_branching import cli
from neural_branching.commands import launch
from sweeps import close, numbers

pytestmark = pytest.mark.thorough

SWEEP = [
    *("train", "-m", "subset=digits,upper", "threshold.value=0.5"),
    "data.classes=[digit_0,digit_1,digit_2,upper_O,upper_I,upper_Z]",
    "data.superclasses={digit:[digit_0,digit_1,digit_2],upper:[upper_O,upper_I,upper_Z]}",
    *("data.source.train_per_class=40", "data.source.test_per_class=10", "data.image_size=12"),
    *("parent.network.widths=[64,32]", "branch.network.widths=[8]"),
    *("parent.fit.epochs=10", "branch.fit.epochs=10", *TRAINER),
]


def sweep(folder: Path, *arguments: str, code: int = 0) -> str:
    """Sweep as a user does; what is printed."""
    done = subprocess.run(
        [sys.executable, "-m", "neural_branching", *SWEEP, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def in_process(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("basic")
    assert "Built before the jobs" not in sweep(folder)
    return folder / "outputs"


@pytest.mark.parametrize("launcher", ["joblib", pytest.param("submitit_local", marks=pytest.mark.slow)])
def test_other_processes_give_the_same_numbers(launcher: str, in_process: Path, tmp_path: Path) -> None:
    said = sweep(tmp_path, f"hydra/launcher={launcher}")
    assert (
        "Built before the jobs, by the process that launched them: 1 data, 1 parent, 1 activations, 2 branch."
        in said
    )
    assert close(numbers(tmp_path / "outputs"), numbers(in_process), REPEATED)
    assert sorted(numbers(in_process)) == ["0_digits_hidden2", "1_upper_hidden2"]


@pytest.mark.slow
def test_a_job_that_fails_elsewhere_is_named(tmp_path: Path) -> None:
    said = sweep(tmp_path, "hydra/launcher=joblib", "branch.fit.lr=0.01,1e30", code=1)
    assert "diverged in epoch" in said
    assert sum(map(len, numbers(tmp_path / "outputs").values())) == 2
    [folder] = (tmp_path / "outputs" / "sweeps").iterdir()
    assert "diverged in epoch" in (folder / "summary.md").read_text()


@pytest.mark.parametrize(
    ("argument", "extra"),
    [
        ("hydra/launcher=joblib", "joblib"),
        ("hydra/launcher=submitit_slurm", "submitit"),
        ("hydra/sweeper=optuna", "optuna"),
        ("search=aurc", "optuna"),
    ],
)
def test_what_is_not_installed_is_named_with_its_extra(
    argument: str, extra: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def missing(package: str) -> str:
        raise launch.PackageNotFoundError(package)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(launch, "version", missing)
    monkeypatch.setattr("sys.argv", ["neural-branching", "train", "-m", argument])
    with pytest.raises(SystemExit, match=rf"{argument} needs .* pip install 'neural-branching\[{extra}\]'"):
        cli.main()
    assert not list(tmp_path.iterdir())


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Slurm on this machine alone."""
    script = str(Path(__file__).parents[1] / "slurm" / "one_node.sh")
    if os.geteuid() or shutil.which("apt-get") is None:
        pytest.skip("Slurm is started by root, on Debian or Ubuntu")
    if subprocess.run(["pgrep", "-x", "slurmctld|slurmd"], capture_output=True).returncode == 0:
        pytest.skip("a Slurm that is running already is left alone")
    try:
        subprocess.run(["bash", script, "start"], check=True)
        monkeypatch.setenv("SLURM_CONF", "/run/one-node-slurm/slurm.conf")
        yield
    finally:
        subprocess.run(["bash", script, "stop"], check=True)


@pytest.mark.slurm
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("cluster")
def test_slurm_gives_the_same_numbers(in_process: Path, tmp_path: Path) -> None:
    said = sweep(tmp_path, "hydra/launcher=submitit_slurm", "hydra.launcher.cpus_per_task=1")
    assert "Built by these runs:" in said
    # There each branch is trained by itself.
    assert close(numbers(tmp_path / "outputs"), numbers(in_process), TOGETHER)
    logs = [file.read_text() for file in tmp_path.glob("outputs/sweeps/*/.submitit/*/*_log.out")]
    assert sum(text.count("Training the parent") for text in logs) == 1
    assert sum(text.count("Training the branch") for text in logs) == 2
    built = [
        name
        for file in tmp_path.glob("outputs/sweeps/*/*/results.json")
        for name, one in json.loads(file.read_text())["artifacts"].items()
        if one["built"]
    ]
    assert sorted(built) == ["activations", "branch", "branch", "parent"]
