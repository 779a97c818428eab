"""What one pass of the parent keeps, and with how many digits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from neural_branching.config.build import check_keys
from neural_branching.errors import InputError, one_of

DTYPES = ("float32", "float16")


@dataclass(frozen=True)
class KeptActivations:
    """What one pass of the parent keeps.

    Attributes:
        stages: those kept together, so that branches at any of them share the pass; None for the network's
            main stages.
        dtype: as stored; "float16" takes half the disk, and rounds to three digits.
    """

    stages: tuple[str, ...] | None = None
    dtype: str = "float32"

    @classmethod
    def of(cls, node: Mapping[str, Any]) -> "KeptActivations":
        """Check the node "activations" of a configuration.

        Raises:
            InputError: for the first thing that cannot be used.
        """
        check_keys(node, {"stages", "dtype"}, "activations")
        stages = node["stages"]
        if stages is not None and (not isinstance(stages, Sequence) or isinstance(stages, str) or not stages):
            raise InputError(
                f"activations.stages is {stages!r}: it must be null or a list of stages, as in [block1,pool]."
            )
        dtype = one_of(node["dtype"], DTYPES, "activations.dtype")
        return cls(None if stages is None else tuple(dict.fromkeys(map(str, stages))), dtype)


USUAL = KeptActivations()
