"""Branched autoencoders as LightningModule: how they are trained, and what their branches contribute."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from neural_branching.data.batches import Batches
from neural_branching.labs.decomposition.branched_autoencoder import BranchedAutoencoder
from neural_branching.networks.standardize import Standardize
from neural_branching.selection.array_types import Float, Float32, Int64, Shaped
from neural_branching.training.epoch_module import EpochModule
from neural_branching.training.recipe import Recipe

BATCH = 256  # images of a pass that measures


class PartsLoss(ABC):
    """What branches are trained for besides reconstructing images together."""

    @abstractmethod
    def identity(self) -> Mapping[str, Any]:
        """Its part of the key of the weights: plain values."""

    @abstractmethod
    def loss(
        self, module: "Autoencoder", images: Shaped[Tensor, "n c h w"], parts: Float32[Tensor, "n b c h w"]
    ) -> Float[Tensor, ""]:
        """What is added to the loss of a batch.

        Args:
            module: the autoencoder.
            images: raw images.
            parts: what its branches contribute, in standardised pixels.
        """


class Autoencoder(EpochModule):
    """Images, standardised by one mean and deviation, and their mean squared error.

    All channels have one mean and one deviation, so that grey stays grey, and the error is the share of the
    pixels' variance that is not explained.

    Args:
        network: the branches.
        recipe: the training recipe.
        noise: deviation of the Gaussian noise on training images, in deviations of the pixels; what is to be
            reconstructed has none (denoising autoencoder, Vincent et al., 2008).
        beta: weight of the KL divergence of a variational autoencoder (Higgins et al., 2017); 1 is the
            evidence lower bound of pixels with unit variance.
        separate: train every branch to reconstruct the image alone; what they give is averaged. The control
            of branches that are trained together.

    Attributes:
        parts_loss: what branches are trained for besides; None for nothing.
    """

    metrics = ("train/loss", "val/loss")

    def __init__(
        self,
        network: BranchedAutoencoder,
        recipe: Recipe,
        *,
        noise: float = 0.0,
        beta: float = 0.0,
        separate: bool = False,
    ) -> None:
        super().__init__(Standardize((1, 1, 1)), recipe)
        self.network, self.noise, self.beta, self.separate = network, noise, beta, separate
        self.parts_loss: PartsLoss | None = None
        if separate:
            network.scale = 1 / len(network.branches)

    @property
    def capturable(self) -> bool:
        """Not with a loss from elsewhere."""
        return self.parts_loss is None

    def batch_loss(self, x: Shaped[Tensor, "n c h w"], y: Int64[Tensor, " n"]) -> Float[Tensor, ""]:
        """Mean squared error of the sum, or of every branch alone; and ``parts_loss``."""
        target = self.standardize(x)
        seen = target + self.noise * torch.randn_like(target) if self.noise else target
        parts, divergence = self.network(seen, sample=True)
        if self.separate:
            error = (parts / self.network.scale - target[:, None]).square().mean((0, 2, 3, 4)).sum()
        else:
            error = F.mse_loss(parts.sum(1), target)
        loss: Tensor = error + 2 * self.beta * divergence.mean() / target[0].numel()
        return loss + self.parts_loss.loss(self, x, parts) if self.parts_loss else loss

    def validation_step(self, epoch: Batches, index: int) -> None:
        """Log ``val/loss``, the mean squared error of the reconstruction."""
        total = torch.zeros((), device=self.device)
        for x, _ in epoch:
            target = self.standardize(x)
            total += F.mse_loss(self.network(target)[0].sum(1), target, reduction="sum")
        self.log("val/loss", total / epoch.x.numel(), batch_size=1)

    @torch.no_grad()
    def parts(self, images: Shaped[Tensor, "n c h w"]) -> Float32[Tensor, "n b c h w"]:
        """What every branch contributes to the reconstruction of raw images, in standardised pixels.

        Args:
            images: as the table holds them, uint8.
        """
        return torch.cat(
            [
                self.network(self.standardize(one.to(self.device)))[0].cpu()
                for one in torch.split(images, BATCH)
            ]
        )

    @torch.no_grad()
    def divided(
        self, images: Shaped[Tensor, "n c h w"], owners: Int64[Tensor, " units"], count: int
    ) -> Float32[Tensor, "n b c h w"]:
        """Parts of a network of one branch; see ``BranchedAutoencoder.divided``."""
        owners = owners.to(self.device)
        return torch.cat(
            [
                self.network.divided(self.standardize(one.to(self.device)), owners, count).cpu()
                for one in torch.split(images, BATCH)
            ]
        )

    @torch.no_grad()
    def standardized(self, images: Shaped[Tensor, "n c h w"]) -> Float32[Tensor, "n c h w"]:
        """What parts are to add up to."""
        target: Tensor = self.standardize(images.to(self.device))
        return target.cpu()

    def raw(self, standardized: Float32[Tensor, "*n c h w"]) -> Float32[Tensor, "*n c h w"]:
        """Standardised pixels as networks for raw images take them: within [0, 255], cut off beyond."""
        mean, inverse = (
            one.to(standardized.device) for one in (self.standardize.mean, self.standardize.inverse_std)
        )
        return (standardized / inverse + mean).clamp(0, 255)

    def pixels(self, standardized: Float32[Tensor, "*n c h w"]) -> Float32[Tensor, "*n c h w"]:
        """Standardised pixels as brightness within [0, 1]; those beyond are cut off."""
        return self.raw(standardized) / 255
