"""Every run below a folder as flat records. Works on any folder, after any launcher."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from neural_branching.config.objectives import DIRECTIONS, measured
from neural_branching.errors import InputError
from neural_branching.report.cells import Cell, Interval
from neural_branching.report.certificates import Certified, certify
from neural_branching.report.metrics import METRICS, at
from neural_branching.report.repeats import repeats
from neural_branching.report.results import Row, command_of, read_config, read_results, records
from neural_branching.report.shapes import NUMBER, Each, Maybe, misfit
from neural_branching.selection.exchangeability import shifts
from neural_branching.store.run_folders import RESULTS, check_tables, missing_jobs, natural, runs_below

# Columns that describe the setting of a run, by its command → where they stand in its record.
_LIKE: dict[str, tuple[str, ...]] = {
    "data": ("data",),
    "parent": ("parent", "name"),
    "branch_point": ("branch_point",),
    "branch": ("branch", "name"),
    "score": ("score", "name"),
    "threshold": ("threshold", "rule"),
}
SETTING: dict[str, dict[str, tuple[str, ...]]] = {
    "train": {"data": ("data",), "parent": ("parent", "name"), "subset": ("subset",), **_LIKE},
    "route": {"hierarchy": ("hierarchy",), **_LIKE, "router": ("router",)},
}
SEEDS: dict[str, tuple[str, ...]] = {
    "parent_seed": ("seeds", "parent"),
    "branch_seed": ("seeds", "branch"),
}
# Overrides that say the same as a column above.
_KNOWN = {"data", "parent", "subset", "branch_point", "branch", "score", "threshold", "outputs"}
_KNOWN |= {
    "hierarchy",
    "router",
    "trainer",
    "logger",
    "data.root",
    "score.k",
    "seed",
    "parent.seed",
    "branch.seed",
    "thresholds",
}
# Of a run that has a configuration and no results.
UNFINISHED = "unfinished: still running, or killed"
# Settings that change no result, or that columns show.
_ELSEWHERE = ("outputs", "trainer", "logger", "published", "seed", "parent.seed", "branch.seed", "data.root")

_LEAD = {"difference": Maybe(NUMBER), "interval": [Maybe(NUMBER), Maybe(NUMBER)]}
_MODEL = {
    **dict.fromkeys(("n", "macs", "trained_parameters", "training_seconds"), NUMBER),
    **dict.fromkeys(("accuracy", "aurc"), Maybe(NUMBER)),
    "branch_lead": Maybe({"accuracy": _LEAD, "aurc": _LEAD}),
}
_FIGURES = dict.fromkeys(("accuracy", "aurc", "coverage", "selective_accuracy"), Maybe(NUMBER))
OF_ROUTERS = ("accuracy", "routing_accuracy", "lost_by_router", "lost_by_branch", "regret", "aurc", "augrc")
LEADS = ("lead_on_parent", "lead_on_parent_mass")
OF_ANSWERS = ("answered", "selective_accuracy", "hierarchical_coverage")
_ROUTED = {name: Maybe(NUMBER) for name in OF_ROUTERS}
_ANSWERED = {name: Maybe(NUMBER) for name in OF_ANSWERS}
# What the summary reads of the record of a finished run beside its metrics.
_EVERY = {
    "classes": (str,),
    "seeds": {"parent": int, "branch": int},
    "artifacts": {"data": {"key": str}},
    "overrides": (str,),
    "written": Maybe({"counter": Maybe(str), "number": Maybe(int)}),
}
_SHAPE = {
    "train": {
        **_EVERY,
        "artifacts": {"data": {"key": str}, "branch": {"key": str}},
        "published": Maybe({"source": str, **_FIGURES}),
        "baselines": Maybe(Each(Maybe(_MODEL))),
        "objectives": Maybe(dict.fromkeys(DIRECTIONS, Maybe(NUMBER))),
        "threshold": {"guarantee": Maybe(str), "settings": {"delta": Maybe(NUMBER)}},
    },
    "route": {
        **_EVERY,
        "threshold": {"settings": {}},
        "parent_alone": Maybe(_ROUTED),
        "routers": Each(
            {"bound": bool, **_ROUTED, **{name: Maybe({"difference": NUMBER}) for name in LEADS}}
        ),
        "answers": {"back_off": {"guarantee": Maybe(str), **_ANSWERED}, "outright": _ANSWERED},
    },
}
_ROW = {
    **{metric.name: Maybe(NUMBER) for metric in METRICS},
    **{f"{metric.name}_interval": Maybe([NUMBER, NUMBER]) for metric in METRICS},
}
# Settings that choose the examples: runs that differ in them have different data openly.
_CHOOSES_DATA = ("data.", "experiment", "hierarchy")


@dataclass(frozen=True)
class Summary:
    """What the runs of one command below a folder have found.

    Attributes:
        folder: the folder.
        command: "train" or "route".
        completed: a flat record for each threshold of each finished run.
        failed: records of the runs that stopped with an error.
        unread: folders that look like runs but have no readable results → why.
        swept: names of further overrides that differ between the finished runs.
        published: subset → published figures to compare with.
        mixed: sentences about runs on different data of one name.
        certificates: what is guaranteed of the runs' thresholds, also when the best is chosen.
        uncertified: runs whose thresholds could not be fitted again for that → why.
    """

    folder: Path
    command: str
    completed: list[Row] = field(default_factory=list)
    failed: list[Row] = field(default_factory=list)
    unread: dict[str, str] = field(default_factory=dict)
    swept: list[str] = field(default_factory=list)
    published: dict[str, Row] = field(default_factory=dict)
    mixed: list[str] = field(default_factory=list)
    certificates: list[Certified] = field(default_factory=list)
    uncertified: dict[str, str] = field(default_factory=dict)

    @property
    def setting(self) -> tuple[str, ...]:
        """Columns that tell settings apart."""
        return (*SETTING[self.command], *self.swept)

    @property
    def runs(self) -> int:
        """Number of finished runs."""
        return len(_runs(self.completed))

    def groups(self) -> dict[tuple[Any, ...], list[Row]]:
        """The runs of each setting, one per seed: the same run repeated is still one seed."""
        groups: dict[tuple[Any, ...], dict[tuple[Any, ...], Row]] = {}
        for row in self.completed:
            group = groups.setdefault(tuple(row[name] for name in self.setting), {})
            seeds = tuple(row[name] for name in SEEDS)
            group[seeds] = last(group.get(seeds), row)
        return {key: list(rows.values()) for key, rows in groups.items()}

    def counted(self) -> list[Row]:
        """The records that count, one per setting and seeds, in their order."""
        chosen = {id(row) for rows in self.groups().values() for row in rows}
        return [row for row in self.completed if id(row) in chosen]

    def repeated(self) -> list[str]:
        """Sentences about runs that have the settings and seeds of another, which counts once."""
        theirs = {self._run_of(row): row for row in self.counted()}
        again = [row for row in self.completed if theirs[self._run_of(row)] is not row]
        if not again:
            return []
        differing = [
            (row, counts)
            for row in again
            for counts in [theirs[self._run_of(row)]]
            if row["numbers"] != counts["numbers"]
        ]
        unknown = [row for row, counts in differing if not comparable(row, counts)]
        left_out = len(_runs(again))
        said = [f"Of runs with the same settings and seeds the last counts: {left_out} left out."]
        if differing:
            names = listed(_runs(row for row, _ in differing))
            said.append(f"Other numbers than the run that counts: {names}.")
        if unknown:
            said.append(
                f"Whether they are earlier than the run that counts cannot be known: "
                f"{listed(_runs(unknown))}. Repeat one, or summarise them apart."
            )
        return said

    def repeated_examples(self) -> list[str]:
        """A line for each set of test examples of which some repeat training examples."""
        of = "subset" if self.command == "train" else "hierarchy"
        found = (f"{row['data']}, {row[of]}: {row['repeats']}" for row in self.completed if row["repeats"])
        return list(dict.fromkeys(found))

    def shifted(self) -> list[str]:
        """A line on the scores of calibration and test, all runs of a sweep counted; none of a single run."""
        tests = {
            (row["branch_key"], row["score"]): row
            for row in self.completed
            if isinstance(row.get("shift"), float)
        }
        if len(tests) < 2:
            return []
        seen = shifts([row["shift"] for row in tests.values()])
        names = listed([row["run"] for row, shift in zip(tests.values(), seen, strict=True) if shift])
        of = f"Calibration and test scores differ in {sum(seen)} of {len(tests)} tests (level .01, Holm)"
        return [f"{of}: nothing is promised of {names}." if any(seen) else f"{of}."]

    def _run_of(self, row: Row) -> tuple[Any, ...]:
        """Settings and seeds of a run."""
        return tuple(row[name] for name in (*self.setting, *SEEDS))

    def settings(self, by: Sequence[str] = ()) -> list[Row]:
        """One record per setting, its runs over seeds aggregated: every metric becomes a ``Cell``.

        Args:
            by: instead one per combination of their values, averaged over whatever else differs. Such a
                record has no intervals: they are of one model's test examples.
        """
        groups = self.averaged(by) if by else self.groups()
        records = []
        for key, rows in groups.items():
            record: Row = dict(zip(by or self.setting, key, strict=True))
            record["seeds"] = len(rows)
            for metric in METRICS:
                intervals = () if by else [row[f"{metric.name}_interval"] for row in rows]
                record[metric.name] = cell([row[metric.name] for row in rows], intervals)
            records.append(record)
        return records

    def averaged(self, by: Sequence[str]) -> dict[tuple[Any, ...], list[Row]]:
        """The records that count, by their values of some settings."""
        groups: dict[tuple[Any, ...], list[Row]] = {}
        for row in self.counted():
            groups.setdefault(tuple(row[name] for name in by), []).append(row)
        return groups


def last(one: Row | None, other: Row) -> Row:
    """The run that was finished later, by the numbers that their store gave them; else the other."""
    if one is not None and comparable(one, other) and one["number"] > other["number"]:
        return one
    return other


def comparable(one: Row, other: Row) -> bool:
    """Whether it is known which of two runs was finished later."""
    return (
        one["counter"] is not None and one["counter"] == other["counter"] and one["number"] != other["number"]
    )


def order_of(results: Row) -> Row:
    """The number that a store gave to a finished run, and of which counter it is."""
    written = results.get("written") or {}
    return {"counter": written.get("counter"), "number": written.get("number")}


def _runs(rows: Iterable[Row]) -> list[str]:
    """The runs that records are of, each once."""
    return list(dict.fromkeys(row["run"] for row in rows))


def listed(names: list[str]) -> str:
    """The first of some names, for a sentence."""
    return ", ".join(names[:5]) + (", …" if len(names) > 5 else "")


def cell(values: Sequence[float | None], intervals: Sequence[Interval | None] = ()) -> Cell:
    """Mean and standard deviation of what seeds gave, None left out, and the mean of their intervals."""
    found = [value for value in values if value is not None]
    if not found:
        return Cell(None)
    ends = [
        interval
        for value, interval in zip(values, intervals or [None] * len(values), strict=True)
        if value is not None
    ]
    known = [interval for interval in ends if interval is not None]
    return Cell(
        statistics.mean(found),
        statistics.stdev(found) if len(found) > 1 else None,
        (statistics.mean(low for low, _ in known), statistics.mean(high for _, high in known))
        if len(known) == len(found)
        else None,
    )


def collect(folder: Path, command: str = "train") -> Summary:
    """Read the results of every run of a command below a folder.

    Args:
        folder: a sweep, a run, or any folder of them.
        command: "train" or "route".

    Raises:
        InputError: if the folder does not exist or no run in it has results.
    """
    if not folder.is_dir():
        state = "is not a folder" if folder.exists() else "does not exist"
        raise InputError(f"{folder} {state}: name the folder of a run, a sweep or several of them.")
    summary = Summary(folder, command)
    runs = {run for run in runs_below(folder) if command_of(run) == command}
    for run in sorted(runs, key=lambda path: natural(path.relative_to(folder))):
        name = run.relative_to(folder).as_posix()
        try:
            results = read_results(run)
            completed = results["status"] == "completed"
            rows = _rows(run, results) if completed else [_failure(results)]
        except InputError as error:
            summary.unread[name] = str(error) if (run / RESULTS).exists() else UNFINISHED
        except (KeyError, TypeError, AttributeError, ValueError):
            summary.unread[name] = f"{run / RESULTS} lacks what results of this version have."
        else:
            (summary.completed if completed else summary.failed).extend({"run": name, **row} for row in rows)
            for row in rows if completed and command == "train" else ():
                if row["published"]:
                    summary.published[row["subset"]] = row["published"]
    for job, reason in missing_jobs(folder, command).items():
        summary.unread[job.relative_to(folder).as_posix()] = reason
    if not summary.completed and not summary.failed:
        others = {command_of(run) for run in runs_below(folder)} - {command}
        there = f"its runs are of {' and '.join(sorted(others))}, and this takes those of {command}"
        nothing = there if others else "nothing in it looks like a run"
        reason = next(iter(summary.unread.values()), nothing)
        raise InputError(f"The folder {folder} has no {RESULTS} of a run in it: {reason.rstrip('.')}.")
    _add_swept(summary)
    _add_data(summary)
    if command == "train":
        certificates, uncertified = certify(summary.folder, summary.completed)
        summary.certificates.extend(certificates)
        summary.uncertified.update(uncertified)
    return summary


def _rows(run: Path, results: Row) -> list[Row]:
    """The records of a finished run.

    Raises:
        InputError: if its tables are not those that were written with its results.
        KeyError: if the results lack something.
        TypeError: if something in them is not what it should be.
    """
    found = records(results)
    for record in found:
        wrong = misfit(record, _SHAPE[results["command"]])
        if wrong := wrong or misfit(record["artifacts"], Each({"built": bool})):
            raise InputError(f"{run / RESULTS} cannot be used: {wrong}.")
    check_tables(run, results)
    of_command = _of_branch if results["command"] == "train" else _of_tree
    built = " ".join(part.split()[0] for part, entry in results["artifacts"].items() if entry["built"])
    typed = [override.lstrip("+").split("=", 1) for override in results["overrides"]]
    # What is known of a threshold stands in its own record.
    typed = [pair for pair in typed if not pair[0].startswith("threshold.")]
    rows = []
    for index, record in enumerate(found):
        row = {name: at(record, path) for name, path in (SETTING[results["command"]] | SEEDS).items()}
        if wrong := misfit(row, {name: int if name in SEEDS else str for name in row}):
            raise InputError(f"{run / RESULTS} cannot be used: {wrong}.")
        more = of_command(run, record)
        if index and "objectives" in more:  # results.json has those under the first threshold
            more["objectives"] = measured(record, list(more["objectives"]))
        rows.append(
            {
                **row,
                **more,
                "index": index,
                "built": built if index == 0 else "",
                "overrides": {pair[0]: pair[-1] for pair in typed}
                | {f"threshold.{name}": str(one) for name, one in record["threshold"]["settings"].items()},
                "repeats": repeats(results),
                "data_key": results["artifacts"]["data"]["key"],
                **order_of(results),
            }
        )
    return rows


def _of_branch(run: Path, record: Row) -> Row:
    """What the record of a branch says beside its setting."""
    row = {metric.name: metric.of(record) for metric in METRICS}
    lacking = {name for name, value in row.items() if value is None}
    if lacking - {metric.name for metric in METRICS if metric.may_lack}:
        raise KeyError(sorted(lacking))
    intervals = {f"{metric.name}_interval": metric.interval(record) for metric in METRICS}
    if wrong := misfit(row | intervals, _ROW):
        raise InputError(f"{run / RESULTS} cannot be used: {wrong}.")
    return {
        **row,
        **intervals,
        "numbers": row,
        "baselines": record.get("baselines") or {},
        "objectives": {
            name: one for name, one in (record.get("objectives") or {}).items() if name in DIRECTIONS
        },
        "published": record["published"],
        "branch_key": record["artifacts"]["branch"]["key"],
        "guarantee": record["threshold"]["guarantee"],
        "delta": at(record, ("threshold", "settings", "delta")),
        "shift": at(record, ("exchangeability", "p_value")),
    }


def _of_tree(run: Path, record: Row) -> Row:
    """What the record of a tree says beside its setting."""
    kept = {name: record[name] for name in ("parent_alone", "routers", "answers")}
    labels = record["parent"].get("labels", "fine")
    parent = record["parent"]["name"] + ("" if labels == "fine" else f" ({labels})")
    branches = [entry["key"] for name, entry in record["artifacts"].items() if name.startswith("branch ")]
    guarantee = record["answers"]["back_off"].get("guarantee")
    return {
        **kept,
        "parent": parent,
        "numbers": kept,
        "branch_key": " ".join(branches),
        "guarantee": guarantee,
    }


def _failure(results: Row) -> Row:
    return {"status": str(results["status"]), "error": str(results["error"]["message"])}


def _add_swept(summary: Summary) -> None:
    """Give what else differs between runs, such as a learning rate, columns of its own.

    What the user typed comes first; runs that are still alike in every column, though their branches
    are not the same artifact, are told apart by their resolved configurations.
    """
    rows = summary.completed
    overrides = [row.pop("overrides") for row in rows]
    for name in dict.fromkeys(name for chosen in overrides for name in chosen):
        values = [chosen.get(name, "default") for chosen in overrides]
        if name not in _KNOWN and _tells_apart(summary, values):
            _add_column(summary, name, values)
    keys = [row["branch_key"] for row in rows]
    if _tells_apart(summary, keys, *SEEDS):
        configs = [_flat(read_config(summary.folder / row["run"])) for row in rows]
        for name in dict.fromkeys(name for config in configs for name in config):
            values = [str(config.get(name, "default")) for config in configs]
            if not name.startswith(_ELSEWHERE) and _tells_apart(summary, values, *SEEDS):
                _add_column(summary, name, values)


def _add_data(summary: Summary) -> None:
    """Keep runs on different data of one name apart, by a column of its own, and say that they are."""
    chosen = [name for name in summary.swept if name.startswith(_CHOOSES_DATA)]
    groups: dict[tuple[Any, ...], dict[str, list[Row]]] = {}
    for row in summary.completed:
        keys = groups.setdefault((row["data"], *(row[name] for name in chosen)), {})
        keys.setdefault(row["data_key"], []).append(row)
    for (name, *_), keys in groups.items():
        summary.mixed.extend(mixed(str(name), {key: _runs(rows) for key, rows in keys.items()}))
    if summary.mixed:
        _add_column(summary, "fingerprint", [row["data_key"][:SHORT] for row in summary.completed])


SHORT = 8  # digits of a fingerprint that are shown


def mixed(name: str, keys: dict[str, list[str]]) -> list[str]:
    """Sentences about runs on data of one name.

    Args:
        name: of the data.
        keys: fingerprint → runs on it.

    Returns:
        A sentence; nothing if the data is the same in all.
    """
    if len(keys) < 2:
        return []
    found = "; ".join(f"{key[:SHORT]} ({len(runs)}): {listed(runs)}" for key, runs in keys.items())
    return [
        f"The examples of data {name!r} are not the same in all runs, whose numbers are therefore kept apart "
        f"and do not compare. By fingerprint: {found}."
    ]


def _tells_apart(summary: Summary, values: list[Any], *beyond: str) -> bool:
    """Whether a value differs between runs that are alike in every column so far."""
    groups: dict[tuple[Any, ...], set[Any]] = {}
    for row, value in zip(summary.completed, values, strict=True):
        key = tuple(row[name] for name in (*summary.setting, *beyond))
        groups.setdefault(key, set()).add(value)
    return any(len(group) > 1 for group in groups.values())


def _add_column(summary: Summary, name: str, values: list[Any]) -> None:
    summary.swept.append(name)
    for row, value in zip(summary.completed, values, strict=True):
        row[name] = value


def _flat(config: Any, prefix: str = "") -> Row:
    if not isinstance(config, dict):
        return {prefix: config}
    return {
        name: value
        for key, item in config.items()
        for name, value in _flat(item, f"{prefix}.{key}" if prefix else str(key)).items()
    }
