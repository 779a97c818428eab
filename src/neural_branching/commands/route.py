"""``route``: trees of branches, alone or as a sweep."""

from neural_branching.commands.launch import launch


def main(arguments: list[str]) -> None:
    """Run or sweep trees of branches.

    Args:
        arguments: overrides, and Hydra's flags.
    """
    launch("route", arguments)
