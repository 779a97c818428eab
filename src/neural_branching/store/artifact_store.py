"""A content-addressed store of artifacts: built once, found again by any later run or process.

An artifact is a folder ``<root>/<kind>/<key>/`` of files beside a ``manifest.json``. Its key is a
hash of its *identity*: the plain values that decide what is computed. It is built in a temporary
sibling, synced to disk and renamed, so that a killed process leaves nothing that a later run
trusts; a lock per key lets concurrent processes build it once while the others wait.
"""

import hashlib
import json
import logging
import os
import secrets
import shutil
import socket
import stat
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from neural_branching.errors import InputError, is_full_disk
from neural_branching.files.reading import read_json
from neural_branching.files.writing import write_atomically
from neural_branching.store.checkpoint import Checkpoint
from neural_branching.store.versions import RECORDED, version_of

log = logging.getLogger(__name__)

SCHEMA = 1
MANIFEST = "manifest.json"


# Locks by which this process shows that it uses a store.
_ANNOUNCED: set[Path] = set()

Facts = Mapping[str, Any]
Build = Callable[[Path], Facts]


@dataclass(frozen=True)
class Artifact:
    """One stored result.

    Attributes:
        kind: what it is ("parent", "activations", …).
        key: hexadecimal key, the name of its folder.
        path: its folder.
        manifest: provenance: identity, checksums, sizes, build seconds, versions, build facts.
        built: whether this call built it; false if it was found.
        seconds: time that this call took to find or build it.
    """

    kind: str
    key: str
    path: Path
    manifest: dict[str, Any]
    built: bool
    seconds: float

    @property
    def facts(self) -> dict[str, Any]:
        """What the builder returned about the artifact (plain JSON values)."""
        facts: dict[str, Any] = self.manifest["facts"]
        return facts

    def sha(self, name: str) -> str:
        """Checksum (sha256, hexadecimal) of one of its files, read from the manifest."""
        return str(self.manifest["files"][name]["sha256"])

    def json(self, name: str) -> Any:
        """Content of one of its JSON files."""
        return json.loads((self.path / name).read_text(encoding="utf-8"))

    def provenance(self) -> dict[str, Any]:
        """Key, path, seconds, and how many were built at once with it, for results.json."""
        return {
            "key": self.key,
            "path": str(self.path),
            "seconds": round(self.seconds, 3),
            "build_seconds": self.manifest["seconds"],
            "built_together": self.manifest.get("together", 1),
        }


def canonical(value: Any) -> Any:
    """Plain JSON form in which equal settings are equal text: 1.0 and 1, tuples and lists.

    Raises:
        TypeError: for values that have no JSON form.
    """
    if isinstance(value, Mapping):
        return {str(name): canonical(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [canonical(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    raise TypeError(f"{value!r} of type {type(value).__name__} cannot be part of a key.")


def key_of(kind: str, identity: Mapping[str, Any]) -> str:
    """Key of an artifact: 20 hexadecimal digits of the sha256 of its kind and canonical identity."""
    text = json.dumps([SCHEMA, kind, canonical(identity)], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:20]


@cache
def store_at(root: Path) -> "Store":
    """The store of a folder, the same object for every run of this process."""
    return Store(root)


class Store:
    """Artifacts below one folder.

    Args:
        root: the folder; it is created when the first artifact is built.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).absolute()
        # Files that this process has hashed: a sweep reads the same cache in every job.
        self._verified: set[tuple[Path, int, int]] = set()
        self._new: set[tuple[str, str]] = set()
        self._used: set[tuple[str, str]] = set()
        self._announced: FileLock | None = None
        self._only_finding = False
        self._ahead: set[tuple[str, str]] = set()

    def newly_built(self, artifacts: Mapping[str, Artifact]) -> dict[str, bool]:
        """Which artifacts this process has built since this was asked last: they belong to the run that asks.

        What the checks before a run have built belongs to the run; later runs only find it. What was
        built ahead of a sweep belongs to the first run that uses it.
        """
        mine = {name: (one.kind, one.key) for name, one in artifacts.items()}
        built = {name: place in self._new | self._ahead for name, place in mine.items()}
        self._new.clear()
        self._ahead.difference_update(mine.values())
        return built

    @contextmanager
    def building_ahead(self) -> Iterator[None]:
        """What is built inside belongs to the first later run that uses it."""
        yield
        self._ahead |= self._new
        self._new.clear()
        self._used.clear()

    @contextmanager
    def only_finding(self) -> Iterator[None]:
        """Inside, nothing is built or set aside: what is not there, whole, is refused."""
        before, self._only_finding = self._only_finding, True
        try:
            yield
        finally:
            self._only_finding = before

    def fetch(
        self, kind: str, identity: Mapping[str, Any], build: Build, *, needs: Iterable[str] = ()
    ) -> Artifact:
        """Return the artifact of this identity, building it if it is not there.

        Args:
            kind: folder that the artifact lives in.
            identity: the plain values that decide what is computed.
            build: writes the files into the empty folder it is given; returns facts worth recording.
            needs: names of the files that the caller will read. Their checksums are verified; an
                artifact that fails is set aside, reported and rebuilt.

        Raises:
            InputError: if the store cannot be written or the disk is full; the store is then as it was.
        """
        start = time.perf_counter()
        key, needs = key_of(kind, identity), tuple(needs)
        final = self.root / kind / key
        self._used.add((kind, key))
        with suppress(OSError):  # a store that cannot be written can still be read
            self._announce()
        manifest, problem = self._inspect(final, kind, key, needs)
        built = False
        if manifest is None:
            self._refuse_building(kind, key, problem)
            try:
                with self._locked(kind, key):
                    manifest, problem = self._inspect(final, kind, key, needs)
                    if manifest is None:
                        if problem:
                            self._set_aside(final, kind, key, problem)
                        manifest = self._build(final, kind, key, identity, build)
                        built = True
                        self._new.add((kind, key))
            except Exception as error:
                raise self._explained(error, kind) from error
        return Artifact(kind, key, final, manifest, built, time.perf_counter() - start)

    def fetch_together(
        self,
        kind: str,
        identities: Sequence[Mapping[str, Any]],
        build: Callable[[list[int]], Sequence[Build | None]],
        *,
        needs: Iterable[str] = (),
    ) -> None:
        """Build what is missing of several artifacts at once, the time shared evenly among them.

        Args:
            kind: folder that the artifacts live in.
            identities: what decides each of them.
            build: does the work for the artifacts at these places of ``identities``, and returns for each
                what writes its files; None for one that could not be made.
            needs: as for ``fetch``.

        Raises:
            InputError: as ``fetch``.
        """
        keys, needs = [key_of(kind, identity) for identity in identities], tuple(needs)
        # One order for everybody who takes several locks, so that no two wait for each other.
        with ExitStack() as locks:
            try:
                for key in sorted(set(keys)):
                    manifest, problem = self._inspect(self.root / kind / key, kind, key, needs)
                    if manifest is None:
                        self._refuse_building(kind, key, problem)
                        locks.enter_context(self._locked(kind, key))
                missing = []
                for place, key in enumerate(keys):
                    manifest, problem = self._inspect(self.root / kind / key, kind, key, needs)
                    if manifest is None and key not in keys[:place]:
                        missing.append(place)
                        if problem:
                            self._set_aside(self.root / kind / key, kind, key, problem)
                if not missing:
                    return
                start = time.perf_counter()
                builds = dict(zip(missing, build(missing), strict=True))
                writers = {place: one for place, one in builds.items() if one is not None}
                share = (time.perf_counter() - start) / max(1, len(writers))
                for place, one in writers.items():
                    key = keys[place]
                    final = self.root / kind / key
                    self._build(final, kind, key, identities[place], one, spent=share, together=len(writers))
                    self._new.add((kind, key))
            except Exception as error:
                raise self._explained(error, kind) from error

    def checkpoint(self, kind: str, identity: Mapping[str, Any]) -> Checkpoint:
        """What building an artifact, interrupted, can continue from; gone once it is built."""
        return self._checkpoint(kind, key_of(kind, identity))

    def _checkpoint(self, kind: str, key: str) -> Checkpoint:
        return Checkpoint(self.root / "checkpoints", f"{kind}-{key}")

    def built_ahead(self) -> dict[str, int]:
        """Kind → how many artifacts were built ahead for jobs that then ran in other processes."""
        return dict(Counter(kind for kind, _ in sorted(self._ahead)))

    def take_used(self) -> list[str]:
        """``kind/key`` of every artifact that was asked for since this was called last."""
        used = sorted("/".join(one) for one in self._used)
        self._used.clear()
        return used

    def problem(self, kind: str, key: str) -> str:
        """What is wrong with an artifact, all of its files hashed again; "" if nothing is."""
        final = self.root / kind / key
        manifest, problem = self._inspect(final, kind, key, ())
        if manifest is None:
            return problem or "it is missing"
        others = {file.name for file in final.iterdir()} - {MANIFEST, *manifest["files"]}
        if others:
            return f"it holds {min(others)}, which is no part of it"
        return self._inspect(final, kind, key, tuple(manifest["files"]))[1]

    def next_number(self) -> dict[str, Any]:
        """A number for a run, larger than that of every run before, whatever the clock says.

        Returns:
            ``{"counter": name of what counts, "number": int}``: numbers of one counter compare. A counter
            that is lost or damaged is followed by another.

        Raises:
            OSError: if the store cannot be written.
        """
        locks = self.root / "locks"
        locks.mkdir(parents=True, exist_ok=True)
        file = locks / "numbers.json"
        with FileLock(locks / "numbers.lock"):
            try:
                last = read_json(file)
                after = {"counter": str(last["counter"]), "number": int(last["number"]) + 1}
            except (InputError, KeyError, TypeError, ValueError):
                after = {"counter": secrets.token_hex(8), "number": 1}
            write_atomically(file, json.dumps(after))
        return after

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Exclusive access to the store; other processes wait.

        Raises:
            InputError: if another process uses it.
        """
        locks = self.root / "locks"
        locks.mkdir(parents=True, exist_ok=True)
        with FileLock(locks / "entrance.lock"):
            for file in sorted(locks.glob("user-*-*-*.lock")):
                if file in _ANNOUNCED or not file.is_file():
                    continue
                try:
                    with FileLock(file, timeout=0):
                        file.unlink()  # of a process that has ended
                except Timeout:
                    _, host, process, _ = file.stem.split("-", 3)
                    raise InputError(
                        f"The store {self.root} is in use by process {process} on {host}: "
                        "repeat this when it has ended."
                    ) from None
            yield

    def _announce(self) -> None:
        """Hold a lock until this process ends, by which ``exclusive`` sees that somebody is here."""
        if self._announced is None:
            locks = self.root / "locks"
            locks.mkdir(parents=True, exist_ok=True)
            name = f"user-{_host()}-{os.getpid()}-{secrets.token_hex(4)}.lock"
            with FileLock(locks / "entrance.lock"):
                self._announced = FileLock(locks / name)
                self._announced.acquire()
            _ANNOUNCED.add(locks / name)

    @contextmanager
    def _locked(self, kind: str, key: str) -> Iterator[None]:
        folder = self.root / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / f"{kind}-{key}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            log.info("Waiting for another process that is building %s %s.", kind, key)
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def _inspect(
        self, final: Path, kind: str, key: str, needs: tuple[str, ...]
    ) -> tuple[dict[str, Any] | None, str]:
        """Manifest if the artifact can be trusted, else None and what is wrong ("" if it is absent)."""
        if not os.path.lexists(final):  # a link to nowhere is there, and in the way
            return None, ""
        try:
            manifest: dict[str, Any] = read_json(final / MANIFEST)
            foreign = manifest["key"] != key or key_of(kind, manifest["identity"]) != key
            if manifest["schema"] != SCHEMA or foreign:
                return None, "its manifest belongs to another artifact or version"
            if not isinstance(manifest["facts"], dict) or not isinstance(manifest["seconds"], (int, float)):
                return None, "its manifest is incomplete"
            if manifest["seal"] != _seal_of(manifest):
                return None, "the checksum of its manifest does not match"
            if not all(isinstance(entry, dict) for entry in manifest["files"].values()):
                return None, "its manifest is incomplete"
            for name in needs:
                expected, file = manifest["files"][name], final / name
                status = file.stat()
                if not stat.S_ISREG(status.st_mode):
                    return None, f"{name} is no regular file"
                if status.st_size != expected["bytes"]:
                    return None, f"{name} has {status.st_size} bytes instead of {expected['bytes']}"
                seen = (file, status.st_size, status.st_mtime_ns)
                if seen not in self._verified:
                    if sha256_of(file) != expected["sha256"]:
                        return None, f"the checksum of {name} does not match"
                    self._verified.add(seen)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            reason = error.__cause__ or error
            return None, f"it cannot be read ({type(reason).__name__}: {reason})"
        return manifest, ""

    def _refuse_building(self, kind: str, key: str, problem: str) -> None:
        if self._only_finding:
            raise InputError(
                f"The {kind} {key} cannot be taken from the store {self.root}, and nothing is built here: "
                f"{problem or 'it is not there'}. Data, configuration or program changed: repeat the run."
            )

    def _set_aside(self, final: Path, kind: str, key: str, problem: str) -> None:
        aside = self.root / "aside" / f"{kind}-{key}-{secrets.token_hex(4)}"
        aside.parent.mkdir(parents=True, exist_ok=True)
        final.rename(aside)
        log.warning("The stored %s %s is damaged: %s; moved to %s, rebuilding.", kind, key, problem, aside)

    def _build(
        self,
        final: Path,
        kind: str,
        key: str,
        identity: Mapping[str, Any],
        build: Build,
        *,
        spent: float = 0.0,
        together: int = 1,
    ) -> dict[str, Any]:
        folder = final.with_name(f".building-{key}-{secrets.token_hex(4)}")
        folder.mkdir(parents=True)
        try:
            start = time.perf_counter()
            facts = build(folder)
            with ThreadPoolExecutor() as pool:
                # Hashing releases the interpreter's lock, and the disk works meanwhile.
                files = dict(pool.map(_seal, sorted(folder.iterdir())))
            manifest = {
                "schema": SCHEMA,
                "kind": kind,
                "key": key,
                "identity": canonical(identity),
                "facts": canonical(facts),
                "files": files,
                "seconds": round(spent + time.perf_counter() - start, 3),
                "together": together,
                "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                "versions": {name: version_of(name) for name in RECORDED},
            }
            manifest["seal"] = _seal_of(manifest)
            (folder / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
            _sync(folder / MANIFEST)
            _sync(folder)
            folder.rename(final)
            _sync(final.parent)
            self._checkpoint(kind, key).clear()
        finally:
            # Also on Ctrl-C: after the rename there is nothing left to remove.
            shutil.rmtree(folder, ignore_errors=True)
        return manifest

    def _explained(self, error: Exception, kind: str) -> Exception:
        """The error itself, or a sentence in its place where the store's own disk is the cause."""
        if is_full_disk(error):
            return InputError(
                f"The disk that holds the store {self.root} is full while writing {kind}: "
                "free some space or choose another folder with outputs=FOLDER; the store is as it was."
            )
        if isinstance(error, OSError) and self.root in _and_parents(error.filename):
            return InputError(
                f"The store {self.root} cannot be written ({error.strerror}): "
                "choose a folder that can with outputs=FOLDER."
            )
        return error


def _host() -> str:
    return socket.gethostname().replace("-", "_")


def _and_parents(filename: object) -> tuple[Path, ...]:
    path = Path(filename) if isinstance(filename, (str, os.PathLike)) else Path()
    return (path, *path.parents)


def sha256_of(file: Path) -> str:
    """Hexadecimal sha256 of a file's content."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _seal(file: Path) -> tuple[str, dict[str, Any]]:
    """Bring a file to the disk; its name, and its entry in the manifest."""
    _sync(file)
    return file.name, {"sha256": sha256_of(file), "bytes": file.stat().st_size}


def _seal_of(manifest: Mapping[str, Any]) -> str:
    """Checksum of everything else in a manifest."""
    rest = {name: value for name, value in manifest.items() if name != "seal"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
