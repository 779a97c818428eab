"""``simulate``: calibration or test examples redrawn, to see what guarantees and intervals are worth."""

import argparse
from pathlib import Path


def main(arguments: list[str]) -> None:
    """Redraw calibration examples from runs' own answers, or test examples from known populations.

    Args:
        arguments: the folder and options.

    Raises:
        InputError: if the folder holds no completed run, or a number is out of range.
    """
    parser = argparse.ArgumentParser(
        prog="neural-branching simulate",
        description="What each guaranteed threshold would keep with n calibration examples, of cascades each "
        "promise; with --intervals how often the printed 95 % intervals hold the truth with n test examples.",
    )
    parser.add_argument(
        "folder", type=Path, help="a run, a sweep, or any folder of them (with --intervals: any)"
    )
    parser.add_argument("--intervals", action="store_true", help="write intervals.md into the folder")
    parser.add_argument(
        "--target",
        type=float,
        default=0.1,
        help="selective risk not to be exceeded; of cascades also the share of answers that differ",
    )
    parser.add_argument("--delta", type=float, default=0.1, help="probability of failure")
    parser.add_argument("--examples", type=int, nargs="+", default=[300, 1000, 3000], metavar="N")
    parser.add_argument("--draws", type=int, default=1000)
    options = parser.parse_args(arguments)
    if options.intervals:
        from neural_branching.report.interval_coverage import interval_coverage, write_coverage

        write_coverage(options.folder / "intervals.md", interval_coverage(options.examples, options.draws))
        return

    from neural_branching.report.results import command_of
    from neural_branching.store.run_folders import runs_below

    asked = options.folder, options.target, options.delta, options.examples, options.draws
    commands = {command_of(run) for run in runs_below(options.folder)}
    if "train" in commands or "cascade" not in commands:
        from neural_branching.report.guarantee_simulation import simulate, write_simulation

        write_simulation(options.folder, *simulate(*asked))
    if "cascade" in commands:
        from neural_branching.report.cascade_simulation import simulate_cascades, write_cascade_simulation

        write_cascade_simulation(options.folder, simulate_cascades(*asked))
