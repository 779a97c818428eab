"""A network as an ordered sequence of named stages."""

from collections.abc import Iterator, Mapping

from torch import Tensor, nn

from neural_branching.errors import one_of


class StagedNetwork(nn.Module):
    """Stages run in order; the forward pass may stop after any of them.

    The last stage gives the logits. A stage's name stands for its output *after* the
    non-linearity.

    Args:
        stages: name → module, in order.
    """

    def __init__(self, stages: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.stages = nn.ModuleDict(stages)

    @property
    def stage_names(self) -> tuple[str, ...]:
        """Names of the stages in order."""
        return tuple(self.stages)

    def forward(self, x: Tensor, until: str | None = None) -> Tensor:
        """Run the stages up to and including ``until`` (all of them if None).

        Args:
            x: input batch, shape (n, …).
            until: name of the last stage to run; later stages cost nothing.

        Raises:
            InputError: if there is no stage of that name.
        """
        last = self.stage_names[-1] if until is None else one_of(until, self.stage_names, "until")
        for name, stage in self.stages.items():
            x = stage(x)
            if name == last:
                break
        return x

    def walk(self, x: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Every stage's name and output, in order, each as soon as it is computed."""
        for name, stage in self.stages.items():
            x = stage(x)
            yield name, x
