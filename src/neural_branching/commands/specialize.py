"""``specialize``: do branches of a network specialise, and what is it worth?"""

import argparse
from pathlib import Path

from neural_branching.commands.launch import first_job, hydra_flags, launch
from neural_branching.errors import InputError, whole


def main(arguments: list[str]) -> None:
    """Run or sweep studies; or test labels of units by branch; or say where a network is divided.

    Args:
        arguments: overrides and Hydra's flags; or ``--labels FILE``; or ``--partitions`` and overrides.

    Raises:
        InputError: if the configuration or the file cannot be used.
    """
    if not {"--labels", "--partitions"} & {argument.partition("=")[0] for argument in arguments}:
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
    parser.add_argument("--permutations", type=int, default=2000, metavar="N", help="of the labels")
    parser.add_argument("--partitions", action="store_true", help="list where the parent is divided")
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="as for a study, with --partitions")
    options = parser.parse_intermixed_args(arguments)
    if options.labels:
        if options.overrides or options.partitions:
            raise InputError("--labels needs nothing but the file: leave out overrides and --partitions.")

        from neural_branching.labs.specialization.labels_report import print_labels

        print_labels(options.labels, whole(options.permutations, "--permutations", 1))
        return
    parent = first_job(options, "specialize").parent

    from neural_branching.labs.specialization.partition_table import print_partitions

    print_partitions(parent)
