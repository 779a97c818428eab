"""What a search over settings optimises: numbers of a run that no test example has a part in."""

from collections.abc import Mapping, Sequence
from typing import Any

from neural_branching.errors import InputError, one_of

# Path of a number in results.json → which direction is better.
DIRECTIONS = {
    "validation.accuracy": "maximize",
    "validation.loss": "minimize",
    "validation.aurc": "minimize",
    "validation.e_aurc": "minimize",
    "validation.augrc": "minimize",
    "validation.failure_auroc": "maximize",
    "validation.coverage": "maximize",
    "validation.selective_accuracy": "maximize",
    "cost.macs.path": "minimize",
    "cost.macs.branch": "minimize",
    "cost.parameters.branch": "minimize",
    "cost.cache_bytes": "minimize",
}


def checked(objectives: object) -> tuple[str, ...]:
    """The objectives of a configuration; none if it is null.

    Raises:
        InputError: for anything but a list of different known names.
    """
    if objectives is None:
        return ()
    if not isinstance(objectives, Sequence) or isinstance(objectives, str):
        raise InputError(
            f"objectives is {objectives!r}: it must be null or a list among {', '.join(DIRECTIONS)}."
        )
    names = tuple(one_of(name, DIRECTIONS, "a name in objectives") for name in objectives)
    if len(set(names)) < len(names):
        raise InputError(f"objectives is {list(names)}: each can be named once.")
    return names


def check_directions(objectives: Sequence[str], directions: Sequence[str]) -> None:
    """Check that a sweeper optimises objectives in the direction that is better.

    Args:
        objectives: their names.
        directions: "minimize" or "maximize" of each.

    Raises:
        InputError: if not.
    """
    wanted = [DIRECTIONS[name] for name in objectives or ("validation.accuracy",)]
    if list(directions) != wanted:
        raise InputError(
            f"hydra.sweeper.direction is [{','.join(directions)}]: for the objectives "
            f"{', '.join(objectives) or 'validation.accuracy'} it must be [{','.join(wanted)}]."
        )


def measured(results: Mapping[str, Any], objectives: Sequence[str]) -> dict[str, Any]:
    """The value of every objective in a run's results; None where it is undefined."""
    values = {name: _at(results, name) for name in objectives}
    return {name: None if value != value else value for name, value in values.items()}


def _at(results: Any, name: str) -> Any:
    for part in name.split("."):
        results = results[part]
    return results
