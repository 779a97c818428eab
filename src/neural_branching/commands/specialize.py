"""``specialize``: do branches of a network specialise, and what is it worth?"""

from neural_branching.commands.launch import launch


def main(arguments: list[str]) -> None:
    """Run or sweep studies of branch specialization.

    Args:
        arguments: overrides, and Hydra's flags.
    """
    launch("specialize", arguments)
