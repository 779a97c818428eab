"""What a branch sees of a stage's output: one vector per example."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from neural_branching.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor

    from neural_branching.selection.array_types import Bool, Float


# Between the stages of a branch point that has several.
JOIN = "+"


def stages_of(point: str) -> tuple[str, ...]:
    """The stages whose vectors a branch sees one after another, of a branch point such as "block2+pool"."""
    return tuple(point.split(JOIN))


class Readout:
    """Turns a stage's output into vectors.

    Args:
        kind: "flatten" (every value), "poolN" (feature maps averaged to N × N), "class_token" (the
            first token, where it stands for the input), "first_token", "last_token", "mean_token" (the
            mean of all tokens), or "auto": 2 × 2 averages of feature maps, the token that stands for the
            input or, where none does, the mean of all; vectors, and maps no larger than that, as they are.

    Raises:
        InputError: for any other kind.
    """

    def __init__(self, kind: str) -> None:
        if not isinstance(kind, str) or not re.fullmatch(
            r"auto|flatten|(class|first|last|mean)_token|pool[1-9]\d*", kind
        ):
            raise ArgumentError(
                "readout",
                f"is {kind!r}, which is unknown: allowed are auto, flatten, pool1, pool2, …, class_token, "
                "first_token, last_token and mean_token.",
            )
        self.kind = kind

    def resolve(self, shape: tuple[int, ...], token: str | None) -> str:
        """The kind that is meant for a stage.

        Args:
            shape: shape of the stage's output for one example: (c, h, w), (tokens, width) or (width,).
            token: which of its tokens stands for the input, "class_token" or "last_token"; None if none does.

        Raises:
            InputError: if the readout does not fit the shape.
        """
        if self.kind == "auto":
            if len(shape) == 2:
                return token or "mean_token"
            return "pool2" if len(shape) == 3 and min(shape[1:]) > 2 else "flatten"
        needed = 3 if self.kind.startswith("pool") else 2 if self.kind.endswith("token") else len(shape)
        if len(shape) != needed:
            kinds = {1: "a vector", 2: "tokens", 3: "feature maps"}
            raise ArgumentError(
                "readout",
                f"is {self.kind!r}, which needs {kinds[needed]}: this stage gives "
                f"{kinds.get(len(shape), 'an output')} of shape {shape}.",
            )
        if self.kind.startswith("pool") and int(self.kind[4:]) > min(shape[1:]):
            raise ArgumentError(
                "readout",
                f"is {self.kind!r}, which would only repeat the values of {shape[1]} × {shape[2]} maps.",
            )
        if self.kind == "class_token" and token != "class_token":
            raise ArgumentError(
                "readout",
                "is 'class_token', and no token of this stage stands for the input: use mean_token.",
            )
        return self.kind

    def __call__(
        self,
        output: Float[Tensor, "n ..."],
        token: str | None,
        mask: Bool[Tensor, "n tokens"] | None = None,
    ) -> Float[Tensor, "n width"]:
        """Map a stage's output to vectors.

        Args:
            output: of the stage.
            token: as for ``resolve``.
            mask: which tokens are the input's own, at least one of each example, and they come first;
                None for all.

        Raises:
            ArgumentError: if the kind does not fit the output.
        """
        from torch.nn import functional as F  # what is typed is checked without torch

        kind = self.resolve(tuple(output.shape[1:]), token)
        if mask is not None and output.ndim == 3:
            return self._masked(output, kind, mask)
        if kind.startswith("pool"):
            return F.adaptive_avg_pool2d(output, int(kind[4:])).flatten(1)
        if kind.endswith("_token") and kind != "mean_token":
            return output[:, -1 if kind == "last_token" else 0]
        return output.mean(1) if kind == "mean_token" else output.flatten(1)

    def _masked(
        self, output: Float[Tensor, "n tokens width"], kind: str, mask: Bool[Tensor, "n tokens"]
    ) -> Float[Tensor, "n width"]:
        if kind == "flatten":
            raise ArgumentError(
                "readout",
                "is 'flatten', and texts have different numbers of tokens: use mean_token, first_token or "
                "last_token.",
            )
        if kind == "mean_token":
            own = mask[..., None].to(output.dtype)
            return (output * own).sum(1) / own.sum(1)
        if kind != "last_token":
            return output[:, 0]
        last = (mask.sum(1) - 1)[:, None, None].expand(-1, 1, output.shape[2])
        return output.gather(1, last)[:, 0]

    def joined(
        self,
        outputs: Mapping[str, Float[Tensor, "n ..."]],
        point: str,
        token: Callable[[str], str | None],
        mask: Bool[Tensor, "n tokens"] | None = None,
    ) -> Float[Tensor, "n width"]:
        """The vectors of a branch point, those of its stages one after another.

        Args:
            outputs: of the stages.
            point: as for ``stages_of``.
            token: which of a stage's tokens stands for the input, as for ``resolve``.
            mask: as for a call.
        """
        import torch

        vectors = [self(outputs[stage], token(stage), mask) for stage in stages_of(point)]
        return vectors[0] if len(vectors) == 1 else torch.cat(vectors, 1)
