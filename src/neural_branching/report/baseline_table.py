"""A branch and its baselines as a table, for one run or over seeds."""

from collections.abc import Mapping, Sequence
from typing import Any

from neural_branching.report.cells import Cell, number, with_interval
from neural_branching.report.collect import Summary, cell

HEADER = ("model", "accuracy", "AURC", "branch better by", "AURC by", "MACs", "trained", "seconds")
NOTE = """\
Baselines on the same test images, surest by the largest softmax probability; the branch's lead is paired.
±: standard deviation over seeds. [ ]: 95 % interval over test images; of several seeds, the mean of theirs,
which is at most too wide. MACs per example from the input on; parameters, seconds for this subset alone."""


def baseline_lines(compared: Mapping[str, Any]) -> list[list[str]]:
    """One line per model of a run, with the 95 % interval of the branch's lead."""
    return [[_name(name), *_numbers(one)] for name, one in compared.items() if one is not None]


def summary_lines(summary: Summary, names: Sequence[str]) -> list[list[str]]:
    """One line per setting and model: mean, ± over seeds, and the leads' interval over test images.

    Args:
        summary: the runs.
        names: columns that tell settings apart.
    """
    lines = []
    for rows in summary.groups().values():
        runs = [row["baselines"] for row in rows if row["baselines"]]
        for model in dict.fromkeys(name for run in runs for name in run):
            found = [run[model] for run in runs if run.get(model) is not None]
            if not found:
                continue
            leads = [one.get("branch_lead") for one in found]
            lines.append(
                [
                    *(str(rows[0][name]) for name in names),
                    _name(model),
                    str(cell([one["accuracy"] for one in found])),
                    str(cell([one["aurc"] for one in found])),
                    *(_leads(leads, metric) for metric in ("accuracy", "aurc")),
                    f"{found[0]['macs']:,}",
                    f"{found[0]['trained_parameters']:,}",
                    _seconds(cell([one["training_seconds"] for one in found])),
                ]
            )
    return lines


def _leads(leads: Sequence[Mapping[str, Any] | None], metric: str) -> str:
    """The branch's leads over seeds; empty for the branch itself."""
    found = [lead[metric] for lead in leads if lead]
    if len(found) < len(leads):
        return ""
    return str(cell([one["difference"] for one in found], [one["interval"] for one in found]))


def _numbers(one: Mapping[str, Any]) -> list[str]:
    lead = one.get("branch_lead")
    leads = [
        with_interval(lead[metric]["difference"], lead[metric]["interval"]) if lead else ""
        for metric in ("accuracy", "aurc")
    ]
    costs = (f"{one['macs']:,}", f"{one['trained_parameters']:,}", f"{one['training_seconds']:.1f}")
    return [number(one["accuracy"]), number(one["aurc"]), *leads, *costs]


def _name(model: str) -> str:
    return "parent restricted" if model == "restricted" else model.replace("_", " ")


def _seconds(seconds: Cell) -> str:
    spread = "" if seconds.deviation is None else f"±{seconds.deviation:.1f}"
    return f"{seconds.mean:.1f}{spread}"
