"""A network that somebody else trained, with the preprocessing that it expects."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from neural_branching.networks.network import Stays
from neural_branching.networks.preprocessing import Preprocessing
from neural_branching.networks.wrapped import ELEMENT, WrappedModule
from neural_branching.selection.array_types import Shaped

# What libraries call the children that hold the repeated parts of a network.
CONTAINERS = ("blocks", "stages", "layers", "layer", "features")


class Backbone(WrappedModule):
    """A module of images of values 0 … 255, as ``parent.normalize=none`` hands them over.

    Args:
        module: the network, without its preprocessing.
        preprocessing: what it expects of an image.
        last: as for ``WrappedModule``.
        class_token: as for ``Network``.
    """

    def __init__(
        self, module: nn.Module, preprocessing: Preprocessing, last: str, class_token: str | None = None
    ) -> None:
        super().__init__(module, last)
        self.preprocessing = preprocessing
        self.class_token = class_token

    @property
    def resolved(self) -> Mapping[str, Any]:
        """The preprocessing, which the configuration leaves to the model."""
        return {"preprocessing": self.preprocessing.values}

    @property
    def main_stages(self) -> tuple[str, ...]:
        """The repeated parts, else the children that have weights; then the last stage."""
        repeated: list[str] = []
        for name, container in self.module.named_modules():
            named = name.rpartition(".")[2] in CONTAINERS and isinstance(
                container, nn.Sequential | nn.ModuleList
            )
            if named and not name.startswith(tuple(f"{outer}." for outer in repeated)):
                repeated += [f"{name}.{part}" for part, _ in container.named_children()]
        children = self.module.named_children()
        return (*(repeated or [name for name, child in children if [*child.parameters()]]), self.last)

    def walk(
        self, x: Shaped[Tensor, "n ..."], stages: Sequence[str]
    ) -> Iterator[tuple[str, Shaped[Tensor, "n ..."]]]:
        """As in ``WrappedModule``; maps whose channels come last have them first."""
        for name, output in super().walk(self.preprocessing(x), stages):
            yield name, output.permute(0, 3, 1, 2) if self._channels_last(name, output) else output

    def walk_while(self, x: Shaped[Tensor, "n ..."], stages: Sequence[str], stays: Stays) -> None:
        """As in ``WrappedModule``; maps whose channels come last have them first."""

        def of_maps(name: str, output: Tensor) -> Tensor:
            return stays(name, output.permute(0, 3, 1, 2) if self._channels_last(name, output) else output)

        super().walk_while(self.preprocessing(x), stages, of_maps)

    def _channels_last(self, stage: str, output: Tensor) -> bool:
        """Whether maps are (n, h, w, channels), by what the model says, or else by its width."""
        within = None if stage == self.last else self.module.get_submodule(stage.partition(ELEMENT)[0])
        if output.ndim != 4 or isinstance(within, nn.Conv2d | nn.BatchNorm2d):
            return False
        if hasattr(self.module, "output_fmt"):
            return str(getattr(self.module.output_fmt, "value", self.module.output_fmt)) == "NHWC"
        width = getattr(self.module, "embed_dim", None)
        return output.shape[-1] == width != output.shape[1]
