"""The store builds once, trusts only what is whole, and is as it was after every failure."""

import errno
import json
import logging
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neural_branching.errors import InputError
from neural_branching.store.artifact_store import Artifact, Facts, Store, canonical, key_of, sha256_of

IDENTITY = {"lr": 0.1, "widths": [4, 2]}
CONTENT = b"some weights"


class Builder:
    """Counts its calls."""

    def __init__(self, content: bytes = CONTENT) -> None:
        self.content, self.calls = content, 0

    def __call__(self, folder: Path) -> Facts:
        self.calls += 1
        (folder / "weights").write_bytes(self.content)
        return {"accuracy": 0.5}


def fetch(store: Store, build: Callable[[Path], Facts] | None = None) -> Artifact:
    return store.fetch("parent", IDENTITY, build or Builder(), needs=("weights",))


def never(folder: Path) -> Facts:
    raise AssertionError("built again")


def tree(root: Path) -> dict[str, bytes]:
    """Content of every file except locks."""
    return {
        str(file.relative_to(root)): file.read_bytes()
        for file in root.rglob("*")
        if file.is_file() and file.parent.name != "locks"
    }


# --- keys ---------------------------------------------------------------------------------------


values = st.recursive(
    st.none() | st.text(max_size=3) | st.integers(-5, 5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=6,
)
identities = st.dictionaries(st.text(max_size=3), values, max_size=4)


def respelled(value: object) -> object:
    """The same settings, spelled differently: dicts reversed, tuples for lists, floats for integers."""
    if isinstance(value, dict):
        return {name: respelled(item) for name, item in reversed(value.items())}
    if isinstance(value, list):
        return tuple(respelled(item) for item in value)
    return float(value) if isinstance(value, int) else value


@given(identities, identities)
def test_keys_are_equal_exactly_for_equal_settings(first: dict, second: dict) -> None:
    assert key_of("parent", first) == key_of("parent", respelled(first))
    assert (key_of("parent", first) == key_of("parent", second)) == (first == second)
    assert key_of("parent", first) != key_of("branch", first)


@pytest.mark.parametrize(
    "other",
    [
        {"lr": 0.1, "widths": [2, 4]},
        {"lr": 0.1, "widths": [4]},
        {"lr": 0.1, "widths": "[4, 2]"},
        {"lr": 0.1000001, "widths": [4, 2]},
        {"lr": "0.1", "widths": [4, 2]},
        {"lr": 0.1, "width": [4, 2]},
        {"lr": 0.1, "widths": [4, 2], "seed": None},
    ],
)
def test_any_part_of_the_identity_changes_the_key(other: dict) -> None:
    assert key_of("parent", other) != key_of("parent", IDENTITY)


def test_true_is_not_one_and_objects_have_no_key() -> None:
    assert key_of("parent", {"flip": True}) != key_of("parent", {"flip": 1})
    assert canonical({"a": (1.0, {"b": 2.5})}) == {"a": [1, {"b": 2.5}]}
    with pytest.raises(TypeError, match="of type set cannot be part of a key"):
        key_of("parent", {"classes": {"cat"}})


# --- building and finding -----------------------------------------------------------------------


def test_builds_once_and_finds_again(tmp_path: Path) -> None:
    build = Builder()
    store = Store(tmp_path / "deep" / "store")
    first, second = fetch(store, build), fetch(store, build)
    third = fetch(Store(store.root), never)
    assert build.calls == 1
    assert [first.built, second.built, third.built] == [True, False, False]
    assert first.path == second.path == third.path == store.root / "parent" / first.key
    assert (first.path / "weights").read_bytes() == CONTENT
    assert first.manifest == second.manifest == third.manifest
    assert third.facts == {"accuracy": 0.5}
    assert third.sha("weights") == sha256_of(first.path / "weights")
    assert third.manifest["identity"] == canonical(IDENTITY)
    assert third.provenance().keys() == {"key", "path", "seconds", "build_seconds", "built_together"}
    assert not list(store.root.rglob(".building*"))


def test_another_identity_or_kind_is_another_artifact(tmp_path: Path) -> None:
    store, build = Store(tmp_path), Builder()
    fetch(store, build)
    assert store.fetch("parent", {**IDENTITY, "seed": 1}, build).built
    assert store.fetch("branch", IDENTITY, build).built
    assert build.calls == 3


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_a_failing_build_leaves_no_trace(tmp_path: Path, error: type[BaseException]) -> None:
    store = Store(tmp_path)
    store.fetch("branch", {}, Builder())
    before = tree(tmp_path)

    def build(folder: Path) -> Facts:
        (folder / "weights").write_bytes(b"half of th")
        raise error("stop")

    with pytest.raises(error, match="stop"):
        fetch(store, build)
    assert tree(tmp_path) == before
    assert not list(tmp_path.rglob(".building*"))
    assert fetch(store).built


def test_an_error_that_is_not_the_stores_is_passed_on(tmp_path: Path) -> None:
    def build(folder: Path) -> Facts:
        (tmp_path / "store-data" / "missing.png").read_bytes()

    with pytest.raises(FileNotFoundError):
        fetch(Store(tmp_path / "store"), build)


# --- damage -------------------------------------------------------------------------------------


def _flip_a_bit(folder: Path) -> None:
    file = folder / "weights"
    status = file.stat()
    content = bytearray(file.read_bytes())
    content[3] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


def _edit_manifest(**changes: object) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        file = folder / "manifest.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))

    return edit


def _replace_folder_by_file(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("not a folder")


def _pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def _swap(folder: Path) -> None:
    (folder / "weights").write_bytes(CONTENT[::-1])
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["weights"]["sha256"] = sha256_of(folder / "weights")
    del manifest["seal"]
    (folder / "manifest.json").write_text(json.dumps(manifest))


DAMAGE: dict[str, Callable[[Path], object]] = {
    "truncated file": lambda folder: (folder / "weights").write_bytes(CONTENT[:-1]),
    "longer file": lambda folder: (folder / "weights").write_bytes(CONTENT + b"!"),
    "flipped bit": _flip_a_bit,
    "missing file": lambda folder: (folder / "weights").unlink(),
    "missing manifest": lambda folder: (folder / "manifest.json").unlink(),
    "empty manifest": lambda folder: (folder / "manifest.json").write_text(""),
    "garbage manifest": lambda folder: (folder / "manifest.json").write_bytes(b"\xff\x00{"),
    "manifest of another shape": lambda folder: (folder / "manifest.json").write_text("[1, 2]"),
    "foreign manifest": _edit_manifest(key="0" * 20),
    "manifest of another version": _edit_manifest(schema=0),
    "manifest without the file": _edit_manifest(files={}),
    "manifest without its seal": _edit_manifest(seal=None),
    "swapped file, its checksum corrected and the seal removed": lambda folder: _swap(folder),
    "manifest of 100,000 levels": lambda folder: (folder / "manifest.json").write_text("[" * 100_000),
    "pipe for a manifest": lambda folder: _pipe(folder / "manifest.json"),
    "pipe for a file": lambda folder: _pipe(folder / "weights"),
    "link to nowhere": lambda folder: (shutil.rmtree(folder), folder.symlink_to("nowhere")),
    "file instead of the folder": _replace_folder_by_file,
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damage_is_reported_set_aside_and_rebuilt(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: Callable[[Path], object]
) -> None:
    path = fetch(Store(tmp_path)).path
    damage(path)
    store = Store(tmp_path)
    rebuilt = fetch(store)
    assert rebuilt.built
    assert (rebuilt.path / "weights").read_bytes() == CONTENT
    [aside] = (tmp_path / "aside").iterdir()
    assert aside.name.startswith(f"parent-{rebuilt.key}-")
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert f"parent {rebuilt.key} is damaged" in record.getMessage()
    assert str(aside) in record.getMessage()
    assert not fetch(store, never).built


def test_damage_after_a_first_look_is_noticed_by_the_same_store(tmp_path: Path) -> None:
    store = Store(tmp_path)
    fetch(store)
    file = fetch(store, never).path / "weights"  # now it has been verified
    status = file.stat()
    file.write_bytes(CONTENT[::-1])
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert fetch(store).built


def test_only_the_needed_files_are_read(tmp_path: Path) -> None:
    path = fetch(Store(tmp_path)).path
    (path / "weights").write_bytes(b"x")
    assert not Store(tmp_path).fetch("parent", IDENTITY, never).built


# --- several processes --------------------------------------------------------------------------

WORKER = """
import sys, time
from pathlib import Path
from neural_branching.store.artifact_store import Store

root, seconds = Path(sys.argv[1]), float(sys.argv[2])

def build(folder):
    with open(root / "builds", "a") as log:
        log.write("built\\n")
    (folder / "weights").write_bytes(b"half")
    print("building", flush=True)
    time.sleep(seconds)
    (folder / "weights").write_bytes(b"some weights")
    return {}

print("ready", flush=True)
sys.stdin.readline()
artifact = Store(root).fetch("parent", {"lr": 0.1, "widths": [4, 2]}, build, needs=("weights",))
assert (artifact.path / "weights").read_bytes() == b"some weights"
print(artifact.built, flush=True)
"""


@pytest.fixture
def start() -> Iterator[Callable[[Path, float], subprocess.Popen[str]]]:
    """Start a process that waits for a line before it fetches."""
    processes: list[subprocess.Popen[str]] = []

    def run(root: Path, seconds: float) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", WORKER, str(root), str(seconds)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        processes.append(process)
        return process

    yield run
    for process in processes:
        process.kill()
        process.communicate()


def test_four_processes_build_once(tmp_path: Path, start: Callable) -> None:
    processes = [start(tmp_path, 0.3) for _ in range(4)]
    assert [process.stdout.readline() for process in processes] == ["ready\n"] * 4
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    last = sorted(process.communicate()[0].split()[-1] for process in processes)
    assert last == ["False", "False", "False", "True"]
    assert [process.returncode for process in processes] == [0] * 4
    assert (tmp_path / "builds").read_text() == "built\n"


@pytest.mark.timeout(60)
def test_a_killed_build_is_not_trusted_and_blocks_nobody(tmp_path: Path, start: Callable) -> None:
    process = start(tmp_path, 60)
    process.stdin.write("go\n")
    process.stdin.flush()
    assert [process.stdout.readline() for _ in range(2)] == ["ready\n", "building\n"]
    process.kill()
    process.wait()
    artifact = fetch(Store(tmp_path))
    assert artifact.built
    assert (artifact.path / "weights").read_bytes() == CONTENT
    assert not (tmp_path / "aside").exists()
    assert not fetch(Store(tmp_path), never).built


@pytest.mark.timeout(60)
def test_who_waits_for_a_build_that_fails_builds(tmp_path: Path) -> None:
    building, results = threading.Event(), []

    def fail(folder: Path) -> Facts:
        building.set()
        waiter.join(0.2)
        raise RuntimeError("stop")

    waiter = threading.Thread(target=lambda: building.wait() and results.append(fetch(Store(tmp_path))))
    waiter.start()
    with pytest.raises(RuntimeError, match="stop"):
        fetch(Store(tmp_path), fail)
    waiter.join()
    assert [artifact.built for artifact in results] == [True]


# --- disks --------------------------------------------------------------------------------------


def test_a_full_disk_is_one_sentence_and_changes_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.fetch("branch", {}, Builder())
    before = tree(tmp_path)

    def build(folder: Path) -> Facts:
        (folder / "weights").write_bytes(b"half of th")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(InputError, match=r"The disk .* is full while writing parent: .*outputs=FOLDER"):
        fetch(store, build)
    assert tree(tmp_path) == before
    assert fetch(store).built


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 256 KiB, where mounting one is permitted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("mounting a small disk is not permitted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("how", ["write", "numpy", "safetensors"])
def test_a_really_full_disk(small_disk: Path, how: str) -> None:
    store = Store(small_disk)
    store.fetch("branch", {}, Builder())
    before = tree(small_disk)
    large = np.ones(1_000_000, np.uint8)

    def build(folder: Path) -> Facts:
        if how == "write":
            (folder / "weights").write_bytes(large.tobytes())
        elif how == "numpy":
            np.save(folder / "weights.npy", large)
        else:
            from safetensors.numpy import save_file

            save_file({"weights": large}, folder / "weights")
        return {}

    with pytest.raises(InputError, match="is full while writing parent"):
        fetch(store, build)
    assert tree(small_disk) == before
    assert not list(small_disk.rglob(".building*"))
    assert fetch(store).built


@pytest.mark.parametrize("place", ["", "locks", "parent"])
def test_a_file_in_the_way_is_one_sentence(tmp_path: Path, place: str) -> None:
    root = tmp_path / "store"
    (root / place).parent.mkdir(exist_ok=True)
    (root / place).write_text("in the way")
    with pytest.raises(InputError, match=r"The store .*store cannot be written \(.+\): .*outputs=FOLDER"):
        fetch(Store(root))


def test_a_read_only_disk_is_one_sentence(small_disk: Path) -> None:
    fetch(Store(small_disk))
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert not fetch(Store(small_disk), never).built
    with pytest.raises(InputError, match=r"The store .* cannot be written"):
        Store(small_disk).fetch("parent", {}, Builder())


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_one_sentence(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(InputError, match=r"The store .* cannot be written"):
            fetch(Store(tmp_path / "store"))
    finally:
        tmp_path.chmod(0o700)


def test_what_was_built_belongs_to_the_first_run_that_claims_it(tmp_path: Path) -> None:
    store = Store(tmp_path)
    artifact = fetch(store)  # by the checks before a run, say
    found = fetch(store, never)
    assert not found.built
    assert store.newly_built({"parent": found}) == {"parent": True}
    assert store.newly_built({"parent": artifact}) == {"parent": False}


def test_numbers_grow_and_a_lost_counter_starts_anew(tmp_path: Path) -> None:
    first, second, third = (Store(tmp_path).next_number() for _ in range(3))
    assert [one["number"] for one in (first, second, third)] == [1, 2, 3]
    assert first["counter"] == third["counter"]
    for damage in ("", "[1]", '{"counter": "x"}', "[" * 100_000):
        (tmp_path / "locks" / "numbers.json").write_text(damage)
        again = Store(tmp_path).next_number()
        assert again["number"] == 1
        assert again["counter"] != first["counter"]
