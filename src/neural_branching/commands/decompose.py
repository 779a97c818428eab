"""``decompose``: what do the branches of an autoencoder take apart?"""

import argparse
from pathlib import Path

from neural_branching.commands.launch import launch


def main(arguments: list[str]) -> None:
    """Run or sweep studies; or integrate deep linear branches.

    Args:
        arguments: overrides and Hydra's flags; or ``--linear FOLDER``.

    Raises:
        InputError: if the configuration cannot be used.
    """
    if "--linear" not in {argument.partition("=")[0] for argument in arguments}:
        launch("decompose", arguments)
        return
    parser = argparse.ArgumentParser(
        prog="neural-branching decompose",
        description="Without this option a study: neural-branching decompose [-m] [OVERRIDE ...].",
    )
    parser.add_argument(
        "--linear",
        type=Path,
        metavar="FOLDER",
        help="theory instead of a study: deep linear branches by depth and learning rate, "
        "as linear_branches.csv and .png in this folder",
    )
    folder = parser.parse_args(arguments).linear

    from neural_branching.labs.decomposition.linear_report import report_linear

    report_linear(folder)
