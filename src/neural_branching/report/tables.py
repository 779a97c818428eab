"""A summary as tables on the screen and in Markdown."""

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from neural_branching.report.baseline_table import HEADER, summary_lines
from neural_branching.report.baseline_table import NOTE as BASELINES_NOTE
from neural_branching.report.cells import Cell, markdown_table, number
from neural_branching.report.certificates import Certified
from neural_branching.report.choosing import Choice
from neural_branching.report.collect import SEEDS, Summary, cell, listed
from neural_branching.report.fitting import print_table
from neural_branching.report.metrics import Metric, shown
from neural_branching.report.results import Row
from neural_branching.report.search import Search

AREAS_NOTE = "AURC: one point per distinct score, trapezoids over coverage (Jaeger et al., 2023)."
NOTES = f"""\
{AREAS_NOTE}
ECE: 15 bins of equal width; scaled: after temperature scaling on the calibration split. Their floors: what \
a calibrated classifier with the same confidences would show on as many examples, on average.
±: standard deviation over seeds, on the same examples. [ ]: 95 % interval over test examples, for the same \
models; of several seeds, the mean of their intervals, which is at most too wide."""

AVERAGED_NOTE = (
    f"{AREAS_NOTE}\n±: standard deviation over the runs of a line, which differ in more than seeds."
)
CHOSEN_NOTE = (
    "The best of several on test examples looks better than it is: choose by validation, or rely on "
    "certificates for the best of all."
)
SEARCH_NOTE = "Chosen on validation examples, from one run each: repeat the winner with several seeds."


def console() -> Console:
    """A console as wide as the terminal, or wide enough for every table in a file or a pipe."""
    plain = Console(markup=False, emoji=False)
    return plain if plain.is_terminal else Console(width=200, markup=False, emoji=False)


def print_summary(summary: Summary) -> None:
    """Print one line per setting, certificates, what failed, what was built, and where the files are."""
    screen = console()
    if summary.completed:
        header, lines = _settings(summary)
        metrics = shown(summary.completed)
        title = f"{summary.runs} run{'s' * (summary.runs > 1)}, test examples"
        print_table(screen, title, header, lines, len(metrics))
        screen.print(NOTES, highlight=False)
        for line in summary.repeated_examples():
            screen.print(line, highlight=False, soft_wrap=True)
    names = _shown(summary) if summary.completed else []
    if search := Search.of(summary):
        header, lines = search.table(names)
        print_table(screen, search.title(), header, lines, len(search.objectives) + 1)
        screen.print(SEARCH_NOTE, highlight=False)
    if lines := summary_lines(summary, names):
        header = [*(name.replace("_", " ") for name in names), *HEADER]
        print_table(screen, "Baselines, test examples", header, lines, len(HEADER) - 1)
        screen.print(BASELINES_NOTE, highlight=False)
    if summary.certificates:
        header, lines = _certificates(summary)
        print_table(screen, "Certificates", header, lines, len(lines[0]) - len(_shown(summary)))
        screen.print(_certificate_note(summary.certificates), highlight=False)
    for run, reason in summary.uncertified.items():
        screen.print(f"not certified again {run}: {reason}", highlight=False, soft_wrap=True)
    print_ending(summary)


def print_choice(choice: Choice, summary: Summary) -> None:
    """Print the lines and columns that were chosen of a summary.

    Raises:
        InputError: as ``Choice.table``.
    """
    screen = console()
    print_table(screen, *choice.table(summary))
    screen.print(AVERAGED_NOTE if choice.by else NOTES, highlight=False)
    if choice.sort:
        screen.print(CHOSEN_NOTE, highlight=False)
    screen.print(f"All of them: {summary.folder / 'summary.csv'}", highlight=False, soft_wrap=True)


def print_ending(summary: Summary) -> None:
    """Print what failed, what does not compare, what was built, and where the files are."""
    screen = console()
    for row in summary.failed:
        failure = Text(f"{row['status']} {row['run']}: {row['error']}", style="red")
        screen.print(failure, soft_wrap=True)
    reasons: dict[str, list[str]] = {}
    for run, reason in summary.unread.items():
        reasons.setdefault(reason, []).append(run)
    for reason, runs in reasons.items():  # a sweep that was interrupted leaves many of one kind
        screen.print(f"skipped {listed(runs)}: {reason}", highlight=False, soft_wrap=True)
    built: dict[str, int] = {}
    for row in summary.completed:
        for part in row["built"].split():
            built[part] = built.get(part, 0) + 1
    for sentence in (*summary.mixed, *summary.repeated()):
        screen.print(sentence, highlight=False, soft_wrap=True)
    counts = ", ".join(f"{count} {part}" for part, count in built.items())
    if summary.completed:
        screen.print(f"Built by these runs: {counts or 'nothing, all was in the store'}.", highlight=False)
    if without := len(summary.failed) + len(summary.unread):
        screen.print(f"Without results: {without} of {summary.runs + without} runs.", highlight=False)
    screen.print(f"Tables and figures: {summary.folder}", highlight=False, soft_wrap=True)


def markdown(summary: Summary) -> str:
    """The same as a document: settings, then single runs if they are more, then what failed."""
    parts = []
    if summary.completed:
        header, lines = _settings(summary)
        parts += ["## Settings", "", *markdown_table(header, lines), "", NOTES, ""]
        parts += [entry for line in summary.repeated_examples() for entry in (line, "")]
        if len(lines) < len(summary.completed):
            names = ["run", *_shown(summary), *SEEDS]
            metrics = shown(summary.completed)
            rows = [[str(row[name]) for name in names] + _of_run(row, metrics) for row in summary.completed]
            header = [*names, *(str(metric.heading) for metric in metrics)]
            parts += ["## Runs", "", *markdown_table(header, rows), ""]
    names = _shown(summary) if summary.completed else []
    if search := Search.of(summary):
        parts += [f"## {search.title()}", "", *markdown_table(*search.table(names)), "", SEARCH_NOTE, ""]
    if lines := summary_lines(summary, names):
        header = [*(name.replace("_", " ") for name in names), *HEADER]
        parts += ["## Baselines", "", *markdown_table(header, lines), "", BASELINES_NOTE, ""]
    if summary.certificates:
        parts += ["## Certificates", "", *markdown_table(*_certificates(summary)), ""]
        parts += [_certificate_note(summary.certificates), ""]
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
    names = _shown(summary)
    several = any(record["seeds"] > 1 for record in records)
    header = [name.replace("_", " ") for name in names] + (["seeds"] if several else [])
    metrics = shown(summary.completed)
    header += [str(metric.heading) for metric in metrics]
    lines = []
    for record in records:
        seeds = [str(record["seeds"])] if several else []
        lines.append(
            [str(record[name]) for name in names] + seeds + [str(record[metric.name]) for metric in metrics]
        )
    for subset, figures in summary.published.items():
        label = [{"subset": subset, "threshold": figures["source"]}.get(name, "") for name in names]
        values = [
            number(figures.get(metric.path[-1] if metric.path[:-1] == ("test",) else ""))
            for metric in metrics
        ]
        lines.append([*label, *([""] if several else []), *values])
    return header, lines


def _certificates(summary: Summary) -> tuple[list[str], list[list[str]]]:
    """One line per setting: what its runs certify alone, and when they are compared."""
    names = _shown(summary)
    settings: dict[tuple[str, ...], list[Certified]] = {}
    for one in summary.certificates:
        settings.setdefault(tuple(str(one.row[name]) for name in names), []).append(one)
    header = [name.replace("_", " ") for name in names]
    compared = summary.certificates[0].compared
    header += ["n", *(f"alone: {name}" for name in _CERTIFIED)]
    if compared > 1:
        header += [f"best of {compared}: {name}" for name in _CERTIFIED]
    lines = []
    for key, mine in settings.items():
        line = [*key, str(mine[0].alone.n), f"{mine[0].delta:g}"]
        line += [_share([one.alone.certificate is not None for one in mine])]
        line += [
            str(cell([one.row[name] for one in mine], [one.row[f"{name}_interval"] for one in mine]))
            for name in _TEST
        ]
        if compared > 1:
            line += [f"{mine[0].delta / mine[0].compared:.2g}"]
            line += [_share([one.adjusted.certificate is not None for one in mine])]
            line += [str(cell([one.test_coverage for one in mine]))]
            line += [str(cell([_or_none(one.test_selective_accuracy) for one in mine]))]
        lines.append(line)
    return header, lines


_TEST = ("test_coverage", "test_selective_accuracy")
_CERTIFIED = ("δ", "certified", "test coverage", "test selective accuracy")


def _certificate_note(certificates: Sequence[Certified]) -> str:
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


def _shown(summary: Summary) -> list[str]:
    """The settings worth a column: subset, branch point and threshold, and whatever differs."""
    rows = summary.completed
    names = ("data", "parent", "branch", "score")
    varying = [name for name in names if len({row[name] for row in rows}) > 1]
    before = [name for name in varying if name != "score"]
    after = [name for name in varying if name == "score"]
    return [*before, "subset", "branch_point", *after, "threshold", *summary.swept]


def _of_run(row: Row, metrics: Sequence[Metric]) -> list[str]:
    return [str(Cell(row[metric.name], None, row[f"{metric.name}_interval"])) for metric in metrics]
