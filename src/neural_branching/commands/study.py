"""``study``: a sweep over all main stages of a parent."""

import argparse

from neural_branching.commands.launch import first_job, launch


def main(arguments: list[str]) -> None:
    """Sweep the branch points of a parent: every main stage, beside whatever else is swept.

    Args:
        arguments: overrides as ``train -m`` takes them.

    Raises:
        InputError: if the configuration cannot be used.
    """
    parser = argparse.ArgumentParser(
        prog="neural-branching study", description="train -m over all main stages of the parent."
    )
    parser.add_argument(
        "overrides", nargs="*", metavar="OVERRIDE", help="as for train -m, such as subset=a,b"
    )
    overrides = parser.parse_args(arguments).overrides
    parent = first_job(overrides).parent

    from neural_branching.artifacts.activations import main_stages
    from neural_branching.artifacts.build_networks import outline

    names = ",".join(main_stages(outline(parent), parent.input.blank()))
    launch("train", ["-m", *overrides, f"branch_point.stage={names}"])
