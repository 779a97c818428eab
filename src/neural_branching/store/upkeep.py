"""What a store holds, whether it is whole, and what no run needs any more."""

import re
import secrets
import shutil
import stat
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neural_branching.errors import InputError
from neural_branching.files.reading import read_json
from neural_branching.store.artifact_store import MANIFEST, Store
from neural_branching.store.run_folders import RESULTS, TRAINING, missing_jobs, runs_below

# Folders of a store that hold no artifacts.
LOCKS, ASIDE, HASHES, CHECKPOINTS = "locks", "aside", "hashes", "checkpoints"
# Kinds of entries beside the kinds of artifacts.
CHECKPOINT, LEFTOVER, UNKNOWN = "checkpoint", "leftover", "unknown"
_LEFT = {ASIDE: "damaged, set aside", TRAINING: "curves of a training"}
_KEY = re.compile(r"[0-9a-f]{20}")


@dataclass(frozen=True)
class Entry:
    """One folder of a store.

    Attributes:
        kind: what it is ("parent", "activations", …), the "checkpoint" of an interrupted training, a
            "leftover" of a killed or damaged build, or "unknown" if the store has not made it.
        name: its key, or the name of the leftover.
        path: where it is.
        bytes: its size on the disk.
        created: when it was built, UTC; "" if that is not known.
        seconds: how long that took.
        what: the settings that tell it from others of its kind.
        runs: how many runs below the outputs refer to it.
    """

    kind: str
    name: str
    path: Path
    bytes: int
    created: str
    seconds: float
    what: str
    runs: int


def contents(outputs: Path) -> list[Entry]:
    """Every artifact and leftover of the store of a folder of outputs, the largest of each kind first.

    Args:
        outputs: folder of the store, the runs and the sweeps.

    Raises:
        InputError: if there is no store.
    """
    root = _store(outputs)
    runs = references(outputs)
    entries = [_entry(path, runs) for path in _artifacts(root)]
    entries += [
        _other(path, CHECKPOINT, "of an interrupted training")
        if _may_continue(path)
        else _other(path, LEFTOVER, "of a training that has ended")
        for path in _checkpoints(root)
    ]
    entries += [
        _other(path, LEFTOVER, _LEFT.get(path.parent.name, "of a killed process"))
        for path in _leftovers(root)
    ]
    entries += [_other(path, UNKNOWN, "not of this store: left alone") for path in _unknown(root)]
    others = (CHECKPOINT, LEFTOVER, UNKNOWN)
    return sorted(entries, key=lambda one: (one.kind in others, one.kind, -one.bytes, one.name))


def references(outputs: Path) -> Counter[tuple[str, str]]:
    """(kind, key) → how many runs below a folder used it; failed ones refer to nothing."""
    found: Counter[tuple[str, str]] = Counter()
    for file in outputs.rglob(RESULTS):
        found.update(_used(file) or ())
    return found


def _used(file: Path) -> set[tuple[str, str]] | None:
    """(kind, key) of every artifact that a run used; None if its results cannot be read."""
    try:
        results = read_json(file)
        used = {tuple(str(one).split("/")) for one in results.get("used", ())}
        used |= {Path(one["path"]).parts[-2:] for one in results.get("artifacts", {}).values()}
    except (InputError, AttributeError, KeyError, TypeError):
        return None
    return {(one[0], one[1]) for one in used if len(one) == 2}


def unfinished(outputs: Path) -> list[str]:
    """Runs below a folder of which is not known what they need.

    They have started and have no results, since they are running or were killed, or their results cannot be
    read; or a sweep has noted them and they have left nothing.
    """
    lost = {run for run in runs_below(outputs) if _used(run / RESULTS) is None}
    return sorted(str(run.relative_to(outputs)) for run in lost | set(missing_jobs(outputs)))


def verify(outputs: Path) -> Iterator[tuple[Entry, str]]:
    """Hash every file of every artifact again.

    Args:
        outputs: folder of the store, the runs and the sweeps.

    Yields:
        Each artifact with what is wrong with it, "" if nothing is.

    Raises:
        InputError: if there is no store.
    """
    root, runs = _store(outputs), references(outputs)
    store = Store(root)
    for path in _artifacts(root):
        yield _entry(path, runs), store.problem(path.parent.name, path.name)


def prune(outputs: Path, *, everything: bool = False, really: bool = True) -> list[Entry]:
    """Remove leftovers, and artifacts that no run refers to, while nobody else uses the store.

    What the store has not made is never removed.

    A run refers to what it used once its results are written; one that failed refers to nothing.

    Args:
        outputs: folder of the store, the runs and the sweeps.
        everything: also remove checkpoints of interrupted trainings, and what runs refer to; these keep
            their results, and whoever repeats them builds it again.
        really: whether to remove anything; otherwise only say what would be.

    Returns:
        What was, or would be, removed.

    Raises:
        InputError: if there is no store, another process uses it, or runs are unfinished: what they will
            need can only be told when they are repeated.
    """
    waiting = [] if everything else unfinished(outputs)
    if waiting:
        raise InputError(
            f"{len(waiting)} of the runs below {outputs} are unfinished, such as {waiting[0]}, and may need "
            "what no finished run refers to: repeat them, remove their folders, or add --all."
        )
    with Store(_store(outputs)).exclusive():
        spared = {UNKNOWN} if everything else {UNKNOWN, CHECKPOINT}
        doomed = [
            entry
            for entry in contents(outputs)
            if entry.kind not in spared and (everything or not entry.runs)
        ]
        for entry in doomed if really else ():
            # Renamed first: should this be killed, the next prune finds a leftover and no half artifact.
            aside = entry.path.with_name(f".pruned-{entry.name.lstrip('.')}-{secrets.token_hex(4)}")
            entry.path.rename(aside)
            # Of a link only the link goes: what it leads to is not the store's.
            shutil.rmtree(aside) if aside.is_dir() and not aside.is_symlink() else aside.unlink()
    return doomed


def _store(outputs: Path) -> Path:
    root = outputs / "store"
    if not root.is_dir():
        raise InputError(f"{outputs} has no store: name the folder that runs were given as outputs=FOLDER.")
    return root


def _kinds(root: Path) -> list[Path]:
    others = (LOCKS, ASIDE, HASHES, CHECKPOINTS)
    return sorted(path for path in root.iterdir() if path.is_dir() and path.name not in others)


def _artifacts(root: Path) -> list[Path]:
    return [path for kind in _kinds(root) for path in sorted(kind.iterdir()) if _is_artifact(path)]


def _is_artifact(path: Path) -> bool:
    return path.is_dir() and _KEY.fullmatch(path.name) is not None


def _leftovers(root: Path) -> list[Path]:
    aside = sorted((root / ASIDE).iterdir()) if (root / ASIDE).is_dir() else []
    torn = sorted(root.glob(f"{CHECKPOINTS}/*.tmp"))
    killed = [path for kind in _kinds(root) for path in sorted(kind.iterdir()) if _is_leftover(path)]
    return killed + aside + torn + _curves(root)


def _curves(root: Path) -> list[Path]:
    """Folders that show trainings which no finished run has come of: they last, or were killed."""
    return sorted((root.parent / TRAINING).iterdir()) if (root.parent / TRAINING).is_dir() else []


def _is_leftover(path: Path) -> bool:
    return path.name.startswith((".building-", ".pruned-"))


def _checkpoints(root: Path) -> list[Path]:
    return sorted(root.glob(f"{CHECKPOINTS}/*.ckpt"))


def _may_continue(checkpoint: Path) -> bool:
    """Whether what a checkpoint is of is still to be built."""
    kind, key = (*checkpoint.name.split("-"), "")[:2]
    return not (checkpoint.parent.parent / kind / key).exists()


def _unknown(root: Path) -> list[Path]:
    inside = [path for kind in _kinds(root) for path in sorted(kind.iterdir())]
    return sorted(path for path in root.iterdir() if not path.is_dir()) + [
        path for path in inside if not _is_artifact(path) and not _is_leftover(path)
    ]


def _entry(path: Path, runs: Counter[tuple[str, str]]) -> Entry:
    try:
        manifest: dict[str, Any] = read_json(path / MANIFEST)
        created, seconds = str(manifest["created"]), float(manifest["seconds"])
        what = _what(manifest["identity"])
    except (InputError, ValueError, KeyError, TypeError, AttributeError):
        created, seconds, what = "", 0.0, "its manifest cannot be read"
    kind = path.parent.name
    return Entry(kind, path.name, path, _size(path), created, seconds, what, runs[kind, path.name])


def _other(path: Path, kind: str, what: str) -> Entry:
    return Entry(kind, path.name, path, _size(path), "", 0.0, what, 0)


def _what(identity: dict[str, Any]) -> str:
    """What a person would call an artifact by: its network, classes, stages and seed."""
    network, classes = identity.get("network"), identity.get("classes")
    parts = []
    if isinstance(network, dict) and "_target_" in network:
        parts.append(str(network["_target_"]).rpartition(".")[2])
    if isinstance(classes, list):
        names = ["+".join(one) if isinstance(one, list) else str(one) for one in classes]
        parts.append(", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else ""))
    parts += [
        f"{name} {identity[name]}"
        for name in ("stages", "readout", "views", "seed")
        if identity.get(name) is not None
    ]
    return "; ".join(parts)


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() and not path.is_symlink() else [path]
    total = 0
    for file in files:
        with suppress(OSError):  # of a link to nowhere, or gone meanwhile
            total += file.lstat().st_size if stat.S_ISREG(file.lstat().st_mode) else 0
    return total
