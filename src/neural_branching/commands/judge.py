"""``judge``: do branches know whether their parent is right, and better than it does?"""

from neural_branching.commands.launch import launch


def main(arguments: list[str]) -> None:
    """Run or sweep studies.

    Args:
        arguments: overrides and Hydra's flags.

    Raises:
        InputError: if the configuration cannot be used.
    """
    launch("judge", arguments)
