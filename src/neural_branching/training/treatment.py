"""What an experiment does to a training besides following its recipe."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from neural_branching.networks.network import Network
from neural_branching.selection.array_types import Float, Shaped


class Treatment(ABC):
    """Changes of initial weights, of the loss, and of weights between epochs or steps.

    None of it draws random numbers, so that a network that is trained with it and one without see the same
    batches.
    """

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages whose outputs ``penalty`` takes."""
        return ()

    @abstractmethod
    def identity(self) -> Mapping[str, Any]:
        """Its part of the key of the weights: plain values."""

    def begin(self, network: Network) -> None:  # noqa: B027
        """Change initial weights, and which of them are trained."""

    def before_epoch(  # noqa: B027
        self, epoch: int, network: Network, optimizer: torch.optim.Optimizer
    ) -> None:
        """Change weights, and the optimiser's moments with them, before an epoch, counted from 1."""

    def after_step(self, network: Network) -> None:  # noqa: B027
        """Change weights after a step of the optimiser."""

    def penalty(
        self, outputs: Mapping[str, Shaped[Tensor, "n ..."]], network: Network
    ) -> Float[Tensor, ""] | float:
        """What is added to the loss of a batch.

        Args:
            outputs: those of ``stages`` for the batch.
            network: the network that gave them.
        """
        return 0.0
