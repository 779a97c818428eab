"""A summary as tables in Markdown."""

from collections.abc import Sequence

from neural_branching.report.baseline_table import HEADER, summary_lines
from neural_branching.report.baseline_table import NOTE as BASELINES_NOTE
from neural_branching.report.cells import Cell, Entry, markdown_table, number, setting
from neural_branching.report.certificates import Certified
from neural_branching.report.collect import SEEDS, Summary, cell
from neural_branching.report.metrics import Metric, shown
from neural_branching.report.results import Row
from neural_branching.report.search import Search

AREAS_NOTE = "AURC: one point per distinct score, trapezoids over coverage (Jaeger et al., 2023)."
# What tables say → what it means.
NOTES = {
    "AURC": AREAS_NOTE,
    "ECE": "ECE: 15 bins of equal width; scaled: after temperature scaling on the calibration split.",
    "floor": "Floors: what a calibrated classifier with the same confidences would show on as many examples, "
    "on average.",
    "±": "±: standard deviation over seeds, on the same examples; an interval beside it is the mean of "
    "theirs, at most too wide.",
    "[": "[ ]: 95 % interval over test examples, for the same models.",
}
SEARCH_NOTE = "Chosen on validation examples, from one run each: repeat the winner with several seeds."


def notes(said: str) -> list[str]:
    """What explains the words and signs of a table, and no others."""
    return [note for word, note in NOTES.items() if word in said]


def markdown(summary: Summary) -> str:
    """The same as a document: settings, then single runs if they are more, then what failed."""
    parts = []
    if summary.completed:
        header, lines = _settings(summary)
        table = markdown_table(header, lines)
        parts += ["## Settings", "", *table, "", *notes("\n".join(table)), ""]
        parts += [entry for line in summary.repeated_examples() for entry in (line, "")]
        if len(lines) < len(summary.completed):
            names = ["run", *shown_settings(summary), *SEEDS]
            metrics = shown(summary.completed)
            rows = [
                [setting(row[name]) for name in names] + _of_run(row, metrics) for row in summary.completed
            ]
            header = [*names, *(str(metric.heading) for metric in metrics)]
            parts += ["## Runs", "", *markdown_table(header, rows), ""]
    names = shown_settings(summary) if summary.completed else []
    if search := Search.of(summary):
        parts += [f"## {search.title()}", "", *markdown_table(*search.table(names)), "", SEARCH_NOTE, ""]
    if baselines := summary_lines(summary, names):
        header = [*(name.replace("_", " ") for name in names), *HEADER]
        parts += ["## Baselines", "", *markdown_table(header, baselines), "", BASELINES_NOTE, ""]
    if summary.certificates:
        parts += ["## Certificates", "", *markdown_table(*certificate_lines(summary)), ""]
        parts += [certificate_note(summary.certificates), ""]
    if summary.uncertified:
        rows = [[run, reason] for run, reason in summary.uncertified.items()]
        parts += ["## Not certified again", "", *markdown_table(["run", "why"], rows), ""]
    parts += [line for sentence in (*summary.mixed, *summary.repeated()) for line in (sentence, "")]
    if summary.failed or summary.unread:
        rows = [[row["run"], f"{row['status']}: {row['error']}"] for row in summary.failed]
        rows += [[run, reason] for run, reason in summary.unread.items()]
        parts += ["## Without results", "", *markdown_table(["run", "why"], rows), ""]
    return "\n".join(parts)


def _settings(summary: Summary) -> tuple[list[str], list[list[str]]]:
    records = summary.settings()
    names = shown_settings(summary)
    several = any(record["seeds"] > 1 for record in records)
    header = [name.replace("_", " ") for name in names] + (["seeds"] if several else [])
    metrics = shown(summary.completed)
    header += [str(metric.heading) for metric in metrics]
    lines = []
    for record in records:
        seeds = [str(record["seeds"])] if several else []
        lines.append(
            [setting(record[name]) for name in names]
            + seeds
            + [str(record[metric.name]) for metric in metrics]
        )
    for subset, figures in summary.published.items():
        label = [{"subset": subset, "threshold": figures["source"]}.get(name, "") for name in names]
        values = [
            number(figures.get(metric.path[-1] if metric.path[:-1] == ("test",) else ""))
            for metric in metrics
        ]
        lines.append([*label, *([""] if several else []), *values])
    return header, lines


def certificate_lines(summary: Summary) -> tuple[list[str], list[list[Entry]]]:
    """One line per setting: what its runs certify alone, and when they are compared."""
    names = shown_settings(summary)
    settings: dict[tuple[str, ...], list[Certified]] = {}
    for one in summary.certificates:
        settings.setdefault(tuple(setting(one.row[name]) for name in names), []).append(one)
    header = [name.replace("_", " ") for name in names]
    compared = summary.certificates[0].compared
    header += ["n", *(f"alone: {name}" for name in _CERTIFIED)]
    if compared > 1:
        header += [f"best of {compared}: {name}" for name in _CERTIFIED]
    lines = []
    for key, mine in settings.items():
        line: list[Entry] = [*key, str(mine[0].alone.n), f"{mine[0].delta:g}"]
        line += [_share([one.alone.certificate is not None for one in mine])]
        line += [
            cell([one.row[name] for one in mine], [one.row[f"{name}_interval"] for one in mine])
            for name in _TEST
        ]
        if compared > 1:
            line += [f"{mine[0].delta / mine[0].compared:.2g}"]
            line += [_share([one.adjusted.certificate is not None for one in mine])]
            line += [cell([one.test_coverage for one in mine])]
            line += [cell([_or_none(one.test_selective_accuracy) for one in mine])]
        lines.append(line)
    return header, lines


_TEST = ("test_coverage", "test_selective_accuracy")
_CERTIFIED = ("δ", "certified", "test coverage", "test selective accuracy")


def certificate_note(certificates: Sequence[Certified]) -> str:
    """What certificates promise."""
    compared = certificates[0].compared
    alone = (
        "Certificates bound the selective risk of one run that was chosen beforehand, except with "
        "probability δ. Where nothing is certified nothing is answered."
    )
    if compared == 1:
        return alone
    return (
        f"{alone} To choose the best of {compared} afterwards, rely on the columns that say so: they share δ "
        f"out to all of them (Bonferroni, δ / {compared})."
    )


def _share(certified: Sequence[bool]) -> str:
    return f"{sum(certified)} of {len(certified)}"


def _or_none(value: float) -> float | None:
    return None if value != value else value


def shown_settings(summary: Summary) -> list[str]:
    """The settings worth a column: subset, branch point and threshold, and whatever differs."""
    rows = summary.completed
    names = ("data", "parent", "branch", "score")
    varying = [name for name in names if len({row[name] for row in rows}) > 1]
    before = [name for name in varying if name != "score"]
    after = [name for name in varying if name == "score"]
    return [*before, "subset", "branch_point", *after, "threshold", *summary.swept]


def _of_run(row: Row, metrics: Sequence[Metric]) -> list[str]:
    return [str(Cell(row[metric.name], None, row[f"{metric.name}_interval"])) for metric in metrics]
