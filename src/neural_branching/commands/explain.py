"""``explain``: does one branch of an autoencoder hold what a frozen classifier goes by?"""

from neural_branching.commands.launch import launch


def main(arguments: list[str]) -> None:
    """Run or sweep studies.

    Args:
        arguments: overrides and Hydra's flags.

    Raises:
        InputError: if the configuration cannot be used.
    """
    launch("explain", arguments)
