"""``stages``: the branch points of a parent, without training it."""

import argparse

from neural_branching.commands.launch import first_job, hydra_flags


def main(arguments: list[str]) -> None:
    """List the branch points of the parent that a configuration describes.

    Args:
        arguments: overrides as ``train`` takes them, and ``--all``.

    Raises:
        InputError: if the configuration cannot be used.
    """
    parser = argparse.ArgumentParser(
        prog="neural-branching stages",
        description="The parent's branch points, without training it.",
        parents=[hydra_flags()],
    )
    parser.add_argument(
        "--all", action="store_true", help="every node or submodule, not only the main stages"
    )
    parser.add_argument("--latency", action="store_true", help="also measure passes of 1 and of 256 examples")
    parser.add_argument(
        "overrides", nargs="*", metavar="OVERRIDE", help="as for train, such as parent=convnet"
    )
    options = parser.parse_intermixed_args(arguments)

    experiment = first_job(options)

    from neural_branching.report.stage_table import print_stages, stages

    found = stages(experiment, every=options.all, timed=options.latency)
    print_stages(experiment, found, every=options.all)
