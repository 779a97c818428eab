"""Dropout masks on a GPU, drawn for many steps at once."""

from collections.abc import Sequence

import torch
from torch import Tensor

ROWS = 1024  # for which each network draws at once, more only where a batch has more


class Masks:
    """Which units networks of one shape keep in the steps to come.

    Every network draws from a generator of its own, as many numbers as if it were alone: what it drops does
    not depend on those that are trained beside it. One launch for each network and layer serves many steps.

    Args:
        widths: units of the layers that are dropped from.
        rate: probability of dropping one.
        generators: of the networks, on the device; None for the device's own.
        n: examples of an epoch.
        batch_size: examples of a step; the last may have fewer.
        device: where the networks are.
    """

    def __init__(
        self,
        widths: Sequence[int],
        rate: float,
        generators: Sequence[torch.Generator | None],
        n: int,
        batch_size: int,
        device: torch.device,
    ) -> None:
        self._share, self._generators, self._batch = 1 - rate, generators, batch_size
        self._steps = min(-(-ROWS // batch_size), -(-n // batch_size))
        rows, networks = self._steps * batch_size, len(generators)
        self._kept = [torch.empty(networks, rows, width, dtype=torch.bool, device=device) for width in widths]
        self._all = torch.arange(rows, device=device)
        self._rows = self._all[:batch_size].clone()  # of this step, where a captured one finds them

    def begin(self, step: int) -> None:
        """Have the masks of an epoch's next step ready, counted from 0."""
        place = step % self._steps
        if place == 0:
            for network, generator in enumerate(self._generators):
                for kept in self._kept:
                    kept[network].bernoulli_(self._share, generator=generator)
        self._rows.copy_(self._all[place * self._batch :][: self._batch])

    def keep(self, x: Tensor, layer: int) -> Tensor:
        """What this step leaves of the outputs (networks, b, width) of a layer, scaled."""
        kept = self._kept[layer].index_select(1, self._rows[: x.shape[1]])
        return x * kept * (1 / self._share)


def drawn_ahead(device: torch.device) -> bool:
    """Whether masks are drawn ahead on a device: on a CPU every step draws its own, as torch does."""
    return device.type == "cuda"
