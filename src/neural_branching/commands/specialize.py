"""``specialize``: do branches of a network specialise, and what is it worth?"""

import argparse
from pathlib import Path

from neural_branching.commands.launch import first_job, hydra_flags, launch
from neural_branching.commands.predict import TRUST
from neural_branching.errors import InputError, whole

DIVISIONS = 100  # of the units of branches at random


def main(arguments: list[str]) -> None:
    """Run or sweep studies; or compare branches of runs; or test labels; or say where a network is divided.

    Args:
        arguments: overrides and Hydra's flags; or ``--branches RUN …``; or ``--labels FILE``; or
            ``--partitions`` and overrides.

    Raises:
        InputError: if the configuration or the file cannot be used.
    """
    if not {"--branches", "--labels", "--partitions"} & {
        argument.partition("=")[0] for argument in arguments
    }:
        launch("specialize", arguments)
        return
    parser = argparse.ArgumentParser(
        prog="neural-branching specialize",
        description="Without these options a study: neural-branching specialize [-m] [OVERRIDE ...].",
        parents=[hydra_flags()],
    )
    parser.add_argument(
        "--labels", type=Path, metavar="FILE", help="test labels of units by branch, from a JSON file"
    )
    parser.add_argument(
        "--branches",
        nargs="+",
        type=Path,
        default=[],
        metavar="FOLDER",
        help="compare the branches of finished runs with one parent, such as those of a sweep's folder, and "
        "write own_branches.csv, .md and .png into the first folder",
    )
    parser.add_argument("--trust", action="store_true", help=f"with --branches: {TRUST}")
    parser.add_argument(
        "--permutations", type=int, default=2000, metavar="N", help="of the labels or the branches"
    )
    parser.add_argument("--partitions", action="store_true", help="list where the parent is divided")
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="as for a study, with --partitions")
    options = parser.parse_intermixed_args(arguments)
    permutations = whole(options.permutations, "--permutations", 1)
    if options.branches:
        if options.overrides or options.partitions or options.labels:
            raise InputError("--branches needs nothing but folders: leave out everything else.")
        _compare(options.branches, permutations, trust=options.trust)
        return
    if options.labels:
        if options.overrides or options.partitions:
            raise InputError("--labels needs nothing but the file: leave out overrides and --partitions.")

        from neural_branching.labs.specialization.labels_report import print_labels

        print_labels(options.labels, permutations)
        return
    parent = first_job(options, "specialize").parent

    from neural_branching.labs.specialization.partition_table import print_partitions

    print_partitions(parent)


def _compare(folders: list[Path], permutations: int, *, trust: bool) -> None:
    """Compare the branches of the runs in some folders."""
    from neural_branching.files.progress import progress
    from neural_branching.labs.specialization.own_branches import OwnBranch, read_branches, relate
    from neural_branching.labs.specialization.own_branches_report import report
    from neural_branching.load_run import found_again
    from neural_branching.store.run_folders import runs_below

    runs = sorted({run for folder in folders for run in runs_below(folder)})
    if not runs:
        raise InputError(f"--branches: no run lies in {', '.join(map(str, folders))}.")
    branches: list[OwnBranch] = []
    with progress("Reading branches") as show:
        for number, run in enumerate(runs, 1):
            with found_again(run, trust=trust) as (experiment, results):
                branches += read_branches(experiment, results)
            show(number / len(runs))
    report(relate(branches, permutations, DIVISIONS), folders[0])
