"""The summary of a folder of runs of systems: routers and answers, mean ± deviation over seeds."""

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from neural_branching.errors import InputError
from neural_branching.report.cells import Cell, markdown_table
from neural_branching.report.collect import NOTHING, UNFINISHED, cell
from neural_branching.report.figures.routers import routers
from neural_branching.report.repeats import repeats
from neural_branching.report.results import SCHEMA_VERSION, is_system
from neural_branching.report.tables import console
from neural_branching.runs import RESULTS, missing_jobs, runs_below
from neural_branching.selection.thresholds.guaranteed import Guaranteed

SETTING = ("hierarchy", "data", "parent", "branch_point", "branch", "score", "threshold")
# Overrides that say the same as a column, or change no result.
_KNOWN = {*SETTING, "seed", "parent.seed", "branch.seed", "router", "threshold.target", "threshold.value"}
_KNOWN |= {"outputs", "data.root", "trainer"}
OF_ROUTERS = ("accuracy", "routing_accuracy", "lost_by_router", "lost_by_branch", "regret", "aurc", "augrc")
LEADS = ("lead_on_parent", "lead_on_parent_mass")
# What is read of a finished run.
_COMPLETED = ("routers", "router", "answers", "seeds", "overrides", "parent", "parent_alone", *SETTING)
OF_ANSWERS = ("answered", "selective_accuracy", "hierarchical_coverage")


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

    def groups(self) -> dict[tuple[str, ...], list[dict[str, Any]]]:
        """Setting → results of its seeds; of a run that was repeated, the last."""
        groups: dict[tuple[str, ...], dict[tuple[int, int], dict[str, Any]]] = {}
        for results in self.completed.values():
            key = tuple(_setting(results, name) for name in SETTING)
            seeds = results["seeds"]["parent"], results["seeds"]["branch"]
            groups.setdefault((*key, self._swept(results), results["router"]), {})[seeds] = results
        return {key: list(runs.values()) for key, runs in groups.items()}

    def _swept(self, results: dict[str, Any]) -> str:
        """Further overrides that not all runs have."""
        everyone = [set(one["overrides"]) for one in self.completed.values()]
        differing = set(results["overrides"]) - set.intersection(*everyone)
        return " ".join(sorted(one for one in differing if one.split("=")[0].lstrip("+") not in _KNOWN))


def summarize_systems(folder: Path, *, events: bool = False) -> Systems:
    """Collect every run of a system below a folder; write its tables and the figure of routers there.

    Args:
        folder: a sweep, a run, or any folder of them.
        events: also show the figure in TensorBoard.

    Raises:
        InputError: if the folder has no run of a system.
    """
    summary = Systems(folder)
    for run in sorted(one for one in runs_below(folder) if is_system(one)):
        name, file = run.relative_to(folder).as_posix(), run / RESULTS
        try:
            results = json.loads(file.read_text())
            if results["schema_version"] != SCHEMA_VERSION:
                summary.failed[name] = f"{file} has schema_version {results['schema_version']}"
                continue
            if results["status"] == "failed":
                summary.failed[name] = str(results["error"]["message"])
            else:
                for part in _COMPLETED:
                    results[part]
                summary.completed[name] = {**results, "repeats": repeats(results)}
        except FileNotFoundError:
            summary.failed[name] = UNFINISHED
        except (OSError, ValueError, KeyError, TypeError) as error:
            summary.failed[name] = f"{file} is not a results file ({type(error).__name__})"
    for job in missing_jobs(folder, "route"):
        summary.failed[job.relative_to(folder).as_posix()] = NOTHING
    if not summary.completed and not summary.failed:
        raise InputError(f"The folder {folder} has no run of route in it.")
    groups = summary.groups()
    lines = [[_title(key), *line] for key, runs in groups.items() for line in router_lines(runs)]
    with (folder / "systems.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["run", *SETTING, "parent_seed", "branch_seed", "router", *OF_ROUTERS])
        for name, results in summary.completed.items():
            seeds = results["seeds"]["parent"], results["seeds"]["branch"]
            setting = [_setting(results, one) for one in SETTING]
            for kind, one in results["routers"].items():
                writer.writerow([name, *setting, *seeds, kind, *(one[metric] for metric in OF_ROUTERS)])
    document = markdown_table(("setting", *ROUTER_HEADER), lines)
    document += [entry for sentence in summary.repeated_images() for entry in ("", sentence)]
    (folder / "systems.md").write_text("\n".join(document) + "\n")
    drawn = {"routers": routers(_accuracies(groups))} if groups else {}
    for name, figure in drawn.items():
        figure.savefig(folder / f"{name}.png")
    if events:
        from neural_branching.report.tensorboard import write_figures  # takes torch, the rest does not

        write_figures(folder, drawn)
    return summary


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
