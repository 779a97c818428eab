"""``report``: the summary of a folder of runs, or two settings in it compared."""

import argparse
from pathlib import Path

from neural_branching.commands.predict import TRUST
from neural_branching.errors import whole


def main(arguments: list[str]) -> None:
    """Summarise a folder of runs, or compare two settings in it.

    Args:
        arguments: the folder and options.

    Raises:
        InputError: if the folder holds no results, or no runs to compare.
    """
    parser = argparse.ArgumentParser(
        prog="neural-branching report", description="Write and print the summary of every run below a folder."
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
        "--mistakes",
        type=int,
        metavar="N",
        help="instead, draw the N most confident errors of a run, and the N foreign examples that it accepts "
        "with most confidence, into its folder: mistakes.png",
    )
    parser.add_argument("--trust", action="store_true", help=TRUST)
    options = parser.parse_args(arguments)
    if options.mistakes is not None:
        from neural_branching.load_run import find
        from neural_branching.report.figures.style import save
        from neural_branching.report.mistakes import mistakes

        figure = mistakes(find(options.folder, trust=options.trust), whole(options.mistakes, "--mistakes", 1))
        [name] = save({"mistakes": figure}, options.folder, ["png"])
        print(options.folder / name)
        return
    if options.compare:
        from neural_branching.report.paired import compare, print_comparison

        first, second = options.compare
        print_comparison(compare(options.folder, first, second), first, second, options.folder)
        return

    from neural_branching.report.collect import collect
    from neural_branching.report.results import command_of
    from neural_branching.report.summary import show, write
    from neural_branching.store.run_folders import runs_below

    commands = {command_of(run) for run in runs_below(options.folder)} or {"train"}
    for command in sorted(commands):
        summary = collect(options.folder, command)
        show(summary)  # first: a folder that cannot be written can still be read
        write(summary)
