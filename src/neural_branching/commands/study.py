"""``study``: a sweep over all main stages of a parent."""

import argparse

from neural_branching.commands.launch import first_job, hydra_flags, launch
from neural_branching.errors import InputError


def main(arguments: list[str]) -> None:
    """Sweep the branch points of a parent: every main stage, beside whatever else is swept.

    Args:
        arguments: overrides as ``train -m`` takes them.

    Raises:
        InputError: if the configuration cannot be used.
    """
    parser = argparse.ArgumentParser(
        prog="neural-branching study",
        description="train -m over all main stages of the parent.",
        parents=[hydra_flags()],
    )
    parser.add_argument(
        "overrides", nargs="*", metavar="OVERRIDE", help="as for train -m, such as subset=a,b"
    )
    typed = parser.parse_intermixed_args(arguments)
    for override in typed.overrides:
        if override.startswith(("branch_point=", "branch_point.stage=")):
            raise InputError(
                f"{override}: study sweeps the branch point itself, over all main stages of the parent: "
                "leave it out, or use train -m."
            )
    parent = first_job(typed).parent

    from neural_branching.artifacts.activations import main_stages
    from neural_branching.artifacts.build_networks import outline

    names = ",".join(main_stages(outline(parent), parent.input.blank()))
    launch("train", ["-m", *arguments, f"branch_point.stage={names}"])
