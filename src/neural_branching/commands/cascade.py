"""``cascade``: branches at several depths, each of which answers or defers; alone or as a sweep."""

import argparse

from neural_branching.commands.launch import first_job, launch


def main(arguments: list[str]) -> None:
    """Run or sweep cascades; without stages, with an exit at every main stage of the parent.

    Args:
        arguments: overrides, and Hydra's flags.

    Raises:
        InputError: if the configuration cannot be used.
    """
    from hydra._internal.utils import get_args_parser

    typed = get_args_parser().parse_intermixed_args(arguments)
    looks = typed.help or typed.hydra_help or typed.info or typed.cfg or typed.shell_completion
    if not looks and _lacks_stages(typed):
        arguments = [*arguments, f"stages=[{','.join(_main_stages(typed))}]"]
    launch("cascade", arguments)


def _lacks_stages(typed: argparse.Namespace) -> bool:
    """Whether neither the user nor an experiment says which stages; what cannot be composed is told later."""
    from omegaconf import OmegaConf

    from neural_branching.commands.composition import compose_values
    from neural_branching.config.hydra_session import REFUSALS, hydra_session

    with hydra_session(typed.config_dir, typed.config_path):
        try:
            config = compose_values(typed.overrides, typed.config_name or "cascade")[0]
        except REFUSALS:
            return False
    return OmegaConf.is_missing(config, "stages")


def _main_stages(typed: argparse.Namespace) -> list[str]:
    """Every main stage of the parent that a configuration describes, but what it answers itself."""
    typed.overrides = [*typed.overrides, "stages=[first,last]"]  # a parent does not depend on them
    parent = first_job(typed, "cascade").parent

    from neural_branching.artifacts.activations import main_stages
    from neural_branching.artifacts.build_networks import outline

    network = outline(parent)
    return [name for name in main_stages(network, parent.input.blank()) if name != "logits"]
