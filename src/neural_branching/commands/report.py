"""``report``: the summary of a folder of runs, or two settings in it compared."""

import argparse
from pathlib import Path

from neural_branching.commands.predict import TRUST
from neural_branching.errors import InputError, whole


def main(arguments: list[str]) -> None:
    """Summarise a folder of runs, or compare two settings in it.

    Args:
        arguments: the folder and options.

    Raises:
        InputError: if the folder holds no results, or no runs to compare, or not what an option names.
    """
    options = _parser().parse_args(arguments)
    if options.figures or options.mistakes is not None:
        _draw(options)
        return
    if options.compare:
        _compare(options.folder, *options.compare)
        return

    from neural_branching.commands.jobs import JOBS
    from neural_branching.report.collect import collect
    from neural_branching.report.results import command_of
    from neural_branching.report.summary import show, write
    from neural_branching.report.view import View
    from neural_branching.store.run_folders import runs_below

    view = View(options.where, options.by, options.sort, options.top, options.columns)
    commands = {command_of(run) for run in runs_below(options.folder)} or {"train"}
    for command in sorted(commands):
        if command not in ("train", "route"):  # a laboratory's runs have columns of their own
            if view.where or view.is_chosen:
                if commands & {"train", "route"}:
                    continue
                raise InputError(
                    f"{options.folder} has runs of {command} alone, among which --where, --by, --sort, --top "
                    "and --columns do not choose."
                )
            JOBS[command].summarize(options.folder, events=False)
            continue
        summary = collect(options.folder, command)
        show(summary, view)
        write(summary)  # last: a folder that cannot be written can still be read


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="neural-branching report",
        description="Write and print the summary of every run below a folder. Files hold every run; --where, "
        "--by, --sort, --top and --columns choose what is printed. Columns are those of summary.csv, test_ "
        "may be left out.",
    )
    parser.add_argument("folder", type=Path, help="a run, a sweep, or any folder of them")
    parser.add_argument(
        "--compare",
        nargs=2,
        metavar=("A", "B"),
        help="instead, pair the runs of two settings by their seeds, each as column=value[,column=value], "
        "and print the differences on the same test examples",
    )
    parser.add_argument(
        "--where", nargs="+", default=[], metavar="COLUMN=VALUE", help="only these runs; VALUE,VALUE are both"
    )
    parser.add_argument(
        "--by",
        type=_names,
        default=[],
        metavar="COLUMN",
        help="a line for each value, averaged over the rest",
    )
    parser.add_argument("--sort", metavar="COLUMN", help="the best first, as in aurc")
    parser.add_argument("--top", type=int, metavar="N", help="only the first N lines of a table")
    parser.add_argument(
        "--columns", type=_names, default=[], metavar="NUMBERS", help="numbers to show, as in accuracy,aurc"
    )
    parser.add_argument(
        "--mistakes",
        type=int,
        metavar="N",
        help="instead, draw the N most confident errors of a run, and the N foreign examples that it accepts "
        "with most confidence, into its folder: mistakes.png",
    )
    parser.add_argument(
        "--figures",
        action="store_true",
        help="instead, draw the figures of a run, such as a sweep's job, into it",
    )
    parser.add_argument("--trust", action="store_true", help=TRUST)
    return parser


def _compare(folder: Path, first: str, second: str) -> None:
    """Compare two settings of branches, or where there are cascades alone of these."""
    from neural_branching.report.cascade_comparison import compare_cascades
    from neural_branching.report.paired import compare, print_comparison
    from neural_branching.report.results import command_of
    from neural_branching.store.run_folders import runs_below

    cascades = {command_of(run) for run in runs_below(folder)} == {"cascade"}
    found = compare_cascades(folder, first, second) if cascades else compare(folder, first, second)
    print_comparison(found, first, second, folder)


def _draw(options: argparse.Namespace) -> None:
    """Draw what a run's folder lacks: its answers are worked out again, from the store."""
    count = None if options.mistakes is None else whole(options.mistakes, "--mistakes", 1)

    from neural_branching.load_run import find
    from neural_branching.report.figures.style import save
    from neural_branching.report.mistakes import mistakes
    from neural_branching.report.run_report import draw

    run = find(options.folder, trust=options.trust)
    drawn = draw(run) if options.figures else {}
    if count is not None:
        drawn["mistakes"] = mistakes(run, count)
    for name in save(drawn, options.folder, ("png", "svg")):
        print(options.folder / name)


def _names(text: str) -> list[str]:
    return text.split(",")
