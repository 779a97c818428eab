"""``train``: single branches, alone or as a sweep."""

from neural_branching.commands.launch import launch


def main(arguments: list[str]) -> None:
    """Run or sweep single branches.

    Args:
        arguments: overrides, and Hydra's flags.
    """
    launch("train", arguments)
