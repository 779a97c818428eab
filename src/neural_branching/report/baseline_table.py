"""A branch and its baselines as a table, for one run or over seeds."""

from collections.abc import Mapping, Sequence
from typing import Any

from neural_branching.report.cells import Cell, Entry, setting
from neural_branching.report.collect import Summary, cell
from neural_branching.report.screen_table import Column

HEADER = ("model", "accuracy", "AURC", "branch better by", "AURC by", "MACs", "trained", "seconds")
NOTE = (
    "Baselines on the same test examples, confidence being the largest softmax probability; a branch's lead "
    "is paired. ±: standard deviation over seeds. [ ]: 95 % interval over test examples; of several seeds, "
    "the mean of theirs, which is at most too wide. MACs per example from the input on; parameters and "
    "seconds for this subset alone."
)


def baseline_columns() -> list[Column]:
    """Columns of a table on the screen."""
    ranks = (0, 0, 0, 1, 2, 3, 4)  # on a narrow screen the highest leave first
    numbers = (Column(heading, rank=rank) for heading, rank in zip(HEADER[1:], ranks, strict=True))
    return [Column(HEADER[0], "name"), *numbers]


def baseline_lines(compared: Mapping[str, Any]) -> list[list[Entry]]:
    """One line per model of a run, with the 95 % interval of the branch's lead."""
    return [[_name(name), *_numbers(one)] for name, one in compared.items() if one is not None]


def summary_lines(summary: Summary, names: Sequence[str]) -> list[list[Entry]]:
    """One line per setting and model: mean, ± over seeds, and the leads' interval over test examples.

    Args:
        summary: the runs.
        names: columns that tell settings apart.
    """
    lines: list[list[Entry]] = []
    for rows in summary.groups().values():
        runs = [row["baselines"] for row in rows if row["baselines"]]
        for model in dict.fromkeys(name for run in runs for name in run):
            found = [run[model] for run in runs if run.get(model) is not None]
            if not found:
                continue
            leads = [one.get("branch_lead") for one in found]
            lines.append(
                [
                    *(setting(rows[0][name]) for name in names),
                    _name(model),
                    cell([one["accuracy"] for one in found]),
                    cell([one["aurc"] for one in found]),
                    *(_leads(leads, metric) for metric in ("accuracy", "aurc")),
                    f"{found[0]['macs']:,}",
                    f"{found[0]['trained_parameters']:,}",
                    _seconds(cell([one["training_seconds"] for one in found])),
                ]
            )
    return lines


def _leads(leads: Sequence[Mapping[str, Any] | None], metric: str) -> Entry:
    """The branch's leads over seeds; empty for the branch itself."""
    found = [lead[metric] for lead in leads if lead]
    if len(found) < len(leads):
        return ""
    return cell([one["difference"] for one in found], [one["interval"] for one in found])


def _numbers(one: Mapping[str, Any]) -> list[Entry]:
    lead = one.get("branch_lead")
    leads: list[Entry] = [
        Cell(lead[metric]["difference"], None, lead[metric]["interval"]) if lead else ""
        for metric in ("accuracy", "aurc")
    ]
    costs = (f"{one['macs']:,}", f"{one['trained_parameters']:,}", f"{one['training_seconds']:.1f}")
    return [Cell(one["accuracy"]), Cell(one["aurc"]), *leads, *costs]


def _name(model: str) -> str:
    return "parent restricted" if model == "restricted" else model.replace("_", " ")


def _seconds(seconds: Cell) -> str:
    spread = "" if seconds.deviation is None else f"±{seconds.deviation:.1f}"
    return f"{seconds.mean:.1f}{spread}"
