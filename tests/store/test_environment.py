"""Results say what they were computed with."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from neural_branching.store.environment import environment, git_state
from neural_branching.store.versions import LIBRARIES


def git(folder: Path, *arguments: str) -> str:
    settings = ("-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "commit.gpgsign=false")
    done = subprocess.run(
        ["git", "-C", str(folder), *settings, *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q")
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "code.py").write_text("1\n")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-q", "-m", "first")
    git(tmp_path, "tag", "v1")
    return tmp_path


def test_the_commit_and_whether_files_differ_from_it(checkout: Path) -> None:
    commit = git(checkout, "rev-parse", "HEAD")
    assert git_state(checkout / "package") == {"commit": commit, "changed": False}
    git_state.cache_clear()
    (checkout / "package" / "code.py").write_text("2\n")
    assert git_state(checkout / "package") == {"commit": commit, "changed": True}


def test_somebody_elses_checkout_says_nothing(checkout: Path) -> None:
    installed = checkout / "environment" / "site-packages"
    installed.mkdir(parents=True)
    (installed / "code.py").write_text("1\n")
    assert git_state(installed) is None


def test_a_hooks_environment_misleads_nobody(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_DIR", str(checkout / ".git"))
    assert git_state(Path("/")) is None


def test_no_checkout_and_no_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert git_state(tmp_path) is None
    monkeypatch.setenv("PATH", "")
    git_state.cache_clear()
    assert git_state(Path(__file__).parent) is None
    git_state.cache_clear()


def test_the_same_machine_says_the_same() -> None:
    found = environment(torch.device("cpu"))
    assert found == environment(torch.device("cpu"))
    assert found["threads"] == torch.get_num_threads()
    assert found["versions"]["torch"] == torch.__version__.split("+")[0]


def test_libraries_of_parents_are_named_where_they_are_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    said = environment(torch.device("cpu"))["versions"]
    assert {"torchvision"} <= said.keys() & set(LIBRARIES) == {one for one in LIBRARIES if find_spec(one)}
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)  # as if nothing had loaded it
    assert environment(torch.device("cpu"))["versions"] == said


def test_results_name_the_precision(run) -> None:
    assert run.results["precision"]["parent"] == {"training": "32-true", "matmul": "highest"}
