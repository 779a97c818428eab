"""The summary of a folder of runs of systems: routers and answers, mean ± deviation over seeds."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from neural_branching.csv_text import write_table
from neural_branching.errors import InputError, printable
from neural_branching.reading import read_json
from neural_branching.report.cells import Cell, markdown_table
from neural_branching.report.collect import (
    SHORT,
    UNFINISHED,
    cell,
    comparable,
    last,
    listed,
    mixed,
    order_of,
)
from neural_branching.report.figures.routers import routers
from neural_branching.report.figures.style import save
from neural_branching.report.repeats import repeats
from neural_branching.report.results import SCHEMA_VERSION, is_system
from neural_branching.report.shapes import NUMBER, Each, Maybe, misfit
from neural_branching.report.tables import console
from neural_branching.runs import RESULTS, check_tables, missing_jobs, runs_below
from neural_branching.selection.thresholds.guaranteed import Guaranteed
from neural_branching.writing import write_atomically

SETTING = ("hierarchy", "data", "parent", "branch_point", "branch", "score", "threshold")
# Overrides that say the same as a column, or change no result.
_KNOWN = {*SETTING, "seed", "parent.seed", "branch.seed", "router", "threshold.target", "threshold.value"}
_KNOWN |= {"outputs", "data.root", "trainer"}
OF_ROUTERS = ("accuracy", "routing_accuracy", "lost_by_router", "lost_by_branch", "regret", "aurc", "augrc")
LEADS = ("lead_on_parent", "lead_on_parent_mass")
OF_ANSWERS = ("answered", "selective_accuracy", "hierarchical_coverage")

_ROUTED = {name: Maybe(NUMBER) for name in OF_ROUTERS}
_ANSWERED = {name: Maybe(NUMBER) for name in OF_ANSWERS}
# What the summary reads of a finished run.
_SHAPE = {
    **dict.fromkeys(("hierarchy", "data", "branch_point", "score", "threshold", "router"), str),
    "parent": {"name": str, "labels": Maybe(str)},
    "branch": {"name": str},
    "seeds": {"parent": int, "branch": int},
    "overrides": (str,),
    "artifacts": {"data": {"key": str}},
    "parent_alone": Maybe(_ROUTED),
    "routers": Each({"bound": bool, **_ROUTED, **{name: Maybe({"difference": NUMBER}) for name in LEADS}}),
    "answers": {"back_off": {"guarantee": Maybe(str), **_ANSWERED}, "outright": _ANSWERED},
    "written": Maybe({"counter": Maybe(str), "number": Maybe(int)}),
}


@dataclass(frozen=True)
class Systems:
    """Runs of systems below a folder.

    Attributes:
        folder: the folder.
        completed: results of the finished runs, by their folder's name.
        failed: folder's name → why.
    """

    folder: Path
    completed: dict[str, dict[str, Any]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def certified(self) -> int:
        """Number of different runs of whose whole tree something holds with high probability."""
        everyone = [results for runs in self.groups().values() for results in runs]
        kinds = [results["answers"]["back_off"].get("guarantee") for results in everyone]
        return kinds.count(Guaranteed.guarantee)

    def repeated_images(self) -> list[str]:
        """A line for each set of test images of which some repeat training images."""
        everyone = self.completed.values()
        found = (f"{one['data']}, {one['hierarchy']}: {one['repeats']}" for one in everyone if one["repeats"])
        return list(dict.fromkeys(found))

    @property
    def mixed(self) -> list[str]:
        """What is to be said of runs on different data of one name."""
        names: dict[tuple[str, ...], dict[str, list[str]]] = {}
        for run, results in self.completed.items():
            chosen = (one for one in self._swept(results) if one.lstrip("+").startswith("data."))
            keys = names.setdefault((results["data"], *chosen), {})
            keys.setdefault(results["artifacts"]["data"]["key"], []).append(run)
        return [sentence for (name, *_), keys in names.items() for sentence in mixed(name, keys)]

    def groups(self) -> dict[tuple[str, ...], list[dict[str, Any]]]:
        """Setting → results of its seeds; of a run that was repeated, the last."""
        return {
            key: [reduce(last, runs.values()) for runs in seeds.values()]
            for key, seeds in self._by_setting().items()
        }

    @property
    def repeated(self) -> list[str]:
        """What is to be said of runs with the settings and seeds of another, which counts once."""
        unknown = []
        for runs in (runs for seeds in self._by_setting().values() for runs in seeds.values()):
            counts = reduce(last, runs.values())
            unknown += [
                name
                for name, one in runs.items()
                if one["routers"] != counts["routers"] and not comparable(one, counts)
            ]
        if not unknown:
            return []
        return [
            f"Runs with the settings, seeds and router of another that counts, but other numbers: "
            f"{listed(unknown)}. Whether they are earlier cannot be known: repeat one of them."
        ]

    def _by_setting(self) -> dict[tuple[str, ...], dict[tuple[int, int], dict[str, dict[str, Any]]]]:
        """Setting → seeds → name of the folder → results."""
        groups: dict[tuple[str, ...], dict[tuple[int, int], dict[str, dict[str, Any]]]] = {}
        apart = bool(self.mixed)
        for name, results in self.completed.items():
            key = tuple(_setting(results, one) for one in SETTING)
            swept = " ".join(self._swept(results))
            if apart:
                swept = f"{swept} {results['artifacts']['data']['key'][:SHORT]}".lstrip()
            seeds = results["seeds"]["parent"], results["seeds"]["branch"]
            groups.setdefault((*key, swept, results["router"]), {}).setdefault(seeds, {})[name] = results
        return groups

    def _swept(self, results: dict[str, Any]) -> list[str]:
        """Further overrides that not all runs have."""
        everyone = [set(one["overrides"]) for one in self.completed.values()]
        differing = set(results["overrides"]) - set.intersection(*everyone)
        return sorted(one for one in differing if one.split("=")[0].lstrip("+") not in _KNOWN)


def summarize_systems(folder: Path, *, events: bool = False) -> Systems:
    """Collect every run of a system below a folder; write its tables and the figure of routers there.

    Args:
        folder: a sweep, a run, or any folder of them.
        events: also show the figure in TensorBoard.

    Raises:
        InputError: if the folder has no run of a system.
    """
    summary = collect_systems(folder)
    write(summary, events=events)
    return summary


def collect_systems(folder: Path) -> Systems:
    """Read the results of every run of a system below a folder.

    Raises:
        InputError: if there is none.
    """
    summary = Systems(folder)
    for run in sorted(one for one in runs_below(folder) if is_system(one)):
        name = run.relative_to(folder).as_posix()
        try:
            results = _results(run)
        except InputError as error:
            summary.failed[name] = str(error) if (run / RESULTS).exists() else UNFINISHED
        else:
            if results["status"] == "failed":
                summary.failed[name] = results["error"]["message"]
            else:
                summary.completed[name] = results
    for job, reason in missing_jobs(folder, "route").items():
        summary.failed[job.relative_to(folder).as_posix()] = reason
    if not summary.completed and not summary.failed:
        raise InputError(f"The folder {folder} has no run of route in it.")
    return summary


def _results(run: Path) -> dict[str, Any]:
    """What a run of a system found, or why it failed.

    Raises:
        InputError: if its results cannot be used, or its trace is not the one that was written with them.
    """
    results = read_json(run / RESULTS)
    status = {"schema_version": int, "status": str}
    failed = {"error": {"message": str}}
    if not (wrong := misfit(results, status)):
        if results["schema_version"] != SCHEMA_VERSION:
            raise InputError(f"{run / RESULTS} has schema_version {results['schema_version']}.")
        wrong = misfit(results, failed if results["status"] == "failed" else _SHAPE)
    if wrong:
        raise InputError(f"{run / RESULTS} is not a results file: {wrong}.")
    check_tables(run, results)
    try:
        return {**results, **order_of(results), "repeats": repeats(results)}
    except (AttributeError, KeyError, TypeError) as error:
        raise InputError(f"{run / RESULTS} lacks what results of this version have.") from error


def write(summary: Systems, *, events: bool = False) -> None:
    """Write the tables and the figure of a summary into its folder.

    Args:
        summary: what was collected.
        events: also show the figure in TensorBoard.

    Raises:
        OSError: if something cannot be written.
    """
    folder, groups = summary.folder, summary.groups()
    rows = [
        [
            *(name, *(_setting(results, one) for one in SETTING)),
            *(results["seeds"]["parent"], results["seeds"]["branch"]),
            *(kind, *(one[metric] for metric in OF_ROUTERS)),
        ]
        for name, results in summary.completed.items()
        for kind, one in results["routers"].items()
    ]
    header = ["run", *SETTING, "parent_seed", "branch_seed", "router", *OF_ROUTERS]
    write_table(folder / "systems.csv", header, rows)
    lines = [[_title(key), *line] for key, runs in groups.items() for line in router_lines(runs)]
    document = markdown_table(("setting", *ROUTER_HEADER), lines)
    document += [
        line
        for sentence in (*summary.mixed, *summary.repeated, *summary.repeated_images())
        for line in ("", sentence)
    ]
    write_atomically(folder / "systems.md", printable("\n".join(document) + "\n"))
    drawn = {"routers": routers(_accuracies(groups))} if groups else {}
    save(drawn, folder, ("png",))
    if events:
        from neural_branching.report.tensorboard import write_figures  # takes torch, the rest does not

        write_figures(folder, drawn)


def _accuracies(groups: Mapping[tuple[str, ...], list[dict[str, Any]]]) -> dict[str, dict[str, list[float]]]:
    """Setting → router or the parent alone → accuracies by seed.

    They are the same for whichever router, score and threshold was chosen.
    """
    found: dict[str, dict[str, list[float]]] = {}
    chosen = SETTING.index("score"), SETTING.index("threshold")
    for key, runs in groups.items():
        mine = found.setdefault(_title(tuple(part for i, part in enumerate(key) if i not in chosen)), {})
        if all(run["parent_alone"] for run in runs):
            mine["parent alone"] = [run["parent_alone"]["accuracy"] for run in runs]
        for kind, one in runs[0]["routers"].items():
            mine[kind + "*" * one["bound"]] = [run["routers"][kind]["accuracy"] for run in runs]
    return found


ROUTER_HEADER = ("router", *(name.replace("_", " ") for name in (*OF_ROUTERS, *LEADS)))


def _title(key: tuple[str, ...]) -> str:
    return " · ".join(part for part in key[:-1] if part)


def print_systems(summary: Systems) -> None:
    """Print one line per setting and router, then what images are answered."""
    screen, answers = console(), Table(title="Answers under thresholds, test images")
    for heading in ("setting", "router", "", *(name.replace("_", " ") for name in OF_ANSWERS)):
        answers.add_column(heading, justify="left" if heading in ("setting", "router", "") else "right")
    shown: set[str] = set()
    for key, runs in summary.groups().items():
        setting = _title(key)
        if setting not in shown:  # the same for whichever router was chosen
            shown.add(setting)
            count = f"{len(runs)} seed{'s' if len(runs) > 1 else ''}"
            table = Table(title=f"Routers, test images, {count}: {setting}")
            for heading in ROUTER_HEADER:
                table.add_column(heading, justify="left" if heading == "router" else "right")
            for line in router_lines(runs):
                table.add_row(*line)
            screen.print(table)
        for kind in ("back_off", "outright"):
            cells = [str(cell([run["answers"][kind][metric] for run in runs])) for metric in OF_ANSWERS]
            answers.add_row(setting, key[-1], kind.replace("_", "-"), *cells)
    screen.print(answers)
    for sentence in summary.repeated_images():
        screen.print(sentence, highlight=False, soft_wrap=True)
    certified = summary.certified
    if certified > 1:
        screen.print(
            f"{certified} of these runs are certified, each by itself. Whoever chooses among them by their "
            "results needs all to hold at once: repeat them with threshold.delta, for which 0.1 is usual, "
            f"divided by {certified}; nothing is trained again.",
            highlight=False,
            soft_wrap=True,
        )
    for sentence in (*summary.mixed, *summary.repeated):
        screen.print(sentence, highlight=False, soft_wrap=True)
    for run, reason in summary.failed.items():
        screen.print(Text(f"failed {run}: {reason}", style="red"), soft_wrap=True)
    screen.print(f"Tables: {summary.folder}", highlight=False, soft_wrap=True)


def router_lines(runs: list[dict[str, Any]]) -> list[list[str]]:
    """The parent alone, then one line per router, aggregated over seeds."""
    lines = []
    alone = [run["parent_alone"] for run in runs]
    if all(alone):
        numbers = [
            str(cell([one[metric] for one in alone])) if metric in alone[0] else "" for metric in OF_ROUTERS
        ]
        lines.append(["parent alone", *numbers, *[""] * len(LEADS)])
    for kind in runs[0]["routers"]:
        routed = [run["routers"][kind] for run in runs]
        leads = [_lead([one[lead] for one in routed]) for lead in LEADS]
        name = kind + ("*" if routed[0]["bound"] else "")
        numbers = [str(cell([one[metric] for one in routed])) for metric in OF_ROUTERS]
        lines.append([name, *numbers, *leads])
    return lines


def _lead(leads: list[Mapping[str, Any] | None]) -> str:
    found: Cell = cell([lead["difference"] if lead else None for lead in leads])
    return "" if found.mean is None else str(found)


def _setting(results: Mapping[str, Any], name: str) -> str:
    value = results[name]
    if isinstance(value, Mapping):
        labels = "" if value.get("labels", "fine") == "fine" else f" ({value['labels']})"
        return f"{value['name']}{labels}"
    return str(value)
